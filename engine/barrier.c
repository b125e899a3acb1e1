/*
 * barrier.c - alignment, the cut, and what follows from a completed checkpoint.
 *
 * A barrier falls between two batches. When it has come on all inputs (exactly-once: rings whose barrier has come are not read
 * meanwhile; at-least-once: they are), the task prepares its sinks and commits its batch, with a note that the barrier is due. Then
 * it writes down its cut, freezes its chunk table, forks the snapshot child, forwards the barrier, and commits that the barrier is due no
 * more. A process that takes over in between finds the note and does the rest again.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/batch.h"
#include "engine/takeover.h"
#include "engine/task.h"
#include "state/cut.h"

#include <string.h>

static void unblock_inputs(struct task *task)
{
    for (unsigned i = 0; i < task->in_count; i++)
        task->ins[i].blocked = false;
    task->aligning = false;
    task->aligned_count = 0;
}

int barrier_arrived(struct task *task, struct task_input *in, uint64_t checkpoint_id, bool stop)
{
    in->barrier_id = checkpoint_id;
    if (checkpoint_id <= task->barrier_id && !task->aligning)
        return WEIR_OK; /* of a checkpoint that was given up here */
    if (checkpoint_id < task->barrier_id)
        return WEIR_OK;
    if (!task->aligning || checkpoint_id > task->barrier_id) {
        unblock_inputs(task); /* a newer one replaces an alignment whose checkpoint was given up */
        task->aligning = true;
        task->barrier_id = checkpoint_id;
        task->align_begun_ns = clock_monotonic_ns();
        KILL_POINT(b1);
    }
    task->aligned_count++;
    in->blocked = task->job->options->guarantee == OPTION_EXACTLY_ONCE;
    if (task->aligned_count < task->in_count)
        return WEIR_OK;
    KILL_POINT(b2);
    counter_set(&task->shared->counters.align_ns_last, (uint64_t)(clock_monotonic_ns() - task->align_begun_ns));
    unblock_inputs(task);
    return barrier_take(task, checkpoint_id, stop);
}

int barrier_add_pending(struct task *task, struct weir_ctx *ctx, uint64_t checkpoint_id, const void *bytes, size_t size_bytes)
{
    struct pending_list *list = task->pending;
    if (list->count == PENDING_COMMITTABLES_MAX)
        return error_set(&ctx->error, WEIR_ELIMIT, "%d checkpoints in a row were prepared but not completed", PENDING_COMMITTABLES_MAX);
    struct pending_committable *pending = &list->item[list->count];
    *pending = (struct pending_committable){.checkpoint_id = checkpoint_id, .node = ctx->node_index, .size_bytes = (uint32_t)size_bytes};
    memcpy(pending->bytes, bytes, size_bytes);
    state_before_change(&task->region, &list->count, sizeof list->count);
    list->count++;
    return WEIR_OK;
}

static int prepare_sinks(struct task *task, uint64_t checkpoint_id)
{
    for (unsigned i = 0; task->has_sink && i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        if (ctx->node->kind != NODE_SINK || ctx->node->sink->prepare == NULL)
            continue;
        KILL_POINT(p1);
        unsigned char committable[WEIR_COMMITTABLE_BYTES_MAX];
        size_t size_bytes = 0;
        int code = ctx_callback_result(ctx, "prepare", ctx->node->sink->prepare(ctx, checkpoint_id, committable, &size_bytes));
        if (code >= 0 && size_bytes > sizeof committable)
            code = error_set(&ctx->error, WEIR_ELIMIT, "prepare gave %zu bytes; at most %zu", size_bytes, sizeof committable);
        if (code >= 0 && size_bytes > 0)
            code = barrier_add_pending(task, ctx, checkpoint_id, committable, size_bytes);
        if (code < 0)
            return code;
        KILL_POINT(p2);
    }
    return WEIR_OK;
}

static void write_cut_record(struct task *task, uint64_t checkpoint_id)
{
    struct cut_record *cut = &task->shared->cut;
    rollback_keep_record(task);
    cut->checkpoint_id = checkpoint_id;
    cut->records_in = task->records_in;
    cut->records_out = task->records_out;
    cut->watermark_ms = INT64_MIN;
    cut->ended = task->ended;
    cut->position_bytes = (uint32_t)task->position_bytes;
    memcpy(cut->position, task->position, task->position_bytes);
    cut->committable_count = (uint32_t)task->pending->count;
    memcpy(cut->committables, task->pending->item, task->pending->count * sizeof cut->committables[0]);
    cut->has_file = task->has_state;
    rollback_seal_record(cut);
}

