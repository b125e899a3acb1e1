/*
 * snapshot_child.c - the forked process that writes a task's frozen state, persists what its sinks prepared, acknowledges
 * and is gone. It is a child of the launcher (CLONE_PARENT), so that nobody on the data path has to reap it, and so
 * that it needs its task no more once it runs.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/takeover.h"
#include "engine/task.h"
#include "state/cut.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The frozen chunks as the writer's blocks. */
struct frozen_blocks {
    struct task *task;
    uint64_t checkpoint_id;
    uint32_t logical;
    struct weir_error error; /* of a block that could not be read */
};

static int next_block(void *self, uint32_t *ret_id, const void **ret_block)
{
    struct frozen_blocks *blocks = self;
    struct chunk_frozen chunk;
    if (!chunk_cut_next(&blocks->task->region, &blocks->logical, &chunk))
        return WEIR_END;
    if ((chunk.logical & 0xff) == 0 &&
        atomic_load_explicit(&blocks->task->job->shared->checkpoint_aborted, memory_order_relaxed) >= blocks->checkpoint_id)
        return WEIR_ECANCELLED;
    *ret_id = chunk.logical;
    *ret_block = chunk.bytes;
    return chunk.bytes != NULL ? WEIR_OK : page_in_frozen_block(blocks->task, chunk.image_index, ret_block, &blocks->error);
}

static void blocks_gathered(void *self, uint32_t id_below)
{
    struct frozen_blocks *blocks = self;
    chunk_cut_gathered(&blocks->task->region, id_below);
}

static void block_summed(void *self, uint32_t id, uint64_t checksum)
{
    struct frozen_blocks *blocks = self;
    cut_sum(&blocks->task->region, id, checksum);
}

void task_snapshot_identity(const struct task *task, uint64_t checkpoint_id, struct snapshot_identity *ret_identity)
{
    const struct job_shared *shared = task->job->shared;
    *ret_identity = (struct snapshot_identity){.name = {.checkpoint_id = checkpoint_id,
                                                        .subtask = task->plan->subtask,
                                                        .generation = atomic_load(&shared->generation),
                                                        .attempt = 1}};
    memcpy(ret_identity->job_id, shared->job_id, sizeof ret_identity->job_id);
    snprintf(ret_identity->name.task, sizeof ret_identity->name.task, "%s", task->job->graph->nodes[task->chain->nodes[0]].name);
}

static int write_state(struct task *task, uint64_t checkpoint_id, struct weir_error *err)
{
    const struct job *job = task->job;
    struct snapshot_identity identity;
    task_snapshot_identity(task, checkpoint_id, &identity);
    struct snapshot_options options = {.block_bytes = CHUNK_BYTES, .io_mode = job->io_mode};
    struct frozen_blocks blocks = {.task = task, .checkpoint_id = checkpoint_id};
    struct block_source source = {next_block, blocks_gathered, &blocks, chunk_cut_live(&task->region)->chunk_count, block_summed};
    struct snapshot_result result;
    int code = rollback_verify(task, err);
    if (code != WEIR_OK)
        return code;
    cut_seal_begin(&task->region);
    code = snapshot_write(&job->dir, &identity, &options, &source, &result, err);
    if (blocks.error.code != WEIR_OK)
        *err = blocks.error;
    if (code != WEIR_OK)
        return code;
    cut_seal(&task->region);
    task->shared->snapshot.result = result;
    counter_set(&task->shared->counters.snapshot_bytes_last, result.file.size_bytes);
    counter_set(&task->shared->counters.snapshot_ns_last, (uint64_t)(result.write_ns + result.sync_ns));
    return WEIR_OK;
}

static int persist_sinks(struct task *task, struct weir_error *err)
{
    const struct cut_record *cut = &task->shared->cut;
    for (uint32_t i = 0; i < cut->committable_count; i++) {
        const struct pending_committable *pending = &cut->committables[i];
        for (unsigned j = 0; j < task->op_count; j++) {
            struct weir_ctx *ctx = &task->ops[j];
            if (ctx->node_index != pending->node || ctx->node->sink->persist == NULL)
                continue;
            int code = ctx_callback_result(
                ctx, "persist", ctx->node->sink->persist(ctx, pending->checkpoint_id, pending->bytes, pending->size_bytes));
            if (code < 0)
                return error_set(err, code, "operator '%s': persist: %s", ctx->node->name,
                                 ctx->error.code != 0 ? ctx->error.text : weir_status_text(code));
        }
    }
    return WEIR_OK;
}

