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
