/*
 * table_directory.h - the directory of a table: from a position to the bucket. Only table*.c include it.
 *
 * None of it is on disk once the table is open (directory_load()): the hot path does not look.
 *
 * A node's ids are its slices: each stands for an equal part of the node's range. A bucket has a *run* of them: some that follow
 * one another, any number, not only powers of two. How many each one gets is table_bucket.c's to say.
 *
 * Invariant: a bucket's run lies within one node. So a change of runs changes entries of one node only.
 */
#ifndef WEIR_STATE_TABLE_DIRECTORY_H
#define WEIR_STATE_TABLE_DIRECTORY_H

#include "state/table.h"

#define TOP_SHIFT (CHUNK_SHIFT - 3) /* log2 of the top entries of a chunk */
#define NODE_BITS (CHUNK_SHIFT - 2) /* log2 of the bucket ids of a node */
#define NODE_IDS (1u << NODE_BITS)

struct directory_top {
    uint32_t node;  /* chunk of NODE_IDS bucket ids */
    uint32_t depth; /* bits of the position that the node's range shares; at most the root's top_depth */
};
_Static_assert(sizeof(struct directory_top) == 8, "directory_top is in the state image");

/* The slices [first, end) of a node, which have the same bucket. */
struct directory_run {
    uint32_t bucket;
    uint32_t first, end;
};

/* The root's head, to be changed. */
static inline struct table_root *table_root_touch(struct table *table)
{
    return state_touch(table->region, table->root_pos, offsetof(struct table_root, top));
}

static inline void table_add_rows(struct table *table, int64_t count)
{
    uint64_t *rows = state_touch(table->region, table->root_pos + offsetof(struct table_root, row_count), sizeof *rows);
    *rows += (uint64_t)count;
}

/* The position within the table: the owned range stretched to 32 bits. Monotonic, so key groups stay contiguous. */
static inline uint32_t directory_position(const struct table *table, uint64_t hash)
{
    return (uint32_t)((((hash >> 32) - table->range_first) * table->range_scale) >> 32);
}

static inline uint64_t directory_top_pos(const struct table *table, uint32_t index)
{
    return state_pos(table->top[index >> TOP_SHIFT],
                     (index & ((1u << TOP_SHIFT) - 1)) * (uint32_t)sizeof(struct directory_top));
}

static inline struct directory_top directory_top(const struct table *table, uint32_t position)
{
    uint32_t index = (uint32_t)((uint64_t)position >> (32 - table->top_depth));
    return *(const struct directory_top *)state_read_again(table->region, directory_top_pos(table, index));
}

static inline uint32_t directory_node_index(uint32_t position, uint32_t node_depth)
{
    return (position << node_depth) >> (32 - NODE_BITS);
}

static inline const uint32_t *directory_entry_at(const struct table *table, uint32_t position)
{
    struct directory_top top = directory_top(table, position);
    const uint32_t *node = chunk_read_again(table->region, top.node);
    return node + directory_node_index(position, top.depth);
}

/* The table must have a bucket. */
static inline const uint32_t *directory_entry(const struct table *table, uint64_t hash)
{
    return directory_entry_at(table, directory_position(table, hash));
}

static inline uint32_t directory_find_position(const struct table *table, uint32_t position)
{
    return *directory_entry_at(table, position);
}

/* The bucket of a hash; 0 where the table is empty. */
static inline uint32_t directory_find(const struct table *table, uint64_t hash)
{
    if (__builtin_expect(table->bucket_count == 0, 0))
        return 0;
    return *directory_entry(table, hash);
}

/* Sees to it that no part of the directory is on disk any more. Once, when the table is opened. */
void directory_load(const struct table *table);
/* The first bucket of a table without any. Takes 2 chunks. */
void directory_create(struct table *table, uint32_t bucket);
/* The run around a position. */
void directory_run(const struct table *table, uint32_t position, struct directory_run *ret_run);
/* The run behind `run`, or before it, in the node of `position`; false where the node ends. */
bool directory_run_behind(const struct table *table, uint32_t position, const struct directory_run *run,
                          struct directory_run *ret_run);
bool directory_run_before(const struct table *table, uint32_t position, const struct directory_run *run,
                          struct directory_run *ret_run);
/* The first position behind the run around `position`; 2^32 behind the last. */
uint64_t directory_run_end(const struct table *table, uint32_t position);
/* The slices [first, end) of the node of `position` go to `bucket`. Touches one chunk. */
void directory_assign(struct table *table, uint32_t position, uint32_t first, uint32_t end, uint32_t bucket);
/* Bits of the position that the slices of its node share. */
uint32_t directory_depth(const struct table *table, uint32_t position);
/* Whether the node of `position` can be split. */
bool directory_can_split(const struct table *table, uint32_t position);
/* Chunks that directory_split() takes or touches at most. */
uint32_t directory_split_chunks(const struct table *table);
/* The node of `position` becomes two, with slices of half the width. No run may lie across its middle. */
void directory_split(struct table *table, uint32_t position);

#endif