/* A fork that fails is no failure of the task: the checkpoint is given up, the stream goes on. */
static void snapshot_failed(struct task *task, uint64_t checkpoint_id, const struct weir_error *err)
{
    struct snapshot_slot *slot = &task->shared->snapshot;
    slot->error = *err;
    atomic_store_explicit(&slot->word, SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_FAILED), memory_order_release);
    job_wake(task->job->coordinator_fd);
}

static bool is_given_up(const struct task *task, uint64_t checkpoint_id)
{
    return atomic_load_explicit(&task->job->shared->checkpoint_aborted, memory_order_acquire) >= checkpoint_id;
}

/* No attempt is over before its child is forgotten: else the launcher, which may reap that child only now, takes it for the next attempt's. */
static void forget_child(struct snapshot_slot *slot)
{
    atomic_store_explicit(&slot->child_pid, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* with the claim behind it; pairs with the loads of served_the_cut() */
}

/* A new attempt: a child that was forked for an older one, and has not begun, is none any more. */
static uint32_t next_attempt(struct snapshot_slot *slot)
{
    forget_child(slot);
    uint32_t attempt = (uint32_t)atomic_load_explicit(&slot->claim, memory_order_relaxed) + 1;
    atomic_store_explicit(&slot->claim, attempt, memory_order_release);
    return attempt;
}

/* Whether the child of the process that died is at work, or was; else its attempt is over, and *ret_attempt is ours. */
static bool child_has_begun(struct snapshot_slot *slot, uint32_t *ret_attempt)
{
    uint64_t claim = atomic_load_explicit(&slot->claim, memory_order_acquire);
    uint32_t attempt = (uint32_t)claim + 1;
    if (SNAPSHOT_CLAIM_PID(claim) == 0)
        forget_child(slot);
    if (SNAPSHOT_CLAIM_PID(claim) != 0 || !atomic_compare_exchange_strong(&slot->claim, &claim, (uint64_t)attempt)) {
        atomic_store_explicit(&slot->child_pid, SNAPSHOT_CLAIM_PID(claim), memory_order_relaxed);
        return true;
    }
    *ret_attempt = attempt;
    return false;
}

static void show_chunks(const struct task *task)
{
    struct task_counters *counters = &task->shared->counters;
    struct chunk_usage usage;
    chunk_usage(&task->region, &usage);
    counter_set(&counters->chunks_copied, usage.copied_chunks);
    counter_set(&counters->state_bytes, usage.live_bytes);
}

/* The newest cut is not to be read any more: kept, or let go. */
static void settle_cut(struct task *task, bool complete)
{
    if (complete)
        cut_keep(&task->region);
    else
        chunk_cut_release(&task->region);
    task->cut_live = false;
    show_chunks(task);
}

/* The slot says RUNNING: the cut, and the child that reads it. */
static void fork_snapshot(struct task *task, uint64_t checkpoint_id, uint32_t attempt)
{
    struct snapshot_slot *slot = &task->shared->snapshot;
    struct weir_error err = {0};
    /* Pairs with the fence in the coordinator's snapshots_in_progress(): either it sees RUNNING, and triggers no other checkpoint until
     * the child is gone, or we see here that this one was given up, and start none. */
    atomic_thread_fence(memory_order_seq_cst);
    if (is_given_up(task, checkpoint_id)) {
        snapshot_failed(task, checkpoint_id, &(struct weir_error){WEIR_ECANCELLED, "the checkpoint was given up"});
        return;
    }
    if (!task->has_state && task->pending->count == 0) { /* nothing to write, nothing to persist */
        atomic_store_explicit(&slot->word, SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_DONE), memory_order_release);
        job_wake(task->job->coordinator_fd);
        return;
    }
    page_in_hold(task);
    if (task->cut_live && chunk_cut_live(&task->region)->number != checkpoint_id)
        settle_cut(task, false); /* nobody has said what became of its checkpoint: another one has begun */
    if (task->has_state && !task->cut_live) { /* live already: by the process that died before it forked */
        chunk_cut(&task->region, checkpoint_id);
        task->cut_live = true;
    }
    KILL_POINT(b3);
    if (snapshot_child_start(task, checkpoint_id, attempt, &err) == WEIR_OK)
        return;
    if (task->cut_live)
        chunk_cut_release(&task->region);
    task->cut_live = false;
    takeover_spare_standbys(task->job);
    log_line(LOG_WARNING, "checkpoint %llu: %s", (unsigned long long)checkpoint_id, err.text);
    snapshot_failed(task, checkpoint_id, &err);
}

