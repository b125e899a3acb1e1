#include "base/bytes.h"
#include "state/op_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define STATE_MAGIC UINT64_C(0x6574617473726577) /* "wersstate" cut to eight */
#define STATE_VERSION 3
#define OP_MAGIC UINT32_C(0x6f726577)

/* The region's root chunk: made, or verified. */
static int open_region(struct chunk_region *region, struct weir_error *err)
{
    if (region->header->marks.logical_mark == 0) {
        int code = chunk_reserve(region, 2, err);
        if (code != WEIR_OK)
            return code;
        uint32_t chunk = chunk_alloc(region);
        CHECK(chunk == 0);
        struct state_root *root = state_touch(region, 0, sizeof *root);
        root->magic = STATE_MAGIC;
        root->version = STATE_VERSION;
        return WEIR_OK;
    }
    if ((region->table[0] & CHUNK_ID_MASK) == 0)
        return error_set(err, WEIR_ECORRUPT, "the state image has no chunk 0");
    const struct state_root *root = chunk_read(region, 0);
    if (root->magic != STATE_MAGIC)
        return error_set(err, WEIR_ECORRUPT, "chunk 0 of the state image does not begin with the magic number");
    if (root->version != STATE_VERSION)
        return error_set(err, WEIR_EVERSION, "the state image has version %u, expected %u", root->version,
                         STATE_VERSION);
    return WEIR_OK;
}

static int make_root(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    int code = chunk_reserve(op->region, 4, err);
    if (code != WEIR_OK)
        return code;
    uint32_t chunk = chunk_alloc(op->region);
    op->root_pos = state_pos(chunk, 0);
    op_root_touch(op, 0, sizeof(uint32_t))->magic = OP_MAGIC;
    code = op_schema_store(op, config, err);
    if (code != WEIR_OK) {
        chunk_free(op->region, chunk);
        return code;
    }
    size_t offset = offsetof(struct state_root, op_chunk) + config->slot * sizeof(uint32_t);
    *(uint32_t *)state_touch(op->region, offset, sizeof(uint32_t)) = chunk;
    return WEIR_OK;
}

static int attach_root(struct op_state *op, const struct op_state_config *config, uint32_t chunk,
                       struct weir_error *err)
{
    if (chunk >= op->region->header->marks.logical_mark || (op->region->table[chunk] & CHUNK_UNUSED) != 0 ||
        (op->region->table[chunk] & CHUNK_ID_MASK) == 0 ||
        ((const struct op_root *)chunk_read(op->region, chunk))->magic != OP_MAGIC)
        return error_set(err, WEIR_ECORRUPT, "chunk %u of the state image is not the root of an operator", chunk);
    op->root_pos = state_pos(chunk, 0);
    return op_schema_compare(op, config, err);
}

static int open_tables(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    int code = chunk_reserve(op->region, 1, err);
    if (code == WEIR_OK)
        code = table_open(&op->keys, op->region, op->root_pos + offsetof(struct op_root, keys), op->key_bytes,
                          op->layouts[WEIR_PER_KEY].row_bytes, config->range, err);
    if (code == WEIR_OK)
        code = table_open(&op->maps, op->region, op->root_pos + offsetof(struct op_root, maps), 0, 16, KEY_RANGE_ALL,
                          err);
    if (code == WEIR_OK)
        code = op_timers_attach(op, err);
    return code;
}

static int open_with(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    int code = op_schema_check(config, err);
    if (code == WEIR_OK)
        code = op_schema_lay_out(op, config, err);
    if (code == WEIR_OK)
        code = open_region(op->region, err);
    if (code != WEIR_OK)
        return code;
    slab_init(&op->slab, op->region, offsetof(struct state_root, slab));
    uint32_t chunk = ((const struct state_root *)chunk_read(op->region, 0))->op_chunk[config->slot];
    code = chunk == 0 ? make_root(op, config, err) : attach_root(op, config, chunk, err);
    if (code == WEIR_OK)
        code = open_tables(op, config, err);
    return code;
}

int op_state_open(struct op_state **ret_op, struct chunk_region *region, const struct op_state_config *config,
                  struct weir_error *err)
{
    struct op_state *op = calloc(1, sizeof *op);
    if (op == NULL)
        return error_set(err, WEIR_ENOMEM, "operator '%s': no memory for its state's handle", config->operator_name);
    op->region = region;
    op->states = config->states;
    op->state_count = config->state_count;
    op->keyed = config->keyed;
    snprintf(op->name, sizeof op->name, "%s", config->operator_name);
    struct op_state_config full = *config;
    if (full.range.count == 0)
        full.range = KEY_RANGE_ALL;
    int code = open_with(op, &full, err);
    if (code != WEIR_OK) {
        error_context(err, "operator '%s'", op->name);
        op_state_close(op);
        return code;
    }
    *ret_op = op;
    return WEIR_OK;
}

