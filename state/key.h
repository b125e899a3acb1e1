/*
 * key.h - how keys are hashed, and which hash belongs to which key group and subtask.
 *
 * One hash serves all: its upper 32 bits, the *position*, choose the key group, the subtask and the bucket, so that
 * a key group is a contiguous range of positions; its lower 32 bits choose slot and tag within the bucket. The
 * function is XXH3 (64 bits, no seed), and is part of the checkpoint format: a change of it is a change of version.
 * Pure functions, for any process.
 */
#ifndef WEIR_STATE_KEY_H
#define WEIR_STATE_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-align"
#include <xxhash.h>
#pragma GCC diagnostic pop

/* XXH3_64bits of 8 bytes, spelt out so that the compiler needs no length. */
static inline uint64_t key_hash_8(const void *key) { return XXH3_64bits(key, 8); }

static inline uint64_t key_hash(const void *key, size_t size_bytes)
{
    return size_bytes == 8 ? key_hash_8(key) : XXH3_64bits(key, size_bytes);
}

static inline uint32_t key_position(uint64_t hash) { return (uint32_t)(hash >> 32); }

static inline uint32_t key_group(uint64_t hash, uint32_t key_groups)
{
    return (uint32_t)(((hash >> 32) * key_groups) >> 32);
}

/* Positions [first, first + count). count is 2^32 for all of them. */
struct key_range {
    uint32_t first;
    uint64_t count;
};

#define KEY_RANGE_ALL ((struct key_range){0, UINT64_C(1) << 32})

/* The lowest position of a group; 2^32 for the group past the last. */
static inline uint64_t key_group_first_position(uint32_t group, uint32_t key_groups)
{
    return (((uint64_t)group << 32) + key_groups - 1) / key_groups;
}

/* Key groups are dealt out in contiguous runs; each subtask's first group is: */
static inline uint32_t key_subtask_first_group(uint32_t subtask, uint32_t parallelism, uint32_t key_groups)
{
    return (uint32_t)(((uint64_t)subtask * key_groups + parallelism - 1) / parallelism);
}

static inline uint32_t key_group_subtask(uint32_t group, uint32_t parallelism, uint32_t key_groups)
{
    return (uint32_t)((uint64_t)group * parallelism / key_groups);
}

/* The subtask that a hash belongs to; equals key_group_subtask(key_group(hash)). */
static inline uint32_t key_subtask(uint64_t hash, uint32_t parallelism, uint32_t key_groups)
{
    return key_group_subtask(key_group(hash, key_groups), parallelism, key_groups);
}

static inline struct key_range key_subtask_range(uint32_t subtask, uint32_t parallelism, uint32_t key_groups)
{
    uint64_t first = key_group_first_position(key_subtask_first_group(subtask, parallelism, key_groups), key_groups);
    uint64_t end = key_group_first_position(key_subtask_first_group(subtask + 1, parallelism, key_groups), key_groups);
    return (struct key_range){(uint32_t)first, end - first};
}

#endif
