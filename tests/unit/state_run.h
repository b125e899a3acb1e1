/*
 * state_run.h - random operations of every kind on op_state and on a plain model beside it (state_model.h), compared with each
 * other; and cuts, copied out step by step while the live side goes on.
 */
#ifndef WEIR_TESTS_STATE_RUN_H
#define WEIR_TESTS_STATE_RUN_H

#include "state/op_state.h"
#include "unit/state_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

enum { BYTES_8, BYTES_300, BYTES_20, VARYING, LIST, MAP, OP_FIXED, OP_VARYING, OP_LIST, OP_MAP, STATE_COUNT };

static const struct weir_state states[STATE_COUNT] = {
    [BYTES_8] = {"eight", WEIR_VALUE, WEIR_PER_KEY, 8, 1},
    [BYTES_300] = {"large", WEIR_VALUE, WEIR_PER_KEY, 300, 1},
    [BYTES_20] = {"odd", WEIR_VALUE, WEIR_PER_KEY, 20, 1},
    [VARYING] = {"text", WEIR_VALUE, WEIR_PER_KEY, 0, 1},
    [LIST] = {"list", WEIR_LIST, WEIR_PER_KEY, 0, 1},
    [MAP] = {"map", WEIR_MAP, WEIR_PER_KEY, 0, 1},
    [OP_FIXED] = {"op-fixed", WEIR_VALUE, WEIR_PER_OPERATOR, 700, 1},
    [OP_VARYING] = {"op-text", WEIR_VALUE, WEIR_PER_OPERATOR, 0, 1},
    [OP_LIST] = {"op-list", WEIR_LIST, WEIR_PER_OPERATOR, 0, 1},
    [OP_MAP] = {"op-map", WEIR_MAP, WEIR_PER_OPERATOR, 0, 1},
};

/* A state of values to its place in a model row. */
static inline int value_place(unsigned state) { return state < LIST ? (int)state : (int)(state - OP_FIXED); }

struct image_chunk {
    uint32_t logical;
    unsigned char bytes[CHUNK_BYTES];
};

/* An image in private memory, promised to a region, which loads from it what it needs, and what lies beside. */
struct memory_image {
    struct chunk_image image; /* first */
    struct chunk_region *region;
    struct image_chunk *chunks;
    size_t count;
    uint64_t needed;
};

static inline void memory_image_load(struct memory_image *image, size_t first, size_t count)
{
    for (size_t i = first; i < first + count && i < image->count; i++) {
        uint32_t logical = image->chunks[i].logical;
        if (chunk_is_on_disk(image->region, logical) && chunk_image_index(image->region, logical) == i)
            chunk_load(image->region, logical, image->chunks[i].bytes);
    }
}

static inline void memory_image_need(struct chunk_image *self, uint32_t logical)
{
    struct memory_image *image = (struct memory_image *)(void *)self;
    size_t index = chunk_image_index(image->region, logical);
    cr_assert(index < image->count && image->chunks[index].logical == logical, "chunk %u is not block %zu", logical, index);
    cr_assert_eq(chunk_load_reserve(image->region, (uint32_t)index, 1, NULL), WEIR_OK);
    image->needed++;
    memory_image_load(image, index, 1);
}

/* Promises all of it to a region that is empty. The chunks are the image's from now on. */
static inline void memory_image_promise(struct memory_image *image, struct chunk_region *region, struct image_chunk *chunks, size_t count)
{
    struct weir_error err = {0};
    *image = (struct memory_image){.image = {memory_image_need}, .region = region, .chunks = chunks, .count = count};
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(chunk_promise(region, chunks[i].logical, &err), WEIR_OK, "%s", err.text);
    chunk_restore_finish(region, false);
    region->image = &image->image;
}

/* Up to `count` chunks that nobody has needed yet. */
static inline void memory_image_go_on(struct memory_image *image, size_t count)
{
    uint32_t logical = 0;
    for (; image->chunks != NULL && count > 0 && chunk_next_on_disk(image->region, &logical); count--) {
        uint32_t index = chunk_image_index(image->region, logical);
        cr_assert_eq(chunk_load_reserve(image->region, index, 1, NULL), WEIR_OK);
        memory_image_load(image, index, 1);
    }
}

/* The bytes of a chunk, wherever they are. */
static inline const void *peek(const struct chunk_region *region, const struct memory_image *image, uint32_t logical)
{
    return chunk_is_on_disk(region, logical) ? image->chunks[chunk_image_index(region, logical)].bytes : chunk_read(region, logical);
}

