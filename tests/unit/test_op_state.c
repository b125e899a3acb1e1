#include "state/op_state.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

/* The kinds of state and what happens at the edges; test_state_model.c compares long runs with a model. */

enum { COUNT, NAME, EVENTS, SEEN, TOTAL, STATE_COUNT };
static const struct weir_state states[STATE_COUNT] = {
    {"count", WEIR_VALUE, WEIR_PER_KEY, 8, 1},     {"name", WEIR_VALUE, WEIR_PER_KEY, 0, 1},
        {"events", WEIR_LIST, WEIR_PER_KEY, 0, 1},
    {"seen", WEIR_MAP, WEIR_PER_KEY, 0, 1},        {"total", WEIR_VALUE, WEIR_PER_OPERATOR, 8, 1},
};

struct fixture {
    struct chunk_region region;
    struct op_state *op;
    struct weir_error err;
};

static struct op_state_config config_for(const struct weir_state *declared, uint32_t count)
{
    return (struct op_state_config){.operator_name = "hits", .slot = 2, .states = declared, .state_count = count,
                                    .keyed = true,
                                    .key_bytes = 8};
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    struct op_state_config config = config_for(states, STATE_COUNT);
    cr_assert_eq(chunk_region_create(&f->region, "op", 64 << 20, 0, &f->err), WEIR_OK, "%s", f->err.text);
    cr_assert_eq(op_state_open(&f->op, &f->region, &config, &f->err), WEIR_OK, "%s", f->err.text);
}

static void tear_down(struct fixture *f)
{
    op_state_close(f->op);
    chunk_region_destroy(&f->region);
}

static const uint64_t keys[] = {0, 1, 2, 3, 4, 5, 6, 7};

static void select_key(struct fixture *f, unsigned key) { op_state_set_key(f->op, &keys[key], 8, key_hash(&keys[key],
                                                                                                          8)); }

/* Attaching to the fixture's region with other declarations. */
static int reopen(struct fixture *f, const struct weir_state *declared, uint32_t count)
{
    struct op_state_config config = config_for(declared, count);
    op_state_close(f->op);
    f->op = NULL;
    return op_state_open(&f->op, &f->region, &config, &f->err);
}

Test(op_state, a_new_value_is_zero_and_keeps_what_is_written)
{
    struct fixture f;
    set_up(&f);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned key = 0; key < 8; key++) {
            select_key(&f, key);
            uint64_t *count = op_state_value(f.op, COUNT, &f.err);
            cr_assert_eq(*count, round * (key + 1));
            *count += key + 1;
        }
    cr_assert_eq(op_state_key_count(f.op), 8);
    tear_down(&f);
}

Test(op_state, reading_makes_nothing_and_copies_nothing)
{
    struct fixture f;
    set_up(&f);
    select_key(&f, 1);
    cr_assert_eq(op_state_list_append(f.op, EVENTS, "abc", 3, &f.err), WEIR_OK);
    chunk_cut(&f.region, 1);
    struct chunk_marks before = f.region.header->marks;
    for (unsigned key = 0; key < 8; key++) {
        struct weir_iterator list = {0}, map = {0};
        struct weir_bytes bytes, value;
        uint64_t count = 0;
        int code = -1;
        select_key(&f, key);
        (void)op_state_value_get(f.op, COUNT, NULL, &code, &f.err);
        cr_assert_eq(code, WEIR_OK);
        (void)op_state_map_get(f.op, SEEN, "x", 1, NULL, &code, &f.err);
        cr_assert_eq(op_state_list_next(f.op, EVENTS, &list, &bytes, &f.err), key == 1 ? WEIR_OK : WEIR_END);
        cr_assert_eq(op_state_map_next(f.op, SEEN, &map, &bytes, &value, &f.err), WEIR_END);
        cr_assert_eq(op_state_count(f.op, EVENTS, &count, &f.err), WEIR_OK);
    }
    cr_assert_eq(op_state_key_count(f.op), 1);
    cr_assert_eq(f.region.header->counters.copied, 0);
    cr_assert_eq(memcmp(&before, &f.region.header->marks, sizeof before), 0);
    tear_down(&f);
}

Test(op_state, a_value_that_was_never_made_is_not_there_though_another_of_the_key_is)
{
    struct fixture f;
    set_up(&f);
    int code = -1;
    select_key(&f, 1);
    cr_assert_eq(op_state_value_set(f.op, NAME, "", 0, &f.err), WEIR_OK);
    cr_assert_null(op_state_value_get(f.op, COUNT, NULL, &code, &f.err));
    size_t size_bytes = 99;
    cr_assert_not_null(op_state_value_get(f.op, NAME, &size_bytes, &code, &f.err), "0 bytes are a value");
    cr_assert_eq(size_bytes, 0);
    tear_down(&f);
}

