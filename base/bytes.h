/*
 * bytes.h - alignment, checked arithmetic, and little-endian encoding of everything that is durable.
 *
 * A `struct writer` appends to a fixed buffer, a `struct reader` takes from one. Both remember that they ran over the
 * end (`failed`) instead of writing or reading there, so that a caller checks once, at the end.
 */
#ifndef WEIR_BASE_BYTES_H
#define WEIR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static inline uint64_t align_up(uint64_t value, uint64_t alignment) /* alignment: a power of two */
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

struct writer {
    unsigned char *data;
    size_t capacity;
    size_t used;
    bool failed;
};

struct reader {
    const unsigned char *data;
    size_t size_bytes;
    size_t used;
    bool failed;
};

void writer_put(struct writer *w, const void *data, size_t size_bytes);
void writer_u8(struct writer *w, uint8_t value);
void writer_u16(struct writer *w, uint16_t value);
void writer_u32(struct writer *w, uint32_t value);
void writer_u64(struct writer *w, uint64_t value);
/* u16 length, then the bytes, no ending zero. */
void writer_text(struct writer *w, const char *text);
/* u32 length, then the bytes. */
void writer_blob(struct writer *w, const void *data, size_t size_bytes);

/* NULL (and failed) where fewer than size_bytes are left. */
const void *reader_take(struct reader *r, size_t size_bytes);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* Into text[capacity], ended by a zero; fails where it is longer than capacity - 1 or holds a zero byte. */
void reader_text(struct reader *r, char *text, size_t capacity);
/* Into data[capacity]; returns the size; fails where it is larger than capacity. */
size_t reader_blob(struct reader *r, void *data, size_t capacity);

#endif