static inline const void *peek_frozen(const struct chunk_frozen *chunk, const struct memory_image *image)
{
    if (chunk->bytes != NULL)
        return chunk->bytes;
    cr_assert(chunk->image_index < image->count && image->chunks[chunk->image_index].logical == chunk->logical);
    return image->chunks[chunk->image_index].bytes;
}

struct run {
    uint64_t random;
    uint32_t key_bytes; /* 0: varying */
    uint64_t limit_bytes;
    uint64_t clear_share; /* of 1000 operations */
    struct chunk_region *region; /* the handle points to it */
    struct op_state *op;
    struct model model;
    int64_t now_ms;
    unsigned limits_hit;
    /* the cut being copied out, a few chunks at a time */
    bool cutting;
    uint32_t gathered;
    struct model frozen;
    struct image_chunk *image;
    size_t image_count;
    uint64_t cuts;
    struct memory_image lazy; /* what the region was promised, where it was */
};

static inline uint64_t below(struct run *run, uint64_t bound) { return model_random(&run->random) % bound; }

static inline struct op_state_config config_of(const struct run *run)
{
    return (struct op_state_config){.operator_name = "model", .slot = 3, .states = states, .state_count = STATE_COUNT,
                                    .keyed = true,
                                    .key_bytes = run->key_bytes};
}

/* The bytes of key number `key`: distinct, of any length where they vary; the first key is all zeros. */
static inline size_t key_of(const struct run *run, uint32_t key, unsigned char *bytes)
{
    size_t size_bytes = run->key_bytes != 0 ? run->key_bytes : 4 + key % 90 + (key % 17 == 0 ? 800 : 0);
    memset(bytes, 0, size_bytes);
    for (size_t i = 4; i < size_bytes && key != 0; i++)
        bytes[i] = (unsigned char)(key * 31 + i);
    memcpy(bytes, &key, 4);
    return size_bytes;
}

static inline void select_key(struct op_state *op, const struct run *run, uint32_t key, unsigned char *bytes)
{
    size_t size_bytes = key_of(run, key, bytes);
    op_state_set_key(op, bytes, size_bytes, key_hash(bytes, size_bytes));
}

/* Bytes of a random size: mostly small, now and then more than a chunk. */
static inline size_t random_bytes(struct run *run, unsigned char *bytes, size_t capacity)
{
    size_t size_bytes = below(run, 40);
    uint64_t dice = below(run, 100);
    if (dice == 0)
        size_bytes = below(run, capacity + 1);
    else if (dice < 10)
        size_bytes = below(run, 3000);
    for (size_t i = 0; i < size_bytes; i++)
        bytes[i] = (unsigned char)(run->random >> (i % 8 * 8)) ^ (unsigned char)i;
    return size_bytes;
}

static inline size_t random_map_key(struct run *run, unsigned char *bytes)
{
    uint64_t number = below(run, below(run, 2) ? 6 : 60);
    size_t size_bytes = number % 13 == 0 ? 5000 : number % 20;
    memset(bytes, (int)number, size_bytes);
    return size_bytes;
}

/* ------------------------------------------------------------------------------------------------ comparing ----- */

static inline void check_value(struct op_state *op, unsigned state, const struct model_bytes *expected)
{
    size_t size_bytes = 0;
    int code = -1;
    const void *value = op_state_value_get(op, state, &size_bytes, &code, NULL);
    cr_assert_eq(code, WEIR_OK);
    cr_assert_eq(value != NULL, expected->data != NULL, "state %s: %s", states[state].name,
                 value ? "there" : "missing");
    cr_assert(value == NULL || model_bytes_equal(expected, value, size_bytes), "state %s: %zu bytes, expected %zu",
              states[state].name, size_bytes, expected->size_bytes);
}

static inline void check_list(struct op_state *op, unsigned state, const struct model_list *expected)
{
    struct weir_iterator iterator = {0};
    struct weir_bytes element;
    uint64_t count = 0;
    cr_assert_eq(op_state_count(op, state, &count, NULL), WEIR_OK);
    cr_assert_eq(count, expected->count, "list of %llu, expected %zu", (unsigned long long)count, expected->count);
    for (size_t i = 0; i < expected->count; i++) {
        cr_assert_eq(op_state_list_next(op, state, &iterator, &element, NULL), WEIR_OK);
        cr_assert(model_bytes_equal(&expected->elements[i], element.data, element.size_bytes));
    }
    cr_assert_eq(op_state_list_next(op, state, &iterator, &element, NULL), WEIR_END);
}

