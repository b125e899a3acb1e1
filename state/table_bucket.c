#include "state/table_bucket.h"

#include "state/table_directory.h"

#include <stdlib.h>

/* Buckets that share their rows anew when one of them is full: so many that follow one another become one more. */
#define GROUP_MAX 3
#define PARTS_MAX (GROUP_MAX + 1)
/* They remain as many where they are this full at most, in hundredths of count_max, when the rows are shared out. */
#define SHARE_FULL_MAX 85
/* Slices of the directory that a bucket gets at least, as long as nodes can be split: that its rows can be dealt out evenly. */
#define SLICES_MIN 4
/* Slices may be so many bits narrower than if all buckets had SLICES_MIN to twice as many; beyond, buckets get overflow chunks,
 * up to CHAIN_SPLIT of them before slices become narrower all the same, and CHAIN_MAX where nothing separates their rows. */
#define DEPTH_SLACK 4
#define CHAIN_SPLIT 4
#define CHAIN_MAX 256

/* ------------------------------------------------------------------------------------------------ bucket -------- */

void *bucket_row_touch(struct table *table, uint32_t chunk, uint32_t slot)
{
    return state_touch(table->region, state_pos(chunk, bucket_row_offset(table, slot)), table->row_bytes);
}

/* With the word around it: the undo log notes whole words faster than bytes. */
static unsigned char *touch_tag(struct table *table, uint32_t chunk, uint32_t slot)
{
    uint32_t offset = BUCKET_TAGS_OFFSET + slot;
    unsigned char *word = state_touch(table->region, state_pos(chunk, offset & ~7u), sizeof(uint64_t));
    return word + offset % sizeof(uint64_t);
}

static void add_to_count(struct table *table, uint32_t chunk, int difference)
{
    struct bucket *bucket = state_touch(table->region, state_pos(chunk, 0), offsetof(struct bucket, reserved_2));
    bucket->count = (uint16_t)(bucket->count + difference);
}

/* The first empty slot from the home of `hash` on. There must be one. */
static uint32_t find_empty(const struct table *table, const struct bucket *bucket, uint64_t hash)
{
    uint32_t slot = bucket_home(table, hash);
    uint32_t empty = 0;
    while ((empty = bucket_match(bucket_tags(bucket) + slot, 0).same) == 0)
        slot = bucket_slot(table, slot + BUCKET_GROUP);
    return bucket_slot(table, slot + (uint32_t)__builtin_ctz(empty));
}

/* Whether a slot's tag is repeated behind the last. */
static bool is_repeated(const struct table *table, uint32_t slot) { return slot < BUCKET_GROUP && table->home_count > 1; }

static void set_tag(struct table *table, uint32_t chunk, uint32_t slot, unsigned char tag)
{
    *touch_tag(table, chunk, slot) = tag;
    if (is_repeated(table, slot))
        *touch_tag(table, chunk, table->slot_count + slot) = tag;
}

/* Puts a row that is not there into the chunk; false where it is full. The row's bytes are not written. */
static bool place(struct table *table, uint32_t chunk, uint64_t hash, uint32_t *ret_slot)
{
    const struct bucket *bucket = bucket_read(table, chunk);
    if (bucket->count >= table->count_max)
        return false;
    *ret_slot = find_empty(table, bucket, hash);
    set_tag(table, chunk, *ret_slot, bucket_tag(hash));
    add_to_count(table, chunk, 1);
    return true;
}

/* How far `to` lies behind `from`. */
static uint32_t distance(const struct table *table, uint32_t from, uint32_t to)
{
    return bucket_slot(table, to + table->slot_count - from);
}

/* The next row behind `slot` that may move into it: one whose home is not behind it. slot_count: none. */
static uint32_t row_to_move_up(const struct table *table, const struct bucket *bucket, uint32_t slot)
{
    const unsigned char *tags = bucket_tags(bucket);
    for (uint32_t i = bucket_slot(table, slot + 1); i != slot && tags[i] != 0; i = bucket_slot(table, i + 1)) {
        uint64_t hash = table_row_hash(table, (const unsigned char *)bucket + bucket_row_offset(table, i));
        if (distance(table, bucket_home(table, hash), i) >= distance(table, slot, i))
            return i;
    }
    return table->slot_count;
}