Test(op_state, wrong_uses_are_refused_in_words)
{
    struct fixture f;
    set_up(&f);
    int code = 0;
    cr_assert_null(op_state_value(f.op, COUNT, &f.err), "no key is current");
    cr_assert_eq(f.err.code, WEIR_EINVAL);
    cr_assert(strstr(f.err.text, "hits") != NULL && strstr(f.err.text, "key") != NULL, "%s", f.err.text);
    select_key(&f, 1);
    cr_assert_null(op_state_value(f.op, NAME, &f.err));
    cr_assert_null(op_state_value_get(f.op, 31, NULL, &code, &f.err));
    cr_assert_eq(code, WEIR_EINVAL);
    cr_assert_eq(op_state_list_append(f.op, SEEN, "", 0, &f.err), WEIR_EINVAL);
    cr_assert(strstr(f.err.text, "seen") != NULL);
    cr_assert_eq(op_state_value_set(f.op, COUNT, "abc", 3, &f.err), WEIR_EINVAL);
    cr_assert_eq(op_state_value_set(f.op, NAME, "", WEIR_ENTRY_BYTES_MAX + 1, &f.err), WEIR_ELIMIT);
    cr_assert_eq(op_state_map_put(f.op, SEEN, "k", 1, "", WEIR_ENTRY_BYTES_MAX, &f.err), WEIR_ELIMIT);
    cr_assert_null(op_state_map_value(f.op, SEEN, "k", 1, WEIR_VALUE_BYTES_MAX, &f.err));
    cr_assert_eq(f.err.code, WEIR_ELIMIT);
    cr_assert_eq(op_state_key_count(f.op), 0, "none of them made the key");
    op_state_unset_key(f.op);
    cr_assert_eq(op_state_timer_set(f.op, 1, 1, &f.err), WEIR_EINVAL);
    tear_down(&f);
}

Test(op_state, changing_a_list_ends_its_iteration_but_changing_another_does_not)
{
    struct fixture f;
    set_up(&f);
    struct weir_iterator iterator = {0};
    struct weir_bytes element;
    for (unsigned key = 1; key <= 2; key++) {
        select_key(&f, key);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(op_state_list_append(f.op, EVENTS, "abc", 3, &f.err), WEIR_OK);
    }
    select_key(&f, 1);
    cr_assert_eq(op_state_list_next(f.op, EVENTS, &iterator, &element, &f.err), WEIR_OK);
    select_key(&f, 2);
    cr_assert_eq(op_state_list_append(f.op, EVENTS, "def", 3, &f.err), WEIR_OK);
    select_key(&f, 1);
    cr_assert_eq(op_state_list_next(f.op, EVENTS, &iterator, &element, &f.err), WEIR_OK);
    cr_assert_eq(op_state_clear(f.op, EVENTS, &f.err), WEIR_OK);
    for (int i = 0; i < 3; i++) /* as many as before */
        cr_assert_eq(op_state_list_append(f.op, EVENTS, "abc", 3, &f.err), WEIR_OK);
    cr_assert_eq(op_state_list_next(f.op, EVENTS, &iterator, &element, &f.err), WEIR_EINVAL);
    tear_down(&f);
}

static void put_numbers(struct fixture *f, unsigned state, int count)
{
    for (int i = 0; i < count; i++)
        cr_assert_eq(op_state_map_put(f->op, state, &i, sizeof i, &i, sizeof i, &f->err), WEIR_OK);
}

/* For maps that are scanned and for such that are indexed. */
ParameterizedTestParameters(op_state, the_entry_just_given_may_be_removed)
{
    static int counts[] = {1, 3, 4, 5, 100};
    return cr_make_param_array(int, counts, sizeof counts / sizeof counts[0]);
}
ParameterizedTest(int *count, op_state, the_entry_just_given_may_be_removed)
{
    struct fixture f;
    set_up(&f);
    struct weir_iterator iterator = {0};
    struct weir_bytes key, value;
    uint64_t left = 0;
    int given = 0;
    int code;
    select_key(&f, 1);
    put_numbers(&f, SEEN, *count);
    for (; (code = op_state_map_next(f.op, SEEN, &iterator, &key, &value, &f.err)) == WEIR_OK; given++)
        cr_assert_eq(op_state_map_remove(f.op, SEEN, key.data, key.size_bytes, &f.err), WEIR_OK);
    cr_assert_eq(code, WEIR_END);
    cr_assert_eq(given, *count);
    cr_assert_eq(op_state_count(f.op, SEEN, &left, &f.err), WEIR_OK);
    cr_assert_eq(left, 0);
    cr_assert_eq(op_state_key_count(f.op), 0);
    tear_down(&f);
}

