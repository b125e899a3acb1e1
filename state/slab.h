/*
 * slab.h - small objects within chunks, and blobs of any size made of them.
 *
 * An object lies in one chunk and is named by a 32-bit reference in units of 16 bytes of logical space; 0 is none. A
 * chunk holds objects of one size class, with a free list inside; chunks that have room are linked per class, and
 * one that became empty goes back to the region. (After Bonwick's slab allocator, USENIX 1994, without
 * constructors.) A blob is a string of bytes with a header of 8 that holds its size; one that does not fit an object
 * is a chain of them.
 *
 * Called by the task only. Nothing fails and nothing blocks: the caller has reserved slab_chunks_max() chunks for
 * each call that allocates, SLAB_FREE_CHUNKS for each that frees, one for each object written to. New bytes are not
 * zeroed.
 */
#ifndef WEIR_STATE_SLAB_H
#define WEIR_STATE_SLAB_H

#include "state/chunk.h"

#define SLAB_UNIT_BYTES 16u
#define SLAB_CLASSES_MAX 48
#define SLAB_OBJECT_BYTES_MAX (CHUNK_BYTES - SLAB_UNIT_BYTES) /* one object; also of one fragment of a blob */
#define BLOB_HEADER_BYTES 8u
#define BLOB_PIECE_BYTES_MAX (SLAB_OBJECT_BYTES_MAX - BLOB_HEADER_BYTES) /* a blob up to this lies in one piece */
/* Chunks that freeing one object, or one blob, touches at most: itself, its neighbours in the list, the root. */
#define SLAB_FREE_CHUNKS 4u

/* In the region's root chunk: per class, the first chunk that has room. */
struct slab_root {
    uint32_t partial[SLAB_CLASSES_MAX];
};
_Static_assert(sizeof(struct slab_root) == 192, "slab_root is in the state image");

/* Private handle. */
struct slab {
    struct chunk_region *region;
    uint64_t root_pos; /* of struct slab_root */
    uint32_t class_count;
    uint16_t class_units[SLAB_CLASSES_MAX];
    uint8_t class_of_units[CHUNK_BYTES / SLAB_UNIT_BYTES]; /* smallest class that holds so many units */
};

void slab_init(struct slab *slab, struct chunk_region *region, uint64_t root_pos);

/* Chunks that allocating an object or blob of this size takes and touches at most. */
uint32_t slab_chunks_max(size_t size_bytes);

/* size_bytes: 1 .. SLAB_OBJECT_BYTES_MAX. */
uint32_t slab_alloc(struct slab *slab, size_t size_bytes);
void slab_free(struct slab *slab, uint32_t ref);
/* Bytes that the object really has (its class). */
uint32_t slab_object_bytes(const struct slab *slab, uint32_t ref);

static inline uint64_t slab_pos(uint32_t ref) { return (uint64_t)ref * SLAB_UNIT_BYTES; }

static inline const void *slab_read(const struct slab *slab, uint32_t ref)
{
    return state_read(slab->region, slab_pos(ref));
}

static inline void *slab_touch(struct slab *slab, uint32_t ref, size_t offset, size_t size_bytes)
{
    return state_touch(slab->region, slab_pos(ref) + offset, size_bytes);
}

/* ------------------------------------------------------------------------------------------------ blobs --------- */

/* Before every piece of a blob. */
struct blob_header {
    uint32_t size_bytes; /* from here to the end of the blob, headers not counted */
    uint32_t next;       /* the next piece, 0 in the last */
};
_Static_assert(sizeof(struct blob_header) == BLOB_HEADER_BYTES, "blob_header is in the state image");

uint32_t blob_alloc(struct slab *slab, size_t size_bytes);
void blob_free(struct slab *slab, uint32_t ref);
static inline uint32_t blob_size(const struct slab *slab, uint32_t ref)
{
    return ((const struct blob_header *)slab_read(slab, ref))->size_bytes;
}
static inline bool blob_in_one_piece(const struct slab *slab, uint32_t ref)
{
    return ((const struct blob_header *)slab_read(slab, ref))->next == 0;
}
/* [offset, offset + size_bytes) of the blob. */
void blob_write(struct slab *slab, uint32_t ref, size_t offset, const void *data, size_t size_bytes);
void blob_copy_out(const struct slab *slab, uint32_t ref, size_t offset, void *data, size_t size_bytes);
bool blob_equals(const struct slab *slab, uint32_t ref, size_t offset, const void *data, size_t size_bytes);
/* The bytes from offset on within the first piece, for reading / of which the next size_bytes will be changed. */
static inline const void *blob_read(const struct slab *slab, uint32_t ref, size_t offset)
{
    return (const unsigned char *)slab_read(slab, ref) + BLOB_HEADER_BYTES + offset;
}
static inline void *blob_touch(struct slab *slab, uint32_t ref, size_t offset, size_t size_bytes)
{
    return slab_touch(slab, ref, BLOB_HEADER_BYTES + offset, size_bytes);
}

#endif
