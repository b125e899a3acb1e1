#include "state/table.h"
#include "unit/state_model.h"

#include <criterion/criterion.h>

struct fixture {
    struct chunk_region region;
    struct table table;
};

static void set_up(struct fixture *f, uint32_t key_bytes, uint32_t row_bytes, struct key_range range)
{
    struct weir_error err = {0};
    cr_assert_eq(chunk_region_create(&f->region, "table", UINT64_C(1) << 30, 0, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(chunk_reserve(&f->region, 2, NULL), WEIR_OK);
    cr_assert_eq(chunk_alloc(&f->region), 0);
    cr_assert_eq(table_open(&f->table, &f->region, 0, key_bytes, row_bytes, range, &err), WEIR_OK, "%s", err.text);
}

static uint64_t *row_value(struct fixture *f, uint64_t pos, uint32_t offset)
{
    cr_assert_eq(chunk_reserve(&f->region, 1, NULL), WEIR_OK);
    return state_touch(&f->region, pos + offset, 8);
}

static void insert(struct fixture *f, uint64_t key, uint64_t value)
{
    uint64_t pos = 0;
    cr_assert_eq(table_insert(&f->table, key_hash_8(&key), &key, &pos, NULL), WEIR_OK);
    *row_value(f, pos, f->table.row_bytes - 8) = value;
}

static bool find(const struct fixture *f, uint64_t key, uint64_t *ret_value)
{
    uint64_t pos = 0;
    if (!table_find(&f->table, key_hash_8(&key), &key, &pos))
        return false;
    const unsigned char *row = state_read(&f->region, pos);
    cr_assert_eq(memcmp(row, &key, 8), 0);
    memcpy(ret_value, row + f->table.row_bytes - 8, 8);
    return true;
}

static void remove_key(struct fixture *f, uint64_t key)
{
    uint64_t pos = 0;
    cr_assert(table_find(&f->table, key_hash_8(&key), &key, &pos));
    cr_assert_eq(chunk_reserve(&f->region, TABLE_REMOVE_CHUNKS, NULL), WEIR_OK);
    table_remove(&f->table, key_hash_8(&key), pos);
}

/* Random inserts and removals against an array; all keys are looked up at the end of each phase. */
static void check_against_array(uint32_t row_bytes, uint32_t key_count, unsigned phases)
{
    struct fixture f;
    set_up(&f, 8, row_bytes, KEY_RANGE_ALL);
    uint64_t *expected = calloc(key_count, sizeof *expected); /* 0: not there */
    uint64_t random = row_bytes;
    uint64_t count = 0;
    for (unsigned phase = 0; phase < phases; phase++) {
        for (uint32_t i = 0; i < key_count * 2; i++) {
            uint64_t key = model_random(&random) % key_count;
            bool grow = model_random(&random) % 8 < (phase % 2 == 0 ? 7 : 1); /* now it grows, now it shrinks */
            if (grow && expected[key] == 0) {
                expected[key] = model_random(&random) | 1;
                insert(&f, key, expected[key]);
                count++;
            } else if (!grow && expected[key] != 0) {
                remove_key(&f, key);
                expected[key] = 0;
                count--;
            }
        }
        cr_assert_eq(table_count(&f.table), count);
        for (uint64_t key = 0; key < key_count; key++) {
            uint64_t value = 0;
            cr_assert_eq(find(&f, key, &value), expected[key] != 0, "key %llu", (unsigned long long)key);
            cr_assert_eq(value, expected[key]);
        }
    }
    free(expected);
    chunk_region_destroy(&f.region);
}

Test(table, rows_of_16_bytes_behave_like_an_array) { check_against_array(16, 30000, 4); }
Test(table, rows_of_24_bytes_behave_like_an_array) { check_against_array(24, 20000, 4); }
Test(table, rows_of_32_bytes_behave_like_an_array) { check_against_array(32, 5000, 6); }
Test(table, large_rows_behave_like_an_array) { check_against_array(1000, 3000, 4); }
Test(table, rows_of_half_a_chunk_behave_like_an_array) { check_against_array(TABLE_ROW_BYTES_MAX, 500, 4); }

Test(table, few_keys_take_few_chunks)
{
    struct fixture f;
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    cr_assert_eq(f.region.header->marks.logical_count, 1);
    for (uint64_t key = 0; key < 100; key++)
        insert(&f, key, key);
    cr_assert_eq(f.region.header->marks.logical_count, 4); /* root, top, node, bucket */
    chunk_region_destroy(&f.region);
}

Test(table, buckets_are_half_full_or_more_and_go_when_the_keys_do)
{
    struct fixture f;
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    const uint64_t count = 200000;
    for (uint64_t key = 0; key < count; key++)
        insert(&f, key, key);
    uint64_t chunks = f.region.header->marks.logical_count;
    cr_assert_lt(chunks * CHUNK_BYTES, count * 16 * 5 / 2, "%llu chunks", (unsigned long long)chunks);
    for (uint64_t key = 0; key < count; key++)
        remove_key(&f, key);
    cr_assert_eq(table_count(&f.table), 0);
    cr_assert_lt(f.region.header->marks.logical_count, chunks / 4);
    chunk_region_destroy(&f.region);
}

/* Bytes of all chunks over those of the rows, at its worst between two counts. */
static double worst_overhead(uint32_t row_bytes, uint64_t first, uint64_t end)
{
    struct fixture f;
    double worst = 0;
    set_up(&f, 8, row_bytes, KEY_RANGE_ALL);
    for (uint64_t key = 0, next = first; key < end; key++) {
        insert(&f, key, key);
        if (key < next)
            continue;
        double overhead = (double)f.region.header->marks.logical_count * CHUNK_BYTES / ((double)(key + 1) * row_bytes);
        worst = overhead > worst ? overhead : worst;
        next += next / 32;
    }
    chunk_region_destroy(&f.region);
    return worst;
}

/* Over more than two doublings: they are not all nearly empty at one count, and nearly full at another. */
Test(table, buckets_are_well_filled_at_every_count)
{
    double of_16 = worst_overhead(16, 60000, 300000);
    double of_104 = worst_overhead(104, 20000, 100000);
    cr_assert_lt(of_16, 1.5, "%.3f", of_16);
    cr_assert_lt(of_104, 1.45, "%.3f", of_104);
}

/* Hashed rows may have any hash: here many that agree in all that chooses the bucket. */
static bool row_is(const void *arg, const void *row) { return memcmp((const unsigned char *)row + 8, arg, 8) == 0; }

static int insert_hashed(struct fixture *f, uint64_t hash, uint64_t number, struct weir_error *err)
{
    uint64_t pos = 0;
    int code = table_insert(&f->table, hash, NULL, &pos, err);
    if (code == WEIR_OK)
        *row_value(f, pos, 8) = number;
    return code;
}

Test(table, equal_hashes_get_overflow_chunks_and_a_bound)
{
    struct fixture f;
    struct weir_error err = {0};
    set_up(&f, 0, 16, KEY_RANGE_ALL);
    uint64_t count = 0;
    while (insert_hashed(&f, UINT64_C(0x123456789abcdef0), count, &err) == WEIR_OK)
        count++;
    cr_assert_eq(err.code, WEIR_ELIMIT);
    cr_assert_gt(count, 1000);
    cr_assert_lt(f.region.header->marks.logical_count, 1000, "splitting does not help, and must not go on");
    for (uint64_t i = 0; i < count; i += 97) {
        uint64_t pos = 0;
        cr_assert(table_find_hashed(&f.table, UINT64_C(0x123456789abcdef0), row_is, &i, &pos));
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t pos = 0;
        cr_assert(table_find_hashed(&f.table, UINT64_C(0x123456789abcdef0), row_is, &i, &pos));
        cr_assert_eq(chunk_reserve(&f.region, TABLE_REMOVE_CHUNKS, NULL), WEIR_OK);
        table_remove(&f.table, UINT64_C(0x123456789abcdef0), pos);
    }
    cr_assert_eq(table_count(&f.table), 0);
    chunk_region_destroy(&f.region);
}

Test(table, positions_close_together_are_told_apart)
{
    struct fixture f;
    set_up(&f, 0, 16, KEY_RANGE_ALL);
    const uint64_t count = 100000;
    for (uint64_t i = 0; i < count; i++) /* all within 1/40000 of the positions */
        cr_assert_eq(insert_hashed(&f, (UINT64_C(0x77000000) + i) << 32 | (i * 2654435761u & UINT32_MAX), i, NULL),
                     WEIR_OK);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t pos = 0;
        cr_assert(table_find_hashed(&f.table, (UINT64_C(0x77000000) + i) << 32 | (i * 2654435761u & UINT32_MAX),
                                    row_is, &i, &pos));
    }
    cr_assert_lt(f.region.header->marks.logical_count, 4000);
    chunk_region_destroy(&f.region);
}

Test(table, a_cursor_gives_the_rows_of_one_key_group_and_no_others)
{
    struct fixture f;
    const uint32_t groups = 128;
    struct key_range mine = key_subtask_range(1, 3, groups);
    set_up(&f, 8, 16, mine);
    uint64_t expected[128] = {0};
    for (uint64_t key = 0; key < 60000; key++) {
        uint64_t hash = key_hash_8(&key);
        if (key_subtask(hash, 3, groups) != 1)
            continue;
        insert(&f, key, key);
        expected[key_group(hash, groups)]++;
    }
    uint64_t total = 0;
    for (uint32_t group = 0; group < groups; group++) {
        uint64_t first = key_group_first_position(group, groups);
        struct key_range range = {(uint32_t)first, key_group_first_position(group + 1, groups) - first};
        struct table_cursor cursor;
        uint64_t pos = 0;
        uint64_t seen = 0;
        for (table_cursor_begin(&f.table, range, &cursor); table_cursor_next(&f.table, &cursor, &pos); seen++)
            cr_assert_eq(key_group(key_hash_8(state_read(&f.region, pos)), groups), group);
        cr_assert_eq(seen, expected[group]);
        total += seen;
    }
    cr_assert_eq(total, table_count(&f.table));
    chunk_region_destroy(&f.region);
}

Test(table, the_range_of_one_subtask_fills_its_buckets_as_well_as_all)
{
    struct fixture all, part;
    set_up(&all, 8, 16, KEY_RANGE_ALL);
    set_up(&part, 8, 16, key_subtask_range(5, 64, 128));
    uint64_t inserted = 0;
    for (uint64_t key = 0; inserted < 20000; key++)
        if (key_subtask(key_hash_8(&key), 64, 128) == 5) {
            insert(&part, key, 1);
            insert(&all, inserted++, 1);
        }
    cr_assert_lt(part.table.bucket_count, all.table.bucket_count * 5 / 4);
    chunk_region_destroy(&all.region);
    chunk_region_destroy(&part.region);
}

Test(table, prefetching_changes_nothing)
{
    struct fixture f;
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    uint64_t hashes[100];
    for (uint64_t i = 0; i < 100; i++)
        hashes[i] = key_hash_8(&i);
    table_prefetch(&f.table, hashes, 100); /* empty */
    for (uint64_t key = 0; key < 50000; key++)
        insert(&f, key, key);
    chunk_cut(&f.region, 1);
    table_prefetch(&f.table, hashes, 100);
    cr_assert_eq(f.region.header->counters.copied, 0);
    chunk_region_destroy(&f.region);
}

/* ------------------------------------------------------------------------------------------------ many at once -- */

/* Key number `key` in key_bytes bytes; the first is all zeros, as an empty slot is. */
static struct weir_bytes key_of(uint64_t key, uint32_t key_bytes, unsigned char *bytes)
{
    memset(bytes, key == 0 ? 0 : (int)(key % 251), key_bytes);
    memcpy(bytes, &key, key_bytes < 8 ? key_bytes : 8);
    return (struct weir_bytes){bytes, key_bytes};
}

#define MANY_MAX 130

/* `count` keys as table_find_many() and table_find() see them; returns how many are not there. */
static size_t check_many(const struct fixture *f, const uint64_t *numbers, size_t count)
{
    static unsigned char bytes[MANY_MAX][64];
    struct weir_bytes keys[MANY_MAX];
    uint64_t hashes[MANY_MAX], pos[MANY_MAX + 1];
    size_t missing = 0;
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(numbers[i], f->table.key_bytes, bytes[i]);
        hashes[i] = key_hash(keys[i].data, keys[i].size_bytes);
        pos[i] = UINT64_MAX;
    }
    pos[count] = UINT64_MAX;
    cr_assert_leq(count, (size_t)MANY_MAX);
    size_t said = table_find_many(&f->table, hashes, keys, count, pos);
    for (size_t i = 0; i < count; i++) {
        uint64_t expected = 0;
        bool there = table_find(&f->table, hashes[i], keys[i].data, &expected);
        missing += !there;
        cr_assert_eq(pos[i], there ? expected : 0, "key %llu", (unsigned long long)numbers[i]);
        cr_assert(!there || memcmp(state_read(&f->region, pos[i]), keys[i].data, keys[i].size_bytes) == 0);
    }
    cr_assert_eq(said, missing);
    cr_assert_eq(pos[count], UINT64_MAX, "nothing is written behind the results");
    return missing;
}

