#include "base/bytes.h"

#include "base/check.h"

void writer_put(struct writer *w, const void *data, size_t size_bytes)
{
    if (w->failed || size_bytes > w->capacity - w->used) {
        w->failed = true;
        return;
    }
    if (size_bytes > 0)
        memcpy(w->data + w->used, data, size_bytes);
    w->used += size_bytes;
}

static void writer_le(struct writer *w, uint64_t value, unsigned size_bytes)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < size_bytes; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    writer_put(w, bytes, size_bytes);
}

void writer_u8(struct writer *w, uint8_t value) { writer_le(w, value, 1); }
void writer_u16(struct writer *w, uint16_t value) { writer_le(w, value, 2); }
void writer_u32(struct writer *w, uint32_t value) { writer_le(w, value, 4); }
void writer_u64(struct writer *w, uint64_t value) { writer_le(w, value, 8); }

void writer_text(struct writer *w, const char *text)
{
    size_t size_bytes = strlen(text);
    CHECK(size_bytes <= UINT16_MAX);
    writer_u16(w, (uint16_t)size_bytes);
    writer_put(w, text, size_bytes);
}

void writer_blob(struct writer *w, const void *data, size_t size_bytes)
{
    CHECK(size_bytes <= UINT32_MAX);
    writer_u32(w, (uint32_t)size_bytes);
    writer_put(w, data, size_bytes);
}

const void *reader_take(struct reader *r, size_t size_bytes)
{
    if (r->failed || size_bytes > r->size_bytes - r->used) {
        r->failed = true;
        return NULL;
    }
    const void *data = r->data + r->used;
    r->used += size_bytes;
    return data;
}

static uint64_t reader_le(struct reader *r, unsigned size_bytes)
{
    const unsigned char *bytes = reader_take(r, size_bytes);
    uint64_t value = 0;
    for (unsigned i = 0; bytes != NULL && i < size_bytes; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

uint8_t reader_u8(struct reader *r) { return (uint8_t)reader_le(r, 1); }
uint16_t reader_u16(struct reader *r) { return (uint16_t)reader_le(r, 2); }
uint32_t reader_u32(struct reader *r) { return (uint32_t)reader_le(r, 4); }
uint64_t reader_u64(struct reader *r) { return reader_le(r, 8); }

void reader_text(struct reader *r, char *text, size_t capacity)
{
    size_t size_bytes = reader_u16(r);
    const char *bytes = reader_take(r, size_bytes);
    text[0] = 0;
    if (bytes == NULL)
        return;
    if (size_bytes >= capacity || memchr(bytes, 0, size_bytes) != NULL) {
        r->failed = true;
        return;
    }
    memcpy(text, bytes, size_bytes);
    text[size_bytes] = 0;
}

size_t reader_blob(struct reader *r, void *data, size_t capacity)
{
    size_t size_bytes = reader_u32(r);
    const void *bytes = reader_take(r, size_bytes);
    if (bytes == NULL)
        return 0;
    if (size_bytes > capacity) {
        r->failed = true;
        return 0;
    }
    if (size_bytes > 0)
        memcpy(data, bytes, size_bytes);
    return size_bytes;
}
