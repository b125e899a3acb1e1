#include "base/bytes.h"
#include "state/op_internal.h"

/*
 * A map's entries are blobs, doubly linked from the row's handle. A map of more than SCAN_MAX entries is indexed as
 * well: by rows (hash of map id and key, reference to the entry) in a table that all maps of the operator share.
 */
struct map_entry {
    uint64_t map_id; /* 0 while the map is not indexed */
    uint32_t prev, next;
    uint32_t key_bytes, value_bytes;
    /* the key, zeros up to a multiple of 8, the value */
};
_Static_assert(sizeof(struct map_entry) == 24, "map_entry is in the state image");

struct map_row {
    uint64_t hash;
    uint32_t entry;
    uint32_t reserved;
};
_Static_assert(sizeof(struct map_row) == 16, "map_row is in the state image");

#define SCAN_MAX 4
#define VERSION_BITS 24
#define VERSION_MASK ((UINT64_C(1) << VERSION_BITS) - 1)

struct map_iterator {
    uint64_t begun;
    uint64_t version;
    uint64_t next;  /* entry to give next */
    uint64_t given; /* entry given last */
};
_Static_assert(sizeof(struct map_iterator) <= sizeof(struct weir_iterator), "it fits the user's iterator");

/* A map of the current key, or of the operator, that an operation works on. */
struct map_at {
    const struct op_field *field;
    uint64_t row_pos;
    unsigned state;
};

static size_t value_offset(size_t key_bytes) { return sizeof(struct map_entry) + align_up(key_bytes, 8); }

static struct map_handle read_handle(const struct op_state *op, const struct map_at *at)
{
    return *(const struct map_handle *)op_field_read(op, at->field, at->row_pos);
}

static uint64_t map_id(const struct map_handle *handle) { return handle->id_version >> VERSION_BITS; }

static const struct map_entry *read_entry(const struct op_state *op, uint32_t ref)
{
    return blob_read(&op->slab, ref, 0);
}
static struct map_entry *touch_entry(struct op_state *op, uint32_t ref)
{
    return blob_touch(&op->slab, ref, 0, sizeof(struct map_entry));
}

/* Stores a handle, with a version of its own. */
static void change_handle(struct op_state *op, const struct map_at *at, struct map_handle handle)
{
    handle.id_version = (handle.id_version & ~VERSION_MASK) | (op_next_version(op) & VERSION_MASK);
    if (handle.head == 0)
        handle = (struct map_handle){0};
    *(struct map_handle *)op_field_touch(op, at->field, at->row_pos, sizeof handle) = handle;
}

/* ------------------------------------------------------------------------------------------------ finding ------- */

static uint64_t index_hash(uint64_t id, const void *key, size_t key_bytes)
{
    return XXH3_64bits_withSeed(key, key_bytes, id);
}

static bool entry_has_key(const struct op_state *op, uint32_t ref, const struct weir_bytes *key)
{
    return read_entry(op, ref)->key_bytes == key->size_bytes &&
           blob_equals(&op->slab, ref, sizeof(struct map_entry), key->data, key->size_bytes);
}

struct wanted_entry {
    const struct op_state *op;
    uint64_t id;
    const struct weir_bytes *key;
};

static bool row_matches(const void *arg, const void *row)
{
    const struct wanted_entry *wanted = arg;
    uint32_t ref = ((const struct map_row *)row)->entry;
    return read_entry(wanted->op, ref)->map_id == wanted->id && entry_has_key(wanted->op, ref, wanted->key);
}

static bool index_find(const struct op_state *op, uint64_t id, const struct weir_bytes *key, uint64_t *ret_pos)
{
    struct wanted_entry wanted = {op, id, key};
    return table_find_hashed(&op->maps, index_hash(id, key->data, key->size_bytes), row_matches, &wanted, ret_pos);
}

