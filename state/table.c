#include "state/table.h"

#include "base/bytes.h"
#include "state/table_bucket.h"
#include "state/table_directory.h"

#define LINE_BYTES 64u
/* Keys looked for together: what the rows of all are is compared when the rows of the last are on their way. */
#define TOGETHER 64
/* Of these, so many at a time go through a pass: the processor drops prefetches beyond what it can have under way. */
#define LOOKAHEAD 32
/* Buckets fewer than this stay in the second-level cache by themselves. */
#define FAR_BUCKETS 96

/* ------------------------------------------------------------------------------------------------ open ---------- */

static void set_shape(struct table *table, uint32_t key_bytes, uint32_t row_bytes)
{
    table->key_bytes = key_bytes;
    table->row_bytes = row_bytes;
    uint32_t slots = (CHUNK_BYTES - BUCKET_TAGS_OFFSET - BUCKET_GROUP) / (row_bytes + 1);
    while (align_up(BUCKET_TAGS_OFFSET + slots + BUCKET_GROUP, LINE_BYTES) + (uint64_t)slots * row_bytes > CHUNK_BYTES)
        slots--;
    table->slot_count = slots;
    table->rows_offset = (uint32_t)align_up(BUCKET_TAGS_OFFSET + slots + BUCKET_GROUP, LINE_BYTES);
    bool one_group = slots < BUCKET_GROUP; /* few rows: one look at the tags sees all and an empty one, so any slot will do */
    table->home_count = one_group ? 1 : slots;
    table->count_max = one_group ? slots : slots - (uint32_t)u64_max(1, slots / 16);
}

static int verify_root(const struct table_root *root, uint32_t key_bytes, uint32_t row_bytes, struct key_range range,
                       struct weir_error *err)
{
    if (root->row_bytes != row_bytes || root->key_bytes != key_bytes)
        return error_set(err, WEIR_EMISMATCH, "rows of %u bytes with keys of %u, expected %u and %u", root->row_bytes,
                         root->key_bytes, row_bytes, key_bytes);
    if (root->range_first != range.first || root->range_count != range.count)
        return error_set(err, WEIR_EMISMATCH, "keys of the range %u+%llu, expected %u+%llu", root->range_first,
                         (unsigned long long)root->range_count, range.first, (unsigned long long)range.count);
    if (root->top_depth > 31 || root->top_chunk_count > TABLE_TOP_CHUNKS)
        return error_set(err, WEIR_ECORRUPT, "a table's root is damaged");
    return WEIR_OK;
}

int table_open(struct table *table, struct chunk_region *region, uint64_t root_pos, uint32_t key_bytes,
               uint32_t row_bytes, struct key_range range, struct weir_error *err)
{
    if (row_bytes % 8 != 0 || row_bytes < 8 || row_bytes > TABLE_ROW_BYTES_MAX || key_bytes > row_bytes ||
        range.count == 0)
        return error_set(err, WEIR_EINVAL, "rows of %u bytes with keys of %u: at most %u fit a chunk", row_bytes,
                         key_bytes, TABLE_ROW_BYTES_MAX);
    const struct table_root *root = state_read(region, root_pos);
    if (root->row_bytes == 0) {
        struct table_root *fresh = state_touch(region, root_pos, sizeof *fresh);
        *fresh = (struct table_root){.row_bytes = row_bytes, .key_bytes = key_bytes, .range_first = range.first,
                                     .range_count = range.count};
        root = fresh;
    }
    int code = verify_root(root, key_bytes, row_bytes, range, err);
    if (code != WEIR_OK)
        return code;
    *table = (struct table){.region = region, .root_pos = root_pos, .range_first = range.first};
    table->range_scale =
        range.count == 1 ? UINT64_MAX : UINT64_MAX / range.count + (UINT64_MAX % range.count + 1 == range.count);
    table->bucket_count = root->bucket_count;
    table->top_depth = root->top_depth;
    memcpy(table->top, root->top, sizeof table->top);
    set_shape(table, key_bytes, row_bytes);
    directory_load(table);
    return WEIR_OK;
}

static const struct table_root *read_root(const struct table *table)
{
    return state_read(table->region, table->root_pos);
}

uint64_t table_count(const struct table *table) { return read_root(table)->row_count; }

uint64_t table_row_hash(const struct table *table, const void *row)
{
    if (table->key_bytes != 0)
        return key_hash(row, table->key_bytes);
    uint64_t hash;
    memcpy(&hash, row, sizeof hash);
    return hash;
}

