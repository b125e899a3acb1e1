/*
 * test_op_value.c - op_state_values(): many keys at once are what op_state_value() gives for each of them. Two operators of the
 * same declarations get the same random work, one by batches, the other key by key; they must never differ, nor may a cut of
 * the first. WEIR_SEED=n repeats a run, WEIR_STEPS=n makes it longer. test_state_model.c has the same among all other calls.
 */
#include "state/op_state.h"
#include "unit/state_model.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <time.h>

#define BATCH_MAX WEIR_BATCH_RECORDS_MAX
#define LIMIT_BYTES (UINT64_C(256) << 20)

/* ------------------------------------------------------------------------------------------------ shapes -------- */

/* Ways in which a value can lie: they are found, made and written by different code. */
struct shape {
    const char *name;
    uint32_t key_bytes; /* 0: varying */
    uint32_t sizes[4];  /* of the per-key values that are declared */
    uint32_t key_count;
    uint64_t clear_share; /* of 1000 steps */
};

static const struct shape shapes[] = {
    {"one value of a key of 8 bytes", 8, {8}, 30000, 0},
    {"the same, few keys", 8, {8}, 40, 300},
    {"rows of 24 bytes, keys go as well as come", 8, {16}, 3000, 300},
    {"keys of 4 bytes", 4, {8}, 3000, 100},
    {"keys of 20 bytes, a value of 5", 20, {5}, 3000, 100},
    {"the longest key within a row", OP_STATE_INLINE_KEY_BYTES, {8}, 1000, 100},
    {"keys too long for a row", OP_STATE_INLINE_KEY_BYTES + 1, {8}, 500, 100},
    {"keys that vary", 0, {8}, 1000, 100},
    {"a large value", 8, {WEIR_VALUE_BYTES_MAX}, 300, 100},
    {"three values of a key", 8, {8, 300, 20}, 1000, 100},
    {"values that do not fit their row", 8, {1024, 1024, 1024, 8}, 200, 100},
    {"keys that vary and values that do not fit", 0, {1000, 1000, 1000}, 200, 100},
};

/* As parameters, indices: a test with a parameter runs in a process that was started anew, where no address holds. */
static struct criterion_test_params each_shape(void)
{
    static size_t indices[sizeof shapes / sizeof shapes[0]];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, sizeof shapes / sizeof shapes[0]);
}

static unsigned state_count(const struct shape *shape)
{
    unsigned count = 0;
    while (count < 4 && shape->sizes[count] != 0)
        count++;
    return count;
}

/* Key number `key`: distinct bytes, of any length where they vary; the first key is all zeros. */
static struct weir_bytes key_of(const struct shape *shape, uint32_t key, unsigned char *bytes)
{
    size_t size_bytes = shape->key_bytes != 0 ? shape->key_bytes : 4 + key % 70 + (key % 31 == 0 ? 900 : 0);
    memset(bytes, key == 0 ? 0 : (int)(key % 251), size_bytes);
    memcpy(bytes, &key, 4);
    return (struct weir_bytes){bytes, size_bytes};
}

/* ------------------------------------------------------------------------------------------------ the twins ----- */

struct twins {
    const struct shape *shape;
    struct weir_state states[4];
    uint64_t random;
    struct chunk_region many_region, single_region;
    struct op_state *many, *single;
    struct weir_error err;
    /* the cut of `many` that is being copied out */
    bool cutting;
    uint32_t gathered;
    uint64_t frozen_digest;
    struct chunk_region loaded;
};

struct batch {
    size_t count;
    uint32_t numbers[BATCH_MAX];
    unsigned char bytes[BATCH_MAX][WEIR_KEY_BYTES_MAX];
    struct weir_bytes keys[BATCH_MAX];
    uint64_t hashes[BATCH_MAX];
    void *values[BATCH_MAX];
};

static uint64_t below(struct twins *t, uint64_t bound) { return model_random(&t->random) % bound; }

