/*
 * restore.c - a starting task loads its part of a checkpoint: its chunks, verified one by one, and what its manifest says. Restored eagerly,
 * no callback runs before all tasks have loaded theirs: a sink's commit must not make output of a checkpoint visible that then
 * proves damaged. Restored lazily, chunks are only promised here (page_in.h), and such commits wait until the last one is loaded.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/task.h"

#include <string.h>

struct loading {
    struct task *task;
    uint64_t count;
};

static int load_block(void *self, uint32_t id, const void *block, struct weir_error *err)
{
    struct loading *loading = self;
    if (++loading->count % 1024 == 0) /* a sign of life while much is loaded */
        atomic_fetch_add_explicit(&loading->task->shared->heartbeat, 1, memory_order_relaxed);
    return chunk_restore(&loading->task->region, id, block, err);
}

static int open_file(const struct task *task, const struct manifest *manifest, const struct manifest_task *part,
                     const struct snapshot_file *file, struct snapshot_reader **ret_reader, struct weir_error *err)
{
    const struct job *job = task->job;
    struct snapshot_identity identity;
    manifest_identity(manifest, part, file, &identity);
    struct snapshot_reader *reader;
    int code = snapshot_open(&job->dir, file, &identity, job->io_mode, &reader, err);
    if (code != WEIR_OK)
        return code;
    if (snapshot_block_bytes(reader) != CHUNK_BYTES) {
        error_set(err, WEIR_EVERSION, "%s: blocks of %u bytes; this build has chunks of %u", file->name, snapshot_block_bytes(reader),
                  CHUNK_BYTES);
        snapshot_close(reader);
        return WEIR_EVERSION;
    }
    *ret_reader = reader;
    return WEIR_OK;
}

static int load_file(struct task *task, const struct manifest *manifest, const struct manifest_task *part,
                     const struct snapshot_file *file, struct weir_error *err)
{
    struct snapshot_reader *reader;
    int code = open_file(task, manifest, part, file, &reader, err);
    if (code != WEIR_OK)
        return code;
    if (part->file_count == 1 && page_in_is_wanted(task->job))
        return page_in_begin(task, manifest->checkpoint_id, reader, err);
    struct loading loading = {.task = task};
    int64_t begun_ns = clock_monotonic_ns();
    code = snapshot_read(reader, load_block, &loading, err);
    if (code == WEIR_OK)
        restore_log_loaded(task, &(struct restore_loaded){.checkpoint_id = manifest->checkpoint_id,
                                                          .mode = "eager",
                                                          .bytes = loading.count * CHUNK_BYTES,
                                                          .duration_ns = clock_monotonic_ns() - begun_ns});
    snapshot_close(reader);
    return code;
}

int task_open_image(struct task *task, uint64_t checkpoint_id, struct snapshot_reader **ret_reader, struct weir_error *err)
{
    struct manifest *manifest;
    int code = manifest_read(&task->job->dir, checkpoint_id, &manifest, err);
    if (code != WEIR_OK)
        return code;
    const struct manifest_task *part =
        manifest_find_task(manifest, task->job->graph->nodes[task->chain->nodes[0]].name, task->plan->subtask);
    if (part == NULL || part->file_count != 1)
        code = error_set(err, WEIR_ECORRUPT, "its manifest has no file of task '%s' any more", task->plan->name);
    else
        code = open_file(task, manifest, part, &part->files[0], ret_reader, err);
    manifest_free(manifest);
    return code;
}

void restore_log_loaded(struct task *task, const struct restore_loaded *loaded)
{
    log_line(LOG_DEBUG, "checkpoint %llu: %.1f MiB of state loaded (%s) in %.1f ms", (unsigned long long)loaded->checkpoint_id,
             (double)loaded->bytes / 1048576, loaded->mode, (double)loaded->duration_ns / 1e6);
    event_log_append(&task->job->events, EVENT_RESTORE_LOADED,
                     json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I}", "task", task->plan->name, "checkpoint",
                               (json_int_t)loaded->checkpoint_id, "mode", loaded->mode, "bytes", (json_int_t)loaded->bytes, "duration_ns",
                               (json_int_t)loaded->duration_ns, "needed", (json_int_t)loaded->needed, "records_before",
                               (json_int_t)loaded->records_before));
}

