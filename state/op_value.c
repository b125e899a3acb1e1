#include "state/op_internal.h"

#define HERE_BYTES_MAX 8 /* varying values up to this lie in the handle */

/* ------------------------------------------------------------------------------------------------ fixed size ---- */

static uint32_t out_of_line_ref(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    return *(const uint32_t *)op_field_read(op, field, row_pos);
}

/* Where a fixed value lies that was made. */
static uint64_t fixed_pos(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    return field->out_of_line ? slab_pos(out_of_line_ref(op, field, row_pos)) : row_pos + field->offset;
}

static bool needs_place(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    return field->out_of_line && out_of_line_ref(op, field, row_pos) == 0;
}

/* New rows and cleared fields are zero, so only what lies out of line has to be made. */
static void make_fixed(struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    if (needs_place(op, field, row_pos)) {
        uint32_t ref = slab_alloc(&op->slab, field->size_bytes);
        memset(slab_touch(&op->slab, ref, 0, field->size_bytes), 0, field->size_bytes);
        *(uint32_t *)op_field_touch(op, field, row_pos, sizeof ref) = ref;
    }
    if (field->made_bit != 0 && !op_field_made(op, field, row_pos)) {
        uint64_t mask_pos = row_pos + op->layouts[field->scope].mask_offset;
        *(uint32_t *)state_touch(op->region, mask_pos, sizeof(uint32_t)) |= field->made_bit;
    }
}

static const struct op_field *fixed_field_of(struct op_state *op, unsigned state, struct weir_error *err)
{
    const struct op_field *field = op_field_of(op, state, WEIR_VALUE, err);
    if (field == NULL || field->size_bytes > 0)
        return field;
    error_set(err, WEIR_EINVAL, "operator '%s': state '%s' varies in size: it is set, not changed in place", op->name,
              op->states[state].name);
    return NULL;
}

/* Any fixed value, however it is kept, and whether it is there or not. */
__attribute__((noinline)) static void *value_slowly(struct op_state *op, unsigned state, struct weir_error *err)
{
    const struct op_field *field = fixed_field_of(op, state, err);
    if (field == NULL)
        return NULL;
    uint64_t row_pos = 0;
    int code = op_row_find(op, field, &row_pos, err);
    bool there = code == WEIR_OK && op_field_made(op, field, row_pos) && !needs_place(op, field, row_pos);
    if (code >= 0) /* before the row is made: a failure must not leave one without anything in it */
        code = there ? chunk_reserve_writes(op->region, OP_STEP_CHUNKS, err)
                     : chunk_reserve(op->region, slab_chunks_max(field->size_bytes) + OP_STEP_CHUNKS, err);
    if (code == WEIR_OK)
        code = op_row_make(op, field, &row_pos, err);
    if (code != WEIR_OK)
        return NULL;
    make_fixed(op, field, row_pos);
    return state_touch(op->region, fixed_pos(op, field, row_pos), field->size_bytes);
}

/* The hot path of a keyed counter, apart: a row that is there, in a chunk that was written, with nothing to note
 * beside the value. */
void *op_state_value(struct op_state *op, unsigned state, struct weir_error *err)
{
    if (__builtin_expect(state >= op->state_count || !op->fields[state].plain || op->key == NULL, 0))
        return value_slowly(op, state, err);
    if (op->known == ROW_UNKNOWN || op->row_changes != op->keys.changes) {
        if (__builtin_expect(!table_find(&op->keys, op->key_hash, op->key, &op->row_pos), 0))
            return value_slowly(op, state, err);
        op->known = ROW_PRESENT;
        op->row_changes = op->keys.changes;
    }
    if (__builtin_expect(op->known != ROW_PRESENT || !chunk_is_written(op->region, state_pos_chunk(op->row_pos)), 0))
        return value_slowly(op, state, err);
    return state_touch(op->region, op->row_pos + op->fields[state].offset, op->fields[state].size_bytes);
}

/* ------------------------------------------------------------------------------------------------ many keys ----- */

/* Hashes that may have been seen: one bit each. */
#define SEEN_BITS 2048u
struct seen {
    uint64_t words[SEEN_BITS / 64];
};

/* Whether a hash may be among those asked for before; false is certain. */
static bool seen_before(struct seen *seen, uint64_t hash)
{
    uint64_t *word = &seen->words[hash % SEEN_BITS / 64];
    uint64_t bit = UINT64_C(1) << hash % 64;
    bool before = (*word & bit) != 0;
    *word |= bit;
    return before;
}

