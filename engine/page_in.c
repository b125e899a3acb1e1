#include "engine/page_in.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/task.h"

#include <errno.h>
#include <sys/mman.h>

/* Read together where one chunk is needed: what lies beside it was made beside it, and a disk gives 64 KiB nearly as fast as 4. */
#define NEED_BLOCKS (UINT32_C(65536) / CHUNK_BYTES)
#define STEP_BLOCKS (UINT32_C(524288) / CHUNK_BYTES)

bool page_in_is_wanted(const struct job *job)
{
    /* Without checkpoints nobody would ever verify what was not needed. */
    if (job->options->restore_mode != OPTION_RESTORE_LAZY || job->options->guarantee == OPTION_NO_GUARANTEE)
        return false;
    for (unsigned i = 0; i < job->graph->node_count; i++) {
        const struct graph_node *node = &job->graph->nodes[i];
        if (node->kind == NODE_SINK && node->sink->prepare != NULL && !node->sink->commits_late)
            return false;
    }
    return true;
}

bool page_in_is_going_on(const struct job *job)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        if (atomic_load_explicit(&job->shared->tasks[i].page_in.checkpoint_id, memory_order_acquire) != 0)
            return true;
    return false;
}

/* ---- reading ---- */

static _Noreturn void fail(struct task *task, struct weir_error *err)
{
    uint64_t checkpoint_id = atomic_load(&task->shared->page_in.checkpoint_id);
    error_context(err, "checkpoint %llu, as it is read lazily", (unsigned long long)checkpoint_id);
    task_fail(task, err, restore_is_damaged(err->code));
}