static void insert_number(struct fixture *f, uint64_t number)
{
    unsigned char bytes[64];
    uint64_t pos = 0;
    struct weir_bytes key = key_of(number, f->table.key_bytes, bytes);
    cr_assert_eq(table_insert(&f->table, key_hash(bytes, key.size_bytes), bytes, &pos, NULL), WEIR_OK);
}

/* Every second number is there; batches of all sizes around the group that is looked for together, with repetitions. */
static void check_many_against_find(uint32_t key_bytes, uint32_t row_bytes, uint64_t key_count)
{
    static const size_t counts[] = {0, 1, 2, 15, 16, 17, 31, 32, 48, 63, 64, 65, MANY_MAX};
    struct fixture f;
    uint64_t random = row_bytes;
    size_t missing = 0, asked = 0;
    set_up(&f, key_bytes, row_bytes, KEY_RANGE_ALL);
    for (uint64_t number = 0; number < key_count; number += 2) {
        uint64_t numbers[MANY_MAX];
        size_t count = counts[model_random(&random) % (sizeof counts / sizeof counts[0])];
        for (size_t i = 0; i < count; i++)
            numbers[i] = i % 7 == 6 ? numbers[i - 1] : model_random(&random) % (number + 4);
        missing += check_many(&f, numbers, count); /* the first time of an empty table */
        asked += count;
        insert_number(&f, number);
    }
    cr_assert(missing > asked / 3 && missing < asked * 2 / 3, "%zu of %zu", missing, asked);
    chunk_region_destroy(&f.region);
}