static void acknowledge(struct task *task, uint64_t checkpoint_id, int code, const struct weir_error *err)
{
    struct snapshot_slot *slot = &task->shared->snapshot;
    if (code != WEIR_OK)
        slot->error = *err;
    uint64_t expected = SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_RUNNING);
    uint64_t word = SNAPSHOT_WORD(checkpoint_id, code == WEIR_OK ? SNAPSHOT_DONE : SNAPSHOT_FAILED);
    /* Only from RUNNING of the same checkpoint: whoever gave it up meanwhile keeps the last word. */
    atomic_compare_exchange_strong_explicit(&slot->word, &expected, word, memory_order_release, memory_order_relaxed);
    job_wake(task->job->coordinator_fd);
}

/* Its first act. Whoever took the task over may have forked another one meanwhile. */
static bool claim_cut(struct snapshot_slot *slot, uint32_t attempt)
{
    uint64_t expected = attempt;
    return atomic_compare_exchange_strong(&slot->claim, &expected, SNAPSHOT_CLAIM(getpid(), attempt));
}

static _Noreturn void child_main(struct task *task, uint64_t checkpoint_id, uint32_t attempt)
{
    if (!claim_cut(&task->shared->snapshot, attempt))
        _exit(0);
    takeover_forget_marks();
    task_unpin(task); /* its task needs that CPU */
    task->region.image = NULL; /* the table is not ours to change */
    char name[sizeof task->process_name + 16];
    snprintf(name, sizeof name, "snapshot:%s", task->process_name);
    job_enter_process(task->job, name);
    atomic_store_explicit(&task->shared->snapshot.child_pid, (int32_t)getpid(), memory_order_relaxed);
    KILL_POINT(h1);
    struct weir_error err = {0};
    int code = task->has_state ? write_state(task, checkpoint_id, &err) : WEIR_OK;
    if (code == WEIR_OK)
        code = persist_sinks(task, &err);
    if (!task->has_state) /* else snapshot_write() has it */
        KILL_POINT(h6);
    acknowledge(task, checkpoint_id, code, &err);
    KILL_POINT(h7);
    _exit(0);
}

/* One that has made its claim was known to the launcher by that, which says how it died. */
static void note_lost_child(struct task *task, uint64_t checkpoint_id, pid_t pid)
{
    struct snapshot_slot *slot = &task->shared->snapshot;
    uint64_t running = SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_RUNNING);
    if (SNAPSHOT_CLAIM_PID(atomic_load(&slot->claim)) == pid || atomic_load_explicit(&slot->word, memory_order_acquire) != running)
        return;
    error_set(&slot->error, WEIR_EFAILED, "its snapshot child died before its first act");
    if (atomic_compare_exchange_strong(&slot->word, &running, SNAPSHOT_WORD(checkpoint_id, SNAPSHOT_FAILED)))
        job_wake(task->job->coordinator_fd);
}

int snapshot_child_start(struct task *task, uint64_t checkpoint_id, uint32_t attempt, struct weir_error *err)
{
    struct clone_args args = {.flags = CLONE_PARENT};
    int64_t begun_ns = clock_monotonic_ns();
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0 && errno == ENOSYS) /* refused by a seccomp filter that knows clone() only */
        pid = syscall(SYS_clone, CLONE_PARENT, NULL, NULL, NULL, 0);
    if (pid < 0)
        return error_set_errno(err, errno, "fork of the snapshot child (a limit on processes or memory?)");
    if (pid == 0)
        child_main(task, checkpoint_id, attempt);
    atomic_store(&task->shared->snapshot.child_pid, (int32_t)pid);
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) /* reaped before the launcher could know whose it was: nobody else will say so */
        note_lost_child(task, checkpoint_id, (pid_t)pid);
    counter_set(&task->shared->counters.fork_ns_last, (uint64_t)(clock_monotonic_ns() - begun_ns));
    return WEIR_OK;
}