/* Takes the row in `slot` out. */
static void take_out(struct table *table, uint32_t chunk, uint32_t slot)
{
    add_to_count(table, chunk, -1);
    for (;;) {
        const struct bucket *bucket = bucket_read(table, chunk);
        uint32_t from = row_to_move_up(table, bucket, slot);
        if (from == table->slot_count)
            break;
        memcpy(bucket_row_touch(table, chunk, slot),
               state_read(table->region, state_pos(chunk, bucket_row_offset(table, from))), table->row_bytes);
        set_tag(table, chunk, slot, bucket_tags(bucket_read(table, chunk))[from]);
        slot = from;
    }
    set_tag(table, chunk, slot, 0);
    memset(bucket_row_touch(table, chunk, slot), 0, table->row_bytes);
}

static void set_next(struct table *table, uint32_t chunk, uint32_t next)
{
    ((struct bucket *)state_touch(table->region, state_pos(chunk, 0), sizeof(struct bucket)))->next = next;
}

uint32_t bucket_chain_place(struct table *table, uint32_t chunk, uint64_t hash, uint32_t *ret_slot)
{
    for (; chunk != 0; chunk = bucket_read(table, chunk)->next)
        if (place(table, chunk, hash, ret_slot))
            return chunk;
    return 0;
}

static uint32_t chain_length(const struct table *table, uint32_t chunk)
{
    uint32_t length = 0;
    for (; chunk != 0; chunk = bucket_read(table, chunk)->next)
        length++;
    return length;
}

/* An overflow chunk, second in the chain. */
static uint32_t chain_extend(struct table *table, uint32_t bucket)
{
    uint32_t chunk = chunk_alloc(table->region);
    set_next(table, chunk, bucket_read(table, bucket)->next);
    set_next(table, bucket, chunk);
    return chunk;
}

/* ------------------------------------------------------------------------------------------------ groups -------- */

/* Buckets of one node that follow one another. */
struct group {
    struct directory_run runs[GROUP_MAX];
    uint32_t count;
    uint32_t row_count;
    uint32_t chunk_count;
};

/* What a group's slices are divided into: part i has [bounds[i], bounds[i + 1]). */
struct parts {
    uint32_t count;
    uint32_t bounds[PARTS_MAX + 1];
    bool may_overflow; /* a part may have more rows than a bucket */
};

static uint32_t slices_of(const struct group *group) { return group->runs[group->count - 1].end - group->runs[0].first; }

static void group_of_runs(const struct table *table, const struct directory_run *runs, uint32_t count, struct group *ret_group)
{
    *ret_group = (struct group){.count = count};
    for (uint32_t i = 0; i < count; i++) {
        ret_group->runs[i] = runs[i];
        for (uint32_t chunk = runs[i].bucket; chunk != 0; chunk = bucket_read(table, chunk)->next) {
            ret_group->row_count += bucket_read(table, chunk)->count;
            ret_group->chunk_count++;
        }
    }
}

static bool has_overflow(const struct table *table, uint32_t bucket) { return bucket_read(table, bucket)->next != 0; }

/* The bucket at `position` with its neighbours: of those that GROUP_MAX in a row can be, the fullest ones. A bucket with overflow
 * chunks is alone. */
static void choose_group(const struct table *table, uint32_t position, struct group *ret_group)
{
    struct directory_run runs[2 * GROUP_MAX - 1];
    const uint32_t own = GROUP_MAX - 1;
    uint32_t first = own;
    uint32_t last = own;
    directory_run(table, position, &runs[own]);
    bool alone = has_overflow(table, runs[own].bucket);
    while (!alone && first > 0 && directory_run_before(table, position, &runs[first], &runs[first - 1]) &&
           !has_overflow(table, runs[first - 1].bucket))
        first--;
    while (!alone && last < 2 * own && directory_run_behind(table, position, &runs[last], &runs[last + 1]) &&
           !has_overflow(table, runs[last + 1].bucket))
        last++;
    uint32_t count = last - first + 1 < GROUP_MAX ? last - first + 1 : GROUP_MAX;
    *ret_group = (struct group){0};
    for (uint32_t i = first; i + count <= last + 1; i++) {
        struct group group;
        group_of_runs(table, runs + i, count, &group);
        if (i <= own && own < i + count && group.row_count >= ret_group->row_count)
            *ret_group = group;
    }
}

