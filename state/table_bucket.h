/*
 * table_bucket.h - the inside of one bucket of a table: where tags and rows lie, how a key is looked for. Only
 * table*.c include it.
 *
 * A row sits in its home slot or behind it, with no empty slot in between (linear probing; behind the last slot comes the
 * first). A search looks at the tags from the home slot on, a group at a time, up to the first empty one, and compares the keys of
 * those that fit. A removal moves later rows up, and leaves zeros. Behind the last tag the first ones are repeated, so that a group
 * is read in one piece wherever it begins; where all slots fit one group, every row's home is slot 0, and zeros follow.
 */
#ifndef WEIR_STATE_TABLE_BUCKET_H
#define WEIR_STATE_TABLE_BUCKET_H

#include "state/table.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BUCKET_TAGS_OFFSET 16u
#define BUCKET_GROUP 16u /* tags compared at once; so many bytes follow the last tag */

struct bucket {
    uint32_t next;  /* overflow chunk, 0: none */
    uint16_t count; /* rows in this chunk */
    uint16_t reserved;
    uint32_t reserved_2[2];
};
_Static_assert(sizeof(struct bucket) == BUCKET_TAGS_OFFSET, "bucket is in the state image");

struct bucket_matches {
    uint32_t same;  /* bit i: tag i of the group equals the one asked for */
    uint32_t empty; /* bit i: slot i is empty */
};

#ifdef __SSE2__
static inline struct bucket_matches bucket_match(const unsigned char *tags, unsigned char tag)
{
    __m128i group = _mm_loadu_si128((const __m128i *)(const void *)tags);
    __m128i same = _mm_cmpeq_epi8(group, _mm_set1_epi8((char)tag));
    __m128i empty = _mm_cmpeq_epi8(group, _mm_setzero_si128());
    return (struct bucket_matches){(uint32_t)_mm_movemask_epi8(same), (uint32_t)_mm_movemask_epi8(empty)};
}
#else
static inline struct bucket_matches bucket_match(const unsigned char *tags, unsigned char tag)
{
    struct bucket_matches matches = {0, 0};
    for (unsigned i = 0; i < BUCKET_GROUP; i++) {
        matches.same |= (uint32_t)(tags[i] == tag) << i;
        matches.empty |= (uint32_t)(tags[i] == 0) << i;
    }
    return matches;
}
#endif

/* Never 0, which says empty. */
static inline unsigned char bucket_tag(uint64_t hash)
{
    unsigned char tag = (unsigned char)hash;
    return tag != 0 ? tag : 1;
}

static inline uint32_t bucket_home(const struct table *table, uint64_t hash)
{
    return (uint32_t)(((hash & UINT32_MAX) * table->home_count) >> 32);
}

/* The slot that a number below twice the count of slots stands for. */
static inline uint32_t bucket_slot(const struct table *table, uint32_t number)
{
    return number < table->slot_count ? number : number - table->slot_count;
}

static inline uint32_t bucket_row_offset(const struct table *table, uint32_t slot)
{
    return table->rows_offset + slot * table->row_bytes;
}

static inline uint64_t bucket_word(const void *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline const unsigned char *bucket_tags(const struct bucket *bucket)
{
    return (const unsigned char *)bucket + BUCKET_TAGS_OFFSET;
}

static inline const struct bucket *bucket_read(const struct table *table, uint32_t chunk)
{
    return chunk_read(table->region, chunk);
}

/* Puts a row that is not there into the first chunk with room for it of those that start at `chunk`, and returns
 * that; 0: none has. Sets the tag; the row's bytes are the caller's to write. */
uint32_t bucket_chain_place(struct table *table, uint32_t chunk, uint64_t hash, uint32_t *ret_slot);
void *bucket_row_touch(struct table *table, uint32_t chunk, uint32_t slot);
/* Makes room in the bucket of `hash`: it and its neighbours become one more, or share their rows anew, or it gets an overflow
 * chunk. Reserves by itself. */
int bucket_grow(struct table *table, uint64_t hash, struct weir_error *err);
/* Takes a row out of the bucket of `hash`, with what follows from it: a chunk that became empty, a bucket that is
 * too small. */
void bucket_remove(struct table *table, uint64_t hash, uint32_t chunk, uint32_t slot);

#endif
