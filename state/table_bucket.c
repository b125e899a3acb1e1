#include "state/table_bucket.h"

#include "state/table_directory.h"

#include <stdlib.h>

/* A bucket may be so many bits deeper than if all were equally deep; beyond, it gets overflow chunks, up to
 * CHAIN_SPLIT of them before it goes deeper all the same, and CHAIN_MAX where nothing separates its rows. */
#define DEPTH_SLACK 4
#define CHAIN_SPLIT 4
#define CHAIN_MAX 256

/* ------------------------------------------------------------------------------------------------ bucket -------- */

static unsigned char *touch_tags(struct table *table, uint32_t chunk, uint32_t slot, uint32_t count)
{
    return state_touch(table->region, state_pos(chunk, BUCKET_TAGS_OFFSET + slot), count);
}

static void add_to_count(struct table *table, uint32_t chunk, int difference)
{
    struct bucket *bucket = state_touch(table->region, state_pos(chunk, 0), sizeof *bucket);
    bucket->count = (uint16_t)(bucket->count + difference);
}

/* Puts a row that is not there into the chunk; false where it has no room for it. The row's bytes are not written. */
static bool place(struct table *table, uint32_t chunk, uint64_t hash, uint32_t *ret_slot)
{
    const struct bucket *bucket = bucket_read(table, chunk);
    if (bucket->count >= table->count_max)
        return false;
    uint32_t slot = bucket_home(table, hash);
    uint32_t empty = 0;
    while ((empty = bucket_match(bucket_tags(bucket) + slot, 0).same) == 0) /* zeros follow the last tag */
        slot += BUCKET_GROUP;
    slot += (uint32_t)__builtin_ctz(empty);
    if (slot >= table->slot_count)
        return false;
    *touch_tags(table, chunk, slot, 1) = bucket_tag(hash);
    add_to_count(table, chunk, 1);
    *ret_slot = slot;
    return true;
}

/* The next row behind `slot` that may move into it: one whose home is not behind it. slot_count: none. */
static uint32_t row_to_move_up(const struct table *table, const struct bucket *bucket, uint32_t slot)
{
    const unsigned char *tags = bucket_tags(bucket);
    for (uint32_t i = slot + 1; i < table->slot_count && tags[i] != 0; i++) {
        uint64_t hash = table_row_hash(table, (const unsigned char *)bucket + bucket_row_offset(table, i));
        if (bucket_home(table, hash) <= slot)
            return i;
    }
    return table->slot_count;
}

/* Takes the row in `slot` out. */
static void take_out(struct table *table, uint32_t chunk, uint32_t slot)
{
    add_to_count(table, chunk, -1);
    for (;;) {
        const struct bucket *bucket = bucket_read(table, chunk);
        uint32_t from = row_to_move_up(table, bucket, slot);
        if (from == table->slot_count)
            break;
        unsigned char *to = state_touch(table->region, state_pos(chunk, bucket_row_offset(table, slot)),
                                        table->row_bytes);
        memcpy(to, state_read(table->region, state_pos(chunk, bucket_row_offset(table, from))), table->row_bytes);
        *touch_tags(table, chunk, slot, 1) = bucket_tags(bucket_read(table, chunk))[from];
        slot = from;
    }
    *touch_tags(table, chunk, slot, 1) = 0;
    memset(state_touch(table->region, state_pos(chunk, bucket_row_offset(table, slot)), table->row_bytes), 0,
           table->row_bytes);
}

static void set_next(struct table *table, uint32_t chunk, uint32_t next)
{
    ((struct bucket *)state_touch(table->region, state_pos(chunk, 0), sizeof(struct bucket)))->next = next;
}

uint32_t bucket_chain_place(struct table *table, uint32_t chunk, uint64_t hash, uint32_t *ret_slot)
{
    for (; chunk != 0; chunk = bucket_read(table, chunk)->next)
        if (place(table, chunk, hash, ret_slot))
            return chunk;
    return 0;
}