Test(table, many_keys_of_8_bytes_are_found_as_each_alone) { check_many_against_find(8, 16, 20000); }
Test(table, many_keys_in_more_buckets_than_the_cache_holds_are_found_as_each_alone) { check_many_against_find(8, 104, 20000); }
Test(table, many_keys_of_4_bytes_are_found_as_each_alone) { check_many_against_find(4, 16, 8000); }
Test(table, many_keys_of_20_bytes_are_found_as_each_alone) { check_many_against_find(20, 32, 8000); }
Test(table, many_keys_of_rows_of_half_a_chunk_are_found_as_each_alone) { check_many_against_find(8, TABLE_ROW_BYTES_MAX, 1000); }

Test(table, an_empty_slot_is_not_the_key_of_zeros)
{
    for (uint64_t others = 0; others < 50000; others = others * 3 + 1) {
        struct fixture f;
        const uint64_t zeros[] = {0, 0, 1, 0};
        set_up(&f, 8, 16, KEY_RANGE_ALL);
        for (uint64_t number = 1; number <= others; number++)
            insert_number(&f, number);
        cr_assert_eq(check_many(&f, zeros, 4), others > 0 ? 3u : 4u);
        insert_number(&f, 0);
        cr_assert_eq(check_many(&f, zeros, 4), others > 0 ? 0u : 1u);
        remove_key(&f, 0);
        cr_assert_eq(check_many(&f, zeros, 4), others > 0 ? 3u : 4u);
        chunk_region_destroy(&f.region);
    }
}