static inline void check_map(struct op_state *op, unsigned state, const struct model_map *expected)
{
    struct weir_iterator iterator = {0};
    struct weir_bytes key, value;
    uint64_t count = 0;
    cr_assert_eq(op_state_count(op, state, &count, NULL), WEIR_OK);
    cr_assert_eq(count, expected->count, "map of %llu, expected %zu", (unsigned long long)count, expected->count);
    for (size_t i = 0; i < expected->count; i++) {
        cr_assert_eq(op_state_map_next(op, state, &iterator, &key, &value, NULL), WEIR_OK);
        const struct model_entry *entry = model_map_find(expected, key.data, key.size_bytes);
        cr_assert(entry != NULL && model_bytes_equal(&entry->value, value.data, value.size_bytes));
    }
    cr_assert_eq(op_state_map_next(op, state, &iterator, &key, &value, NULL), WEIR_END);
    for (size_t i = 0; i < expected->count; i++) {
        int code = -1;
        const struct model_entry *entry = &expected->entries[i];
        const void *got = op_state_map_get(op, state, entry->key.data, entry->key.size_bytes, &value.size_bytes, &code,
                                           NULL);
        cr_assert(got != NULL && code == WEIR_OK && model_bytes_equal(&entry->value, got, value.size_bytes));
    }
}

static inline int count_item(void *arg, const struct op_state_item *item)
{
    (void)item;
    ++*(size_t *)arg;
    return WEIR_OK;
}

static inline size_t model_items(const struct model *model)
{
    size_t count = model->timer_count;
    for (uint32_t i = 0; i <= model->key_count; i++) {
        for (int j = 0; j < MODEL_STATES; j++)
            count += model->rows[i].values[j].data != NULL;
        count += model->rows[i].list.count + model->rows[i].map.count;
    }
    return count;
}

static inline void check_row(struct op_state *op, const struct model_row *row, bool per_key)
{
    for (unsigned state = per_key ? BYTES_8 : OP_FIXED; state <= (per_key ? VARYING : OP_VARYING); state++)
        check_value(op, state, &row->values[value_place(state)]);
    check_list(op, per_key ? LIST : OP_LIST, &row->list);
    check_map(op, per_key ? MAP : OP_MAP, &row->map);
}

static inline void check_all(struct op_state *op, const struct run *run, const struct model *model)
{
    unsigned char key[1024];
    uint64_t keys = 0;
    for (uint32_t i = 0; i < model->key_count; i++) {
        select_key(op, run, i, key);
        check_row(op, &model->rows[i], true);
        keys += !model_row_is_empty(&model->rows[i]);
    }
    check_row(op, &model->rows[model->key_count], false);
    cr_assert_eq(op_state_key_count(op), keys, "%llu keys, expected %llu", (unsigned long long)op_state_key_count(op),
                 (unsigned long long)keys);
    size_t items = 0;
    cr_assert_eq(op_state_visit(op, count_item, &items, NULL), WEIR_OK);
    cr_assert_eq(items, model_items(model), "%zu pieces, expected %zu", items, model_items(model));
}

/* Fires all timers and compares each with the model's earliest. Ends with none. */
static inline void check_timers(struct op_state *op, const struct run *run, const struct model *model)
{
    struct model rest = model_copy(model);
    int64_t last_ms = INT64_MIN;
    uint64_t id = 0;
    int64_t at_ms = 0;
    unsigned char key[1024];
    while (op_state_timer_pop(op, INT64_MAX, &id, &at_ms, NULL) == WEIR_OK) {
        size_t size_bytes = 0;
        const void *got = op_state_key(op, &size_bytes);
        cr_assert(got != NULL && at_ms >= last_ms);
        uint32_t number;
        memcpy(&number, got, sizeof number);
        cr_assert(key_of(run, number, key) == size_bytes && memcmp(key, got, size_bytes) == 0);
        struct model_timer *timer = model_timer_find(&rest, number, id);
        cr_assert(timer != NULL && timer->at_ms == at_ms);
        model_timer_remove(&rest, timer);
        last_ms = at_ms;
    }
    cr_assert_eq(rest.timer_count, 0);
    model_free(&rest);
}

/* ------------------------------------------------------------------------------------------------ operations ---- */