/* ------------------------------------------------------------------------------------------------ find ---------- */

/* Tells whether a row whose tag fits is the one. */
struct wanted_row {
    uint64_t hash;
    const void *key;      /* fixed-size keys */
    uint32_t key_bytes;
    table_match_fn match; /* hashed rows */
    const void *arg;
};

__attribute__((always_inline)) static inline bool row_fits(const struct wanted_row *wanted, const unsigned char *row)
{
    if (wanted->key_bytes == sizeof(uint64_t)) /* the most frequent size, without a call */
        return bucket_word(row) == bucket_word(wanted->key);
    if (wanted->match == NULL)
        return memcmp(row, wanted->key, wanted->key_bytes) == 0;
    return bucket_word(row) == wanted->hash && wanted->match(wanted->arg, row);
}

__attribute__((always_inline)) static inline bool find_in_bucket(const struct table *table, uint32_t chunk,
                                                                 const struct wanted_row *wanted, uint64_t *ret_pos)
{
    unsigned char tag = bucket_tag(wanted->hash);
    const struct bucket *bucket = bucket_read(table, chunk);
    for (uint32_t slot = bucket_home(table, wanted->hash);; slot = bucket_slot(table, slot + BUCKET_GROUP)) {
        struct bucket_matches matches = bucket_match(bucket_tags(bucket) + slot, tag);
        for (; matches.same != 0; matches.same &= matches.same - 1) {
            uint32_t offset = bucket_row_offset(table, bucket_slot(table, slot + (uint32_t)__builtin_ctz(matches.same)));
            if (row_fits(wanted, (const unsigned char *)bucket + offset)) {
                *ret_pos = state_pos(chunk, offset);
                return true;
            }
        }
        if (matches.empty != 0)
            return false;
    }
}

__attribute__((always_inline)) static inline bool find(const struct table *table, const struct wanted_row *wanted,
                                                       uint64_t *ret_pos)
{
    for (uint32_t chunk = directory_find(table, wanted->hash); chunk != 0; chunk = bucket_read(table, chunk)->next)
        if (find_in_bucket(table, chunk, wanted, ret_pos))
            return true;
    return false;
}

bool table_find(const struct table *table, uint64_t hash, const void *key, uint64_t *ret_pos)
{
    struct wanted_row wanted = {.hash = hash, .key = key, .key_bytes = table->key_bytes};
    return find(table, &wanted, ret_pos);
}

bool table_find_hashed(const struct table *table, uint64_t hash, table_match_fn match, const void *arg,
                       uint64_t *ret_pos)
{
    DCHECK(table->key_bytes == 0);
    struct wanted_row wanted = {.hash = hash, .match = match, .arg = arg};
    return find(table, &wanted, ret_pos);
}

/* ------------------------------------------------------------------------------------------------ many at once -- */

/* Where some keys are, as far as tags tell. */
struct lookahead {
    uint32_t chunks[TOGETHER];
    const unsigned char *buckets[TOGETHER];
    uint32_t slots[TOGETHER]; /* of the first row with the key's tag; or, where there is none, of a free one */
};

__attribute__((noinline, cold)) static void load_buckets(const struct table *table, const uint32_t *chunks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)chunk_read(table->region, chunks[i]);
}