/* ------------------------------------------------------------------------------------------------ regrouping ---- */

#define TAKEN_WORDS (CHUNK_BYTES / 9 / 64 + 1) /* a row takes 9 bytes at least, with its tag */

/* A part on its way into its bucket. */
struct part {
    uint32_t bucket; /* the head of its chain */
    uint32_t chunk;  /* of the chain: where the image goes when it is full */
    bool is_new;     /* this chunk: nothing to undo but its being there */
    unsigned char *image;
    uint64_t taken[TAKEN_WORDS]; /* a bit for each slot of the image; those behind the last of a word are set */
};

/* Rows that are being shared out anew, and the images of the buckets that they go to. Memory of this process's. */
struct regroup {
    uint32_t row_count;
    uint64_t *hashes;
    unsigned char *rows;
    unsigned char *images; /* PARTS_MAX chunks */
    uint16_t *slice_rows;  /* how many each slice of the node has, or will have; then, which part has the slice */
};

/* One piece of memory, to be freed by its first field. */
static bool regroup_alloc(const struct table *table, uint32_t chunk_count, struct regroup *ret)
{
    size_t row_count = (size_t)chunk_count * table->slot_count;
    size_t hashes_bytes = row_count * sizeof(uint64_t);
    size_t slices_bytes = NODE_IDS * sizeof(uint16_t);
    unsigned char *bytes = malloc(hashes_bytes + (size_t)PARTS_MAX * CHUNK_BYTES + slices_bytes + row_count * table->row_bytes);
    if (bytes == NULL)
        return false;
    *ret = (struct regroup){.hashes = (uint64_t *)(void *)bytes, .images = bytes + hashes_bytes};
    ret->slice_rows = (uint16_t *)(void *)(ret->images + (size_t)PARTS_MAX * CHUNK_BYTES);
    ret->rows = (unsigned char *)ret->slice_rows + slices_bytes;
    return true;
}

/* Few words mostly: without a call. */
static inline void copy_row(const struct table *table, unsigned char *to, const unsigned char *from)
{
    if (table->row_bytes > 64)
        memcpy(to, from, table->row_bytes);
    else
        for (uint32_t i = 0; i < table->row_bytes; i += 8)
            memcpy(to + i, from + i, 8);
}

/* The chunks of a group are read from end to end, and most of them were not for a while. */
static void prefetch_group(const struct table *table, const struct group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const unsigned char *bytes = (const unsigned char *)bucket_read(table, group->runs[i].bucket);
        for (uint32_t offset = 0; offset < CHUNK_BYTES; offset += 64)
            __builtin_prefetch(bytes + offset, 1);
    }
}

static void gather_rows(const struct table *table, uint32_t chunk, struct regroup *re)
{
    const struct bucket *bucket = bucket_read(table, chunk);
    uint32_t before = re->row_count;
    for (uint32_t slot = 0; slot < table->slot_count; slot++) {
        const unsigned char *row = (const unsigned char *)bucket + bucket_row_offset(table, slot);
        if (bucket_tags(bucket)[slot] == 0)
            continue;
        re->hashes[re->row_count] = table->key_bytes == sizeof(uint64_t) ? key_hash_8(row) : table_row_hash(table, row);
        copy_row(table, re->rows + (size_t)re->row_count * table->row_bytes, row);
        re->row_count++;
    }
    CHECK(re->row_count - before == bucket->count);
}

static uint32_t slice_of(const struct table *table, uint64_t hash, uint32_t depth)
{
    return directory_node_index(directory_position(table, hash), depth - NODE_BITS);
}

static void gather_group(const struct table *table, const struct group *group, uint32_t depth, struct regroup *re)
{
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t chunk = group->runs[i].bucket; chunk != 0; chunk = bucket_read(table, chunk)->next)
            gather_rows(table, chunk, re);
    memset(re->slice_rows, 0, NODE_IDS * sizeof *re->slice_rows);
    for (uint32_t i = 0; i < re->row_count; i++)
        re->slice_rows[slice_of(table, re->hashes[i], depth)]++;
}