/* A key may come twice: the first makes its row. */
static int make_missing_rows(struct op_state *op, const struct weir_bytes *keys, const uint64_t *hashes, size_t count,
                             uint64_t *pos, struct weir_error *err)
{
    struct seen missing = {0};
    for (size_t i = 0; i < count; i++) {
        if (pos[i] != 0)
            continue;
        if (seen_before(&missing, hashes[i]) && table_find(&op->keys, hashes[i], keys[i].data, &pos[i]))
            continue;
        int code = op_row_insert(op, hashes[i], keys[i].data, &pos[i], err);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

/* The rows of all keys, made where there are none. Making one may move others: then all are found again. */
static int find_or_make_rows(struct op_state *op, const struct weir_bytes *keys, const uint64_t *hashes, size_t count,
                             uint64_t *ret_pos, struct weir_error *err)
{
    if (__builtin_expect(table_find_many(&op->keys, hashes, keys, count, ret_pos) == 0, 1))
        return WEIR_OK;
    uint64_t changes = op->keys.changes;
    int code = make_missing_rows(op, keys, hashes, count, ret_pos, err);
    if (code != WEIR_OK || op->keys.changes == changes)
        return code;
    CHECK(table_find_many(&op->keys, hashes, keys, count, ret_pos) == 0);
    return WEIR_OK;
}

/* After it, writing to these rows moves none of them. */
static int write_chunks_of(struct op_state *op, const uint64_t *pos, size_t count, struct weir_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_expect(chunk_is_written(op->region, state_pos_chunk(pos[i])), 1))
            continue;
        int code = chunk_reserve_writes(op->region, 1, err);
        if (code != WEIR_OK)
            return code;
        chunk_write(op->region, state_pos_chunk(pos[i]));
    }
    return WEIR_OK;
}

static int plain_values(struct op_state *op, unsigned state, const struct weir_bytes *keys, const uint64_t *hashes,
                        size_t count, void **ret_values, struct weir_error *err)
{
    uint64_t pos[WEIR_BATCH_RECORDS_MAX];
    const struct op_field *field = &op->fields[state];
    int code = find_or_make_rows(op, keys, hashes, count, pos, err);
    if (code == WEIR_OK)
        code = write_chunks_of(op, pos, count, err);
    if (code != WEIR_OK)
        return code;
    for (size_t i = 0; i < count; i++)
        ret_values[i] = (unsigned char *)chunk_write(op->region, state_pos_chunk(pos[i])) + state_pos_offset(pos[i]) + field->offset;
    state_before_changes(op->region, ret_values, count, field->size_bytes);
    return WEIR_OK;
}

/* Twice: the first round makes what is not there, after the second all addresses hold together. */
static int any_values(struct op_state *op, unsigned state, const struct weir_bytes *keys, const uint64_t *hashes,
                      size_t count, void **ret_values, struct weir_error *err)
{
    void *values[WEIR_BATCH_RECORDS_MAX];
    if (fixed_field_of(op, state, err) == NULL)
        return err->code;
    for (size_t i = 0; i < 2 * count; i++) {
        size_t at = i % count;
        op_state_set_key(op, keys[at].data, keys[at].size_bytes, hashes[at]);
        values[at] = value_slowly(op, state, err);
        if (values[at] == NULL)
            return err->code;
    }
    if (count > 0)
        memcpy(ret_values, values, count * sizeof *values);
    return WEIR_OK;
}

int op_state_values(struct op_state *op, unsigned state, const struct weir_bytes *keys, const uint64_t *hashes,
                    size_t count, void **ret_values, struct weir_error *err)
{
    struct weir_error local = {0};
    CHECK(count <= WEIR_BATCH_RECORDS_MAX);
    bool plain = state < op->state_count && op->fields[state].plain;
    int code = (plain ? plain_values : any_values)(op, state, keys, hashes, count, ret_values, err != NULL ? err : &local);
    op_state_unset_key(op);
    return code;
}

/* ------------------------------------------------------------------------------------------------ fixed size ---- */

static int set_fixed(struct op_state *op, unsigned state, const void *data, size_t size_bytes, struct weir_error *err)
{
    if (size_bytes != op->fields[state].size_bytes)
        return error_set(err, WEIR_EINVAL, "operator '%s': state '%s' has %u bytes, not %zu", op->name,
                         op->states[state].name, op->fields[state].size_bytes, size_bytes);
    struct weir_error local = {0};
    void *value = op_state_value(op, state, err != NULL ? err : &local);
    if (value == NULL)
        return err != NULL ? err->code : local.code;
    memmove(value, data, size_bytes);
    return WEIR_OK;
}