/* Once for each checkpoint, whoever died in the middle of it. */
static void start_snapshot(struct task *task, uint64_t checkpoint_id)
{
    struct snapshot_slot *slot = &task->shared->snapshot;
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    uint32_t attempt = 0;
    if (SNAPSHOT_ID(word) == checkpoint_id) {
        if (SNAPSHOT_STATUS(word) != SNAPSHOT_RUNNING || child_has_begun(slot, &attempt))
            return;
    } else {
        write_cut_record(task, checkpoint_id);
        attempt = next_attempt(slot);
        atomic_store_explicit(&slot->word, SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_RUNNING), memory_order_release);
    }
    fork_snapshot(task, checkpoint_id, attempt);
}

static void note_pause(struct task *task, int64_t begun_ns)
{
    struct task_counters *counters = &task->shared->counters;
    uint64_t pause_ns = (uint64_t)(clock_monotonic_ns() - begun_ns);
    counter_set(&counters->pause_ns_last, pause_ns);
    if (pause_ns > counter_get(&counters->pause_ns_max))
        counter_set(&counters->pause_ns_max, pause_ns);
    counter_add(&counters->barriers, 1);
}

/* The child of an older checkpoint still reads its cut. The coordinator sees to it that this does not happen: it waits for every
 * child of an aborted checkpoint. */
static bool previous_is_busy(const struct task *task, uint64_t checkpoint_id)
{
    uint64_t word = atomic_load_explicit(&task->shared->snapshot.word, memory_order_acquire);
    if (!task->cut_live || SNAPSHOT_STATUS(word) != SNAPSHOT_RUNNING)
        return false;
    log_line(LOG_WARNING, "checkpoint %llu: the previous snapshot is still being written; none is taken here",
             (unsigned long long)checkpoint_id);
    return true;
}

/* The checkpoint before this one may have completed without this task having looked: its output becomes visible first. Else sinks
 * would prepare it once more, and this checkpoint's child look for files that whoever reads the output may have removed by then. */
static int commit_what_is_complete(struct task *task)
{
    uint64_t committed = atomic_load_explicit(&task->job->shared->checkpoint_committed, memory_order_acquire);
    bool seen = committed <= atomic_load_explicit(&task->shared->committed_seen, memory_order_relaxed);
    return seen ? WEIR_OK : sinks_commit(task, committed);
}

/* First the batch, and what its sinks prepared, as one transaction that says which barrier lies behind it; then what follows from
 * that record and may be repeated: barrier_finish(). */
int barrier_take(struct task *task, uint64_t checkpoint_id, bool stop)
{
    int64_t begun_ns = clock_monotonic_ns();
    task->barrier_id = checkpoint_id;
    task->barrier_due = checkpoint_id;
    task->barrier_stop = stop;
    task->barrier_snapshot = !is_given_up(task, checkpoint_id) && !previous_is_busy(task, checkpoint_id);
    task->batch_open = true;
    int code = batch_flush_sinks(task);
    if (code >= 0)
        code = commit_what_is_complete(task);
    if (code >= 0 && task->barrier_snapshot)
        code = prepare_sinks(task, checkpoint_id);
    if (code >= 0)
        code = batch_commit(task);
    if (code >= 0)
        code = barrier_finish(task);
    note_pause(task, begun_ns);
    return code;
}

/* By a process that died before it forked: the slot says RUNNING, and somebody has to say that nobody runs. */
static bool snapshot_is_begun(const struct task *task, uint64_t checkpoint_id)
{
    return atomic_load_explicit(&task->shared->snapshot.word, memory_order_acquire) == SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_RUNNING);
}

int barrier_finish(struct task *task)
{
    uint64_t checkpoint_id = task->barrier_due;
    batch_wake_readers(task, false); /* they need not wait for the fork */
    barrier_release_cut(task);
    bool given_up = is_given_up(task, checkpoint_id) && !snapshot_is_begun(task, checkpoint_id);
    if (!task->barrier_snapshot || given_up) /* its barrier only keeps the order from here on */
        log_line(LOG_DEBUG, "checkpoint %llu was given up before its barrier came here", (unsigned long long)checkpoint_id);
    else
        start_snapshot(task, checkpoint_id);
    KILL_POINT(b4);
    task->stopping = task->barrier_stop;
    task->records_since_barrier = 0;
    task->barrier_due = 0;
    struct barrier_payload payload = {checkpoint_id, task->barrier_stop};
    int code = task_push_control(task, FRAME_BARRIER, &payload, sizeof payload);
    if (code >= 0)
        code = batch_commit(task);
    KILL_POINT(b5);
    return code;
}