/* Sets bounds so that the parts have nearly equally many rows, the one to come among them, and each a slice at least. */
static void divide_evenly(const struct group *group, const struct regroup *re, struct parts *parts)
{
    uint32_t end = group->runs[group->count - 1].end;
    uint32_t slice = group->runs[0].first;
    uint32_t rows = 0; /* in the slices before */
    parts->bounds[0] = slice;
    for (uint32_t i = 1; i < parts->count; i++) {
        uint32_t aim = (re->row_count + 1) * i / parts->count;
        do
            rows += re->slice_rows[slice++];
        while (slice < end - (parts->count - i) && rows + re->slice_rows[slice] / 2u < aim);
        parts->bounds[i] = slice;
    }
    parts->bounds[parts->count] = end;
}

/* Whether no part has more rows than a bucket; or, where parts may overflow, whether none has all. */
static bool parts_are_useful(const struct table *table, const struct regroup *re, const struct parts *parts)
{
    uint32_t limit = parts->may_overflow ? re->row_count : table->count_max;
    for (uint32_t i = 0; i < parts->count; i++) {
        uint32_t rows = 0;
        for (uint32_t slice = parts->bounds[i]; slice < parts->bounds[i + 1]; slice++)
            rows += re->slice_rows[slice];
        if (rows > limit)
            return false;
    }
    return true;
}

/* Frees the overflow chunks of a bucket. */
static void drop_chain(struct table *table, uint32_t bucket)
{
    for (uint32_t chunk = bucket_read(table, bucket)->next; chunk != 0;) {
        uint32_t next = bucket_read(table, chunk)->next;
        chunk_free(table->region, chunk);
        chunk = next;
    }
    if (has_overflow(table, bucket))
        set_next(table, bucket, 0);
}

static void clear_image(const struct table *table, struct part *part)
{
    memset(part->image, 0, CHUNK_BYTES);
    memset(part->taken, 0, sizeof part->taken);
    if (table->slot_count % 64 != 0)
        part->taken[table->slot_count / 64] = UINT64_MAX << table->slot_count % 64;
}

/* As find_empty(), by the bits: a group of tags that was just written to is slow to read. */
static uint32_t take_slot(struct part *part, uint32_t words, uint32_t home)
{
    uint32_t word = home / 64;
    uint64_t free = ~part->taken[word] & UINT64_MAX << home % 64;
    while (free == 0) {
        word = word + 1 < words ? word + 1 : 0;
        free = ~part->taken[word];
    }
    part->taken[word] |= free & -free;
    return word * 64 + (uint32_t)__builtin_ctzll(free);
}

static void put_into_image(const struct table *table, struct part *part, uint64_t hash, const unsigned char *row)
{
    uint32_t slot = take_slot(part, (table->slot_count + 63) / 64, bucket_home(table, hash));
    part->image[BUCKET_TAGS_OFFSET + slot] = bucket_tag(hash);
    copy_row(table, part->image + bucket_row_offset(table, slot), row);
    ((struct bucket *)(void *)part->image)->count++;
}

/* The image becomes the bytes of its chunk. */
static void write_image(struct table *table, struct part *part)
{
    unsigned char *tags = part->image + BUCKET_TAGS_OFFSET;
    if (table->home_count > 1)
        memcpy(tags + table->slot_count, tags, BUCKET_GROUP);
    ((struct bucket *)(void *)part->image)->next = bucket_read(table, part->chunk)->next;
    unsigned char *bytes = chunk_write(table->region, part->chunk);
    if (!part->is_new)
        state_before_change(table->region, bytes, CHUNK_BYTES);
    memcpy(bytes, part->image, CHUNK_BYTES);
}