void op_state_close(struct op_state *op)
{
    if (op == NULL)
        return;
    free(op->scratch.bytes);
    free(op->args.bytes);
    free(op);
}

/* ------------------------------------------------------------------------------------------------ keys ---------- */

void op_state_set_key(struct op_state *op, const void *key, size_t size_bytes, uint64_t hash)
{
    DCHECK(op->keyed && size_bytes >= 1 && size_bytes <= WEIR_KEY_BYTES_MAX);
    DCHECK(op->key_bytes_fixed == 0 || op->key_bytes_fixed == size_bytes);
    DCHECK(hash == key_hash(key, size_bytes));
    op->key = key;
    op->current_key_bytes = (uint32_t)size_bytes;
    op->key_hash = hash;
    op->known = ROW_UNKNOWN;
}

void op_state_unset_key(struct op_state *op)
{
    op->key = NULL;
    op->current_key_bytes = 0;
    op->key_hash = 0;
    op->known = ROW_UNKNOWN;
}

const void *op_state_key(const struct op_state *op, size_t *ret_size_bytes)
{
    if (op->key != NULL && ret_size_bytes != NULL)
        *ret_size_bytes = op->current_key_bytes;
    return op->key;
}

void op_state_prefetch(const struct op_state *op, const uint64_t *hashes, size_t count)
{
    table_prefetch(&op->keys, hashes, count);
}

uint64_t op_state_key_count(const struct op_state *op) { return table_count(&op->keys); }

/* ------------------------------------------------------------------------------------------------ any kind ------ */

static int clear_field(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err)
{
    if (field->kind == WEIR_LIST)
        return op_list_clear(op, field, row_pos, err);
    if (field->kind == WEIR_MAP)
        return op_map_clear(op, field, row_pos, err);
    return op_value_clear(op, field, row_pos, err);
}

static int no_such_state(const struct op_state *op, unsigned state, struct weir_error *err)
{
    return error_set(err, WEIR_EINVAL, "operator '%s': state %u of %u", op->name, state, op->state_count);
}

int op_state_clear(struct op_state *op, unsigned state, struct weir_error *err)
{
    if (state >= op->state_count)
        return no_such_state(op, state, err);
    const struct op_field *field = &op->fields[state];
    uint64_t row_pos = 0;
    int code = op_row_find(op, field, &row_pos, err);
    if (code != WEIR_OK)
        return code == WEIR_END ? WEIR_OK : code;
    code = chunk_reserve_writes(op->region, OP_STEP_CHUNKS + TABLE_REMOVE_CHUNKS, err);
    if (code == WEIR_OK)
        code = clear_field(op, field, row_pos, err);
    if (code == WEIR_OK)
        op_row_drop_if_empty(op, field);
    return code;
}

int op_state_clear_key(struct op_state *op, struct weir_error *err)
{
    const struct op_field any = {.scope = WEIR_PER_KEY};
    uint64_t row_pos = 0;
    int code = op_row_find(op, &any, &row_pos, err);
    if (code != WEIR_OK)
        return code == WEIR_END ? WEIR_OK : code;
    for (uint32_t i = 0; i < op->state_count; i++) {
        if (op->fields[i].scope != WEIR_PER_KEY)
            continue;
        code = chunk_reserve_writes(op->region, OP_STEP_CHUNKS, err);
        if (code == WEIR_OK)
            code = clear_field(op, &op->fields[i], row_pos, err);
        if (code != WEIR_OK)
            return code;
    }
    code = chunk_reserve_writes(op->region, OP_STEP_CHUNKS + TABLE_REMOVE_CHUNKS, err);
    if (code == WEIR_OK)
        op_row_remove(op, row_pos);
    return code;
}

static uint64_t count_in_row(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    const void *handle = op_field_read(op, field, row_pos);
    if (field->kind == WEIR_LIST)
        return ((const struct list_handle *)handle)->count;
    return ((const struct map_handle *)handle)->count;
}

int op_state_count(struct op_state *op, unsigned state, uint64_t *ret_count, struct weir_error *err)
{
    if (state >= op->state_count)
        return no_such_state(op, state, err);
    const struct op_field *field = &op->fields[state];
    if (field->kind == WEIR_VALUE)
        return error_set(err, WEIR_EINVAL, "operator '%s': state '%s' is a value: it has no count", op->name,
                         op->states[state].name);
    uint64_t row_pos = 0;
    int code = op_row_find(op, field, &row_pos, err);
    if (code < 0)
        return code;
    *ret_count = code == WEIR_OK ? count_in_row(op, field, row_pos) : 0;
    return WEIR_OK;
}