/* A call that failed for lack of room must have changed nothing: the model is not told, and the comparison will see. */
static inline bool done(struct run *run, int code)
{
    cr_assert(code >= 0 || code == WEIR_ELIMIT, "code %d", code);
    run->limits_hit += code == WEIR_ELIMIT;
    return code >= 0;
}

static inline void change_value(struct run *run, struct model_row *row, unsigned state, unsigned char *bytes)
{
    struct model_bytes *expected = &row->values[value_place(state)];
    struct weir_error err = {0};
    if (states[state].size_bytes == 0) {
        size_t size_bytes = random_bytes(run, bytes, WEIR_ENTRY_BYTES_MAX);
        if (done(run, op_state_value_set(run->op, state, bytes, size_bytes, &err)))
            model_value_set(expected, bytes, size_bytes);
        return;
    }
    unsigned char *value = op_state_value(run->op, state, &err);
    if (value == NULL) {
        done(run, err.code);
        return;
    }
    cr_assert_eq((uintptr_t)value % 8, 0);
    unsigned char zeros[1024] = {0};
    cr_assert(model_bytes_equal(expected->data != NULL
                                ? expected : &(struct model_bytes){zeros, states[state].size_bytes}, value,
                                states[state].size_bytes));
    value[below(run, states[state].size_bytes)] = (unsigned char)run->random;
    model_value_set(expected, value, states[state].size_bytes);
}

/* A call that failed half-way through its keys may have made some of those that were new: zeroed. */
static inline void learn_what_was_made(struct run *run, const uint32_t *numbers, const struct weir_bytes *keys, size_t count,
                                unsigned state)
{
    static const unsigned char zeros[1024];
    for (size_t i = 0; i < count; i++) {
        struct model_bytes *expected = &run->model.rows[numbers[i]].values[value_place(state)];
        int code = -1;
        op_state_set_key(run->op, keys[i].data, keys[i].size_bytes, key_hash(keys[i].data, keys[i].size_bytes));
        if (expected->data == NULL && op_state_value_get(run->op, state, NULL, &code, NULL) != NULL)
            model_value_set(expected, zeros, states[state].size_bytes);
    }
}

/* One fixed value of several keys, some of them twice. */
static inline void change_values(struct run *run)
{
    static unsigned char bytes[WEIR_BATCH_RECORDS_MAX][1024];
    uint32_t numbers[WEIR_BATCH_RECORDS_MAX];
    struct weir_bytes keys[WEIR_BATCH_RECORDS_MAX];
    uint64_t hashes[WEIR_BATCH_RECORDS_MAX];
    void *values[WEIR_BATCH_RECORDS_MAX];
    unsigned state = (unsigned)below(run, BYTES_20 + 1);
    uint32_t size_bytes = states[state].size_bytes;
    size_t count = below(run, WEIR_BATCH_RECORDS_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = i > 0 && below(run, 4) == 0 ? numbers[below(run, i)] : (uint32_t)below(run, run->model.key_count);
        keys[i] = (struct weir_bytes){bytes[i], key_of(run, numbers[i], bytes[i])};
        hashes[i] = key_hash(bytes[i], keys[i].size_bytes);
    }
    if (!done(run, op_state_values(run->op, state, keys, hashes, count, values, NULL))) {
        learn_what_was_made(run, numbers, keys, count, state);
        return;
    }
    cr_assert_null(op_state_key(run->op, NULL));
    for (size_t i = 0; i < count; i++) { /* all are good together: the changes of one show in another of the same key */
        struct model_bytes *expected = &run->model.rows[numbers[i]].values[value_place(state)];
        static const unsigned char zeros[1024];
        cr_assert_eq(memcmp(values[i], expected->data != NULL ? expected->data : zeros, size_bytes), 0);
        ((unsigned char *)values[i])[below(run, size_bytes)] = (unsigned char)run->random;
        model_value_set(expected, values[i], size_bytes);
    }
}

static inline void change_list(struct run *run, struct model_row *row, unsigned state, unsigned char *bytes)
{
    size_t size_bytes = random_bytes(run, bytes, WEIR_ENTRY_BYTES_MAX);
    if (done(run, op_state_list_append(run->op, state, bytes, size_bytes, NULL)))
        model_list_append(&row->list, bytes, size_bytes);
}