/* Pass by pass, so that the misses of each pass overlap: directory, table entry, tags, row. `at`: where in *ret the results go. */
__attribute__((always_inline)) static inline void look_ahead_some(const struct table *table, const uint64_t *hashes, size_t count, bool far,
                                                                  struct lookahead *ret, size_t at)
{
    const uint32_t *entries[LOOKAHEAD];
    uint32_t flags = 0;
    for (size_t i = 0; i < count; i++) {
        entries[i] = directory_entry(table, hashes[i]);
        if (far)
            __builtin_prefetch(entries[i]);
    }
    for (size_t i = 0; i < count; i++) {
        ret->chunks[at + i] = *entries[i];
        if (far)
            __builtin_prefetch(&table->region->table[ret->chunks[at + i]]);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t entry = table->region->table[ret->chunks[at + i]];
        flags |= entry;
        ret->buckets[at + i] = chunk_physical(table->region, entry);
        if (far)
            __builtin_prefetch(ret->buckets[at + i] + BUCKET_TAGS_OFFSET + bucket_home(table, hashes[i]));
    }
    if (__builtin_expect((flags & CHUNK_ON_DISK) != 0, 0)) /* where they will be is known: chunk_load() does not move them */
        load_buckets(table, ret->chunks + at, count);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bucket = ret->buckets[at + i];
        unsigned char tag = bucket_tag(hashes[i]);
        uint32_t slot = bucket_home(table, hashes[i]);
        struct bucket_matches matches = bucket_match(bucket + BUCKET_TAGS_OFFSET + slot, tag);
        while (__builtin_expect((matches.same | matches.empty) == 0, 0)) {
            slot = bucket_slot(table, slot + BUCKET_GROUP);
            matches = bucket_match(bucket + BUCKET_TAGS_OFFSET + slot, tag);
        }
        uint32_t candidates = matches.same != 0 ? matches.same : matches.empty;
        ret->slots[at + i] = bucket_slot(table, slot + (uint32_t)__builtin_ctz(candidates));
        if (!far)
            continue;
        if (matches.same == 0)
            __builtin_prefetch(bucket, 1); /* the header counts rows */
        const unsigned char *row = bucket + bucket_row_offset(table, ret->slots[at + i]);
        __builtin_prefetch(row, 1);
        __builtin_prefetch(row + table->row_bytes - 1, 1);
    }
}

__attribute__((always_inline)) static inline void look_ahead(const struct table *table, const uint64_t *hashes, size_t count, bool far,
                                                             struct lookahead *ret)
{
    for (size_t at = 0; at < count; at += LOOKAHEAD)
        look_ahead_some(table, hashes + at, u64_min(count - at, LOOKAHEAD), far, ret, at);
}

/* Apart, so that the compiler knows the size of the key where it is the most frequent one. */
__attribute__((always_inline)) static inline size_t compare_rows(const struct table *table, const struct lookahead *ahead,
                                                                 uint32_t key_bytes, const uint64_t *hashes,
                                                                 const struct weir_bytes *keys, size_t count,
                                                                 uint64_t *ret_pos)
{
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) {
        struct wanted_row wanted = {.hash = hashes[i], .key = keys[i].data, .key_bytes = key_bytes};
        const unsigned char *bucket = ahead->buckets[i];
        uint32_t offset = bucket_row_offset(table, ahead->slots[i]);
        ret_pos[i] = state_pos(ahead->chunks[i], offset);
        /* The tag first: the bytes of a row that is not there may look like a key. */
        unsigned char tag = bucket[BUCKET_TAGS_OFFSET + ahead->slots[i]];
        if (__builtin_expect(tag == bucket_tag(hashes[i]) && row_fits(&wanted, bucket + offset), 1))
            continue;
        bool nowhere = tag == 0 && ((const struct bucket *)(const void *)bucket)->next == 0;
        if (nowhere || !find(table, &wanted, &ret_pos[i])) {
            ret_pos[i] = 0;
            missing++;
        }
    }
    return missing;
}

size_t table_find_many(const struct table *table, const uint64_t *hashes, const struct weir_bytes *keys, size_t count,
                       uint64_t *ret_pos)
{
    DCHECK(table->key_bytes != 0);
    size_t missing = 0;
    if (table->bucket_count == 0) {
        memset(ret_pos, 0, count * sizeof *ret_pos);
        return count;
    }
    for (size_t done = 0; done < count; done += TOGETHER) {
        struct lookahead ahead;
        size_t group = u64_min(count - done, TOGETHER);
        if (table->bucket_count >= FAR_BUCKETS)
            look_ahead(table, hashes + done, group, true, &ahead);
        else
            look_ahead(table, hashes + done, group, false, &ahead);
        uint32_t key_bytes = table->key_bytes;
        if (key_bytes == sizeof(uint64_t))
            missing += compare_rows(table, &ahead, sizeof(uint64_t), hashes + done, keys + done, group, ret_pos + done);
        else
            missing += compare_rows(table, &ahead, key_bytes, hashes + done, keys + done, group, ret_pos + done);
    }
    return missing;
}

void table_prefetch(const struct table *table, const uint64_t *hashes, size_t count)
{
    if (table->bucket_count < FAR_BUCKETS)
        return;
    for (size_t done = 0; done < count; done += TOGETHER) {
        struct lookahead ahead;
        look_ahead(table, hashes + done, u64_min(count - done, TOGETHER), true, &ahead);
    }
    __asm__ volatile(""); /* GCC takes a function that only prefetches for one without effect, and drops the call */
}

