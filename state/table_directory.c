#include "state/table_directory.h"

#define TOP_DEPTH_MAX (TOP_SHIFT + 31 - (uint32_t)__builtin_clz(TABLE_TOP_CHUNKS))
#define NODE_DEPTH_MAX (TOP_DEPTH_MAX + NODE_BITS < 32 ? TOP_DEPTH_MAX : 32 - NODE_BITS)

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
    fill(table, node, 0, NODE_IDS, bucket);
    *touch_top(table, 0) = (struct directory_top){.node = node, .depth = 0};
    table_root_touch(table)->bucket_count = 1;
    table->bucket_count = 1;
}

void directory_load(const struct table *table)
{
    for (uint32_t i = 0; table->bucket_count > 0 && i < 1u << table->top_depth; i++)
        (void)chunk_read(table->region, ((const struct directory_top *)state_read(table->region, directory_top_pos(table, i)))->node);
}

/* ------------------------------------------------------------------------------------------------ runs ---------- */

static struct directory_run run_around(const uint32_t *ids, uint32_t index)
{
    struct directory_run run = {.bucket = ids[index], .first = index, .end = index + 1};
    while (run.first > 0 && ids[run.first - 1] == run.bucket)
        run.first--;
    while (run.end < NODE_IDS && ids[run.end] == run.bucket)
        run.end++;
    return run;
}

static const uint32_t *node_ids(const struct table *table, uint32_t position)
{
    return chunk_read_again(table->region, directory_top(table, position).node);
}

uint32_t directory_depth(const struct table *table, uint32_t position)
{
    return directory_top(table, position).depth + NODE_BITS;
}

void directory_run(const struct table *table, uint32_t position, struct directory_run *ret_run)
{
    uint32_t index = directory_node_index(position, directory_top(table, position).depth);
    *ret_run = run_around(node_ids(table, position), index);
}

bool directory_run_behind(const struct table *table, uint32_t position, const struct directory_run *run,
                          struct directory_run *ret_run)
{
    if (run->end == NODE_IDS)
        return false;
    *ret_run = run_around(node_ids(table, position), run->end);
    return true;
}

bool directory_run_before(const struct table *table, uint32_t position, const struct directory_run *run,
                          struct directory_run *ret_run)
{
    if (run->first == 0)
        return false;
    *ret_run = run_around(node_ids(table, position), run->first - 1);
    return true;
}

uint64_t directory_run_end(const struct table *table, uint32_t position)
{
    uint32_t depth = directory_top(table, position).depth;
    uint64_t node_width = UINT64_C(1) << (32 - depth);
    struct directory_run run;
    directory_run(table, position, &run);
    return (position & ~(node_width - 1)) + run.end * (node_width >> NODE_BITS);
}

void directory_assign(struct table *table, uint32_t position, uint32_t first, uint32_t end, uint32_t bucket)
{
    CHECK(first < end && end <= NODE_IDS);
    fill(table, directory_top(table, position).node, first, end - first, bucket);
}

/* ------------------------------------------------------------------------------------------------ splitting ----- */

bool directory_can_split(const struct table *table, uint32_t position)
{
    return directory_top(table, position).depth < NODE_DEPTH_MAX;
}

static uint32_t top_chunks(uint32_t top_depth)
{
    return (uint32_t)(((UINT64_C(1) << top_depth) + (1u << TOP_SHIFT) - 1) >> TOP_SHIFT);
}

uint32_t directory_split_chunks(const struct table *table)
{
    uint32_t depth_after = table->top_depth < TOP_DEPTH_MAX ? table->top_depth + 1 : table->top_depth;
    return top_chunks(depth_after) + 3; /* the top; a node and its new half; the root */
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
    for (uint32_t i = 0; i < NODE_IDS; i++)
        entries[i] = from[i / 2];
}

static void set_top_range(struct table *table, uint32_t position, struct directory_top value)
{
    uint32_t count = 1u << (table->top_depth - value.depth);
    uint32_t first = (uint32_t)((uint64_t)position >> (32 - table->top_depth)) & ~(count - 1);
    for (uint32_t i = first; i < first + count; i++)
        *touch_top(table, i) = value;
}

void directory_split(struct table *table, uint32_t position)
{
    struct directory_top old = directory_top(table, position);
    CHECK(old.depth < NODE_DEPTH_MAX);
    if (old.depth == table->top_depth)
        double_top(table);
    uint32_t entries[NODE_IDS];
    memcpy(entries, chunk_read(table->region, old.node), sizeof entries);
    CHECK(entries[NODE_IDS / 2 - 1] != entries[NODE_IDS / 2]);
    uint32_t upper = chunk_alloc(table->region);
    stretch_half(table, entries, old.node);
    stretch_half(table, entries + NODE_IDS / 2, upper);
    uint32_t bit = UINT32_C(1) << (31 - old.depth);
    set_top_range(table, position & ~bit, (struct directory_top){old.node, old.depth + 1});
    set_top_range(table, position | bit, (struct directory_top){upper, old.depth + 1});
}