/* The entry of a key; 0: none. */
static uint32_t find_entry(const struct op_state *op, const struct map_handle *handle, const struct weir_bytes *key)
{
    uint64_t pos = 0;
    if (map_id(handle) != 0) {
        bool found = index_find(op, map_id(handle), key, &pos);
        return found ? ((const struct map_row *)state_read(op->region, pos))->entry : 0;
    }
    for (uint32_t ref = handle->head; ref != 0; ref = read_entry(op, ref)->next)
        if (entry_has_key(op, ref, key))
            return ref;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ index --------- */

static const void *entry_key(struct op_state *op, uint32_t ref, struct weir_error *err)
{
    return op_blob_view(op, ref, sizeof(struct map_entry), read_entry(op, ref)->key_bytes, err);
}

static int index_insert(struct op_state *op, uint64_t hash, uint32_t ref, struct weir_error *err)
{
    uint64_t pos = 0;
    int code = table_insert(&op->maps, hash, NULL, &pos, err);
    if (code == WEIR_OK)
        ((struct map_row *)state_touch(op->region, pos, sizeof(struct map_row)))->entry = ref;
    return code;
}

static bool row_is_of_entry(const void *arg, const void *row)
{
    return ((const struct map_row *)row)->entry == *(const uint32_t *)arg;
}

/* Takes an entry, given by the hash of its key, out of the index. */
static void index_remove(struct op_state *op, uint64_t hash, uint32_t ref)
{
    uint64_t pos = 0;
    if (table_find_hashed(&op->maps, hash, row_is_of_entry, &ref, &pos))
        table_remove(&op->maps, hash, pos);
}

/* Rows of all entries of a map, up to and without `end`, are put in or taken out. */
static int index_all(struct op_state *op, uint64_t id, uint32_t head, uint32_t *ret_failed, struct weir_error *err)
{
    for (uint32_t ref = head; ref != 0; ref = read_entry(op, ref)->next) {
        const void *key = entry_key(op, ref, err);
        int code = WEIR_ENOMEM;
        if (key != NULL)
            code = index_insert(op, index_hash(id, key, read_entry(op, ref)->key_bytes), ref, err);
        if (code != WEIR_OK) {
            *ret_failed = ref;
            return code;
        }
    }
    return WEIR_OK;
}

static void index_undo(struct op_state *op, uint64_t id, uint32_t head, uint32_t end)
{
    for (uint32_t ref = head; ref != end; ref = read_entry(op, ref)->next) {
        const void *key = entry_key(op, ref, NULL);
        CHECK(key != NULL); /* the scratch was large enough a moment ago */
        index_remove(op, index_hash(id, key, read_entry(op, ref)->key_bytes), ref);
    }
}

/* A map that grows beyond SCAN_MAX gets an id and is indexed. All or nothing. */
static int make_indexed(struct op_state *op, const struct map_at *at, struct weir_error *err)
{
    struct map_handle handle = read_handle(op, at);
    uint64_t id = op_root(op)->map_id_last + 1;
    uint32_t failed = 0;
    int code = chunk_reserve(op->region, SCAN_MAX + OP_STEP_CHUNKS, err);
    if (code == WEIR_OK)
        code = index_all(op, id, handle.head, &failed, err);
    else
        failed = handle.head;
    if (code != WEIR_OK) {
        index_undo(op, id, handle.head, failed);
        return code;
    }
    for (uint32_t ref = handle.head; ref != 0; ref = read_entry(op, ref)->next)
        touch_entry(op, ref)->map_id = id;
    op_root_touch(op, offsetof(struct op_root, map_id_last), sizeof(uint64_t))->map_id_last = id;
    handle.id_version |= id << VERSION_BITS;
    change_handle(op, at, handle);
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ writing ------- */

/* A new entry's bytes, linked nowhere. value NULL: zeros. */
static uint32_t make_entry(struct op_state *op, const struct map_entry *head, const void *key, const void *value)
{
    static const unsigned char zeros[8];
    size_t at_value = value_offset(head->key_bytes);
    uint32_t ref = blob_alloc(&op->slab, at_value + head->value_bytes);
    blob_write(&op->slab, ref, 0, head, sizeof *head);
    blob_write(&op->slab, ref, sizeof *head, key, head->key_bytes);
    blob_write(&op->slab, ref, sizeof *head + head->key_bytes, zeros, at_value - sizeof *head - head->key_bytes);
    if (value != NULL)
        blob_write(&op->slab, ref, at_value, value, head->value_bytes);
    else if (head->value_bytes > 0)
        memset(blob_touch(&op->slab, ref, at_value, head->value_bytes), 0, head->value_bytes);
    return ref;
}

static int add_entry(struct op_state *op, const struct map_at *at, const struct weir_bytes *key,
                     const struct weir_bytes *value,
                     uint32_t *ret_ref, struct weir_error *err)
{
    struct map_handle handle = read_handle(op, at);
    if (handle.count == UINT32_MAX)
        return error_set(err, WEIR_ELIMIT, "operator '%s': state '%s': a map has at most %u entries", op->name,
                         op->states[at->state].name, UINT32_MAX);
    if (map_id(&handle) == 0 && handle.count >= SCAN_MAX) {
        int code = make_indexed(op, at, err);
        if (code != WEIR_OK)
            return code;
        handle = read_handle(op, at);
    }
    uint64_t pos = 0;
    uint64_t id = map_id(&handle);
    if (id != 0) {
        int code = table_insert(&op->maps, index_hash(id, key->data, key->size_bytes), NULL, &pos, err);
        if (code != WEIR_OK)
            return code;
    }
    struct map_entry head = {.map_id = id, .next = handle.head, .key_bytes = (uint32_t)key->size_bytes,
                             .value_bytes = (uint32_t)value->size_bytes};
    uint32_t ref = make_entry(op, &head, key->data, value->data);
    if (handle.head != 0)
        touch_entry(op, handle.head)->prev = ref;
    if (id != 0)
        ((struct map_row *)state_touch(op->region, pos, sizeof(struct map_row)))->entry = ref;
    handle.head = ref;
    handle.count++;
    change_handle(op, at, handle);
    *ret_ref = ref;
    return WEIR_OK;
}

/* The entry gets a value of another size: a new blob takes its place. */
static void replace_entry(struct op_state *op, const struct map_at *at, uint32_t old, const struct weir_bytes *key,
                          const struct weir_bytes *value)
{
    struct map_handle handle = read_handle(op, at);
    struct map_entry head = *read_entry(op, old);
    head.value_bytes = (uint32_t)value->size_bytes;
    uint64_t pos = 0;
    bool indexed = map_id(&handle) != 0 && index_find(op, map_id(&handle), key, &pos);
    uint32_t ref = make_entry(op, &head, key->data, value->data);
    if (indexed)
        ((struct map_row *)state_touch(op->region, pos, sizeof(struct map_row)))->entry = ref;
    if (head.prev != 0)
        touch_entry(op, head.prev)->next = ref;
    else
        handle.head = ref;
    if (head.next != 0)
        touch_entry(op, head.next)->prev = ref;
    blob_free(&op->slab, old);
    change_handle(op, at, handle);
}

/* Makes the row, and reserves for one entry of these sizes. */
static int prepare_write(struct op_state *op, struct map_at *at, size_t size_bytes, struct weir_error *err)
{
    int code = chunk_reserve(op->region, 2 * slab_chunks_max(size_bytes) + 2 * OP_STEP_CHUNKS, err);
    return code == WEIR_OK ? op_row_make(op, at->field, &at->row_pos, err) : code;
}

/* A failure may leave a row in which nothing is. */
static int drop_row_after(struct op_state *op, const struct map_at *at, int code)
{
    if (code != WEIR_OK && !op_field_made(op, at->field, at->row_pos))
        op_row_drop_if_empty(op, at->field);
    return code;
}

int op_state_map_put(struct op_state *op, unsigned state, const void *key, size_t key_bytes, const void *value,
                     size_t value_bytes, struct weir_error *err)
{
    static const unsigned char nothing;
    struct map_at at = {.field = op_field_of(op, state, WEIR_MAP, err), .state = state};
    if (at.field == NULL)
        return WEIR_EINVAL;
    if (key_bytes > WEIR_ENTRY_BYTES_MAX || value_bytes > WEIR_ENTRY_BYTES_MAX - key_bytes)
        return op_entry_too_large(op, state, key_bytes + value_bytes, err);
    struct weir_bytes key_arg = {key, key_bytes};
    struct weir_bytes value_arg = {value_bytes > 0 ? value : &nothing, value_bytes};
    int code = op_keep_args(op, &key_arg, &value_arg, err);
    if (code == WEIR_OK)
        code = prepare_write(op, &at, value_offset(key_bytes) + value_bytes, err);
    if (code != WEIR_OK)
        return code;
    struct map_handle handle = read_handle(op, &at);
    uint32_t ref = find_entry(op, &handle, &key_arg);
    if (ref == 0)
        return drop_row_after(op, &at, add_entry(op, &at, &key_arg, &value_arg, &ref, err));
    if (read_entry(op, ref)->value_bytes == value_bytes) {
        blob_write(&op->slab, ref, value_offset(key_bytes), value_arg.data, value_bytes);
        change_handle(op, &at, handle);
    } else {
        replace_entry(op, &at, ref, &key_arg, &value_arg);
    }
    return WEIR_OK;
}

static int check_in_place(const struct op_state *op, unsigned state, uint32_t ref, size_t value_bytes,
                          struct weir_error *err)
{
    uint32_t is_bytes = read_entry(op, ref)->value_bytes;
    if (is_bytes == value_bytes && blob_in_one_piece(&op->slab, ref))
        return WEIR_OK;
    return error_set(err, WEIR_EINVAL, "operator '%s': state '%s': the entry's value has %u bytes, not %zu", op->name,
                     op->states[state].name, is_bytes, value_bytes);
}

void *op_state_map_value(struct op_state *op, unsigned state, const void *key, size_t key_bytes, size_t value_bytes,
                         struct weir_error *err)
{
    struct map_at at = {.field = op_field_of(op, state, WEIR_MAP, err), .state = state};
    if (at.field == NULL)
        return NULL;
    if (key_bytes > WEIR_VALUE_BYTES_MAX || value_bytes > WEIR_VALUE_BYTES_MAX - key_bytes ||
        value_offset(key_bytes) + value_bytes > BLOB_PIECE_BYTES_MAX) {
        error_set(err, WEIR_ELIMIT,
                  "operator '%s': state '%s': an entry of %zu bytes is too large to be changed in place (%d)",
                  op->name, op->states[state].name, key_bytes + value_bytes, WEIR_VALUE_BYTES_MAX);
        return NULL;
    }
    struct weir_bytes key_arg = {key, key_bytes};
    struct weir_bytes zeros = {NULL, value_bytes};
    int code = op_keep_args(op, &key_arg, NULL, err);
    if (code == WEIR_OK)
        code = prepare_write(op, &at, value_offset(key_bytes) + value_bytes, err);
    if (code != WEIR_OK)
        return NULL;
    struct map_handle handle = read_handle(op, &at);
    uint32_t ref = find_entry(op, &handle, &key_arg);
    if (ref == 0)
        code = drop_row_after(op, &at, add_entry(op, &at, &key_arg, &zeros, &ref, err));
    else
        code = check_in_place(op, state, ref, value_bytes, err);
    if (code != WEIR_OK)
        return NULL;
    if (value_bytes == 0) /* may lie behind the end of the chunk: nothing to touch there */
        return (unsigned char *)touch_entry(op, ref) + value_offset(key_bytes);
    return blob_touch(&op->slab, ref, value_offset(key_bytes), value_bytes);
}

/* ------------------------------------------------------------------------------------------------ reading ------- */

const void *op_state_map_get(struct op_state *op, unsigned state, const void *key, size_t key_bytes,
                             size_t *ret_value_bytes,
                             int *ret_code, struct weir_error *err)
{
    struct map_at at = {.field = op_field_of(op, state, WEIR_MAP, err), .state = state};
    int code = at.field != NULL ? op_row_find(op, at.field, &at.row_pos, err) : WEIR_EINVAL;
    *ret_code = code < 0 ? code : WEIR_OK;
    if (code != WEIR_OK)
        return NULL;
    struct map_handle handle = read_handle(op, &at);
    uint32_t ref = find_entry(op, &handle, &(struct weir_bytes){key, key_bytes});
    if (ref == 0)
        return NULL;
    size_t value_bytes = read_entry(op, ref)->value_bytes;
    const void *value = op_blob_view(op, ref, value_offset(key_bytes), value_bytes, err);
    *ret_code = value != NULL ? WEIR_OK : WEIR_ENOMEM;
    if (value != NULL && ret_value_bytes != NULL)
        *ret_value_bytes = value_bytes;
    return value;
}

/* ------------------------------------------------------------------------------------------------ removing ------ */

/* The records of removals, so that an iterator knows that the only change since was the removal of the entry it
 * gave. One slot for each state and a few keys; one that is overwritten too early ends an iteration that need not
 * have ended. */
static struct map_removal *removal_slot(struct op_state *op, const struct map_at *at)
{
    uint64_t hash = at->field->scope == WEIR_PER_KEY ? op->key_hash : 0;
    return &op->removals[at->state][(hash ^ hash >> 32) % REMOVALS];
}

static uint64_t version_of(const struct map_handle *handle) { return handle->id_version & VERSION_MASK; }

/* Chunks for which remove_entry() must have reserved. */
#define REMOVE_ENTRY_CHUNKS (SLAB_FREE_CHUNKS + TABLE_REMOVE_CHUNKS + OP_STEP_CHUNKS)

static int remove_entry(struct op_state *op, const struct map_at *at, uint32_t ref, struct weir_error *err)
{
    struct map_handle handle = read_handle(op, at);
    struct map_entry entry = *read_entry(op, ref);
    uint64_t version_before = version_of(&handle);
    if (entry.map_id != 0) {
        const void *key = entry_key(op, ref, err);
        if (key == NULL)
            return WEIR_ENOMEM;
        index_remove(op, index_hash(entry.map_id, key, entry.key_bytes), ref);
    }
    if (entry.prev != 0)
        touch_entry(op, entry.prev)->next = entry.next;
    else
        handle.head = entry.next;
    if (entry.next != 0)
        touch_entry(op, entry.next)->prev = entry.prev;
    blob_free(&op->slab, ref);
    handle.count--;
    change_handle(op, at, handle);
    handle = read_handle(op, at);
    *removal_slot(op, at) = (struct map_removal){version_before, version_of(&handle), ref};
    return WEIR_OK;
}

int op_state_map_remove(struct op_state *op, unsigned state, const void *key, size_t key_bytes, struct weir_error *err)
{
    struct map_at at = {.field = op_field_of(op, state, WEIR_MAP, err), .state = state};
    int code = at.field != NULL ? op_row_find(op, at.field, &at.row_pos, err) : WEIR_EINVAL;
    if (code != WEIR_OK)
        return code;
    struct map_handle handle = read_handle(op, &at);
    uint32_t ref = find_entry(op, &handle, &(struct weir_bytes){key, key_bytes});
    if (ref == 0)
        return WEIR_END;
    code = chunk_reserve_writes(op->region, REMOVE_ENTRY_CHUNKS + TABLE_REMOVE_CHUNKS, err);
    if (code == WEIR_OK)
        code = remove_entry(op, &at, ref, err);
    if (code == WEIR_OK && handle.count == 1)
        op_row_drop_if_empty(op, at.field);
    return code;
}

int op_map_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err)
{
    struct map_at at = {.field = field, .row_pos = row_pos, .state = (unsigned)(field - op->fields)};
    for (;;) {
        struct map_handle handle = read_handle(op, &at);
        if (handle.head == 0)
            return WEIR_OK;
        int code = chunk_reserve_writes(op->region, REMOVE_ENTRY_CHUNKS, err);
        if (code == WEIR_OK)
            code = remove_entry(op, &at, handle.head, err);
        if (code != WEIR_OK)
            return code;
    }
}

/* ------------------------------------------------------------------------------------------------ iterating ----- */

static bool is_own_removal(struct op_state *op, const struct map_at *at, const struct map_iterator *iterator,
                           uint64_t version)
{
    const struct map_removal *removal = removal_slot(op, at);
    return removal->entry == iterator->given && removal->version_before == iterator->version &&
        removal->version_after == version;
}

static int give(struct op_state *op, struct map_iterator *iterator, struct weir_bytes *ret_key,
                struct weir_bytes *ret_value,
                struct weir_error *err)
{
    uint32_t ref = (uint32_t)iterator->next;
    struct map_entry entry = *read_entry(op, ref);
    size_t at_value = value_offset(entry.key_bytes);
    const unsigned char *bytes = op_blob_view(op, ref, 0, at_value + entry.value_bytes, err);
    if (bytes == NULL)
        return WEIR_ENOMEM;
    *ret_key = (struct weir_bytes){bytes + sizeof entry, entry.key_bytes};
    *ret_value = (struct weir_bytes){bytes + at_value, entry.value_bytes};
    iterator->given = ref;
    iterator->next = entry.next;
    return WEIR_OK;
}

int op_state_map_next(struct op_state *op, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_key,
                      struct weir_bytes *ret_value, struct weir_error *err)
{
    struct map_at at = {.field = op_field_of(op, state, WEIR_MAP, err), .state = state};
    int code = at.field != NULL ? op_row_find(op, at.field, &at.row_pos, err) : WEIR_EINVAL;
    if (code < 0)
        return code;
    struct map_handle handle = {0};
    if (code == WEIR_OK)
        handle = read_handle(op, &at);
    struct map_iterator position;
    memcpy(&position, iterator->opaque, sizeof position);
    if (position.begun == 0)
        position = (struct map_iterator){.begun = 1, .version = version_of(&handle), .next = handle.head};
    if (position.version != version_of(&handle)) {
        if (!is_own_removal(op, &at, &position, version_of(&handle)))
            return error_set(err, WEIR_EINVAL, "operator '%s': the map '%s' was changed while it was iterated",
                             op->name, op->states[state].name);
        position.version = version_of(&handle);
    }
    code = position.next != 0 ? give(op, &position, ret_key, ret_value, err) : WEIR_END;
    memcpy(iterator->opaque, &position, sizeof position);
    return code;
}