/* The rows of a group go to the buckets of its parts. */
static void share_out(struct table *table, const struct regroup *re, const struct parts *parts, uint32_t depth, struct part *part)
{
    for (uint32_t i = 0; i < parts->count; i++) {
        clear_image(table, &part[i]);
        for (uint32_t slice = parts->bounds[i]; slice < parts->bounds[i + 1]; slice++)
            re->slice_rows[slice] = (uint16_t)i;
    }
    for (uint32_t i = 0; i < re->row_count; i++) {
        struct part *to = &part[re->slice_rows[slice_of(table, re->hashes[i], depth)]];
        if (((const struct bucket *)(const void *)to->image)->count == table->count_max) {
            write_image(table, to);
            to->chunk = chain_extend(table, to->bucket);
            to->is_new = true;
            clear_image(table, to);
        }
        put_into_image(table, to, re->hashes[i], re->rows + (size_t)i * table->row_bytes);
    }
    for (uint32_t i = 0; i < parts->count; i++)
        write_image(table, &part[i]);
}

/* Buckets for the parts: those of the group, and more or fewer; the directory names them. */
static void assign_buckets(struct table *table, uint32_t position, const struct group *group, const struct regroup *re,
                           const struct parts *parts, struct part *part)
{
    for (uint32_t i = 0; i < group->count; i++)
        drop_chain(table, group->runs[i].bucket);
    for (uint32_t i = 0; i < parts->count; i++) {
        bool is_new = i >= group->count;
        uint32_t bucket = is_new ? chunk_alloc(table->region) : group->runs[i].bucket;
        part[i].bucket = part[i].chunk = bucket;
        part[i].is_new = is_new;
        part[i].image = re->images + (size_t)i * CHUNK_BYTES;
        directory_assign(table, position, parts->bounds[i], parts->bounds[i + 1], bucket);
    }
    for (uint32_t i = parts->count; i < group->count; i++)
        chunk_free(table->region, group->runs[i].bucket);
    table->bucket_count += parts->count - group->count;
    table_root_touch(table)->bucket_count = table->bucket_count;
}

/* Shares the rows of a group, around `position`, out among parts->count buckets: as asked for (bounds given: bounds[1] not 0), or
 * evenly, so that there is room for a row that is to come at `position`. *ret_done: false where there would be none, and then
 * nothing has changed. */