static int clear_fixed(struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    if (!op_field_made(op, field, row_pos))
        return WEIR_OK;
    if (field->made_bit != 0) {
        uint64_t mask_pos = row_pos + op->layouts[field->scope].mask_offset;
        *(uint32_t *)state_touch(op->region, mask_pos, sizeof(uint32_t)) &= ~field->made_bit;
    }
    if (field->out_of_line) {
        uint32_t ref = out_of_line_ref(op, field, row_pos);
        *(uint32_t *)op_field_touch(op, field, row_pos, sizeof ref) = 0;
        if (ref != 0)
            slab_free(&op->slab, ref);
    } else {
        memset(op_field_touch(op, field, row_pos, field->size_bytes), 0, field->size_bytes);
    }
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ varying ------- */

static uint32_t handle_ref(const struct value_handle *handle)
{
    return handle->size_bytes > HERE_BYTES_MAX ? handle->data.ref : 0;
}

static const struct value_handle *read_handle(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    return op_field_read(op, field, row_pos);
}

/* A blob that holds `data`: the old one where it has the size, or a new one. */
static uint32_t store_blob(struct op_state *op, uint32_t old_ref, const void *data, size_t size_bytes)
{
    uint32_t ref = old_ref != 0 && blob_size(&op->slab, old_ref) == size_bytes ? old_ref : blob_alloc(&op->slab,
                                                                                                      size_bytes);
    blob_write(&op->slab, ref, 0, data, size_bytes);
    if (old_ref != 0 && old_ref != ref)
        blob_free(&op->slab, old_ref);
    return ref;
}

static int set_varying(struct op_state *op, unsigned state, const void *data, size_t size_bytes, struct weir_error *err)
{
    const struct op_field *field = &op->fields[state];
    if (size_bytes > WEIR_ENTRY_BYTES_MAX)
        return op_entry_too_large(op, state, size_bytes, err);
    struct weir_bytes value = {data, size_bytes};
    int code = op_keep_args(op, &value, NULL, err);
    if (code == WEIR_OK)
        code = chunk_reserve(op->region, 2 * slab_chunks_max(size_bytes) + OP_STEP_CHUNKS, err);
    uint64_t row_pos = 0;
    if (code == WEIR_OK)
        code = op_row_make(op, field, &row_pos, err);
    if (code != WEIR_OK)
        return code;
    uint32_t old_ref = handle_ref(read_handle(op, field, row_pos));
    struct value_handle handle = {.made = 1, .size_bytes = (uint32_t)size_bytes};
    if (size_bytes > HERE_BYTES_MAX) {
        handle.data.ref = store_blob(op, old_ref, value.data, size_bytes);
    } else {
        if (size_bytes > 0)
            memcpy(handle.data.here, value.data, size_bytes);
        if (old_ref != 0)
            blob_free(&op->slab, old_ref);
    }
    *(struct value_handle *)op_field_touch(op, field, row_pos, sizeof handle) = handle;
    return WEIR_OK;
}

static int clear_varying(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err)
{
    uint32_t ref = handle_ref(read_handle(op, field, row_pos));
    if (ref != 0) {
        int code = chunk_reserve_writes(op->region, SLAB_FREE_CHUNKS + OP_STEP_CHUNKS, err);
        if (code != WEIR_OK)
            return code;
        blob_free(&op->slab, ref);
    }
    memset(op_field_touch(op, field, row_pos, sizeof(struct value_handle)), 0, sizeof(struct value_handle));
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ both ---------- */

static const void *get_in_row(struct op_state *op, const struct op_field *field, uint64_t row_pos,
                              size_t *ret_size_bytes,
                              struct weir_error *err)
{
    if (field->size_bytes > 0) {
        *ret_size_bytes = field->size_bytes;
        return state_read(op->region, fixed_pos(op, field, row_pos));
    }
    const struct value_handle *handle = read_handle(op, field, row_pos);
    *ret_size_bytes = handle->size_bytes;
    if (handle->size_bytes <= HERE_BYTES_MAX)
        return handle->data.here;
    return op_blob_view(op, handle->data.ref, 0, handle->size_bytes, err);
}

const void *op_state_value_get(struct op_state *op, unsigned state, size_t *ret_size_bytes, int *ret_code,
                               struct weir_error *err)
{
    uint64_t row_pos = 0;
    size_t size_bytes = 0;
    const struct op_field *field = op_field_of(op, state, WEIR_VALUE, err);
    int code = field != NULL ? op_row_find(op, field, &row_pos, err) : WEIR_EINVAL;
    if (code == WEIR_OK && !op_field_made(op, field, row_pos))
        code = WEIR_END;
    if (code != WEIR_OK) {
        *ret_code = code == WEIR_END ? WEIR_OK : code;
        return NULL;
    }
    const void *value = get_in_row(op, field, row_pos, &size_bytes, err);
    *ret_code = value != NULL ? WEIR_OK : WEIR_ENOMEM;
    if (value != NULL && ret_size_bytes != NULL)
        *ret_size_bytes = size_bytes;
    return value;
}

int op_state_value_set(struct op_state *op, unsigned state, const void *data, size_t size_bytes, struct weir_error *err)
{
    const struct op_field *field = op_field_of(op, state, WEIR_VALUE, err);
    if (field == NULL)
        return WEIR_EINVAL;
    if (field->size_bytes == 0)
        return set_varying(op, state, data, size_bytes, err);
    struct weir_bytes value = {data, size_bytes};
    int code = op_keep_args(op, &value, NULL, err);
    return code == WEIR_OK ? set_fixed(op, state, value.data, size_bytes, err) : code;
}

int op_value_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err)
{
    return field->size_bytes > 0 ? clear_fixed(op, field, row_pos) : clear_varying(op, field, row_pos, err);
}
