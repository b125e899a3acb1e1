#include "base/bytes.h"
#include "state/op_internal.h"

/*
 * Every timer is an object; a table finds it by (key, id), a binary heap gives the earliest. The heap is cleaned
 * lazily: an object notes at_ms, and heap_at_ms, the time of its entry in the heap that counts. Moving a timer to
 * later changes at_ms only: the entry is put back when it comes up. Moving it to earlier pushes another entry;
 * cancelling takes it out of the table only. Entries that do not count any more (heap_refs keeps the object for
 * them) go when they come up, or all at once when they are more than those that do.
 */
struct timer {
    uint64_t key_hash;
    uint64_t id;
    int64_t at_ms;
    int64_t heap_at_ms;
    uint32_t heap_refs; /* entries of the heap that name this object */
    uint16_t armed;     /* 1: it is in the table; 0: it only waits for its entries to come up */
    uint16_t key_bytes;
    /* the key */
};
_Static_assert(sizeof(struct timer) == 40, "timer is in the state image");

struct timer_row {
    uint64_t hash; /* of id and the key's hash */
    uint32_t timer;
    uint32_t reserved;
};

struct heap_entry {
    int64_t at_ms;
    uint32_t timer;
    uint32_t reserved;
};
_Static_assert(sizeof(struct heap_entry) == 16, "heap_entry is in the state image");

#define LISTS_MAX 64u                         /* chunks of ids of heap chunks */
#define IDS_PER_LIST (CHUNK_BYTES / 4)
#define ENTRIES_PER_CHUNK (CHUNK_BYTES / 16)
#define STALE_MIN 64u

struct timer_root {
    uint64_t armed_count;
    uint64_t heap_count;
    uint32_t heap_chunk_count;
    uint32_t reserved;
    struct table_root table;
    uint32_t list[LISTS_MAX];
};
_Static_assert(sizeof(struct timer_root) <= CHUNK_BYTES, "the timers' root fits a chunk");

/* One push or pop: a path of the heap, its new chunk and list; the object, its table row. */
#define TIMER_STEP_CHUNKS (32u + 4u + SLAB_FREE_CHUNKS + TABLE_REMOVE_CHUNKS)

static const struct timer_root *read_root(const struct op_state *op)
{
    return chunk_read(op->region, op_root(op)->timers);
}

/* The counts at the root's head. */
static struct timer_root *touch_root(struct op_state *op)
{
    return state_touch(op->region, state_pos(op_root(op)->timers, 0), offsetof(struct timer_root, table));
}

static const struct timer *read_timer(const struct op_state *op, uint32_t ref) { return slab_read(&op->slab, ref); }
static struct timer *touch_timer(struct op_state *op, uint32_t ref)
{
    return slab_touch(&op->slab, ref, 0, sizeof(struct timer));
}

static bool timers_exist(const struct op_state *op) { return op_root(op)->timers != 0; }

int op_timers_attach(struct op_state *op, struct weir_error *err)
{
    if (!timers_exist(op))
        return WEIR_OK;
    uint64_t table_pos = state_pos(op_root(op)->timers, (uint32_t)offsetof(struct timer_root, table));
    return table_open(&op->timers, op->region, table_pos, 0, sizeof(struct timer_row), KEY_RANGE_ALL, err);
}

static int make_root(struct op_state *op, struct weir_error *err)
{
    int code = chunk_reserve(op->region, 2, err);
    if (code != WEIR_OK)
        return code;
    uint32_t chunk = chunk_alloc(op->region);
    op_root_touch(op, offsetof(struct op_root, timers), sizeof(uint32_t))->timers = chunk;
    return op_timers_attach(op, err);
}

/* ------------------------------------------------------------------------------------------------ the heap ------ */

static uint64_t heap_pos(const struct op_state *op, uint64_t index)
{
    uint32_t chunk_index = (uint32_t)(index / ENTRIES_PER_CHUNK);
    const uint32_t *ids = chunk_read(op->region, read_root(op)->list[chunk_index / IDS_PER_LIST]);
    return state_pos(ids[chunk_index % IDS_PER_LIST],
                     (uint32_t)(index % ENTRIES_PER_CHUNK * sizeof(struct heap_entry)));
}

static struct heap_entry heap_get(const struct op_state *op, uint64_t index)
{
    return *(const struct heap_entry *)state_read(op->region, heap_pos(op, index));
}

static void heap_set(struct op_state *op, uint64_t index, struct heap_entry entry)
{
    *(struct heap_entry *)state_touch(op->region, heap_pos(op, index), sizeof entry) = entry;
}

static bool entry_before(const struct heap_entry *a, const struct heap_entry *b) { return a->at_ms < b->at_ms; }

