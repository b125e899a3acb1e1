/*
 * table.h - a hash table of fixed-size rows in chunks: extendible hashing (Fagin, Nievergelt, Pippenger, Strong, TODS 1979) whose
 * buckets share and grow as the leaves of a B*-tree do (Bayer, McCreight, Acta Informatica 1972; Knuth, volume 3, 6.2.4).
 *
 * A bucket is a chunk: header, one-byte tags, rows at or near the slot where they belong. The directory has two levels,
 * indexed by the most significant bits of the position (the upper half of the hash, scaled so that the table's own
 * range fills 32 bits): the top, an array of (node, depth), and nodes of one chunk that give bucket ids. Each id of a node is a
 * slice of the node's range; a bucket has a run of slices, 4 to 8 where hashes are spread evenly. A bucket that gets full shares
 * its rows out anew with its neighbours: three in a row become four (or remain three, where there is room among them), and the
 * slices are dealt out so that each has nearly as many rows. So buckets are three quarters full or more at every count of rows,
 * where splitting in halves would have all of them half full at once. A node whose slices do not suffice splits in two, and each
 * slice with it; only the top, 8 bytes for each node, ever doubles. Rows come in order of key group, as far as buckets go.
 * Buckets of one slice, where narrower ones no longer help (equal positions, or far narrower than the others), get overflow chunks.
 *
 * A row begins with its key: key_bytes of it, or (key_bytes 0) the 64-bit hash, and then it is the caller who
 * compares the rest. The caller may change the rest of a row in place, by state_touch(region, pos + offset, n).
 *
 * Called by the task only. table_insert() and table_remove() may move other rows: positions got before are void when
 * `changes` has changed (an insert into a bucket with room moves none). What is said of chunk_reserve() in chunk.h holds:
 * table_insert() reserves by itself and leaves CHUNK_SPARE.
 */
#ifndef WEIR_STATE_TABLE_H
#define WEIR_STATE_TABLE_H

#include "state/chunk.h"
#include "state/key.h"

#define TABLE_TOP_CHUNKS (CHUNK_SHIFT < 12 ? CHUNK_BYTES / 32 : 128)
#define TABLE_ROW_BYTES_MAX ((CHUNK_BYTES - 64) / 2)

/* In the state image, in a chunk of its owner. Zeroed: never used. */
struct table_root {
    uint32_t row_bytes;   /* a multiple of 8 */
    uint32_t key_bytes;   /* 0: rows begin with the hash */
    uint32_t range_first; /* see struct key_range */
    uint32_t top_depth;   /* the top has 2^top_depth entries */
    uint64_t range_count;
    uint64_t row_count;
    uint32_t bucket_count; /* overflow chunks not counted */
    uint32_t top_chunk_count; /* 0: empty, nothing allocated */
    uint32_t top[TABLE_TOP_CHUNKS];
};
_Static_assert(sizeof(struct table_root) == 40 + 4 * TABLE_TOP_CHUNKS, "table_root is in the state image");

/* Private handle. */
struct table {
    struct chunk_region *region;
    uint64_t root_pos;
    uint64_t changes; /* counts up whenever rows may have moved */
    uint64_t range_scale;
    uint32_t range_first;
    uint32_t row_bytes, key_bytes;
    uint32_t slot_count, home_count; /* rows of a bucket; slots that can be a row's first choice: all, or one */
    uint32_t count_max;              /* rows of a bucket that make it full */
    uint32_t rows_offset;
    uint32_t bucket_count;           /* as in the root, for prefetch */
    uint32_t top_depth;
    uint32_t top[TABLE_TOP_CHUNKS];  /* as in the root */
};

/* Sets up the handle over a root in a chunk that the caller has allocated (and reserved one for): a zeroed one is
 * given its shape, another must have it: else WEIR_EMISMATCH. row_bytes: a multiple of 8, up to TABLE_ROW_BYTES_MAX
 * (else WEIR_EINVAL). */
int table_open(struct table *table, struct chunk_region *region, uint64_t root_pos, uint32_t key_bytes,
               uint32_t row_bytes, struct key_range range, struct weir_error *err);

/* Fixed-size keys: true, and the row's position. */
bool table_find(const struct table *table, uint64_t hash, const void *key, uint64_t *ret_pos);
/* The same for many keys, with their cache misses side by side: the position of each, 0 for one that is not there. Returns
 * how many are not. */
size_t table_find_many(const struct table *table, const uint64_t *hashes, const struct weir_bytes *keys, size_t count,
                       uint64_t *ret_pos);
/* Hashed rows: of the rows with this hash, the first that `match` says yes to. */
typedef bool (*table_match_fn)(const void *arg, const void *row);
bool table_find_hashed(const struct table *table, uint64_t hash, table_match_fn match, const void *arg,
                       uint64_t *ret_pos);

/* A new row, for a key that has none: key (or hash) filled in, the rest zero. Fails with WEIR_ELIMIT, WEIR_ENOMEM,
 * and then nothing is there. Leaves CHUNK_SPARE chunks reserved. */
int table_insert(struct table *table, uint64_t hash, const void *key, uint64_t *ret_pos, struct weir_error *err);
/* Takes the row out. TABLE_REMOVE_CHUNKS must be reserved, by chunk_reserve_writes() at least. */
#define TABLE_REMOVE_CHUNKS 6u
void table_remove(struct table *table, uint64_t hash, uint64_t pos);

uint64_t table_count(const struct table *table);

/* Brings directory, tags and rows of these hashes nearer. */
void table_prefetch(const struct table *table, const uint64_t *hashes, size_t count);

/* All rows whose position lies in a range of positions (not scaled), in order of buckets. Void when `changes`
 * changes. */
struct table_cursor {
    struct key_range range;
    uint64_t next; /* scaled position of the bucket behind */
    uint64_t end;
    uint32_t bucket; /* the chunk being read, 0 before the first */
    uint32_t slot;
};
void table_cursor_begin(const struct table *table, struct key_range range, struct table_cursor *ret_cursor);
bool table_cursor_next(const struct table *table, struct table_cursor *cursor, uint64_t *ret_pos);

/* The hash of the row at a position. */
uint64_t table_row_hash(const struct table *table, const void *row);

#endif