static uint64_t number_from_env(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static struct op_state *open_one(struct twins *t, struct chunk_region *region)
{
    struct op_state *op = NULL;
    struct op_state_config config = {.operator_name = "twin", .slot = 1, .states = t->states, .keyed = true};
    config.state_count = state_count(t->shape);
    config.key_bytes = t->shape->key_bytes;
    cr_assert_eq(op_state_open(&op, region, &config, &t->err), WEIR_OK, "%s", t->err.text);
    return op;
}

static void set_up(struct twins *t, const struct shape *shape, uint64_t limit_bytes)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    *t = (struct twins){.shape = shape};
    for (unsigned i = 0; i < state_count(shape); i++)
        t->states[i] = (struct weir_state){names[i], WEIR_VALUE, WEIR_PER_KEY, shape->sizes[i], 1};
    uint64_t seed = number_from_env("WEIR_SEED", (uint64_t)time(NULL));
    fprintf(stderr, "WEIR_SEED=%llu\n", (unsigned long long)seed);
    t->random = seed * 2 + 1;
    cr_assert_eq(chunk_region_create(&t->many_region, "many", limit_bytes, 0, &t->err), WEIR_OK, "%s", t->err.text);
    cr_assert_eq(chunk_region_create(&t->single_region, "single", LIMIT_BYTES, 0, &t->err), WEIR_OK, "%s", t->err.text);
    t->many = open_one(t, &t->many_region);
    t->single = open_one(t, &t->single_region);
}

static void tear_down(struct twins *t)
{
    op_state_close(t->many);
    op_state_close(t->single);
    chunk_region_destroy(&t->many_region);
    chunk_region_destroy(&t->single_region);
}

static uint64_t digest(struct twins *t, struct op_state *op)
{
    uint64_t digest = 0;
    cr_assert_eq(op_state_digest(op, &digest, &t->err), WEIR_OK, "%s", t->err.text);
    return digest;
}

static void check_twins(struct twins *t)
{
    cr_assert_eq(op_state_key_count(t->many), op_state_key_count(t->single));
    cr_assert_eq(digest(t, t->many), digest(t, t->single), "%s: the twins differ", t->shape->name);
}

/* ------------------------------------------------------------------------------------------------ batches ------- */

/* Random keys, now and then one that the batch has already; all of them near each other, or anywhere. */
static void draw_batch(struct twins *t, struct batch *batch)
{
    static const size_t counts[] = {0, 1, 2, 15, 16, 17, 33, 63, BATCH_MAX, BATCH_MAX, BATCH_MAX, BATCH_MAX};
    batch->count = counts[below(t, sizeof counts / sizeof counts[0])];
    uint32_t spread = below(t, 4) == 0 ? 20 : t->shape->key_count;
    uint32_t first = (uint32_t)below(t, t->shape->key_count);
    for (size_t i = 0; i < batch->count; i++) {
        bool again = i > 0 && below(t, 5) == 0;
        batch->numbers[i] = again ? batch->numbers[below(t, i)] : (first + (uint32_t)below(t, spread)) % t->shape->key_count;
        batch->keys[i] = key_of(t->shape, batch->numbers[i], batch->bytes[i]);
        batch->hashes[i] = key_hash(batch->keys[i].data, batch->keys[i].size_bytes);
    }
}