Test(op_state, removing_another_entry_ends_the_iteration)
{
    struct fixture f;
    set_up(&f);
    struct weir_iterator iterator = {0};
    struct weir_bytes key, value;
    select_key(&f, 1);
    put_numbers(&f, SEEN, 10);
    cr_assert_eq(op_state_map_next(f.op, SEEN, &iterator, &key, &value, &f.err), WEIR_OK);
    int other = (*(const int *)key.data + 5) % 10;
    cr_assert_eq(op_state_map_remove(f.op, SEEN, &other, sizeof other, &f.err), WEIR_OK);
    cr_assert_eq(op_state_map_next(f.op, SEEN, &iterator, &key, &value, &f.err), WEIR_EINVAL);
    tear_down(&f);
}

/* The first call of a handle, as in a process that has just taken the state over: it has no buffer of its own yet. */
Test(op_state, an_empty_value_beside_a_key_of_several_pieces_is_there)
{
    struct fixture f;
    static const unsigned char key[9000] = {7};
    set_up(&f);
    select_key(&f, 1);
    cr_assert_eq(op_state_map_put(f.op, SEEN, key, sizeof key, "", 0, &f.err), WEIR_OK, "%s", f.err.text);
    cr_assert_eq(reopen(&f, states, STATE_COUNT), WEIR_OK, "%s", f.err.text);
    select_key(&f, 1);
    int code = -1;
    size_t size_bytes = 1;
    cr_assert_not_null(op_state_map_get(f.op, SEEN, key, sizeof key, &size_bytes, &code, &f.err));
    cr_assert(code == WEIR_OK && size_bytes == 0, "code %d, %zu bytes", code, size_bytes);
    tear_down(&f);
}

Test(op_state, arguments_may_lie_in_state_themselves)
{
    struct fixture f;
    set_up(&f);
    int code = -1;
    size_t size_bytes = 0;
    static unsigned char large[50000];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (unsigned char)(i >> 3);
    select_key(&f, 1);
    cr_assert_eq(op_state_value_set(f.op, NAME, large, sizeof large, &f.err), WEIR_OK);
    const unsigned char *value = op_state_value_get(f.op, NAME, &size_bytes, &code, &f.err);
    cr_assert_eq(op_state_value_set(f.op, NAME, value + 1, size_bytes - 1, &f.err), WEIR_OK);
    value = op_state_value_get(f.op, NAME, &size_bytes, &code, &f.err);
    cr_assert(size_bytes == sizeof large - 1 && memcmp(value, large + 1, size_bytes) == 0);
    cr_assert_eq(op_state_map_put(f.op, SEEN, value, 100, value, 20000, &f.err), WEIR_OK);
    value = op_state_map_get(f.op, SEEN, large + 1, 100, &size_bytes, &code, &f.err);
    cr_assert(value != NULL && size_bytes == 20000 && memcmp(value, large + 1, size_bytes) == 0);
    tear_down(&f);
}

Test(op_state, clearing_a_key_gives_its_memory_back_and_leaves_its_timers)
{
    struct fixture f;
    set_up(&f);
    static const unsigned char large[60000];
    int64_t at_ms = 0;
    uint64_t id = 0;
    select_key(&f, 1);
    cr_assert_eq(op_state_timer_set(f.op, 5, 1000, &f.err), WEIR_OK);
    put_numbers(&f, SEEN, 1);
    cr_assert_eq(op_state_clear_key(f.op, &f.err), WEIR_OK);
    uint32_t before = f.region.header->marks.logical_count;
    for (unsigned round = 0; round < 3; round++) {
        select_key(&f, 1);
        *(uint64_t *)op_state_value(f.op, COUNT, &f.err) = 1;
        put_numbers(&f, SEEN, 1000);
        for (int i = 0; i < 30; i++)
            cr_assert_eq(op_state_list_append(f.op, EVENTS, large, sizeof large, &f.err), WEIR_OK);
        cr_assert_eq(op_state_clear_key(f.op, &f.err), WEIR_OK);
        cr_assert_eq(op_state_key_count(f.op), 0);
    }
    cr_assert_leq(f.region.header->marks.logical_count, before + 12, "the map index's directory stays");
    cr_assert_eq(op_state_timer_pop(f.op, 1000, &id, &at_ms, &f.err), WEIR_OK);
    cr_assert_eq(id, 5);
    tear_down(&f);
}

