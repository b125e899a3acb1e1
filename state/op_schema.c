#include "base/bytes.h"
#include "state/op_internal.h"

#include <stdio.h>

/*
 * The stored form of an operator's declarations, little-endian: u16 version, u8 keyed, u8 0, u32 key_bytes, u32
 * range first, u64 range count, u32 count of states, then for each its name (u16 length, bytes), u8 kind, u8 scope,
 * u32 size, u32 version.
 */
#define SCHEMA_VERSION 1
#define SCHEMA_STATE_BYTES_MAX (2 + WEIR_NAME_BYTES_MAX + 10)
#define SCHEMA_BYTES_MAX (24 + WEIR_STATES_MAX * SCHEMA_STATE_BYTES_MAX)

/* Fixed values move out of a row that would take more than this, the largest first: a bucket should hold several
 * rows. */
#define ROW_BYTES_WANTED (CHUNK_BYTES / 8)

static const char *const kind_names[] = {[WEIR_VALUE] = "value", [WEIR_LIST] = "list", [WEIR_MAP] = "map"};
static const char *const scope_names[] = {[WEIR_PER_KEY] = "per key", [WEIR_PER_OPERATOR] = "per operator"};

/* ------------------------------------------------------------------------------------------------ declarations -- */

static int check_state(const struct op_state_config *config, const struct weir_state *state, struct weir_error *err)
{
    const char *name = state->name != NULL ? state->name : "";
    size_t length = strnlen(name, WEIR_NAME_BYTES_MAX + 1);
    if (length == 0 || length > WEIR_NAME_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "state '%.*s': its name has 1 to %d characters", WEIR_NAME_BYTES_MAX, name,
                         WEIR_NAME_BYTES_MAX);
    if ((unsigned)state->kind > WEIR_MAP || (unsigned)state->scope > WEIR_PER_OPERATOR)
        return error_set(err, WEIR_EINVAL, "state '%s': no such kind or scope", name);
    if (state->size_bytes > WEIR_VALUE_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "state '%s': a fixed value has at most %d bytes, not %u", name,
                         WEIR_VALUE_BYTES_MAX, state->size_bytes);
    if (state->kind != WEIR_VALUE && state->size_bytes != 0)
        return error_set(err, WEIR_EINVAL, "state '%s': size_bytes is for values only", name);
    if (state->scope == WEIR_PER_KEY && !config->keyed)
        return error_set(err, WEIR_EINVAL, "state '%s' is per key, but the operator's input has no keys", name);
    return WEIR_OK;
}

int op_schema_check(const struct op_state_config *config, struct weir_error *err)
{
    if (config->slot >= OP_STATE_SLOTS || config->state_count > WEIR_STATES_MAX)
        return error_set(err, WEIR_EINVAL, "at most %d states an operator and %d operators a task", WEIR_STATES_MAX,
                         OP_STATE_SLOTS);
    if (config->key_bytes > WEIR_KEY_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "keys of %u bytes: at most %d", config->key_bytes, WEIR_KEY_BYTES_MAX);
    for (uint32_t i = 0; i < config->state_count; i++) {
        int code = check_state(config, &config->states[i], err);
        if (code != WEIR_OK)
            return code;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(config->states[i].name, config->states[j].name) == 0)
                return error_set(err, WEIR_EINVAL, "two states have the name '%s'", config->states[i].name);
    }
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ rows ---------- */

static uint32_t field_bytes(const struct op_field *field)
{
    if (field->kind == WEIR_VALUE && field->size_bytes > 0)
        return field->out_of_line ? 8 : (uint32_t)align_up(field->size_bytes, 8);
    return 16;
}

/* Gives every field of a scope its place; returns the row's size. */
static uint32_t place_fields(struct op_state *op, enum weir_state_scope scope, uint32_t used_bytes)
{
    struct row_layout *layout = &op->layouts[scope];
    uint32_t offset = used_bytes;
    layout->has_mask = layout->field_count > 1;
    if (layout->has_mask) {
        layout->mask_offset = (uint32_t)align_up(offset, 4);
        offset = layout->mask_offset + 4;
    }
    offset = (uint32_t)align_up(offset, 8);
    for (uint32_t i = 0; i < op->state_count; i++) {
        struct op_field *field = &op->fields[i];
        if (field->scope != scope)
            continue;
        field->offset = offset;
        field->made_bit = layout->has_mask ? UINT32_C(1) << i : 0;
        offset += field_bytes(field);
    }
    return offset;
}

