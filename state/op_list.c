#include "base/bytes.h"
#include "state/op_internal.h"

/* A list is a chain of nodes; a node is a slab object that holds elements behind one another. Nodes double in size
 * up to half a chunk, so that a short list takes little and a long one is read in order. Large elements are blobs. */
struct list_node {
    uint32_t next;
    uint16_t used_bytes, capacity_bytes; /* of the elements */
    /* where the first element that is left begins, while the list is being cleared */
    uint16_t first_bytes;
    uint16_t blob_count;
    uint32_t reserved;
};
_Static_assert(sizeof(struct list_node) == 16, "list_node is in the state image");

struct list_element {
    uint32_t size_bytes;
    uint32_t ref; /* blob; 0: the bytes follow, up to a multiple of 8 */
};
_Static_assert(sizeof(struct list_element) == 8, "list_element is in the state image");

#define NODE_BYTES_MIN 64u
#define NODE_BYTES_MAX (CHUNK_BYTES / 2 - 16)
#define HERE_BYTES_MAX (CHUNK_BYTES / 4) /* elements up to this lie in the node */

/* What a struct weir_iterator holds. */
struct list_iterator {
    uint64_t begun;
    uint64_t version;
    uint64_t node, offset;
};
_Static_assert(sizeof(struct list_iterator) <= sizeof(struct weir_iterator), "it fits the user's iterator");

static const struct list_node *read_node(const struct op_state *op, uint32_t ref) { return slab_read(&op->slab, ref); }
static struct list_node *touch_node(struct op_state *op, uint32_t ref)
{
    return slab_touch(&op->slab, ref, 0, sizeof(struct list_node));
}

/* ------------------------------------------------------------------------------------------------ append -------- */

static uint32_t element_bytes(size_t size_bytes)
{
    return (uint32_t)(sizeof(struct list_element) + (size_bytes <= HERE_BYTES_MAX ? align_up(size_bytes, 8) : 0));
}

static bool node_has_room(const struct list_node *node, uint32_t size_bytes)
{
    return (uint32_t)node->capacity_bytes - node->used_bytes >= size_bytes;
}

/* A node twice as large as the one before it, or as large as the element needs. */
static uint32_t make_node(struct op_state *op, uint32_t before, uint32_t size_bytes)
{
    uint32_t node_bytes = NODE_BYTES_MIN;
    if (before != 0)
        node_bytes =
            (uint32_t)u64_min(2 * (read_node(op, before)->capacity_bytes + (uint32_t)sizeof(struct list_node)),
                              NODE_BYTES_MAX);
    node_bytes = (uint32_t)u64_max(node_bytes, size_bytes + sizeof(struct list_node));
    uint32_t ref = slab_alloc(&op->slab, node_bytes);
    uint32_t capacity_bytes = slab_object_bytes(&op->slab, ref) - (uint32_t)sizeof(struct list_node);
    *touch_node(op, ref) = (struct list_node){.capacity_bytes = (uint16_t)capacity_bytes};
    if (before != 0)
        touch_node(op, before)->next = ref;
    return ref;
}

static void put_element(struct op_state *op, uint32_t ref, const struct weir_bytes *data)
{
    uint32_t used_bytes = read_node(op, ref)->used_bytes;
    uint32_t size_bytes = element_bytes(data->size_bytes);
    struct list_element element = {.size_bytes = (uint32_t)data->size_bytes};
    if (data->size_bytes > HERE_BYTES_MAX) {
        element.ref = blob_alloc(&op->slab, data->size_bytes);
        blob_write(&op->slab, element.ref, 0, data->data, data->size_bytes);
        touch_node(op, ref)->blob_count++;
    }
    unsigned char *to = slab_touch(&op->slab, ref, sizeof(struct list_node) + used_bytes, size_bytes);
    memcpy(to, &element, sizeof element);
    if (element.ref == 0 && data->size_bytes > 0)
        memcpy(to + sizeof element, data->data, data->size_bytes);
    touch_node(op, ref)->used_bytes = (uint16_t)(used_bytes + size_bytes);
}

static void append(struct op_state *op, const struct op_field *field, uint64_t row_pos, const struct weir_bytes *data)
{
    struct list_handle handle = *(const struct list_handle *)op_field_read(op, field, row_pos);
    if (handle.tail == 0 || !node_has_room(read_node(op, handle.tail), element_bytes(data->size_bytes)))
        handle.tail = make_node(op, handle.tail, element_bytes(data->size_bytes));
    if (handle.head == 0)
        handle.head = handle.tail;
    put_element(op, handle.tail, data);
    handle.count++;
    handle.version = op_next_version(op);
    *(struct list_handle *)op_field_touch(op, field, row_pos, sizeof handle) = handle;
}

