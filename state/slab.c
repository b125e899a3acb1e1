#include "state/slab.h"

#include "base/bytes.h"

#define UNITS_PER_CHUNK (CHUNK_BYTES / SLAB_UNIT_BYTES)
#define PAYLOAD_UNITS (UNITS_PER_CHUNK - 1)

/* The first unit of a chunk of objects. Offsets in it count units from the chunk's start; 0 is none. */
struct slab_chunk {
    uint32_t next, prev;   /* in the class's list of chunks with room; 0 ends it */
    uint16_t class_index;
    uint16_t used_count;
    uint16_t free_offset;  /* list of freed objects, through their first two bytes */
    uint16_t fresh_offset; /* objects at and above it were never used */
};
_Static_assert(sizeof(struct slab_chunk) == SLAB_UNIT_BYTES, "slab_chunk is in the state image");
_Static_assert(UNITS_PER_CHUNK <= UINT16_MAX, "offsets are 16 bits");

static void add_class(struct slab *slab, uint32_t units)
{
    if (slab->class_count > 0 && slab->class_units[slab->class_count - 1] >= units)
        return;
    CHECK(slab->class_count < SLAB_CLASSES_MAX);
    slab->class_units[slab->class_count++] = (uint16_t)units;
}

/* Four classes a doubling (at most a fifth wasted), then the fractions of a chunk that leave no remainder. */
static void make_classes(struct slab *slab)
{
    uint32_t step = 1;
    for (uint32_t units = 1; units < PAYLOAD_UNITS / 4; units += step) {
        add_class(slab, units);
        if (units >= 8 * step)
            step *= 2;
    }
    for (uint32_t count = 4; count > 0; count--)
        add_class(slab, PAYLOAD_UNITS / count);
    uint32_t class_index = 0;
    for (uint32_t units = 0; units < UNITS_PER_CHUNK; units++) {
        if (units > slab->class_units[class_index])
            class_index++;
        slab->class_of_units[units] = (uint8_t)class_index;
    }
}

void slab_init(struct slab *slab, struct chunk_region *region, uint64_t root_pos)
{
    *slab = (struct slab){.region = region, .root_pos = root_pos};
    make_classes(slab);
}

uint32_t slab_chunks_max(size_t size_bytes)
{
    return (uint32_t)(size_bytes / BLOB_PIECE_BYTES_MAX) + 1 + SLAB_FREE_CHUNKS;
}

static const struct slab_chunk *chunk_head(const struct slab *slab, uint32_t chunk)
{
    return state_read(slab->region, state_pos(chunk, 0));
}

static struct slab_chunk *touch_head(struct slab *slab, uint32_t chunk)
{
    return state_touch(slab->region, state_pos(chunk, 0), sizeof(struct slab_chunk));
}

static uint32_t *touch_partial(struct slab *slab, uint32_t class_index)
{
    return state_touch(slab->region, slab->root_pos + class_index * sizeof(uint32_t), sizeof(uint32_t));
}

static uint32_t partial(const struct slab *slab, uint32_t class_index)
{
    return ((const struct slab_root *)state_read(slab->region, slab->root_pos))->partial[class_index];
}

static bool is_full(const struct slab *slab, const struct slab_chunk *head)
{
    return head->free_offset == 0 && head->fresh_offset + slab->class_units[head->class_index] > (int)UNITS_PER_CHUNK;
}

static void link_partial(struct slab *slab, uint32_t chunk)
{
    struct slab_chunk *head = touch_head(slab, chunk);
    uint32_t first = partial(slab, head->class_index);
    head->next = first;
    head->prev = 0;
    *touch_partial(slab, head->class_index) = chunk;
    if (first != 0)
        touch_head(slab, first)->prev = chunk;
}

static void unlink_partial(struct slab *slab, uint32_t chunk)
{
    struct slab_chunk head = *chunk_head(slab, chunk);
    if (head.prev != 0)
        touch_head(slab, head.prev)->next = head.next;
    else
        *touch_partial(slab, head.class_index) = head.next;
    if (head.next != 0)
        touch_head(slab, head.next)->prev = head.prev;
}

static uint32_t add_chunk(struct slab *slab, uint32_t class_index)
{
    uint32_t chunk = chunk_alloc(slab->region);
    *touch_head(slab, chunk) = (struct slab_chunk){.class_index = (uint16_t)class_index, .fresh_offset = 1};
    return chunk;
}

/* The offset, in units, of an object that was free. */
static uint32_t take_object(struct slab *slab, uint32_t chunk)
{
    struct slab_chunk *head = touch_head(slab, chunk);
    uint32_t offset = head->free_offset;
    if (offset != 0) {
        memcpy(&head->free_offset, state_read(slab->region, state_pos(chunk, offset * SLAB_UNIT_BYTES)),
               sizeof head->free_offset);
    } else {
        offset = head->fresh_offset;
        head->fresh_offset = (uint16_t)(offset + slab->class_units[head->class_index]);
    }
    head->used_count++;
    return offset;
}

