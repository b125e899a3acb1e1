#include "state/op_internal.h"

struct visit {
    op_state_visit_fn fn;
    void *arg;
    struct op_state_item item; /* what is the same for all pieces of a state */
};

static int visit_value(struct op_state *op, struct visit *visit, struct weir_error *err)
{
    int code = WEIR_OK;
    struct op_state_item item = visit->item;
    item.data.data = op_state_value_get(op, item.state, &item.data.size_bytes, &code, err);
    return item.data.data != NULL ? visit->fn(visit->arg, &item) : code;
}

static int visit_list(struct op_state *op, struct visit *visit, struct weir_error *err)
{
    struct weir_iterator iterator = {0};
    struct op_state_item item = visit->item;
    int code;
    while ((code = op_state_list_next(op, item.state, &iterator, &item.data, err)) == WEIR_OK) {
        code = visit->fn(visit->arg, &item);
        if (code != WEIR_OK)
            return code;
        item.index++;
    }
    return code == WEIR_END ? WEIR_OK : code;
}

static int visit_map(struct op_state *op, struct visit *visit, struct weir_error *err)
{
    struct weir_iterator iterator = {0};
    struct op_state_item item = visit->item;
    int code;
    while ((code = op_state_map_next(op, item.state, &iterator, &item.map_key, &item.data, err)) == WEIR_OK) {
        code = visit->fn(visit->arg, &item);
        if (code != WEIR_OK)
            return code;
    }
    return code == WEIR_END ? WEIR_OK : code;
}

/* All states of a scope, of the current key. */
static int visit_scope(struct op_state *op, enum weir_state_scope scope, struct visit *visit, struct weir_error *err)
{
    int code = WEIR_OK;
    for (uint32_t i = 0; i < op->state_count && code == WEIR_OK; i++) {
        if (op->fields[i].scope != scope)
            continue;
        visit->item.state = i;
        if (op->fields[i].kind == WEIR_VALUE)
            code = visit_value(op, visit, err);
        else
            code = op->fields[i].kind == WEIR_LIST ? visit_list(op, visit, err) : visit_map(op, visit, err);
    }
    return code;
}

/* Makes the key of a row current, from a copy. */
static void take_key(struct op_state *op, uint64_t row_pos)
{
    const void *row = state_read(op->region, row_pos);
    op->key_hash = table_row_hash(&op->keys, row);
    op->current_key_bytes = op->key_bytes;
    if (op->key_bytes != 0) {
        memcpy(op->key_copy, row, op->key_bytes);
    } else {
        uint32_t ref = ((const struct row_key *)row)->key_ref;
        op->current_key_bytes = blob_size(&op->slab, ref);
        CHECK(op->current_key_bytes <= sizeof op->key_copy);
        blob_copy_out(&op->slab, ref, 0, op->key_copy, op->current_key_bytes);
    }
    op->key = op->key_copy;
    op->known = ROW_PRESENT;
    op->row_pos = row_pos;
    op->row_changes = op->keys.changes;
}

static int visit_keys(struct op_state *op, struct visit *visit, struct weir_error *err)
{
    struct table_cursor cursor;
    table_cursor_begin(&op->keys, KEY_RANGE_ALL, &cursor);
    int code = WEIR_OK;
    for (uint64_t pos = 0; code == WEIR_OK && table_cursor_next(&op->keys, &cursor, &pos);) {
        take_key(op, pos);
        visit->item = (struct op_state_item){.key = op->key, .key_bytes = op->current_key_bytes,
                                             .key_hash = op->key_hash};
        code = visit_scope(op, WEIR_PER_KEY, visit, err);
    }
    return code;
}

int op_state_visit(struct op_state *op, op_state_visit_fn fn, void *arg, struct weir_error *err)
{
    struct visit visit = {.fn = fn, .arg = arg};
    op_state_unset_key(op);
    int code = visit_scope(op, WEIR_PER_OPERATOR, &visit, err);
    if (code == WEIR_OK)
        code = visit_keys(op, &visit, err);
    op_state_unset_key(op);
    return code == WEIR_OK ? op_timers_visit(op, fn, arg, err) : code;
}

/* ------------------------------------------------------------------------------------------------ digest -------- */

struct digest {
    const struct op_state *op;
    uint64_t sum;
};

static uint64_t mix(uint64_t hash, const void *data, size_t size_bytes)
{
    hash = XXH3_64bits_withSeed(&size_bytes, sizeof size_bytes, hash);
    return size_bytes > 0 ? XXH3_64bits_withSeed(data, size_bytes, hash) : hash;
}

/* The sum of the pieces' hashes does not depend on their order. */
static int add_to_digest(void *arg, const struct op_state_item *item)
{
    struct digest *digest = arg;
    const char *name = item->state == OP_STATE_TIMER ? OP_TIMER_STATE_NAME : digest->op->states[item->state].name;
    uint64_t hash = mix(item->state == OP_STATE_TIMER, name, strlen(name));
    hash = mix(hash, item->key, item->key_bytes);
    hash = mix(hash, &item->index, sizeof item->index);
    hash = mix(hash, item->map_key.data, item->map_key.size_bytes);
    digest->sum += mix(hash, item->data.data, item->data.size_bytes);
    return WEIR_OK;
}

int op_state_digest(struct op_state *op, uint64_t *ret_digest, struct weir_error *err)
{
    struct digest digest = {.op = op};
    int code = op_state_visit(op, add_to_digest, &digest, err);
    if (code == WEIR_OK)
        *ret_digest = digest.sum;
    return code;
}