/* Operator indices of a manifest are its own; from here on they are those of the graph. */
static int translate_operators(const struct task *task, const struct manifest *manifest, const struct manifest_task *part,
                               struct weir_error *err)
{
    const struct weir_job *graph = task->job->graph;
    uint32_t node_of[MANIFEST_OPERATORS_MAX] = {0};
    for (uint32_t i = 0; i < manifest->operator_count; i++) {
        node_of[i] = UINT32_MAX;
        for (unsigned node = 0; node < graph->node_count; node++)
            if (strcmp(graph->nodes[node].name, manifest->operators[i].name) == 0)
                node_of[i] = node;
        if (node_of[i] == UINT32_MAX)
            return error_set(err, WEIR_EMISMATCH, "the checkpoint has an operator '%s'; the job has none of this name",
                             manifest->operators[i].name);
    }
    for (uint32_t i = 0; i < part->position_count; i++)
        part->positions[i].operator_index = node_of[part->positions[i].operator_index];
    for (uint32_t i = 0; i < part->committable_count; i++)
        part->committables[i].operator_index = node_of[part->committables[i].operator_index];
    return WEIR_OK;
}

static int restore_task(struct task *task, const struct manifest *manifest, const struct manifest_task **ret_part,
                        struct weir_error *err)
{
    const char *name = task->job->graph->nodes[task->chain->nodes[0]].name;
    const struct manifest_task *part = manifest_find_task(manifest, name, task->plan->subtask);
    if (part == NULL)
        return error_set(err, WEIR_EMISMATCH, "the checkpoint has no task '%s'", task->plan->name);
    int code = translate_operators(task, manifest, part, err);
    for (uint32_t i = 0; code == WEIR_OK && i < part->file_count; i++)
        code = load_file(task, manifest, part, &part->files[i], err);
    if (code != WEIR_OK)
        return code;
    if (part->file_count > 0)
        chunk_restore_finish(&task->region, false);
    task->records_in = part->records_in;
    task->shared->page_in.records_in = part->records_in;
    task->records_out = part->records_out;
    task->ended = part->finished;
    task->barrier_id = manifest->checkpoint_id;
    *ret_part = part;
    return WEIR_OK;
}

int task_restore(struct task *task, uint64_t checkpoint_id, struct manifest **ret_manifest,
                 const struct manifest_task **ret_restored, struct weir_error *err)
{
    *ret_manifest = NULL;
    *ret_restored = NULL;
    struct weir_error not_in_memory = {0};
    if (checkpoint_id != 0 && task_roll_back(task, checkpoint_id, ret_manifest, ret_restored, &not_in_memory) == WEIR_OK)
        return WEIR_OK;
    chunk_region_reset(&task->region);
    if (checkpoint_id == 0)
        return WEIR_OK;
    struct manifest *manifest;
    int code = manifest_read(&task->job->dir, checkpoint_id, &manifest, err);
    if (code == WEIR_OK) {
        code = restore_task(task, manifest, ret_restored, err);
        if (code != WEIR_OK)
            manifest_free(manifest);
        else
            *ret_manifest = manifest;
    }
    return code == WEIR_OK ? WEIR_OK : error_context(err, "checkpoint %llu", (unsigned long long)checkpoint_id);
}

static bool all_restored(const struct job *job)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        if (atomic_load_explicit(&job->shared->tasks[i].restored, memory_order_acquire) == 0)
            return false;
    return true;
}

void task_wait_for_the_departing(struct task *task)
{
    struct task_shared *shared = task->shared;
    while (atomic_load_explicit(&shared->departing, memory_order_acquire) != 0) {
        doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
        if (atomic_load_explicit(&shared->departing, memory_order_acquire) == 0)
            doorbell_cancel(&shared->bell);
        else
            doorbell_wait(&shared->bell, 100 * NS_PER_MS);
        atomic_fetch_add_explicit(&shared->heartbeat, 1, memory_order_relaxed);
    }
}

void task_wait_for_the_others(struct task *task)
{
    struct task_shared *shared = task->shared;
    atomic_store(&shared->restored, 1);
    job_ring_all_tasks(task->job);
    while (!all_restored(task->job)) {
        doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
        if (all_restored(task->job))
            doorbell_cancel(&shared->bell);
        else
            doorbell_wait(&shared->bell, 100 * NS_PER_MS);
        atomic_fetch_add_explicit(&shared->heartbeat, 1, memory_order_relaxed);
    }
}