static void sift_up(struct op_state *op, uint64_t index, struct heap_entry entry)
{
    while (index > 0) {
        struct heap_entry parent = heap_get(op, (index - 1) / 2);
        if (!entry_before(&entry, &parent))
            break;
        heap_set(op, index, parent);
        index = (index - 1) / 2;
    }
    heap_set(op, index, entry);
}

static void sift_down(struct op_state *op, uint64_t index, struct heap_entry entry, uint64_t count)
{
    for (uint64_t child = 2 * index + 1; child < count; child = 2 * index + 1) {
        struct heap_entry smaller = heap_get(op, child);
        if (child + 1 < count) {
            struct heap_entry other = heap_get(op, child + 1);
            if (entry_before(&other, &smaller)) {
                smaller = other;
                child++;
            }
        }
        if (!entry_before(&smaller, &entry))
            break;
        heap_set(op, index, smaller);
        index = child;
    }
    heap_set(op, index, entry);
}

static void set_list(struct op_state *op, uint32_t list_index, uint32_t chunk)
{
    uint32_t offset = (uint32_t)(offsetof(struct timer_root, list) + list_index * sizeof(uint32_t));
    *(uint32_t *)state_touch(op->region, state_pos(op_root(op)->timers, offset), sizeof(uint32_t)) = chunk;
}

static void add_heap_chunk(struct op_state *op)
{
    uint32_t count = read_root(op)->heap_chunk_count;
    if (count % IDS_PER_LIST == 0)
        set_list(op, count / IDS_PER_LIST, chunk_alloc(op->region));
    uint32_t chunk = chunk_alloc(op->region);
    uint64_t pos = state_pos(read_root(op)->list[count / IDS_PER_LIST],
                             count % IDS_PER_LIST * (uint32_t)sizeof(uint32_t));
    *(uint32_t *)state_touch(op->region, pos, sizeof(uint32_t)) = chunk;
    touch_root(op)->heap_chunk_count = count + 1;
}

/* Frees the last heap chunk where it and half of the one before it are not needed. */
static bool drop_heap_chunk(struct op_state *op)
{
    uint32_t count = read_root(op)->heap_chunk_count;
    if (read_root(op)->heap_count + ENTRIES_PER_CHUNK + ENTRIES_PER_CHUNK / 2 > (uint64_t)count * ENTRIES_PER_CHUNK)
        return false;
    uint32_t last = count - 1;
    const uint32_t *ids = chunk_read(op->region, read_root(op)->list[last / IDS_PER_LIST]);
    chunk_free(op->region, ids[last % IDS_PER_LIST]);
    if (last % IDS_PER_LIST == 0) {
        chunk_free(op->region, read_root(op)->list[last / IDS_PER_LIST]);
        set_list(op, last / IDS_PER_LIST, 0);
    }
    touch_root(op)->heap_chunk_count = last;
    return true;
}

static bool heap_is_full(const struct op_state *op)
{
    return read_root(op)->heap_count == (uint64_t)LISTS_MAX * IDS_PER_LIST * ENTRIES_PER_CHUNK;
}

static void heap_push(struct op_state *op, int64_t at_ms, uint32_t timer)
{
    uint64_t count = read_root(op)->heap_count;
    if (count == (uint64_t)read_root(op)->heap_chunk_count * ENTRIES_PER_CHUNK)
        add_heap_chunk(op);
    touch_root(op)->heap_count = count + 1;
    sift_up(op, count, (struct heap_entry){.at_ms = at_ms, .timer = timer});
}

static void heap_drop_first(struct op_state *op)
{
    uint64_t count = read_root(op)->heap_count - 1;
    touch_root(op)->heap_count = count;
    if (count > 0)
        sift_down(op, 0, heap_get(op, count), count);
    (void)drop_heap_chunk(op);
}

/* An entry of the heap is gone; the object goes with the last one if nothing else needs it. */
static void release_timer(struct op_state *op, uint32_t ref)
{
    struct timer *timer = touch_timer(op, ref);
    timer->heap_refs--;
    if (timer->heap_refs == 0 && timer->armed == 0)
        slab_free(&op->slab, ref);
}

static bool entry_counts(const struct op_state *op, const struct heap_entry *entry)
{
    const struct timer *timer = read_timer(op, entry->timer);
    return timer->armed == 1 && timer->heap_at_ms == entry->at_ms;
}