static uint32_t chain_length(const struct table *table, uint32_t chunk)
{
    uint32_t length = 0;
    for (; chunk != 0; chunk = bucket_read(table, chunk)->next)
        length++;
    return length;
}

/* An overflow chunk, second in the chain. */
static uint32_t chain_extend(struct table *table, uint32_t bucket)
{
    uint32_t chunk = chunk_alloc(table->region);
    set_next(table, chunk, bucket_read(table, bucket)->next);
    set_next(table, bucket, chunk);
    return chunk;
}

/* ------------------------------------------------------------------------------------------------ splitting ----- */

void *bucket_row_touch(struct table *table, uint32_t chunk, uint32_t slot)
{
    return state_touch(table->region, state_pos(chunk, bucket_row_offset(table, slot)), table->row_bytes);
}

/* Copies the rows of a chunk behind one another; returns how many. */
static uint32_t copy_rows(const struct table *table, uint32_t chunk, unsigned char *to)
{
    const struct bucket *bucket = bucket_read(table, chunk);
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < table->slot_count; slot++) {
        if (bucket_tags(bucket)[slot] == 0)
            continue;
        memcpy(to + (size_t)count * table->row_bytes, (const unsigned char *)bucket + bucket_row_offset(table, slot),
               table->row_bytes);
        count++;
    }
    CHECK(count == bucket->count);
    return count;
}

/* All rows of a chain, into memory of the caller's. */
static uint32_t copy_chain(const struct table *table, uint32_t chunk, unsigned char *rows)
{
    uint32_t count = 0;
    for (; chunk != 0; chunk = bucket_read(table, chunk)->next)
        count += copy_rows(table, chunk, rows + (size_t)count * table->row_bytes);
    return count;
}

/* Leaves an empty bucket without overflow chunks. */
static void empty_chain(struct table *table, uint32_t bucket, uint32_t depth)
{
    for (uint32_t chunk = bucket_read(table, bucket)->next; chunk != 0;) {
        uint32_t next = bucket_read(table, chunk)->next;
        chunk_free(table->region, chunk);
        chunk = next;
    }
    struct bucket *head = state_touch(table->region, state_pos(bucket, 0), CHUNK_BYTES);
    memset(head, 0, CHUNK_BYTES);
    head->depth = (uint8_t)depth;
}

static void place_row(struct table *table, uint32_t bucket, uint64_t hash, const void *row)
{
    uint32_t slot = 0;
    uint32_t chunk = bucket_chain_place(table, bucket, hash, &slot);
    if (chunk == 0) {
        chunk = chain_extend(table, bucket);
        CHECK(place(table, chunk, hash, &slot));
    }
    memcpy(bucket_row_touch(table, chunk, slot), row, table->row_bytes);
}

static void place_rows(struct table *table, const uint32_t *buckets, uint32_t bit, const unsigned char *rows,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *row = rows + (size_t)i * table->row_bytes;
        uint64_t hash = table_row_hash(table, row);
        place_row(table, buckets[(directory_position(table, hash) & bit) != 0], hash, row);
    }
}

/* The bucket that `hash` belongs to becomes two. */
static int split_bucket(struct table *table, uint64_t hash, uint32_t bucket, struct weir_error *err)
{
    uint32_t length = chain_length(table, bucket);
    CHECK(length > 0);
    int code = chunk_reserve(table->region, directory_split_chunks(table) + 2 * length + 4, err);
    if (code != WEIR_OK)
        return code;
    unsigned char *rows = malloc((size_t)length * table->slot_count * table->row_bytes);
    if (rows == NULL)
        return error_set(err, WEIR_ENOMEM, "state: no memory to split a bucket of %u chunks", length);
    uint32_t count = copy_chain(table, bucket, rows);
    uint32_t depth = bucket_read(table, bucket)->depth;
    empty_chain(table, bucket, depth + 1);
    uint32_t upper = chunk_alloc(table->region);
    ((struct bucket *)state_touch(table->region, state_pos(upper, 0),
                                  sizeof(struct bucket)))->depth = (uint8_t)(depth + 1);
    directory_split(table, directory_position(table, hash), depth, upper);
    table_root_touch(table)->bucket_count++;
    table->bucket_count++;
    place_rows(table, (uint32_t[2]){bucket, upper}, UINT32_C(1) << (31 - depth), rows, count);
    table->changes++;
    free(rows);
    return WEIR_OK;
}