/* In a process that takes over; the one that restored the task has it open. */
static int open_file(struct page_in *p, struct weir_error *err)
{
    uint64_t checkpoint_id = atomic_load(&p->task->shared->page_in.checkpoint_id);
    int code = p->reader != NULL ? WEIR_OK : task_open_image(p->task, checkpoint_id, &p->reader, err);
    if (code == WEIR_OK && snapshot_block_count(p->reader) != p->task->region.header->image_chunks)
        return error_set(err, WEIR_ECORRUPT, "its file has %llu blocks now, and had %u", (unsigned long long)snapshot_block_count(p->reader),
                         p->task->region.header->image_chunks);
    if (code != WEIR_OK || p->buffer != NULL)
        return code;
    void *buffer = mmap(NULL, (size_t)STEP_BLOCKS * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return error_set_errno(err, errno, "memory for a part of the state");
    p->buffer = buffer;
    return WEIR_OK;
}

static void close_file(struct page_in *p)
{
    snapshot_close(p->reader);
    if (p->buffer != NULL)
        munmap(p->buffer, (size_t)STEP_BLOCKS * CHUNK_BYTES);
    p->reader = NULL;
    p->buffer = NULL;
}

/* What is loaded already may have changed since. */
static void load_block(struct page_in *p, uint32_t index)
{
    struct task *task = p->task;
    uint32_t logical = snapshot_block_id(p->reader, index);
    if (logical >= task->region.header->marks.logical_mark || !chunk_is_on_disk(&task->region, logical) ||
        chunk_image_index(&task->region, logical) != index)
        return;
    chunk_load(&task->region, logical, p->buffer + (size_t)(index - p->buffer_first) * CHUNK_BYTES);
    if (++p->loaded_count == (task->region.header->image_chunks + 1) / 2)
        KILL_POINT(v2);
    counter_add(&task->shared->counters.restore_left, -(uint64_t)CHUNK_BYTES);
}

/* Up to `count` blocks from `first` on. */
static void load_blocks(struct page_in *p, uint32_t first, uint32_t count)
{
    struct task *task = p->task;
    struct weir_error err = {0};
    uint32_t total = task->region.header->image_chunks;
    CHECK(first < total);
    count = (uint32_t)u64_min(count, total - first);
    atomic_fetch_add_explicit(&task->shared->heartbeat, 1, memory_order_relaxed); /* a batch may need much of it */
    int code = open_file(p, &err);
    if (code == WEIR_OK)
        code = chunk_load_reserve(&task->region, first, count, &err);
    if (code == WEIR_OK)
        code = snapshot_read_blocks(p->reader, first, count, p->buffer, &err);
    if (code != WEIR_OK)
        fail(task, &err);
    p->buffer_first = first;
    for (uint32_t i = 0; i < count; i++)
        load_block(p, first + i);
}

static void need(struct chunk_image *image, uint32_t logical)
{
    struct page_in *p = (struct page_in *)(void *)image; /* its first member */
    uint32_t index = chunk_image_index(&p->task->region, logical);
    load_blocks(p, index / NEED_BLOCKS * NEED_BLOCKS, NEED_BLOCKS);
    counter_add(&p->task->shared->counters.restore_needed, 1);
}

/* ---- from the restore to the last chunk ---- */

void page_in_attach(struct task *task)
{
    task->page_in = (struct page_in){.image = {need}, .task = task};
    task->region.image = &task->page_in.image;
}

int page_in_begin(struct task *task, uint64_t checkpoint_id, struct snapshot_reader *reader, struct weir_error *err)
{
    struct page_in_shared *shared = &task->shared->page_in;
    uint64_t count = snapshot_block_count(reader);
    task->page_in.reader = reader;
    for (uint64_t i = 0; i < count; i++) {
        int code = chunk_promise(&task->region, snapshot_block_id(reader, i), err);
        if (code != WEIR_OK)
            return code;
    }
    shared->begun_ns = clock_monotonic_ns();
    shared->bytes = count * CHUNK_BYTES;
    counter_set(&task->shared->counters.restore_left, shared->bytes);
    atomic_store(&shared->checkpoint_id, checkpoint_id);
    return WEIR_OK;
}

/* Repeated by a process that takes over in the middle of it. */
static void finish(struct task *task)
{
    struct page_in_shared *shared = &task->shared->page_in;
    struct task_counters *counters = &task->shared->counters;
    int64_t duration_ns = clock_monotonic_ns() - shared->begun_ns;
    chunk_load_finish(&task->region);
    close_file(&task->page_in);
    counter_set(&counters->restore_left, 0);
    restore_log_loaded(task, &(struct restore_loaded){.checkpoint_id = atomic_load(&shared->checkpoint_id),
                                                      .mode = "lazy",
                                                      .bytes = shared->bytes,
                                                      .duration_ns = duration_ns,
                                                      .needed = counter_get(&counters->restore_needed),
                                                      .records_before = task->records_in - shared->records_in});
    atomic_store_explicit(&shared->checkpoint_id, 0, memory_order_release);
    job_wake(task->job->coordinator_fd); /* the sinks may commit, old checkpoints may go */
}

bool page_in_step(struct task *task)
{
    struct page_in *p = &task->page_in;
    if (!page_in_is_active(task->shared))
        return false;
    if (!chunk_next_on_disk(&task->region, &p->scan)) {
        finish(task);
        return false;
    }
    load_blocks(p, chunk_image_index(&task->region, p->scan), STEP_BLOCKS);
    return true;
}

void page_in_share(struct task *task)
{
    struct page_in *p = &task->page_in;
    if (!page_in_is_active(task->shared))
        return;
    int64_t begun_ns = clock_monotonic_ns();
    if (begun_ns - p->step_ended_ns < p->step_ns)
        return;
    page_in_step(task);
    p->step_ended_ns = clock_monotonic_ns();
    p->step_ns = p->step_ended_ns - begun_ns;
}

/* ---- for a snapshot child ---- */

void page_in_hold(struct task *task)
{
    struct weir_error err = {0};
    if (page_in_is_active(task->shared) && open_file(&task->page_in, &err) != WEIR_OK)
        fail(task, &err);
}

int page_in_frozen_block(struct task *task, uint32_t image_index, const void **ret_block, struct weir_error *err)
{
    struct page_in *p = &task->page_in;
    CHECK(p->reader != NULL && p->buffer != NULL);
    if (image_index - p->buffer_first >= p->buffer_count || image_index < p->buffer_first) {
        uint64_t count = u64_min(STEP_BLOCKS, snapshot_block_count(p->reader) - image_index);
        p->buffer_count = 0;
        int code = snapshot_read_blocks(p->reader, image_index, count, p->buffer, err);
        if (code != WEIR_OK)
            return error_context(err, "the restored checkpoint, of which not all was loaded");
        p->buffer_first = image_index;
        p->buffer_count = count;
    }
    *ret_block = p->buffer + (image_index - p->buffer_first) * CHUNK_BYTES;
    return WEIR_OK;
}