/* By a process that has no more to lose: what it was rolled back to was damaged, and all that followed from it. */
static void fail_for_memory(struct task *task)
{
    struct weir_error why = task->shared->snapshot.error;
    task_fail(task, &why, false);
}

void barrier_release_cut(struct task *task)
{
    if (!task->cut_live)
        return;
    const struct job_shared *job = task->job->shared;
    const struct chunk_cut *cut = chunk_cut_live(&task->region);
    uint64_t word = atomic_load_explicit(&task->shared->snapshot.word, memory_order_acquire);
    if (SNAPSHOT_STATUS(word) == SNAPSHOT_RUNNING)
        return;
    bool done = word == SNAPSHOT_WORD(cut->number, SNAPSHOT_DONE);
    bool complete = done && atomic_load_explicit(&job->checkpoint_committed, memory_order_acquire) == cut->number;
    bool given_up = !done || cut->keep == 0 || atomic_load_explicit(&job->checkpoint_aborted, memory_order_acquire) >= cut->number;
    if (complete || given_up)
        settle_cut(task, complete);
    if (task->shared->memory_damaged != 0)
        fail_for_memory(task);
}

static struct weir_ctx *operator_of(struct task *task, unsigned node)
{
    for (unsigned i = 0; i < task->op_count; i++)
        if (task->ops[i].node_index == node)
            return &task->ops[i];
    return NULL;
}

static void forget_first_pending(struct task *task)
{
    struct pending_list *list = task->pending;
    state_before_change(&task->region, list, offsetof(struct pending_list, item) + list->count * sizeof list->item[0]);
    memmove(&list->item[0], &list->item[1], (list->count - 1) * sizeof list->item[0]);
    list->count--;
}

static int commit_pending(struct task *task, uint64_t checkpoint_id)
{
    struct pending_list *list = task->pending;
    while (list->count > 0 && list->item[0].checkpoint_id <= checkpoint_id) {
        struct pending_committable *pending = &list->item[0];
        struct weir_ctx *ctx = operator_of(task, pending->node);
        CHECK(ctx != NULL);
        KILL_POINT(p3);
        int code = ctx_callback_result(
            ctx, "commit", ctx->node->sink->commit(ctx, pending->checkpoint_id, pending->bytes, pending->size_bytes));
        if (code < 0)
            return code;
        KILL_POINT(p4);
        forget_first_pending(task);
        KILL_POINT(p5);
    }
    return WEIR_OK;
}

static int tell_source(struct task *task, uint64_t checkpoint_id)
{
    struct weir_ctx *head = &task->ops[0];
    const struct cut_record *cut = &task->shared->cut;
    if (!task->has_source || head->node->source->on_committed == NULL || cut->checkpoint_id != checkpoint_id)
        return WEIR_OK; /* the position of an older checkpoint is gone: the next one will do */
    return ctx_callback_result(head, "on_committed",
                               head->node->source->on_committed(head, checkpoint_id, cut->position, cut->position_bytes));
}

int sinks_commit(struct task *task, uint64_t checkpoint_id)
{
    task->batch_open = true;
    int code = commit_pending(task, checkpoint_id);
    if (code >= 0)
        code = tell_source(task, checkpoint_id);
    if (code < 0)
        return code;
    atomic_store_explicit(&task->shared->committed_seen, checkpoint_id, memory_order_release);
    return WEIR_OK;
}

int sinks_commit_without_checkpoint(struct task *task)
{
    uint64_t checkpoint_id = task->barrier_id + 1;
    task->batch_open = true;
    int code = batch_flush_sinks(task);
    if (code >= 0)
        code = prepare_sinks(task, checkpoint_id);
    if (code >= 0)
        code = batch_commit(task); /* whoever takes over from here on has what was prepared */
    for (uint64_t i = 0; code >= 0 && i < task->pending->count; i++) {
        const struct pending_committable *pending = &task->pending->item[i];
        struct weir_ctx *ctx = operator_of(task, pending->node);
        if (ctx->node->sink->persist != NULL)
            code = ctx_callback_result(
                ctx, "persist", ctx->node->sink->persist(ctx, pending->checkpoint_id, pending->bytes, pending->size_bytes));
    }
    return code < 0 ? code : commit_pending(task, checkpoint_id);
}