/* Whether splitting is the right way to make room in a bucket. */
static bool should_split(const struct table *table, uint32_t bucket)
{
    uint32_t depth = bucket_read(table, bucket)->depth;
    uint32_t fair_depth = 32 - (uint32_t)__builtin_clz(table->bucket_count);
    if (!directory_can_split(depth))
        return false;
    return depth < fair_depth + DEPTH_SLACK || chain_length(table, bucket) >= CHAIN_SPLIT;
}

static int extend_chain(struct table *table, uint32_t bucket, struct weir_error *err)
{
    if (chain_length(table, bucket) >= CHAIN_MAX)
        return error_set(err, WEIR_ELIMIT, "state: more than %u keys have nearly the same hash",
                         CHAIN_MAX * table->count_max);
    int code = chunk_reserve(table->region, 4, err);
    if (code == WEIR_OK)
        (void)chain_extend(table, bucket);
    return code;
}

int bucket_grow(struct table *table, uint64_t hash, struct weir_error *err)
{
    uint32_t bucket = directory_find(table, hash);
    return should_split(table, bucket) ? split_bucket(table, hash, bucket, err) : extend_chain(table, bucket, err);
}

/* ------------------------------------------------------------------------------------------------ removing ------ */

/* Unlinks and frees an overflow chunk that became empty. */
static void drop_overflow(struct table *table, uint32_t bucket, uint32_t chunk)
{
    uint32_t before = bucket;
    while (bucket_read(table, before)->next != chunk)
        before = bucket_read(table, before)->next;
    set_next(table, before, bucket_read(table, chunk)->next);
    chunk_free(table->region, chunk);
}

/* Two neighbours that are both nearly empty become one again, so that a table that was large once does not stay so. */
static void merge_if_small(struct table *table, uint64_t hash, uint32_t bucket)
{
    const struct bucket *head = bucket_read(table, bucket);
    if (head->next != 0 || head->count > table->count_max / 8)
        return;
    uint32_t buddy = directory_buddy(table, directory_position(table, hash), head->depth);
    if (buddy == 0 || chunk_reserve(table->region, TABLE_REMOVE_CHUNKS, NULL) != WEIR_OK)
        return;
    const struct bucket *other = bucket_read(table, buddy);
    if (other->depth != head->depth || other->next != 0 || other->count > table->count_max / 4)
        return;
    unsigned char rows[CHUNK_BYTES];
    uint32_t count = copy_rows(table, bucket, rows);
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *row = rows + (size_t)i * table->row_bytes;
        place_row(table, buddy, table_row_hash(table, row), row);
    }
    directory_merge(table, directory_position(table, hash), head->depth, buddy);
    struct bucket *merged = state_touch(table->region, state_pos(buddy, 0), sizeof *merged);
    merged->depth = (uint8_t)(merged->depth - 1);
    chunk_free(table->region, bucket);
    table_root_touch(table)->bucket_count--;
    table->bucket_count--;
}

void bucket_remove(struct table *table, uint64_t hash, uint32_t chunk, uint32_t slot)
{
    uint32_t bucket = directory_find(table, hash);
    take_out(table, chunk, slot);
    if (chunk != bucket && bucket_read(table, chunk)->count == 0)
        drop_overflow(table, bucket, chunk);
    merge_if_small(table, hash, bucket);
}