static struct op_field *largest_in_row(struct op_state *op, enum weir_state_scope scope)
{
    struct op_field *largest = NULL;
    for (uint32_t i = 0; i < op->state_count; i++) {
        struct op_field *field = &op->fields[i];
        if (field->scope == scope && field->kind == WEIR_VALUE && !field->out_of_line && field->size_bytes > 8 &&
            (largest == NULL || field->size_bytes > largest->size_bytes))
            largest = field;
    }
    return largest;
}

static void lay_out_scope(struct op_state *op, enum weir_state_scope scope, uint32_t used_bytes)
{
    struct row_layout *layout = &op->layouts[scope];
    layout->row_bytes = place_fields(op, scope, used_bytes);
    while (layout->row_bytes > ROW_BYTES_WANTED) {
        struct op_field *field = largest_in_row(op, scope);
        if (field == NULL)
            break;
        field->out_of_line = true;
        layout->row_bytes = place_fields(op, scope, used_bytes);
    }
}

int op_schema_lay_out(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    op->key_bytes_fixed = config->key_bytes;
    op->key_bytes = config->key_bytes <= OP_STATE_INLINE_KEY_BYTES ? config->key_bytes : 0;
    for (uint32_t i = 0; i < config->state_count; i++) {
        const struct weir_state *state = &config->states[i];
        op->fields[i] = (struct op_field){.kind = state->kind, .scope = state->scope, .size_bytes = state->size_bytes};
        op->layouts[state->scope].field_count++;
    }
    lay_out_scope(op, WEIR_PER_KEY, op->key_bytes != 0 ? op->key_bytes : (uint32_t)sizeof(struct row_key));
    lay_out_scope(op, WEIR_PER_OPERATOR, 0);
    for (uint32_t i = 0; i < config->state_count; i++) {
        struct op_field *field = &op->fields[i];
        field->plain = field->kind == WEIR_VALUE && field->scope == WEIR_PER_KEY && field->size_bytes > 0 &&
            !field->out_of_line &&
                       field->made_bit == 0 && op->key_bytes != 0;
    }
    uint32_t row_bytes = op->layouts[WEIR_PER_KEY].row_bytes;
    if (row_bytes > TABLE_ROW_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "the states of a key take %u bytes in a row, at most %u fit", row_bytes,
                         TABLE_ROW_BYTES_MAX);
    if (op->layouts[WEIR_PER_OPERATOR].row_bytes > SLAB_OBJECT_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "the states per operator take %u bytes, at most %u fit",
                         op->layouts[WEIR_PER_OPERATOR].row_bytes, SLAB_OBJECT_BYTES_MAX);
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ stored form --- */

static size_t encode(const struct op_state_config *config, void *bytes, size_t capacity)
{
    struct writer w = {.data = bytes, .capacity = capacity};
    writer_u16(&w, SCHEMA_VERSION);
    writer_u8(&w, config->keyed);
    writer_u8(&w, 0);
    writer_u32(&w, config->key_bytes);
    writer_u32(&w, config->range.first);
    writer_u64(&w, config->range.count);
    writer_u32(&w, config->state_count);
    for (uint32_t i = 0; i < config->state_count; i++) {
        writer_text(&w, config->states[i].name);
        writer_u8(&w, (uint8_t)config->states[i].kind);
        writer_u8(&w, (uint8_t)config->states[i].scope);
        writer_u32(&w, config->states[i].size_bytes);
        writer_u32(&w, config->states[i].version);
    }
    CHECK(!w.failed);
    return w.used;
}

int op_schema_store(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    unsigned char bytes[SCHEMA_BYTES_MAX];
    size_t size_bytes = encode(config, bytes, sizeof bytes);
    int code = chunk_reserve(op->region, slab_chunks_max(size_bytes) + OP_STEP_CHUNKS, err);
    if (code != WEIR_OK)
        return code;
    uint32_t ref = blob_alloc(&op->slab, size_bytes);
    blob_write(&op->slab, ref, 0, bytes, size_bytes);
    op_root_touch(op, offsetof(struct op_root, schema), sizeof(uint32_t))->schema = ref;
    return WEIR_OK;
}

struct stored_state {
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct weir_state state;
};

static void decode_state(struct reader *r, struct stored_state *ret_state)
{
    reader_text(r, ret_state->name, sizeof ret_state->name);
    ret_state->state.name = ret_state->name;
    unsigned kind = reader_u8(r);
    unsigned scope = reader_u8(r);
    ret_state->state.kind = (enum weir_state_kind)kind;
    ret_state->state.scope = (enum weir_state_scope)scope;
    ret_state->state.size_bytes = reader_u32(r);
    ret_state->state.version = reader_u32(r);
    if (kind > WEIR_MAP || scope > WEIR_PER_OPERATOR)
        r->failed = true;
}

static void describe(const struct weir_state *state, char *text, size_t capacity)
{
    char size[32] = "";
    if (state->kind == WEIR_VALUE && state->size_bytes > 0)
        snprintf(size, sizeof size, " of %u bytes", state->size_bytes);
    else if (state->kind == WEIR_VALUE)
        snprintf(size, sizeof size, " of varying size");
    snprintf(text, capacity, "a %s%s %s, version %u", kind_names[state->kind], size, scope_names[state->scope],
             state->version);
}

static int compare_state(const struct weir_state *stored, const struct weir_state *declared, uint32_t index,
                         struct weir_error *err)
{
    char was[128], is[128];
    describe(stored, was, sizeof was);
    describe(declared, is, sizeof is);
    if (strcmp(stored->name, declared->name) != 0)
        return error_set(err, WEIR_EMISMATCH, "state %u is stored as '%s' (%s), but declared as '%s' (%s)", index,
                         stored->name, was, declared->name, is);
    if (strcmp(was, is) != 0)
        return error_set(err, WEIR_EMISMATCH, "state '%s' is stored as %s, but declared as %s", stored->name, was, is);
    return WEIR_OK;
}

static int compare_keys(struct reader *r, const struct op_state_config *config, struct weir_error *err)
{
    bool keyed = reader_u8(r) != 0;
    reader_u8(r);
    uint32_t key_bytes = reader_u32(r);
    struct key_range range = {0};
    range.first = reader_u32(r);
    range.count = reader_u64(r);
    if (r->failed)
        return error_set(err, WEIR_ECORRUPT, "the stored declarations are cut short");
    if (keyed != config->keyed || key_bytes != config->key_bytes)
        return error_set(err, WEIR_EMISMATCH, "stored %s keys of %u bytes (0: varying), but declared %s keys of %u",
                         keyed ? "with" : "without", key_bytes, config->keyed ? "with" : "without", config->key_bytes);
    if (range.first != config->range.first || range.count != config->range.count)
        return error_set(err, WEIR_EMISMATCH, "stored for the key range %u+%llu, but this instance has %u+%llu",
                         range.first,
                         (unsigned long long)range.count, config->range.first, (unsigned long long)config->range.count);
    return WEIR_OK;
}

static int compare(struct reader *r, const struct op_state_config *config, struct weir_error *err)
{
    uint16_t version = reader_u16(r);
    if (version != SCHEMA_VERSION)
        return error_set(err, WEIR_EVERSION, "stored declarations of version %u, expected %u", version, SCHEMA_VERSION);
    int code = compare_keys(r, config, err);
    uint32_t stored_count = reader_u32(r);
    for (uint32_t i = 0; code == WEIR_OK && i < stored_count; i++) {
        struct stored_state stored = {0};
        decode_state(r, &stored);
        if (r->failed)
            return error_set(err, WEIR_ECORRUPT, "the stored declarations are damaged at state %u", i);
        if (i >= config->state_count)
            return error_set(err, WEIR_EMISMATCH, "state '%s' is stored, but not declared any more", stored.name);
        code = compare_state(&stored.state, &config->states[i], i, err);
    }
    if (code == WEIR_OK && stored_count < config->state_count)
        return error_set(err, WEIR_EMISMATCH, "state '%s' is declared, but not stored",
                         config->states[stored_count].name);
    return code;
}

int op_schema_compare(struct op_state *op, const struct op_state_config *config, struct weir_error *err)
{
    uint32_t ref = op_root(op)->schema;
    size_t size_bytes = blob_size(&op->slab, ref);
    if (size_bytes > SCHEMA_BYTES_MAX)
        return error_set(err, WEIR_ECORRUPT, "the stored declarations take %zu bytes, at most %d are possible",
                         size_bytes, (int)SCHEMA_BYTES_MAX);
    unsigned char bytes[SCHEMA_BYTES_MAX];
    blob_copy_out(&op->slab, ref, 0, bytes, size_bytes);
    struct reader r = {.data = bytes, .size_bytes = size_bytes};
    return compare(&r, config, err);
}
