#include "state/op_internal.h"

#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------ finding ------- */

static const char *const kind_names[] = {[WEIR_VALUE] = "value", [WEIR_LIST] = "list", [WEIR_MAP] = "map"};

static int wrong_state(const struct op_state *op, unsigned state, enum weir_state_kind kind, struct weir_error *err)
{
    if (state >= op->state_count)
        return error_set(err, WEIR_EINVAL, "operator '%s': state %u of %u", op->name, state, op->state_count);
    return error_set(err, WEIR_EINVAL, "operator '%s': state '%s' is not a %s", op->name, op->states[state].name,
                     kind_names[kind]);
}

const struct op_field *op_field_of(struct op_state *op, unsigned state, enum weir_state_kind kind,
                                   struct weir_error *err)
{
    if (__builtin_expect(state < op->state_count && op->fields[state].kind == kind, 1))
        return &op->fields[state];
    wrong_state(op, state, kind, err);
    return NULL;
}

static bool key_matches(const void *arg, const void *row)
{
    const struct op_state *op = arg;
    const struct row_key *row_key = row;
    return blob_size(&op->slab, row_key->key_ref) == op->current_key_bytes &&
           blob_equals(&op->slab, row_key->key_ref, 0, op->key, op->current_key_bytes);
}

static void look_up(struct op_state *op)
{
    bool found = op->key_bytes != 0 ? table_find(&op->keys, op->key_hash, op->key, &op->row_pos)
                                    : table_find_hashed(&op->keys, op->key_hash, key_matches, op, &op->row_pos);
    op->known = found ? ROW_PRESENT : ROW_ABSENT;
    op->row_changes = op->keys.changes;
}

static int no_key(const struct op_state *op, struct weir_error *err)
{
    return error_set(err, WEIR_EINVAL, "operator '%s': per-key state is used, but no key is current", op->name);
}

int op_row_find(struct op_state *op, const struct op_field *field, uint64_t *ret_pos, struct weir_error *err)
{
    if (field->scope == WEIR_PER_OPERATOR) {
        uint32_t ref = op_root(op)->operator_row;
        *ret_pos = slab_pos(ref);
        return ref != 0 ? WEIR_OK : WEIR_END;
    }
    if (op->key == NULL)
        return no_key(op, err);
    if (op->known == ROW_UNKNOWN || op->row_changes != op->keys.changes)
        look_up(op);
    *ret_pos = op->row_pos;
    return op->known == ROW_PRESENT ? WEIR_OK : WEIR_END;
}

/* ------------------------------------------------------------------------------------------------ making -------- */

int op_row_insert(struct op_state *op, uint64_t hash, const void *key, uint64_t *ret_pos, struct weir_error *err)
{
    int code = table_insert(&op->keys, hash, key, ret_pos, err);
    if (code != WEIR_OK)
        error_context(err, "operator '%s'", op->name);
    return code;
}

static int make_key_row(struct op_state *op, uint64_t *ret_pos, struct weir_error *err)
{
    int code = op_row_insert(op, op->key_hash, op->key, &op->row_pos, err);
    if (code != WEIR_OK)
        return code;
    if (op->key_bytes == 0) {
        uint32_t ref = blob_alloc(&op->slab, op->current_key_bytes);
        blob_write(&op->slab, ref, 0, op->key, op->current_key_bytes);
        struct row_key *row = state_touch(op->region, op->row_pos, sizeof *row);
        row->key_ref = ref;
    }
    op->known = ROW_PRESENT;
    op->row_changes = op->keys.changes;
    *ret_pos = op->row_pos;
    return WEIR_OK;
}

static int make_operator_row(struct op_state *op, uint64_t *ret_pos, struct weir_error *err)
{
    uint32_t row_bytes = op->layouts[WEIR_PER_OPERATOR].row_bytes;
    int code = chunk_reserve(op->region, slab_chunks_max(row_bytes) + 1, err);
    if (code != WEIR_OK)
        return code;
    uint32_t ref = slab_alloc(&op->slab, row_bytes);
    memset(slab_touch(&op->slab, ref, 0, row_bytes), 0, row_bytes);
    op_root_touch(op, offsetof(struct op_root, operator_row), sizeof(uint32_t))->operator_row = ref;
    *ret_pos = slab_pos(ref);
    return WEIR_OK;
}

int op_row_make(struct op_state *op, const struct op_field *field, uint64_t *ret_pos, struct weir_error *err)
{
    int code = op_row_find(op, field, ret_pos, err);
    if (__builtin_expect(code != WEIR_END, 1))
        return code;
    return field->scope == WEIR_PER_OPERATOR ? make_operator_row(op, ret_pos, err) : make_key_row(op, ret_pos, err);
}

/* ------------------------------------------------------------------------------------------------ dropping ------ */