Test(op_state, a_timer_that_moves_fires_once_at_its_last_time)
{
    struct fixture f;
    set_up(&f);
    const int64_t times[] = {500, 900, 300, 300, 700};
    int64_t at_ms = 0;
    uint64_t id = 0;
    size_t size_bytes = 0;
    select_key(&f, 3);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        cr_assert_eq(op_state_timer_set(f.op, 9, times[i], &f.err), WEIR_OK);
    cr_assert_eq(op_state_timer_pop(f.op, 699, &id, &at_ms, &f.err), WEIR_END);
    cr_assert(op_state_timer_next(f.op, &at_ms) && at_ms <= 700);
    op_state_unset_key(f.op);
    cr_assert_eq(op_state_timer_pop(f.op, 5000, &id, &at_ms, &f.err), WEIR_OK);
    cr_assert(id == 9 && at_ms == 700);
    cr_assert(*(const uint64_t *)op_state_key(f.op, &size_bytes) == keys[3] && size_bytes == 8);
    cr_assert_eq(op_state_timer_pop(f.op, 5000, &id, &at_ms, &f.err), WEIR_END);
    cr_assert_not(op_state_timer_next(f.op, &at_ms));
    tear_down(&f);
}

Test(op_state, timers_that_are_set_and_cancelled_for_ever_take_bounded_memory)
{
    struct fixture f;
    set_up(&f);
    uint32_t mark = 0;
    for (int64_t i = 0; i < 100000; i++) {
        select_key(&f, (unsigned)i % 8);
        cr_assert_eq(op_state_timer_set(f.op, 1, 1000000 - i, &f.err), WEIR_OK); /* earlier each time */
        if (i % 3 == 0)
            cr_assert_eq(op_state_timer_cancel(f.op, 1, &f.err), WEIR_OK);
        if (i == 1000)
            mark = f.region.header->marks.logical_count;
    }
    cr_assert_leq(f.region.header->marks.logical_count, mark + 2);
    tear_down(&f);
}

Test(op_state, declarations_that_changed_are_refused_with_the_difference)
{
    struct fixture f;
    set_up(&f);
    struct weir_state other[STATE_COUNT + 1];
    memcpy(other, states, sizeof states);
    cr_assert_eq(reopen(&f, other, STATE_COUNT), WEIR_OK, "%s", f.err.text);
    other[COUNT].size_bytes = 16;
    cr_assert_eq(reopen(&f, other, STATE_COUNT), WEIR_EMISMATCH);
    cr_assert(strstr(f.err.text, "count") && strstr(f.err.text, "8 bytes") && strstr(f.err.text, "16 bytes"), "%s",
              f.err.text);
    other[COUNT].size_bytes = 8;
    other[SEEN].version = 2;
    cr_assert_eq(reopen(&f, other, STATE_COUNT), WEIR_EMISMATCH);
    cr_assert(strstr(f.err.text, "seen") && strstr(f.err.text, "version 2"), "%s", f.err.text);
    cr_assert_eq(reopen(&f, states, STATE_COUNT - 1), WEIR_EMISMATCH);
    cr_assert(strstr(f.err.text, "total") != NULL, "%s", f.err.text);
    memcpy(other, states, sizeof states);
    other[STATE_COUNT] = (struct weir_state){"more", WEIR_LIST, WEIR_PER_KEY, 0, 1};
    cr_assert_eq(reopen(&f, other, STATE_COUNT + 1), WEIR_EMISMATCH);
    cr_assert(strstr(f.err.text, "more") != NULL, "%s", f.err.text);
    cr_assert_eq(reopen(&f, states, STATE_COUNT), WEIR_OK);
    tear_down(&f);
}

Test(op_state, an_image_of_another_version_is_refused)
{
    struct fixture f;
    set_up(&f);
    uint32_t *version = (uint32_t *)state_touch(&f.region, 8, sizeof *version); /* behind the magic number */
    (*version)--;
    cr_assert_eq(reopen(&f, states, STATE_COUNT), WEIR_EVERSION);
    cr_assert(strstr(f.err.text, "version 2") && strstr(f.err.text, "expected 3"), "%s", f.err.text);
    (*version)++;
    cr_assert_eq(reopen(&f, states, STATE_COUNT), WEIR_OK, "%s", f.err.text);
    tear_down(&f);
}