/* Drops the entries that do not count. Only tidies: where chunks cannot be had it leaves the rest for later. */
static void tidy_heap(struct op_state *op)
{
    uint64_t count = read_root(op)->heap_count;
    if (count <= 2 * read_root(op)->armed_count + STALE_MIN)
        return;
    uint32_t needed = read_root(op)->heap_chunk_count + SLAB_FREE_CHUNKS + 2;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct heap_entry entry = heap_get(op, i);
        if (chunk_reserve(op->region, needed, NULL) == WEIR_OK && !entry_counts(op, &entry)) {
            release_timer(op, entry.timer);
            continue;
        }
        if (kept != i)
            heap_set(op, kept, entry);
        kept++;
    }
    if (kept == count)
        return;
    touch_root(op)->heap_count = kept;
    for (uint64_t i = kept / 2; i-- > 0;)
        sift_down(op, i, heap_get(op, i), kept);
    while (drop_heap_chunk(op))
        continue;
}

/* ------------------------------------------------------------------------------------------------ the table ----- */

struct wanted_timer {
    const struct op_state *op;
    uint64_t id;
};

static bool timer_matches(const void *arg, const void *row)
{
    const struct wanted_timer *wanted = arg;
    const struct op_state *op = wanted->op;
    const struct timer *timer = read_timer(op, ((const struct timer_row *)row)->timer);
    return timer->id == wanted->id && timer->key_hash == op->key_hash && timer->key_bytes == op->current_key_bytes &&
           (timer->key_bytes == 0 || memcmp(timer + 1, op->key, timer->key_bytes) == 0);
}

static uint64_t timer_hash(uint64_t key_hash, uint64_t id) { return XXH3_64bits_withSeed(&id, sizeof id, key_hash); }

static bool find_row(const struct op_state *op, uint64_t id, uint64_t *ret_pos)
{
    struct wanted_timer wanted = {op, id};
    return timers_exist(op) && table_find_hashed(&op->timers, timer_hash(op->key_hash, id), timer_matches, &wanted,
                                                 ret_pos);
}

static int check_key(const struct op_state *op, struct weir_error *err)
{
    if (op->keyed && op->key == NULL)
        return error_set(err, WEIR_EINVAL, "operator '%s': a timer is set, but no key is current", op->name);
    return WEIR_OK;
}

static uint32_t make_timer(struct op_state *op, uint64_t id, int64_t at_ms)
{
    uint32_t ref = slab_alloc(&op->slab, sizeof(struct timer) + op->current_key_bytes);
    struct timer *timer = slab_touch(&op->slab, ref, 0, sizeof *timer + op->current_key_bytes);
    *timer = (struct timer){.key_hash = op->key_hash, .id = id, .at_ms = at_ms, .heap_at_ms = at_ms, .heap_refs = 1,
                            .armed = 1,
                            .key_bytes = (uint16_t)op->current_key_bytes};
    if (op->current_key_bytes > 0)
        memcpy(timer + 1, op->key, op->current_key_bytes);
    return ref;
}

/* ------------------------------------------------------------------------------------------------ operations ---- */

static int add_timer(struct op_state *op, uint64_t id, int64_t at_ms, struct weir_error *err)
{
    size_t size_bytes = sizeof(struct timer) + op->current_key_bytes;
    if (size_bytes > SLAB_OBJECT_BYTES_MAX || heap_is_full(op))
        return error_set(err, WEIR_ELIMIT, "operator '%s': too many timers, or too large a key for one", op->name);
    uint64_t pos = 0;
    int code = table_insert(&op->timers, timer_hash(op->key_hash, id), NULL, &pos, err);
    if (code != WEIR_OK)
        return code;
    uint32_t ref = make_timer(op, id, at_ms);
    ((struct timer_row *)state_touch(op->region, pos, sizeof(struct timer_row)))->timer = ref;
    touch_root(op)->armed_count++;
    heap_push(op, at_ms, ref);
    return WEIR_OK;
}

static int move_timer(struct op_state *op, uint32_t ref, int64_t at_ms, struct weir_error *err)
{
    bool earlier = at_ms < read_timer(op, ref)->heap_at_ms;
    if (earlier && heap_is_full(op))
        return error_set(err, WEIR_ELIMIT, "operator '%s': too many timers", op->name);
    struct timer *timer = touch_timer(op, ref);
    timer->at_ms = at_ms;
    if (earlier) {
        timer->heap_at_ms = at_ms;
        timer->heap_refs++;
        heap_push(op, at_ms, ref);
    }
    return WEIR_OK;
}

int op_state_timer_set(struct op_state *op, uint64_t id, int64_t at_ms, struct weir_error *err)
{
    int code = check_key(op, err);
    if (code == WEIR_OK && !timers_exist(op))
        code = make_root(op, err);
    if (code == WEIR_OK)
        code = chunk_reserve(op->region, TIMER_STEP_CHUNKS, err);
    if (code != WEIR_OK)
        return code;
    uint64_t pos = 0;
    if (find_row(op, id, &pos))
        code = move_timer(op, ((const struct timer_row *)state_read(op->region, pos))->timer, at_ms, err);
    else
        code = add_timer(op, id, at_ms, err);
    if (code == WEIR_OK)
        tidy_heap(op);
    return code;
}