/* The bytes of a key in a slot that is empty do not make it a row: a removal that was undone half-way may leave such. */
Test(table, what_looks_like_a_key_in_an_empty_slot_is_none)
{
    struct fixture f;
    const uint64_t numbers[] = {5, 6, 5};
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    insert_number(&f, 5);
    uint64_t key = 5, pos = 0;
    unsigned char bytes[64];
    key_of(5, 8, bytes);
    cr_assert(table_find(&f.table, key_hash_8(bytes), bytes, &pos));
    cr_assert_eq(memcmp(&key, bytes, 8), 0);
    remove_key(&f, 5);
    *row_value(&f, pos, 0) = 5;
    cr_assert_eq(check_many(&f, numbers, 3), 3u);
    chunk_region_destroy(&f.region);
}

/* Keys whose positions agree in 17 bits: their bucket may not go that deep, and gets overflow chunks. */
Test(table, many_keys_of_a_bucket_with_overflow_chunks_are_found_as_each_alone)
{
    struct fixture f;
    uint64_t near[1200], numbers[MANY_MAX];
    size_t near_count = 0;
    for (uint64_t number = 0; near_count < sizeof near / sizeof near[0]; number++) {
        unsigned char bytes[64];
        key_of(number, 8, bytes);
        if (key_position(key_hash_8(bytes)) >> 15 == 0x1b7)
            near[near_count++] = number;
    }
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    for (size_t i = 0; i < near_count; i += 2) /* the others stay away */
        insert_number(&f, near[i]);
    cr_assert_lt(f.table.bucket_count, 30u, "%u buckets: no overflow chunks", f.table.bucket_count);
    cr_assert_gt(f.region.header->marks.logical_count, f.table.bucket_count + 3, "no overflow chunks");
    for (size_t first = 0; first + MANY_MAX <= near_count; first += 16) {
        for (size_t i = 0; i < MANY_MAX; i++)
            numbers[i] = near[first + i];
        cr_assert_eq(check_many(&f, numbers, MANY_MAX), MANY_MAX / 2u);
    }
    chunk_region_destroy(&f.region);
}

Test(table, another_shape_than_the_stored_one_is_refused)
{
    struct fixture f;
    struct weir_error err = {0};
    set_up(&f, 8, 16, KEY_RANGE_ALL);
    struct table other;
    cr_assert_eq(table_open(&other, &f.region, 0, 8, 24, KEY_RANGE_ALL, &err), WEIR_EMISMATCH);
    cr_assert_eq(table_open(&other, &f.region, 0, 8, 16, (struct key_range){0, 5}, &err), WEIR_EMISMATCH);
    cr_assert_eq(table_open(&other, &f.region, 0, 8, 17, KEY_RANGE_ALL, &err), WEIR_EINVAL);
    cr_assert_eq(table_open(&other, &f.region, 0, 8, CHUNK_BYTES, KEY_RANGE_ALL, &err), WEIR_EINVAL);
    chunk_region_destroy(&f.region);
}