int op_state_list_append(struct op_state *op, unsigned state, const void *data, size_t size_bytes,
                         struct weir_error *err)
{
    const struct op_field *field = op_field_of(op, state, WEIR_LIST, err);
    if (field == NULL)
        return WEIR_EINVAL;
    if (size_bytes > WEIR_ENTRY_BYTES_MAX)
        return op_entry_too_large(op, state, size_bytes, err);
    struct weir_bytes element = {data, size_bytes};
    uint64_t row_pos = 0;
    int code = op_keep_args(op, &element, NULL, err);
    if (code == WEIR_OK)
        code = chunk_reserve(op->region,
                             slab_chunks_max(size_bytes) + slab_chunks_max(NODE_BYTES_MAX) + OP_STEP_CHUNKS, err);
    if (code == WEIR_OK)
        code = op_row_make(op, field, &row_pos, err);
    if (code != WEIR_OK)
        return code;
    if (((const struct list_handle *)op_field_read(op, field, row_pos))->count == UINT32_MAX)
        return error_set(err, WEIR_ELIMIT, "operator '%s': state '%s': a list has at most %u elements", op->name,
                         op->states[state].name, UINT32_MAX);
    append(op, field, row_pos, &element);
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ iterate ------- */

static void begin(const struct op_state *op, const struct list_handle *handle, struct list_iterator *ret_iterator)
{
    *ret_iterator = (struct list_iterator){.begun = 1, .version = handle->version, .node = handle->head};
    if (handle->head != 0)
        ret_iterator->offset = read_node(op, handle->head)->first_bytes;
}

/* Moves over the end of a node; false at the end of the list. */
static bool settle(const struct op_state *op, struct list_iterator *iterator)
{
    while (iterator->node != 0) {
        const struct list_node *node = read_node(op, (uint32_t)iterator->node);
        if (iterator->offset < node->used_bytes)
            return true;
        iterator->node = node->next;
        iterator->offset = node->next != 0 ? read_node(op, node->next)->first_bytes : 0;
    }
    return false;
}

static int give(struct op_state *op, struct list_iterator *iterator, struct weir_bytes *ret_element,
                struct weir_error *err)
{
    const unsigned char *at =
        (const unsigned char *)read_node(op, (uint32_t)iterator->node) + sizeof(struct list_node) + iterator->offset;
    struct list_element element;
    memcpy(&element, at, sizeof element);
    const void *data = at + sizeof element;
    if (element.ref != 0)
        data = op_blob_view(op, element.ref, 0, element.size_bytes, err);
    if (data == NULL)
        return WEIR_ENOMEM;
    *ret_element = (struct weir_bytes){data, element.size_bytes};
    iterator->offset += element_bytes(element.size_bytes);
    return WEIR_OK;
}

int op_state_list_next(struct op_state *op, unsigned state, struct weir_iterator *iterator,
                       struct weir_bytes *ret_element,
                       struct weir_error *err)
{
    const struct op_field *field = op_field_of(op, state, WEIR_LIST, err);
    uint64_t row_pos = 0;
    int code = field != NULL ? op_row_find(op, field, &row_pos, err) : WEIR_EINVAL;
    if (code < 0)
        return code;
    struct list_handle handle = {0};
    if (code == WEIR_OK)
        handle = *(const struct list_handle *)op_field_read(op, field, row_pos);
    struct list_iterator at;
    memcpy(&at, iterator->opaque, sizeof at);
    if (at.begun == 0)
        begin(op, &handle, &at);
    if (at.version != handle.version)
        return error_set(err, WEIR_EINVAL, "operator '%s': the list '%s' was changed while it was iterated", op->name,
                         op->states[state].name);
    code = settle(op, &at) ? give(op, &at, ret_element, err) : WEIR_END;
    memcpy(iterator->opaque, &at, sizeof at);
    return code;
}

/* ------------------------------------------------------------------------------------------------ clear --------- */

/* The blob of the first element that is left in a node, if it has one, is freed, and the element is gone. */
static void drop_first_element(struct op_state *op, uint32_t ref)
{
    const struct list_node *node = read_node(op, ref);
    struct list_element element;
    memcpy(&element, (const unsigned char *)node + sizeof *node + node->first_bytes, sizeof element);
    struct list_node *touched = touch_node(op, ref);
    touched->first_bytes = (uint16_t)(touched->first_bytes + element_bytes(element.size_bytes));
    if (element.ref != 0) {
        touched->blob_count--;
        blob_free(&op->slab, element.ref);
    }
}

/* One element with a blob, or one node without. */
static void clear_step(struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    struct list_handle handle = *(const struct list_handle *)op_field_read(op, field, row_pos);
    const struct list_node *node = read_node(op, handle.head);
    uint32_t ref = handle.head;
    if (node->blob_count > 0) {
        drop_first_element(op, ref);
        handle.count--;
    } else {
        uint32_t next = node->next;
        for (uint32_t at = node->first_bytes; at < node->used_bytes; handle.count--) {
            struct list_element element;
            memcpy(&element, (const unsigned char *)node + sizeof *node + at, sizeof element);
            at += element_bytes(element.size_bytes);
        }
        slab_free(&op->slab, ref);
        handle.head = next;
    }
    handle.version = op_next_version(op);
    if (handle.head == 0)
        handle = (struct list_handle){0};
    *(struct list_handle *)op_field_touch(op, field, row_pos, sizeof handle) = handle;
}

int op_list_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err)
{
    while (((const struct list_handle *)op_field_read(op, field, row_pos))->head != 0) {
        int code = chunk_reserve_writes(op->region, 2 * SLAB_FREE_CHUNKS + OP_STEP_CHUNKS, err);
        if (code != WEIR_OK)
            return code;
        clear_step(op, field, row_pos);
    }
    return WEIR_OK;
}