static unsigned char *single_value(struct twins *t, const struct batch *batch, size_t i, unsigned state)
{
    op_state_set_key(t->single, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
    unsigned char *value = op_state_value(t->single, state, &t->err);
    cr_assert_not_null(value, "%s", t->err.text);
    return value;
}

/* The same key has the same address; those of different keys lie apart. */
static void check_addresses(const struct twins *t, const struct batch *batch, unsigned state)
{
    for (size_t i = 0; i < batch->count; i++) {
        const unsigned char *a = batch->values[i];
        cr_assert(a != NULL && (uintptr_t)a % 8 == 0);
        for (size_t j = 0; j < i; j++) {
            const unsigned char *b = batch->values[j];
            uintptr_t distance = a > b ? (uintptr_t)(a - b) : (uintptr_t)(b - a);
            if (batch->numbers[i] == batch->numbers[j])
                cr_assert_eq(distance, 0u, "%s: key %u has two addresses", t->shape->name, batch->numbers[i]);
            else
                cr_assert_geq(distance, t->shape->sizes[state], "%s: values of keys %u and %u overlap", t->shape->name,
                              batch->numbers[i], batch->numbers[j]);
        }
    }
}

/* All addresses first, all reads then, all changes last: none may make another void. */
static void work(struct twins *t, struct batch *batch, unsigned state)
{
    uint32_t size_bytes = t->shape->sizes[state];
    cr_assert_eq(op_state_values(t->many, state, batch->keys, batch->hashes, batch->count, batch->values, &t->err), WEIR_OK, "%s",
                 t->err.text);
    cr_assert_null(op_state_key(t->many, NULL), "no key is current behind it");
    check_addresses(t, batch, state);
    for (size_t i = 0; i < batch->count; i++)
        cr_assert_eq(memcmp(batch->values[i], single_value(t, batch, i, state), size_bytes), 0, "%s: key %u", t->shape->name,
                     batch->numbers[i]);
    for (size_t i = 0; i < batch->count; i++) {
        uint32_t at = (uint32_t)below(t, size_bytes);
        unsigned char add = (unsigned char)model_random(&t->random);
        ((unsigned char *)batch->values[i])[at] += add;
        single_value(t, batch, i, state)[at] += add;
    }
    for (size_t i = 0; i < batch->count; i++) {
        int code = -1;
        op_state_set_key(t->many, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        const void *value = op_state_value_get(t->many, state, NULL, &code, &t->err);
        cr_assert(value != NULL && memcmp(value, single_value(t, batch, i, state), size_bytes) == 0,
                  "%s: what was written to key %u is not what is read", t->shape->name, batch->numbers[i]);
    }
}

/* Without keys that go, nothing ever moves up or merges. */
static void clear_keys(struct twins *t, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        op_state_set_key(t->many, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        op_state_set_key(t->single, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        cr_assert_eq(op_state_clear_key(t->many, &t->err), WEIR_OK);
        cr_assert_eq(op_state_clear_key(t->single, &t->err), WEIR_OK);
    }
}

/* ------------------------------------------------------------------------------------------------ cuts ---------- */

static void begin_cut(struct twins *t, uint64_t number)
{
    t->frozen_digest = digest(t, t->single);
    chunk_cut(&t->many_region, number);
    cr_assert_eq(chunk_region_create(&t->loaded, "loaded", LIMIT_BYTES, 0, &t->err), WEIR_OK);
    t->gathered = 0;
    t->cutting = true;
}

/* Copies a few chunks of the cut out. At its end what came out is what was there at the cut, whatever was written since. */
static void go_on_with_cut(struct twins *t, uint64_t count)
{
    struct chunk_frozen chunk;
    for (; count > 0; count--) {
        if (!chunk_cut_next(&t->many_region, &t->gathered, &chunk)) {
            chunk_cut_release(&t->many_region);
            chunk_restore_finish(&t->loaded, false);
            struct op_state *op = open_one(t, &t->loaded);
            cr_assert_eq(digest(t, op), t->frozen_digest, "%s: the cut has changed", t->shape->name);
            op_state_close(op);
            chunk_region_destroy(&t->loaded);
            t->cutting = false;
            return;
        }
        cr_assert_eq(chunk_restore(&t->loaded, chunk.logical, chunk.bytes, &t->err), WEIR_OK, "%s", t->err.text);
        chunk_cut_gathered(&t->many_region, t->gathered);
    }
}

ParameterizedTestParameters(op_value, many_keys_at_once_are_what_each_of_them_is_alone) { return each_shape(); }
ParameterizedTest(size_t *index, op_value, many_keys_at_once_are_what_each_of_them_is_alone)
{
    static struct batch batch;
    const struct shape *shape = &shapes[*index];
    struct twins t;
    set_up(&t, shape, LIMIT_BYTES);
    uint64_t cuts = 0;
    uint64_t steps = number_from_env("WEIR_STEPS", 2000);
    for (uint64_t step = 0; step < steps; step++) {
        draw_batch(&t, &batch);
        if (below(&t, 1000) < shape->clear_share)
            clear_keys(&t, &batch);
        else
            work(&t, &batch, (unsigned)below(&t, state_count(shape)));
        if (t.cutting)
            go_on_with_cut(&t, 1 + below(&t, 4));
        else if (below(&t, 20) == 0)
            begin_cut(&t, ++cuts);
        if (below(&t, steps / 4) == 0)
            check_twins(&t);
    }
    while (t.cutting)
        go_on_with_cut(&t, 1000);
    check_twins(&t);
    cr_assert_gt(cuts, 3u, "%s: no cuts to speak of", shape->name);
    cr_assert_gt(t.many_region.header->counters.copied, 0u, "%s: no first write after a cut", shape->name);
    tear_down(&t);
}

/* Each batch has old keys between the new ones; the table grows from one bucket to many, so buckets split under addresses that
 * are held already. */
Test(op_value, a_bucket_that_splits_in_the_middle_of_a_batch_takes_nothing_with_it)
{
    static struct batch batch;
    static struct shape shape = {"growing", 8, {8}, 1u << 20, 0};
    struct twins t;
    set_up(&t, &shape, LIMIT_BYTES);
    uint32_t splits = 0;
    for (uint32_t next = 0; next < 20000; next += BATCH_MAX / 2) {
        batch.count = BATCH_MAX;
        for (uint32_t i = 0; i < BATCH_MAX; i++) {
            batch.numbers[i] = i % 2 != 0 ? next + i / 2 : (uint32_t)below(&t, next + 1);
            batch.keys[i] = key_of(&shape, batch.numbers[i], batch.bytes[i]);
            batch.hashes[i] = key_hash(batch.keys[i].data, 8);
        }
        uint32_t chunks = t.many_region.header->marks.logical_count;
        work(&t, &batch, 0);
        splits += t.many_region.header->marks.logical_count - chunks;
    }
    cr_assert_gt(splits, 50u);
    check_twins(&t);
    tear_down(&t);
}

/* ------------------------------------------------------------------------------------------------ the limit ----- */

/* After a failure: a key of the batch has the value that it had, or now a zeroed one where it had none. The twin, which has no
 * such limit, is told. Returns how many were made. */
static size_t reconcile(struct twins *t, const struct batch *batch, unsigned state)
{
    static const unsigned char zeros[WEIR_VALUE_BYTES_MAX];
    size_t made = 0;
    for (size_t i = 0; i < batch->count; i++) {
        int code = -1, single_code = -1;
        op_state_set_key(t->many, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        op_state_set_key(t->single, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        const void *expected = op_state_value_get(t->single, state, NULL, &single_code, &t->err);
        const void *value = op_state_value_get(t->many, state, NULL, &code, &t->err);
        cr_assert(code == WEIR_OK && single_code == WEIR_OK);
        if (expected != NULL)
            cr_assert(value != NULL && memcmp(value, expected, t->shape->sizes[state]) == 0, "%s: key %u is not what it was",
                      t->shape->name, batch->numbers[i]);
        else if (value != NULL) {
            cr_assert_eq(memcmp(value, zeros, t->shape->sizes[state]), 0, "%s: key %u is new, and not zero", t->shape->name,
                         batch->numbers[i]);
            cr_assert_not_null(op_state_value(t->single, state, &t->err));
            made++;
        }
    }
    op_state_unset_key(t->many);
    return made;
}

/* A batch of keys that are there. */
static void draw_old_keys(struct twins *t, struct batch *batch, unsigned state)
{
    const uint32_t key_count = t->shape->key_count, first = (uint32_t)below(t, key_count);
    batch->count = 0;
    for (uint32_t tries = 0; batch->count < BATCH_MAX && tries < key_count; tries++) {
        size_t i = batch->count;
        int code = -1;
        uint32_t key = (first + tries) % key_count;
        batch->numbers[i] = key;
        batch->keys[i] = key_of(t->shape, key, batch->bytes[i]);
        batch->hashes[i] = key_hash(batch->keys[i].data, batch->keys[i].size_bytes);
        op_state_set_key(t->single, batch->keys[i].data, batch->keys[i].size_bytes, batch->hashes[i]);
        batch->count += op_state_value_get(t->single, state, NULL, &code, &t->err) != NULL;
    }
    cr_assert_gt(batch->count, 0u);
}

static bool work_at_the_limit(struct twins *t, struct batch *batch, unsigned state, size_t *made)
{
    static char untouched;
    for (size_t i = 0; i < BATCH_MAX; i++)
        batch->values[i] = &untouched;
    t->err = (struct weir_error){0};
    int code = op_state_values(t->many, state, batch->keys, batch->hashes, batch->count, batch->values, &t->err);
    cr_assert_null(op_state_key(t->many, NULL));
    if (code == WEIR_OK) {
        work(t, batch, state);
        return true;
    }
    cr_assert(code == WEIR_ELIMIT && t->err.code == code, "%s", t->err.text);
    cr_assert(strstr(t->err.text, "--state-limit") != NULL, "%s", t->err.text);
    for (size_t i = 0; i < BATCH_MAX; i++)
        cr_assert_eq(batch->values[i], &untouched, "%s: a result of a call that failed", t->shape->name);
    *made += reconcile(t, batch, state);
    return false;
}

ParameterizedTestParameters(op_value, at_the_limit_a_batch_that_fails_leaves_old_values_and_zeroed_new_ones)
{
    return each_shape();
}
ParameterizedTest(size_t *index, op_value, at_the_limit_a_batch_that_fails_leaves_old_values_and_zeroed_new_ones)
{
    static struct batch batch;
    const struct shape *shape = &shapes[*index];
    struct twins t;
    struct shape many_keys = *shape;
    many_keys.key_count = 200000;
    set_up(&t, &many_keys, CHUNK_LIMIT_BYTES_MIN);
    size_t failed = 0, made = 0;
    for (uint64_t step = 0; failed < 50; step++) { /* new keys for as long as there is room, and then some */
        cr_assert_lt(step, 100000u, "%s: there is no limit", shape->name);
        draw_batch(&t, &batch);
        failed += !work_at_the_limit(&t, &batch, (unsigned)below(&t, state_count(shape)), &made);
    }
    check_twins(&t);
    chunk_cut(&t.many_region, 1); /* now the first write of each chunk fails as well */
    for (failed = 0; failed < 20;) {
        unsigned state = (unsigned)below(&t, state_count(shape));
        if (failed % 2 == 0)
            draw_batch(&t, &batch);
        else
            draw_old_keys(&t, &batch, state);
        failed += !work_at_the_limit(&t, &batch, state, &made);
    }
    check_twins(&t);
    chunk_cut_release(&t.many_region);
    for (uint32_t key = 0; key < many_keys.key_count; key++) {
        batch.count = 1;
        batch.numbers[0] = key;
        batch.keys[0] = key_of(&many_keys, key, batch.bytes[0]);
        batch.hashes[0] = key_hash(batch.keys[0].data, batch.keys[0].size_bytes);
        clear_keys(&t, &batch);
    }
    check_twins(&t);
    draw_batch(&t, &batch);
    work(&t, &batch, 0);
    tear_down(&t);
}

/* ------------------------------------------------------------------------------------------------ edges --------- */

enum { COUNT, NAME, EVENTS, TOTAL, STATE_COUNT };
static const struct weir_state mixed_states[STATE_COUNT] = {
    [COUNT] = {"count", WEIR_VALUE, WEIR_PER_KEY, 8, 1},
    [NAME] = {"name", WEIR_VALUE, WEIR_PER_KEY, 0, 1},
    [EVENTS] = {"events", WEIR_LIST, WEIR_PER_KEY, 0, 1},
    [TOTAL] = {"total", WEIR_VALUE, WEIR_PER_OPERATOR, 8, 1},
};

struct mixed {
    struct chunk_region region;
    struct op_state *op;
    uint64_t keys[3];
    struct weir_bytes key_bytes[3];
    uint64_t hashes[3];
    struct weir_error err;
};

static void set_up_mixed(struct mixed *m, uint32_t declared)
{
    *m = (struct mixed){.keys = {7, 0, 7}};
    struct op_state_config config = {.operator_name = "hits", .slot = 2, .states = mixed_states, .keyed = true, .key_bytes = 8};
    config.state_count = declared;
    cr_assert_eq(chunk_region_create(&m->region, "mixed", LIMIT_BYTES, 0, &m->err), WEIR_OK, "%s", m->err.text);
    cr_assert_eq(op_state_open(&m->op, &m->region, &config, &m->err), WEIR_OK, "%s", m->err.text);
    for (int i = 0; i < 3; i++) {
        m->key_bytes[i] = (struct weir_bytes){&m->keys[i], 8};
        m->hashes[i] = key_hash_8(&m->keys[i]);
    }
}

static void tear_down_mixed(struct mixed *m)
{
    op_state_close(m->op);
    chunk_region_destroy(&m->region);
}

Test(op_value, many_values_of_a_wrong_state_are_refused_in_words_and_make_nothing)
{
    static const unsigned wrong[] = {NAME, EVENTS, STATE_COUNT, 31, UINT32_MAX};
    struct mixed m;
    set_up_mixed(&m, STATE_COUNT);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *values[3] = {&m, &m, &m};
        m.err = (struct weir_error){0};
        int code = op_state_values(m.op, wrong[i], m.key_bytes, m.hashes, 3, values, &m.err);
        cr_assert_eq(code, WEIR_EINVAL, "state %u: %d", wrong[i], code);
        cr_assert(m.err.code == WEIR_EINVAL && strstr(m.err.text, "hits") != NULL, "%s", m.err.text);
        code = op_state_values(m.op, wrong[i], m.key_bytes, m.hashes, 3, values, NULL);
        cr_assert_eq(code, WEIR_EINVAL, "without a place for words: %d", code);
        cr_assert_eq(op_state_values(m.op, wrong[i], m.key_bytes, m.hashes, 0, values, &m.err), WEIR_EINVAL, "of no keys");
        cr_assert(values[0] == &m && values[1] == &m && values[2] == &m);
        cr_assert_null(op_state_key(m.op, NULL));
    }
    cr_assert_eq(op_state_key_count(m.op), 0u);
    tear_down_mixed(&m);
}

Test(op_value, no_keys_make_nothing)
{
    for (uint32_t declared = 1; declared <= STATE_COUNT; declared += STATE_COUNT - 1) { /* with COUNT alone, and with all */
        struct mixed m;
        set_up_mixed(&m, declared);
        op_state_set_key(m.op, &m.keys[0], 8, m.hashes[0]);
        uint32_t chunks = m.region.header->marks.logical_count;
        cr_assert_eq(op_state_values(m.op, COUNT, NULL, NULL, 0, NULL, &m.err), WEIR_OK);
        cr_assert_null(op_state_key(m.op, NULL), "no key is current, as after any number of them");
        cr_assert_eq(op_state_key_count(m.op), 0u);
        cr_assert_eq(m.region.header->marks.logical_count, chunks);
        tear_down_mixed(&m);
    }
}

Test(op_value, the_operators_own_value_is_the_same_for_all_keys)
{
    struct mixed m;
    void *values[3];
    set_up_mixed(&m, STATE_COUNT);
    cr_assert_eq(op_state_values(m.op, TOTAL, m.key_bytes, m.hashes, 3, values, &m.err), WEIR_OK, "%s", m.err.text);
    cr_assert(values[0] == values[1] && values[1] == values[2]);
    cr_assert_eq(values[0], op_state_value(m.op, TOTAL, &m.err));
    cr_assert_eq(op_state_key_count(m.op), 0u);
    tear_down_mixed(&m);
}

/* What was known of a key before a batch says nothing about it afterwards. */
Test(op_value, a_key_that_was_looked_for_in_vain_is_found_after_a_batch_made_it)
{
    for (uint32_t declared = 1; declared <= STATE_COUNT; declared += STATE_COUNT - 1) {
        struct mixed m;
        void *values[3];
        int code = -1;
        set_up_mixed(&m, declared);
        op_state_set_key(m.op, &m.keys[0], 8, m.hashes[0]);
        cr_assert_null(op_state_value_get(m.op, COUNT, NULL, &code, &m.err));
        cr_assert_eq(op_state_values(m.op, COUNT, m.key_bytes, m.hashes, 3, values, &m.err), WEIR_OK);
        *(uint64_t *)values[0] = 5;
        *(uint64_t *)values[1] = 6;
        cr_assert_eq(*(uint64_t *)values[2], 5u, "the same key, the same value");
        cr_assert_null(op_state_value(m.op, COUNT, &m.err), "no key is current");
        op_state_set_key(m.op, &m.keys[0], 8, m.hashes[0]);
        uint64_t *value = op_state_value(m.op, COUNT, &m.err);
        cr_assert(value != NULL && *value == 5);
        cr_assert_eq(op_state_key_count(m.op), 2u);
        tear_down_mixed(&m);
    }
}