uint32_t slab_alloc(struct slab *slab, size_t size_bytes)
{
    CHECK(size_bytes >= 1 && size_bytes <= SLAB_OBJECT_BYTES_MAX);
    uint32_t class_index = slab->class_of_units[(size_bytes + SLAB_UNIT_BYTES - 1) / SLAB_UNIT_BYTES];
    uint32_t chunk = partial(slab, class_index);
    bool linked = chunk != 0;
    if (!linked)
        chunk = add_chunk(slab, class_index);
    uint32_t offset = take_object(slab, chunk);
    bool full = is_full(slab, chunk_head(slab, chunk));
    if (full && linked)
        unlink_partial(slab, chunk);
    else if (!full && !linked)
        link_partial(slab, chunk);
    return chunk * UNITS_PER_CHUNK + offset;
}

void slab_free(struct slab *slab, uint32_t ref)
{
    uint32_t chunk = ref / UNITS_PER_CHUNK;
    const struct slab_chunk *before = chunk_head(slab, chunk);
    CHECK(ref != 0 && before->used_count > 0 && ref % UNITS_PER_CHUNK != 0);
    bool was_full = is_full(slab, before);
    if (before->used_count == 1) {
        if (!was_full)
            unlink_partial(slab, chunk);
        chunk_free(slab->region, chunk);
        return;
    }
    struct slab_chunk *head = touch_head(slab, chunk);
    memcpy(slab_touch(slab, ref, 0, sizeof head->free_offset), &head->free_offset, sizeof head->free_offset);
    head->free_offset = (uint16_t)(ref % UNITS_PER_CHUNK);
    head->used_count--;
    if (was_full)
        link_partial(slab, chunk);
}

uint32_t slab_object_bytes(const struct slab *slab, uint32_t ref)
{
    return slab->class_units[chunk_head(slab, ref / UNITS_PER_CHUNK)->class_index] * SLAB_UNIT_BYTES;
}

/* ------------------------------------------------------------------------------------------------ blobs --------- */

static size_t piece_bytes(size_t rest_bytes)
{
    return rest_bytes < BLOB_PIECE_BYTES_MAX ? rest_bytes : BLOB_PIECE_BYTES_MAX;
}

uint32_t blob_alloc(struct slab *slab, size_t size_bytes)
{
    uint32_t first = 0;
    uint32_t last = 0;
    size_t rest_bytes = size_bytes;
    do {
        size_t size_here = piece_bytes(rest_bytes);
        uint32_t ref = slab_alloc(slab, BLOB_HEADER_BYTES + size_here);
        struct blob_header *header = slab_touch(slab, ref, 0, sizeof *header);
        *header = (struct blob_header){.size_bytes = (uint32_t)rest_bytes};
        if (first == 0)
            first = ref;
        else
            ((struct blob_header *)slab_touch(slab, last, 0, sizeof *header))->next = ref;
        last = ref;
        rest_bytes -= size_here;
    } while (rest_bytes > 0);
    return first;
}

void blob_free(struct slab *slab, uint32_t ref)
{
    while (ref != 0) {
        uint32_t next = ((const struct blob_header *)slab_read(slab, ref))->next;
        slab_free(slab, ref);
        ref = next;
    }
}

/* Walks the pieces that [offset, offset + size_bytes) lies in. */
struct blob_walk {
    uint32_t ref;
    size_t offset; /* in the piece */
    size_t rest_bytes;
};

/* The piece to work on now and how much of it; 0 at the end. */
static size_t walk_here(const struct slab *slab, struct blob_walk *walk)
{
    while (walk->rest_bytes > 0) {
        const struct blob_header *header = slab_read(slab, walk->ref);
        size_t size_bytes = piece_bytes(header->size_bytes);
        if (walk->offset < size_bytes) {
            size_t here = size_bytes - walk->offset;
            return here < walk->rest_bytes ? here : walk->rest_bytes;
        }
        walk->offset -= size_bytes;
        walk->ref = header->next;
        CHECK(walk->ref != 0);
    }
    return 0;
}

void blob_write(struct slab *slab, uint32_t ref, size_t offset, const void *data, size_t size_bytes)
{
    struct blob_walk walk = {ref, offset, size_bytes};
    const unsigned char *from = data;
    for (size_t here; (here = walk_here(slab, &walk)) > 0;) {
        /* the bytes may come from the blob itself */
        memmove(blob_touch(slab, walk.ref, walk.offset, here), from, here);
        from += here;
        walk.offset += here;
        walk.rest_bytes -= here;
    }
}

void blob_copy_out(const struct slab *slab, uint32_t ref, size_t offset, void *data, size_t size_bytes)
{
    struct blob_walk walk = {ref, offset, size_bytes};
    unsigned char *to = data;
    for (size_t here; (here = walk_here(slab, &walk)) > 0;) {
        memcpy(to, blob_read(slab, walk.ref, walk.offset), here);
        to += here;
        walk.offset += here;
        walk.rest_bytes -= here;
    }
}

bool blob_equals(const struct slab *slab, uint32_t ref, size_t offset, const void *data, size_t size_bytes)
{
    struct blob_walk walk = {ref, offset, size_bytes};
    const unsigned char *with = data;
    for (size_t here; (here = walk_here(slab, &walk)) > 0;) {
        if (memcmp(blob_read(slab, walk.ref, walk.offset), with, here) != 0)
            return false;
        with += here;
        walk.offset += here;
        walk.rest_bytes -= here;
    }
    return true;
}
