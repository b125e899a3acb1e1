#include "state/table_directory.h"

#define TOP_DEPTH_MAX (TOP_SHIFT + 31 - (uint32_t)__builtin_clz(TABLE_TOP_CHUNKS))
/* Bits of a position that all rows of a bucket can share. */
#define DEPTH_MAX (TOP_DEPTH_MAX + NODE_BITS < 32 ? TOP_DEPTH_MAX + NODE_BITS : 32)

static struct directory_top *touch_top(struct table *table, uint32_t index)
{
    return state_touch(table->region, directory_top_pos(table, index), sizeof(struct directory_top));
}

/* Gives the bucket ids [first, first + count) of a node the value `bucket`. */
static void fill(struct table *table, uint32_t node, uint32_t first, uint32_t count, uint32_t bucket)
{
    uint32_t *entries = state_touch(table->region, state_pos(node, first * (uint32_t)sizeof(uint32_t)),
                                    count * sizeof(uint32_t));
    for (uint32_t i = 0; i < count; i++)
        entries[i] = bucket;
}

static void add_top_chunk(struct table *table)
{
    struct table_root *root = state_touch(table->region, table->root_pos, sizeof *root);
    CHECK(root->top_chunk_count < TABLE_TOP_CHUNKS);
    uint32_t chunk = chunk_alloc(table->region);
    root->top[root->top_chunk_count] = chunk;
    table->top[root->top_chunk_count] = chunk;
    root->top_chunk_count++;
}

void directory_create(struct table *table, uint32_t bucket)
{
    add_top_chunk(table);
    uint32_t node = chunk_alloc(table->region);
    fill(table, node, 0, 1u << NODE_BITS, bucket);
    *touch_top(table, 0) = (struct directory_top){.node = node, .depth = 0};
    table_root_touch(table)->bucket_count = 1;
    table->bucket_count = 1;
}

void directory_load(const struct table *table)
{
    for (uint32_t i = 0; table->bucket_count > 0 && i < 1u << table->top_depth; i++)
        (void)chunk_read(table->region, ((const struct directory_top *)state_read(table->region, directory_top_pos(table, i)))->node);
}

bool directory_can_split(uint32_t depth) { return depth < DEPTH_MAX; }

static uint32_t top_chunks(uint32_t top_depth)
{
    return (uint32_t)(((UINT64_C(1) << top_depth) + (1u << TOP_SHIFT) - 1) >> TOP_SHIFT);
}

uint32_t directory_split_chunks(const struct table *table)
{
    uint32_t depth_after = table->top_depth < TOP_DEPTH_MAX ? table->top_depth + 1 : table->top_depth;
    return top_chunks(depth_after) + 5; /* the top; a node and its new half; the root; the bucket's parts */
}

/* Twice as many top entries: each one becomes two alike. From the end on, so that none is overwritten before it is
 * read. */
static void double_top(struct table *table)
{
    uint32_t count = 1u << table->top_depth;
    CHECK(table->top_depth < TOP_DEPTH_MAX);
    uint32_t chunks_after = top_chunks(table->top_depth + 1);
    for (uint32_t chunks = top_chunks(table->top_depth); chunks < chunks_after; chunks++)
        add_top_chunk(table);
    for (uint32_t i = count; i-- > 0;) {
        struct directory_top entry = *(const struct directory_top *)state_read(table->region,
                                                                               directory_top_pos(table, i));
        *touch_top(table, 2 * i + 1) = entry;
        *touch_top(table, 2 * i) = entry;
    }
    table_root_touch(table)->top_depth++;
    table->top_depth++;
}

/* One half of a node's ids, each twice, into `to`. */
static void stretch_half(struct table *table, const uint32_t *from, uint32_t to)
{
    uint32_t *entries = state_touch(table->region, state_pos(to, 0), CHUNK_BYTES);
    for (uint32_t i = 0; i < 1u << NODE_BITS; i++)
        entries[i] = from[i / 2];
}

static void set_top_range(struct table *table, uint32_t position, struct directory_top value)
{
    uint32_t count = 1u << (table->top_depth - value.depth);
    uint32_t first = (uint32_t)((uint64_t)position >> (32 - table->top_depth)) & ~(count - 1);
    for (uint32_t i = first; i < first + count; i++)
        *touch_top(table, i) = value;
}

/* The node at `position` becomes two, each one bit deeper. */
static void split_node(struct table *table, uint32_t position)
{
    struct directory_top old = directory_top(table, position);
    if (old.depth == table->top_depth)
        double_top(table);
    uint32_t entries[1u << NODE_BITS];
    memcpy(entries, chunk_read(table->region, old.node), sizeof entries);
    uint32_t upper = chunk_alloc(table->region);
    stretch_half(table, entries, old.node);
    stretch_half(table, entries + (1u << (NODE_BITS - 1)), upper);
    uint32_t bit = UINT32_C(1) << (31 - old.depth);
    set_top_range(table, position & ~bit, (struct directory_top){old.node, old.depth + 1});
    set_top_range(table, position | bit, (struct directory_top){upper, old.depth + 1});
}

/* The ids of a node that stand for the range of `depth` bits around `position`. */
static void fill_range(struct table *table, uint32_t position, uint32_t depth, uint32_t bucket)
{
    struct directory_top top = directory_top(table, position);
    CHECK(depth >= top.depth && depth <= top.depth + NODE_BITS);
    uint32_t count = 1u << (top.depth + NODE_BITS - depth);
    uint32_t first = directory_node_index(position, top.depth) & ~(count - 1);
    fill(table, top.node, first, count, bucket);
}

void directory_split(struct table *table, uint32_t position, uint32_t depth, uint32_t upper)
{
    if (depth == directory_top(table, position).depth + NODE_BITS)
        split_node(table, position);
    fill_range(table, position | (UINT32_C(1) << (31 - depth)), depth + 1, upper);
}

uint32_t directory_buddy(const struct table *table, uint32_t position, uint32_t depth)
{
    if (depth == 0 || depth <= directory_top(table, position).depth)
        return 0;
    return directory_find_position(table, position ^ (UINT32_C(1) << (32 - depth)));
}

void directory_merge(struct table *table, uint32_t position, uint32_t depth, uint32_t bucket)
{
    fill_range(table, position, depth - 1, bucket);
}