Test(op_state, several_operators_share_a_region_without_mixing)
{
    struct fixture f;
    set_up(&f);
    struct op_state *other = NULL;
    struct op_state_config config = config_for(states, STATE_COUNT);
    config.slot = 7;
    cr_assert_eq(op_state_open(&other, &f.region, &config, &f.err), WEIR_OK);
    for (unsigned key = 0; key < 8; key++) {
        select_key(&f, key);
        op_state_set_key(other, &keys[key], 8, key_hash(&keys[key], 8));
        *(uint64_t *)op_state_value(f.op, COUNT, &f.err) = key;
        *(uint64_t *)op_state_value(other, COUNT, &f.err) = key + 100;
        select_key(&f, key);
        cr_assert_eq(*(uint64_t *)op_state_value(f.op, COUNT, &f.err), key);
    }
    op_state_close(other);
    tear_down(&f);
}

/* The largest declaration there can be still fits; values move out of the row for it. */
Test(op_state, the_largest_declaration_works)
{
    struct fixture f = {0};
    static char names[WEIR_STATES_MAX][16];
    struct weir_state many[WEIR_STATES_MAX];
    for (unsigned i = 0; i < WEIR_STATES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "s%u", i);
        many[i] = (struct weir_state){names[i], WEIR_VALUE, i % 2 == 0 ? WEIR_PER_KEY : WEIR_PER_OPERATOR,
                                      WEIR_VALUE_BYTES_MAX, 1};
    }
    struct op_state_config config = config_for(many, WEIR_STATES_MAX);
    cr_assert_eq(chunk_region_create(&f.region, "op", 64 << 20, 0, &f.err), WEIR_OK);
    cr_assert_eq(op_state_open(&f.op, &f.region, &config, &f.err), WEIR_OK, "%s", f.err.text);
    for (unsigned key = 0; key < 8; key++) {
        select_key(&f, key);
        for (unsigned i = 0; i < WEIR_STATES_MAX; i++)
            memset(op_state_value(f.op, i, &f.err), (int)(key + i), WEIR_VALUE_BYTES_MAX);
    }
    select_key(&f, 3);
    cr_assert_eq(((unsigned char *)op_state_value(f.op, 30, &f.err))[1023], 33);
    cr_assert_eq(((unsigned char *)op_state_value(f.op, 31, &f.err))[1023], 38);
    tear_down(&f);
}

Test(op_state, the_digest_depends_on_content_alone)
{
    struct fixture a, b;
    uint64_t digest_a = 0, digest_b = 0;
    set_up(&a);
    set_up(&b);
    for (unsigned i = 0; i < 8; i++) {
        struct fixture *both[2] = {&a, &b};
        for (int j = 0; j < 2; j++) {
            unsigned key = j == 0 ? i : 7 - i;
            select_key(both[j], key);
            put_numbers(both[j], SEEN, 10);
            *(uint64_t *)op_state_value(both[j]->op, COUNT, &a.err) = key;
            cr_assert_eq(op_state_timer_set(both[j]->op, key, 50 + key, &a.err), WEIR_OK);
        }
    }
    cr_assert_eq(op_state_digest(a.op, &digest_a, &a.err), WEIR_OK);
    cr_assert_eq(op_state_digest(b.op, &digest_b, &b.err), WEIR_OK);
    cr_assert_eq(digest_a, digest_b);
    select_key(&b, 4);
    int one = 1;
    cr_assert_eq(op_state_map_remove(b.op, SEEN, &one, sizeof one, &b.err), WEIR_OK);
    cr_assert_eq(op_state_digest(b.op, &digest_b, &b.err), WEIR_OK);
    cr_assert_neq(digest_a, digest_b);
    cr_assert_null(op_state_key(b.op, NULL), "the digest leaves no key current");
    select_key(&b, 4);
    cr_assert_eq(op_state_map_put(b.op, SEEN, &one, sizeof one, &one, sizeof one, &b.err), WEIR_OK);
    cr_assert_eq(op_state_digest(b.op, &digest_b, &b.err), WEIR_OK);
    cr_assert_eq(digest_a, digest_b);
    select_key(&b, 4);
    cr_assert_eq(op_state_timer_set(b.op, 4, 55, &b.err), WEIR_OK);
    cr_assert_eq(op_state_digest(b.op, &digest_b, &b.err), WEIR_OK);
    cr_assert_neq(digest_a, digest_b);
    tear_down(&a);
    tear_down(&b);
}