/* ------------------------------------------------------------------------------------------------ insert -------- */

static int make_first_bucket(struct table *table, struct weir_error *err)
{
    int code = chunk_reserve(table->region, 4, err);
    if (code == WEIR_OK)
        directory_create(table, chunk_alloc(table->region));
    return code;
}

/* Room for `hash`: chunk and slot, the tag set. */
static int make_room(struct table *table, uint64_t hash, uint32_t *ret_chunk, uint32_t *ret_slot,
                     struct weir_error *err)
{
    if (table->bucket_count == 0) {
        int code = make_first_bucket(table, err);
        if (code != WEIR_OK)
            return code;
    }
    for (;;) {
        int code = chunk_reserve(table->region, 4, err);
        if (code != WEIR_OK)
            return code;
        *ret_chunk = bucket_chain_place(table, directory_find(table, hash), hash, ret_slot);
        if (*ret_chunk != 0)
            return WEIR_OK;
        code = bucket_grow(table, hash, err);
        if (code != WEIR_OK)
            return code;
    }
}

int table_insert(struct table *table, uint64_t hash, const void *key, uint64_t *ret_pos, struct weir_error *err)
{
    uint32_t chunk = 0;
    uint32_t slot = 0;
    int code = make_room(table, hash, &chunk, &slot, err);
    if (code != WEIR_OK)
        return code;
    unsigned char *row = bucket_row_touch(table, chunk, slot);
    for (uint32_t i = 0; i < table->row_bytes; i += 8)
        memset(row + i, 0, 8);
    if (table->key_bytes == sizeof(uint64_t)) /* the most frequent size, without a call */
        memcpy(row, key, sizeof(uint64_t));
    else if (table->key_bytes != 0)
        memcpy(row, key, table->key_bytes);
    else
        memcpy(row, &hash, sizeof hash);
    table_add_rows(table, 1);
    *ret_pos = state_pos(chunk, bucket_row_offset(table, slot));
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ remove -------- */

void table_remove(struct table *table, uint64_t hash, uint64_t pos)
{
    uint32_t slot = (state_pos_offset(pos) - table->rows_offset) / table->row_bytes;
    bucket_remove(table, hash, state_pos_chunk(pos), slot);
    table_add_rows(table, -1);
    table->changes++;
}

/* ------------------------------------------------------------------------------------------------ all rows ------ */

void table_cursor_begin(const struct table *table, struct key_range range, struct table_cursor *ret_cursor)
{
    const struct table_root *root = read_root(table);
    uint64_t first = u64_max(range.first, root->range_first);
    uint64_t end = u64_min(range.first + range.count, root->range_first + root->range_count);
    *ret_cursor = (struct table_cursor){0};
    if (table->bucket_count == 0 || first >= end)
        return;
    ret_cursor->range = (struct key_range){(uint32_t)first, end - first};
    ret_cursor->next = directory_position(table, first << 32);
    ret_cursor->end = (uint64_t)directory_position(table, (end - 1) << 32) + 1;
}

/* The next chunk with rows: overflow chunks of this bucket, then the bucket behind it. */
static bool cursor_advance(const struct table *table, struct table_cursor *cursor)
{
    cursor->slot = 0;
    uint32_t next = cursor->bucket != 0 ? bucket_read(table, cursor->bucket)->next : 0;
    if (next == 0) {
        if (cursor->next >= cursor->end)
            return false;
        next = directory_find_position(table, (uint32_t)cursor->next);
        cursor->next = directory_run_end(table, (uint32_t)cursor->next);
    }
    cursor->bucket = next;
    return true;
}

bool table_cursor_next(const struct table *table, struct table_cursor *cursor, uint64_t *ret_pos)
{
    while (cursor->bucket != 0 || cursor_advance(table, cursor)) {
        const struct bucket *bucket = bucket_read(table, cursor->bucket);
        while (cursor->slot < table->slot_count) {
            uint32_t slot = cursor->slot++;
            const unsigned char *row = (const unsigned char *)bucket + bucket_row_offset(table, slot);
            if (bucket_tags(bucket)[slot] == 0)
                continue;
            if (key_position(table_row_hash(table, row)) - cursor->range.first >= cursor->range.count)
                continue;
            *ret_pos = state_pos(cursor->bucket, bucket_row_offset(table, slot));
            return true;
        }
        if (!cursor_advance(table, cursor))
            return false;
    }
    return false;
}