static inline void change_map(struct run *run, struct model_row *row, unsigned state, unsigned char *bytes)
{
    static unsigned char key[8192];
    size_t key_bytes = random_map_key(run, key);
    uint64_t dice = below(run, 10);
    struct weir_error err = {0};
    if (dice < 3) {
        int code = op_state_map_remove(run->op, state, key, key_bytes, &err);
        if (done(run, code))
            cr_assert_eq(model_map_remove(&row->map, key, key_bytes), code == WEIR_OK);
    } else if (dice < 5 && key_bytes < 100) {
        struct model_entry *entry = model_map_find(&row->map, key, key_bytes);
        size_t value_bytes = entry != NULL ? entry->value.size_bytes : below(run, 50);
        if (value_bytes > 900)
            return;
        unsigned char *value = op_state_map_value(run->op, state, key, key_bytes, value_bytes, &err);
        if (value == NULL) {
            done(run, err.code);
            return;
        }
        cr_assert_eq((uintptr_t)value % 8, 0);
        if (value_bytes > 0)
            value[below(run, value_bytes)] ^= (unsigned char)run->random;
        model_map_put(&row->map, key, key_bytes, value, value_bytes);
    } else {
        size_t value_bytes = random_bytes(run, bytes, WEIR_ENTRY_BYTES_MAX - key_bytes);
        if (done(run, op_state_map_put(run->op, state, key, key_bytes, bytes, value_bytes, &err)))
            model_map_put(&row->map, key, key_bytes, bytes, value_bytes);
    }
}

static inline void abandon_cut(struct run *run);

/* Clearing may stop half-way at the limit while a cut holds chunks; without one it cannot fail. */
static inline void clear_one(struct run *run, struct model_row *row, unsigned state)
{
    if (!done(run, op_state_clear(run->op, state, NULL))) {
        abandon_cut(run);
        cr_assert_eq(op_state_clear(run->op, state, NULL), WEIR_OK);
    }
    if (state == LIST || state == OP_LIST)
        model_list_clear(&row->list);
    else if (state == MAP || state == OP_MAP)
        model_map_clear(&row->map);
    else
        model_value_clear(&row->values[value_place(state)]);
}

static inline void clear_key(struct run *run, uint32_t key)
{
    if (!done(run, op_state_clear_key(run->op, NULL))) {
        abandon_cut(run);
        cr_assert_eq(op_state_clear_key(run->op, NULL), WEIR_OK);
    }
    model_row_clear(&run->model.rows[key]);
}

static inline void change_timers(struct run *run, uint32_t key)
{
    uint64_t id = below(run, 3);
    uint64_t dice = below(run, 10);
    int64_t at_ms = run->now_ms + (int64_t)below(run, 1000) - 100;
    if (dice < 7) {
        if (done(run, op_state_timer_set(run->op, id, at_ms, NULL)))
            model_timer_set(&run->model, key, id, at_ms);
        return;
    }
    int code = op_state_timer_cancel(run->op, id, NULL);
    struct model_timer *timer = model_timer_find(&run->model, key, id);
    if (done(run, code)) {
        cr_assert_eq(timer != NULL, code == WEIR_OK);
        if (timer != NULL)
            model_timer_remove(&run->model, timer);
    }
}

static inline void fire_timers(struct run *run)
{
    run->now_ms += (int64_t)below(run, 30);
    uint64_t id = 0;
    int64_t at_ms = 0;
    int code;
    while ((code = op_state_timer_pop(run->op, run->now_ms, &id, &at_ms, NULL)) == WEIR_OK) {
        uint32_t key;
        memcpy(&key, op_state_key(run->op, NULL), sizeof key);
        struct model_timer *timer = model_timer_find(&run->model, key, id);
        cr_assert(timer != NULL && timer->at_ms == at_ms && at_ms <= run->now_ms);
        model_timer_remove(&run->model, timer);
    }
    if (done(run, code))
        for (size_t i = 0; i < run->model.timer_count; i++)
            cr_assert_gt(run->model.timers[i].at_ms, run->now_ms);
}

static inline void step(struct run *run)
{
    static unsigned char bytes[WEIR_ENTRY_BYTES_MAX];
    unsigned char key_bytes[1024];
    uint32_t key = (uint32_t)below(run, run->model.key_count);
    select_key(run->op, run, key, key_bytes);
    unsigned state = (unsigned)below(run, STATE_COUNT);
    struct model_row *row = &run->model.rows[state < OP_FIXED ? key : run->model.key_count];
    uint64_t dice = below(run, 1000);
    if (dice < run->clear_share)
        clear_one(run, row, state);
    else if (dice < run->clear_share + run->clear_share / 4)
        clear_key(run, key);
    else if (dice < 200)
        change_timers(run, key);
    else if (dice < 220)
        fire_timers(run);
    else if (dice < 240)
        change_values(run);
    else if (state == LIST || state == OP_LIST)
        change_list(run, row, state, bytes);
    else if (state == MAP || state == OP_MAP)
        change_map(run, row, state, bytes);
    else
        change_value(run, row, state, bytes);
}

