/*
 * state_model.h - the plain model that op_state is compared with: arrays, searched from end to end, malloc for every
 * piece. It shares no code with state/.
 */
#ifndef WEIR_TESTS_STATE_MODEL_H
#define WEIR_TESTS_STATE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct model_bytes {
    unsigned char *data; /* NULL: not there */
    size_t size_bytes;
};

struct model_list {
    struct model_bytes *elements;
    size_t count;
};

struct model_entry {
    struct model_bytes key, value;
};

struct model_map {
    struct model_entry *entries;
    size_t count;
};

#define MODEL_STATES 5 /* of each scope */

/* One key's states, or those of the operator. Which member counts is the test's to know. */
struct model_row {
    struct model_bytes values[MODEL_STATES];
    struct model_list list;
    struct model_map map;
};

struct model_timer {
    uint32_t key;
    uint64_t id;
    int64_t at_ms;
};

struct model {
    uint32_t key_count; /* rows[0 .. key_count - 1] are the keys', rows[key_count] the operator's */
    struct model_row *rows;
    struct model_timer *timers;
    size_t timer_count;
};

static inline struct model_bytes model_bytes_copy(const void *data, size_t size_bytes)
{
    struct model_bytes copy = {malloc(size_bytes + 1), size_bytes};
    if (size_bytes > 0)
        memcpy(copy.data, data, size_bytes);
    return copy;
}

static inline bool model_bytes_equal(const struct model_bytes *a, const void *data, size_t size_bytes)
{
    return a->size_bytes == size_bytes && (size_bytes == 0 || memcmp(a->data, data, size_bytes) == 0);
}

static inline void model_value_set(struct model_bytes *value, const void *data, size_t size_bytes)
{
    struct model_bytes copy = model_bytes_copy(data, size_bytes);
    free(value->data);
    *value = copy;
}

static inline void model_value_clear(struct model_bytes *value)
{
    free(value->data);
    *value = (struct model_bytes){0};
}

static inline void model_list_append(struct model_list *list, const void *data, size_t size_bytes)
{
    list->elements = realloc(list->elements, (list->count + 1) * sizeof *list->elements);
    list->elements[list->count++] = model_bytes_copy(data, size_bytes);
}

static inline void model_list_clear(struct model_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->elements[i].data);
    free(list->elements);
    *list = (struct model_list){0};
}

static inline struct model_entry *model_map_find(const struct model_map *map, const void *key, size_t key_bytes)
{
    for (size_t i = 0; i < map->count; i++)
        if (model_bytes_equal(&map->entries[i].key, key, key_bytes))
            return &map->entries[i];
    return NULL;
}

static inline void model_map_put(struct model_map *map, const void *key, size_t key_bytes, const void *value,
                                 size_t value_bytes)
{
    struct model_entry *entry = model_map_find(map, key, key_bytes);
    if (entry == NULL) {
        map->entries = realloc(map->entries, (map->count + 1) * sizeof *map->entries);
        entry = &map->entries[map->count++];
        *entry = (struct model_entry){.key = model_bytes_copy(key, key_bytes)};
    }
    model_value_set(&entry->value, value, value_bytes);
}

static inline bool model_map_remove(struct model_map *map, const void *key, size_t key_bytes)
{
    struct model_entry *entry = model_map_find(map, key, key_bytes);
    if (entry == NULL)
        return false;
    free(entry->key.data);
    free(entry->value.data);
    *entry = map->entries[--map->count];
    return true;
}

static inline void model_map_clear(struct model_map *map)
{
    while (map->count > 0)
        model_map_remove(map, map->entries[0].key.data, map->entries[0].key.size_bytes);
    free(map->entries);
    *map = (struct model_map){0};
}

static inline void model_row_clear(struct model_row *row)
{
    for (int i = 0; i < MODEL_STATES; i++)
        model_value_clear(&row->values[i]);
    model_list_clear(&row->list);
    model_map_clear(&row->map);
}

static inline bool model_row_is_empty(const struct model_row *row)
{
    for (int i = 0; i < MODEL_STATES; i++)
        if (row->values[i].data != NULL)
            return false;
    return row->list.count == 0 && row->map.count == 0;
}

static inline struct model_timer *model_timer_find(const struct model *model, uint32_t key, uint64_t id)
{
    for (size_t i = 0; i < model->timer_count; i++)
        if (model->timers[i].key == key && model->timers[i].id == id)
            return &model->timers[i];
    return NULL;
}

static inline void model_timer_set(struct model *model, uint32_t key, uint64_t id, int64_t at_ms)
{
    struct model_timer *timer = model_timer_find(model, key, id);
    if (timer == NULL) {
        model->timers = realloc(model->timers, (model->timer_count + 1) * sizeof *model->timers);
        timer = &model->timers[model->timer_count++];
    }
    *timer = (struct model_timer){key, id, at_ms};
}

static inline void model_timer_remove(struct model *model,
                                      struct model_timer *timer) { *timer = model->timers[--model->timer_count]; }

static inline struct model model_make(uint32_t key_count)
{
    return (struct model){.key_count = key_count, .rows = calloc(key_count + 1, sizeof(struct model_row))};
}

static inline struct model model_copy(const struct model *from)
{
    struct model to = model_make(from->key_count);
    for (uint32_t i = 0; i <= from->key_count; i++) {
        const struct model_row *row = &from->rows[i];
        for (int j = 0; j < MODEL_STATES; j++)
            if (row->values[j].data != NULL)
                model_value_set(&to.rows[i].values[j], row->values[j].data, row->values[j].size_bytes);
        for (size_t j = 0; j < row->list.count; j++)
            model_list_append(&to.rows[i].list, row->list.elements[j].data, row->list.elements[j].size_bytes);
        for (size_t j = 0; j < row->map.count; j++) {
            const struct model_entry *entry = &row->map.entries[j];
            model_map_put(&to.rows[i].map, entry->key.data, entry->key.size_bytes, entry->value.data,
                          entry->value.size_bytes);
        }
    }
    for (size_t i = 0; i < from->timer_count; i++)
        model_timer_set(&to, from->timers[i].key, from->timers[i].id, from->timers[i].at_ms);
    return to;
}

static inline void model_free(struct model *model)
{
    if (model->rows == NULL)
        return;
    for (uint32_t i = 0; i <= model->key_count; i++)
        model_row_clear(&model->rows[i]);
    free(model->rows);
    free(model->timers);
    *model = (struct model){0};
}

/* xorshift64* (Vigna 2016): the tests' own, so that a seed means the same for ever. */
static inline uint64_t model_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

#endif