void op_row_remove(struct op_state *op, uint64_t pos)
{
    if (op->key_bytes == 0)
        blob_free(&op->slab, ((const struct row_key *)state_read(op->region, pos))->key_ref);
    table_remove(&op->keys, op->key_hash, pos);
    op->known = ROW_ABSENT;
    op->row_changes = op->keys.changes;
}

bool op_field_made(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    if (field->kind == WEIR_VALUE && field->size_bytes > 0) {
        if (field->made_bit == 0)
            return true;
        uint32_t mask;
        memcpy(&mask, state_read(op->region, row_pos + op->layouts[field->scope].mask_offset), sizeof mask);
        return (mask & field->made_bit) != 0;
    }
    const void *handle = op_field_read(op, field, row_pos);
    if (field->kind == WEIR_LIST)
        return ((const struct list_handle *)handle)->head != 0; /* count is 0 before, where clearing was cut short */
    if (field->kind == WEIR_MAP)
        return ((const struct map_handle *)handle)->head != 0;
    return ((const struct value_handle *)handle)->made != 0;
}

void op_row_drop_if_empty(struct op_state *op, const struct op_field *field)
{
    uint64_t row_pos = 0;
    if (op_row_find(op, field, &row_pos, NULL) != WEIR_OK)
        return;
    for (uint32_t i = 0; i < op->state_count; i++) {
        const struct op_field *other = &op->fields[i];
        if (other != field && other->scope == field->scope && op_field_made(op, other, row_pos))
            return;
    }
    if (field->scope == WEIR_PER_KEY) {
        op_row_remove(op, row_pos);
        return;
    }
    slab_free(&op->slab, op_root(op)->operator_row);
    op_root_touch(op, offsetof(struct op_root, operator_row), sizeof(uint32_t))->operator_row = 0;
}

/* ------------------------------------------------------------------------------------------------ buffers ------- */

int op_buffer_grow(struct op_buffer *buffer, size_t size_bytes, struct weir_error *err)
{
    if (size_bytes <= buffer->capacity)
        return WEIR_OK;
    unsigned char *bytes = realloc(buffer->bytes, size_bytes);
    if (bytes == NULL)
        return error_set(err, WEIR_ENOMEM, "state: no memory for an entry of %zu bytes", size_bytes);
    buffer->bytes = bytes;
    buffer->capacity = size_bytes;
    return WEIR_OK;
}

static bool lies_in(const void *address, const void *start, size_t size_bytes)
{
    return (uintptr_t)address - (uintptr_t)start < size_bytes;
}

static bool may_move(const struct op_state *op, const struct weir_bytes *bytes)
{
    return bytes->size_bytes > 0 && (lies_in(bytes->data, op->region->header, op->region->header->file_bytes) ||
                                     lies_in(bytes->data, op->scratch.bytes, op->scratch.capacity));
}

int op_keep_args(struct op_state *op, struct weir_bytes *first, struct weir_bytes *second, struct weir_error *err)
{
    struct weir_bytes none = {0};
    struct weir_bytes *both[2] = {first, second != NULL ? second : &none};
    if (__builtin_expect(!may_move(op, both[0]) && !may_move(op, both[1]), 1))
        return WEIR_OK;
    int code = op_buffer_grow(&op->args, both[0]->size_bytes + both[1]->size_bytes, err);
    if (code != WEIR_OK)
        return code;
    unsigned char *to = op->args.bytes;
    for (int i = 0; i < 2; i++) {
        if (!may_move(op, both[i]))
            continue;
        memcpy(to, both[i]->data, both[i]->size_bytes);
        both[i]->data = to;
        to += both[i]->size_bytes;
    }
    return WEIR_OK;
}

const void *op_blob_view(struct op_state *op, uint32_t ref, size_t offset, size_t size_bytes, struct weir_error *err)
{
    if (blob_in_one_piece(&op->slab, ref))
        return blob_read(&op->slab, ref, offset);
    /* One byte at least: nothing to read is an empty view, and no view is a failure. */
    if (op_buffer_grow(&op->scratch, size_bytes > 0 ? size_bytes : 1, err) != WEIR_OK)
        return NULL;
    blob_copy_out(&op->slab, ref, offset, op->scratch.bytes, size_bytes);
    return op->scratch.bytes;
}

int op_entry_too_large(const struct op_state *op, unsigned state, size_t size_bytes, struct weir_error *err)
{
    return error_set(err, WEIR_ELIMIT, "operator '%s': state '%s': an entry of %zu bytes, at most %d are possible",
                     op->name, op->states[state].name, size_bytes, WEIR_ENTRY_BYTES_MAX);
}

uint32_t op_next_version(struct op_state *op)
{
    do
        op->changes++;
    while ((op->changes & 0xffffff) == 0);
    return (uint32_t)op->changes;
}