/* ------------------------------------------------------------------------------------------------ cuts ---------- */

static inline void begin_cut(struct run *run)
{
    chunk_cut(run->region, ++run->cuts);
    run->frozen = model_copy(&run->model);
    run->image = malloc(chunk_cut_live(run->region)->chunk_count * sizeof *run->image);
    run->image_count = 0;
    run->gathered = 0;
    run->cutting = true;
}

/* Copies out up to `count` chunks of the cut; false at its end. */
static inline bool gather(struct run *run, uint64_t count)
{
    struct chunk_frozen chunk;
    for (; count > 0; count--) {
        if (!chunk_cut_next(run->region, &run->gathered, &chunk))
            return false;
        run->image[run->image_count].logical = chunk.logical;
        memcpy(run->image[run->image_count++].bytes, peek_frozen(&chunk, &run->lazy), CHUNK_BYTES);
    }
    chunk_cut_gathered(run->region, run->gathered);
    return true;
}

static inline void load_image(struct run *run, struct chunk_region *region, struct op_state **ret_op)
{
    struct weir_error err = {0};
    struct op_state_config config = config_of(run);
    cr_assert_eq(chunk_region_create(region, "loaded", run->limit_bytes, 0, &err), WEIR_OK, "%s", err.text);
    for (size_t i = run->image_count; i-- > 0;) /* any order will do */
        cr_assert_eq(chunk_restore(region, run->image[i].logical, run->image[i].bytes, &err), WEIR_OK, "%s", err.text);
    chunk_restore_finish(region, false);
    cr_assert_eq(op_state_open(ret_op, region, &config, &err), WEIR_OK, "%s", err.text);
}

/* The run goes on from the image of its cut, of which nothing is loaded yet. */
static inline void go_on_lazily(struct run *run)
{
    struct weir_error err = {0};
    struct op_state_config config = config_of(run);
    struct chunk_region *loaded = malloc(sizeof *loaded);
    cr_assert_eq(chunk_region_create(loaded, "lazy", run->limit_bytes, 0, &err), WEIR_OK, "%s", err.text);
    op_state_close(run->op);
    chunk_region_destroy(run->region);
    free(run->region);
    model_free(&run->model);
    free(run->lazy.chunks);
    memory_image_promise(&run->lazy, loaded, run->image, run->image_count);
    run->image = NULL;
    run->region = loaded;
    cr_assert_eq(op_state_open(&run->op, loaded, &config, &err), WEIR_OK, "%s", err.text);
    run->model = run->frozen;
    run->frozen = (struct model){0};
}

static inline void abandon_cut(struct run *run)
{
    cr_assert(run->cutting, "clearing fails without a cut");
    chunk_cut_release(run->region);
    model_free(&run->frozen);
    free(run->image);
    run->cutting = false;
}

/* The frozen image, loaded into a region of its own, is the state at the cut. Now and then the run goes on from
 * there. */
static inline void finish_cut(struct run *run)
{
    while (gather(run, 100))
        continue;
    cr_assert_eq(run->image_count, chunk_cut_live(run->region)->chunk_count);
    chunk_cut_release(run->region);
    if (below(run, 4) == 0) {
        go_on_lazily(run);
        run->cutting = false;
        return;
    }
    struct chunk_region *loaded = malloc(sizeof *loaded);
    struct op_state *op = NULL;
    load_image(run, loaded, &op);
    check_all(op, run, &run->frozen);
    if (below(run, 4) == 0) {
        op_state_close(run->op);
        chunk_region_destroy(run->region);
        free(run->region);
        model_free(&run->model);
        free(run->lazy.chunks);
        run->lazy = (struct memory_image){0};
        run->op = op;
        run->region = loaded;
        run->model = run->frozen;
        run->frozen = (struct model){0};
    } else {
        check_timers(op, run, &run->frozen);
        op_state_close(op);
        chunk_region_destroy(loaded);
        free(loaded);
        model_free(&run->frozen);
    }
    free(run->image);
    run->cutting = false;
}

static inline uint64_t number_from_env(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

#endif