static int regroup(struct table *table, uint32_t position, const struct group *group, struct parts *parts, bool *ret_done,
                   struct weir_error *err)
{
    struct regroup re;
    struct part part[PARTS_MAX];
    uint32_t depth = directory_depth(table, position);
    prefetch_group(table, group);
    int code = chunk_reserve(table->region, 2 * group->chunk_count + parts->count - group->count + 2, err);
    if (code != WEIR_OK)
        return code;
    if (!regroup_alloc(table, group->chunk_count, &re))
        return error_set(err, WEIR_ENOMEM, "state: no memory to share out %u chunks anew", group->chunk_count);
    gather_group(table, group, depth, &re);
    bool given = parts->bounds[1] != 0;
    if (!given) {
        re.slice_rows[directory_node_index(position, depth - NODE_BITS)]++;
        divide_evenly(group, &re, parts);
    }
    *ret_done = given || parts_are_useful(table, &re, parts);
    if (*ret_done) {
        assign_buckets(table, position, group, &re, parts, part);
        share_out(table, &re, parts, depth, part);
        table->changes++;
    }
    free(re.hashes);
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ growing ------- */

/* Whether narrower slices are the right way to make room in a bucket. */
static bool should_go_deeper(const struct table *table, uint32_t position, uint32_t bucket)
{
    if (!directory_can_split(table, position))
        return false;
    uint32_t fair_depth = 32 - (uint32_t)__builtin_clz(table->bucket_count * SLICES_MIN);
    return directory_depth(table, position) < fair_depth + DEPTH_SLACK || chain_length(table, bucket) >= CHAIN_SPLIT;
}

/* The node of `position` becomes two; a bucket that both halves have slices of becomes two first. */
static int go_deeper(struct table *table, uint32_t position, struct weir_error *err)
{
    const uint32_t half = NODE_IDS / 2;
    uint32_t width_bits = 32 - directory_depth(table, position);
    uint32_t middle = (uint32_t)((position & ~((UINT64_C(1) << (width_bits + NODE_BITS)) - 1)) + ((uint64_t)half << width_bits));
    struct directory_run run;
    directory_run(table, middle, &run);
    if (run.first < half) {
        struct group group;
        struct parts parts = {.count = 2, .bounds = {run.first, half, run.end}};
        bool done = false;
        group_of_runs(table, &run, 1, &group);
        int code = regroup(table, middle, &group, &parts, &done, err);
        if (code != WEIR_OK)
            return code;
    }
    int code = chunk_reserve(table->region, directory_split_chunks(table), err);
    if (code == WEIR_OK)
        directory_split(table, position);
    return code;
}

static int extend_chain(struct table *table, uint32_t bucket, struct weir_error *err)
{
    if (chain_length(table, bucket) >= CHAIN_MAX)
        return error_set(err, WEIR_ELIMIT, "state: more than %u keys have nearly the same hash",
                         CHAIN_MAX * table->count_max);
    int code = chunk_reserve(table->region, 4, err);
    if (code == WEIR_OK)
        (void)chain_extend(table, bucket);
    return code;
}

/* Buckets that the rows of a group, one of which is full, are to have. */
static uint32_t parts_wanted(const struct table *table, const struct group *group)
{
    uint64_t full = (uint64_t)group->count * table->count_max;
    return group->count > 1 && group->row_count * UINT64_C(100) <= full * SHARE_FULL_MAX ? group->count : group->count + 1;
}

int bucket_grow(struct table *table, uint64_t hash, struct weir_error *err)
{
    uint32_t position = directory_position(table, hash);
    for (;;) {
        struct group group;
        choose_group(table, position, &group);
        uint32_t bucket = directory_find(table, hash);
        struct parts parts = {.count = parts_wanted(table, &group), .may_overflow = has_overflow(table, bucket)};
        bool deeper = should_go_deeper(table, position, bucket);
        bool done = false;
        int code = WEIR_OK;
        if (slices_of(&group) >= parts.count * (deeper ? SLICES_MIN : 1))
            code = regroup(table, position, &group, &parts, &done, err);
        if (code != WEIR_OK || done)
            return code;
        if (!deeper)
            return extend_chain(table, bucket, err);
        code = go_deeper(table, position, err);
        if (code != WEIR_OK)
            return code;
    }
}

/* ------------------------------------------------------------------------------------------------ removing ------ */

/* Unlinks and frees an overflow chunk that became empty. */
static void drop_overflow(struct table *table, uint32_t bucket, uint32_t chunk)
{
    uint32_t before = bucket;
    while (bucket_read(table, before)->next != chunk)
        before = bucket_read(table, before)->next;
    set_next(table, before, bucket_read(table, chunk)->next);
    chunk_free(table->region, chunk);
}

static bool is_small(const struct table *table, uint32_t bucket, uint32_t count_max)
{
    return !has_overflow(table, bucket) && bucket_read(table, bucket)->count <= count_max;
}

/* Two neighbours that are both nearly empty become one again, so that a table that was large once does not stay so. Where there
 * is no memory for it they stay two. */
static void merge_if_small(struct table *table, uint32_t position, uint32_t bucket)
{
    struct directory_run runs[3];
    if (!is_small(table, bucket, table->count_max / 8))
        return;
    directory_run(table, position, &runs[1]);
    uint32_t first = 3;
    if (directory_run_before(table, position, &runs[1], &runs[0]) && is_small(table, runs[0].bucket, table->count_max / 4))
        first = 0;
    else if (directory_run_behind(table, position, &runs[1], &runs[2]) && is_small(table, runs[2].bucket, table->count_max / 4))
        first = 1;
    if (first == 3)
        return;
    struct group group;
    struct parts parts = {.count = 1, .bounds = {runs[first].first, runs[first + 1].end}};
    bool done = false;
    group_of_runs(table, &runs[first], 2, &group);
    (void)regroup(table, position, &group, &parts, &done, NULL);
}

void bucket_remove(struct table *table, uint64_t hash, uint32_t chunk, uint32_t slot)
{
    uint32_t bucket = directory_find(table, hash);
    take_out(table, chunk, slot);
    if (chunk != bucket && bucket_read(table, chunk)->count == 0)
        drop_overflow(table, bucket, chunk);
    merge_if_small(table, directory_position(table, hash), bucket);
}