/* Out of the table; the object stays while the heap names it. */
static void disarm(struct op_state *op, uint32_t ref, uint64_t row_pos)
{
    const struct timer *timer = read_timer(op, ref);
    table_remove(&op->timers, timer_hash(timer->key_hash, timer->id), row_pos);
    touch_timer(op, ref)->armed = 0;
    touch_root(op)->armed_count--;
}

int op_state_timer_cancel(struct op_state *op, uint64_t id, struct weir_error *err)
{
    uint64_t pos = 0;
    int code = check_key(op, err);
    if (code != WEIR_OK)
        return code;
    if (!find_row(op, id, &pos))
        return WEIR_END;
    code = chunk_reserve_writes(op->region, TIMER_STEP_CHUNKS, err);
    if (code != WEIR_OK)
        return code;
    disarm(op, ((const struct timer_row *)state_read(op->region, pos))->timer, pos);
    tidy_heap(op);
    return WEIR_OK;
}

bool op_state_timer_next(const struct op_state *op, int64_t *ret_at_ms)
{
    if (!timers_exist(op) || read_root(op)->armed_count == 0)
        return false;
    *ret_at_ms = heap_get(op, 0).at_ms;
    return true;
}

/* The first entry of the heap came up. True: its timer fires; false: it was stale, or had moved to later. */
static bool first_fires(struct op_state *op, const struct heap_entry *entry)
{
    if (!entry_counts(op, entry)) {
        heap_drop_first(op);
        release_timer(op, entry->timer);
        return false;
    }
    int64_t at_ms = read_timer(op, entry->timer)->at_ms;
    if (at_ms == entry->at_ms)
        return true;
    touch_timer(op, entry->timer)->heap_at_ms = at_ms;
    sift_down(op, 0, (struct heap_entry){.at_ms = at_ms, .timer = entry->timer}, read_root(op)->heap_count);
    return false;
}

/* Makes the key of a timer current, from a copy: the timer is about to go. */
static void take_key(struct op_state *op, const struct timer *timer)
{
    op_state_unset_key(op);
    if (!op->keyed)
        return;
    memcpy(op->key_copy, timer + 1, timer->key_bytes);
    op->key = op->key_copy;
    op->current_key_bytes = timer->key_bytes;
    op->key_hash = timer->key_hash;
}

static void fire(struct op_state *op, uint32_t ref)
{
    uint64_t pos = 0;
    take_key(op, read_timer(op, ref));
    CHECK(find_row(op, read_timer(op, ref)->id, &pos));
    heap_drop_first(op);
    disarm(op, ref, pos);
    release_timer(op, ref);
}

int op_state_timer_pop(struct op_state *op, int64_t now_ms, uint64_t *ret_id, int64_t *ret_at_ms,
                       struct weir_error *err)
{
    if (!timers_exist(op))
        return WEIR_END;
    while (read_root(op)->heap_count > 0) {
        struct heap_entry entry = heap_get(op, 0);
        if (entry.at_ms > now_ms)
            return WEIR_END;
        int code = chunk_reserve_writes(op->region, TIMER_STEP_CHUNKS, err);
        if (code != WEIR_OK)
            return code;
        if (!first_fires(op, &entry))
            continue;
        *ret_id = read_timer(op, entry.timer)->id;
        *ret_at_ms = entry.at_ms;
        fire(op, entry.timer);
        return WEIR_OK;
    }
    return WEIR_END;
}

int op_timers_visit(struct op_state *op, op_state_visit_fn fn, void *arg, struct weir_error *err)
{
    (void)err;
    if (!timers_exist(op))
        return WEIR_OK;
    struct table_cursor cursor;
    table_cursor_begin(&op->timers, KEY_RANGE_ALL, &cursor);
    int code = WEIR_OK;
    for (uint64_t pos = 0; code == WEIR_OK && table_cursor_next(&op->timers, &cursor, &pos);) {
        const struct timer *timer = read_timer(op, ((const struct timer_row *)state_read(op->region, pos))->timer);
        struct op_state_item item = {.key = op->keyed ? timer + 1 : NULL, .key_bytes = timer->key_bytes,
                                     .key_hash = timer->key_hash,
                                     .state = OP_STATE_TIMER, .index = timer->id,
                                         .data = {&timer->at_ms, sizeof timer->at_ms}};
        code = fn(arg, &item);
    }
    return code;
}
