/*
 * rollback.c - a starting task goes back to the last complete checkpoint in its own memory: the frozen chunks of the cut (state/cut.h),
 * and the record of everything else that the dead process wrote down at the barrier. Nothing is read from disk.
 *
 * There are two records, as there are two cuts: `cut` of the newest checkpoint, and `kept_cut` of the last complete one, copied
 * there before a newer one is written down. Which of them is wanted, its number says; whether it is whole, its checksum.
 */
#include "base/check.h"
#include "base/log.h"
#include "engine/task.h"
#include "state/cut.h"
#include "state/key.h" /* XXH3 */

#include <string.h>

static size_t record_bytes(const struct cut_record *cut)
{
    return offsetof(struct cut_record, committables) + cut->committable_count * sizeof cut->committables[0];
}

static uint64_t record_checksum(const struct cut_record *cut)
{
    return XXH3_64bits(&cut->checkpoint_id, record_bytes(cut) - offsetof(struct cut_record, checkpoint_id));
}

void rollback_seal_record(struct cut_record *cut) { cut->checksum = record_checksum(cut); }

void rollback_keep_record(struct task *task)
{
    struct task_shared *shared = task->shared;
    const struct cut_record *cut = &shared->cut;
    if (cut->checkpoint_id == 0 ||
        cut->checkpoint_id != atomic_load_explicit(&task->job->shared->checkpoint_committed, memory_order_acquire))
        return;
    memcpy(&shared->kept_cut, cut, record_bytes(cut));
    atomic_signal_fence(memory_order_seq_cst); /* the copy is whole before the other changes: for whoever takes over */
}

bool rollback_record_is_whole(const struct cut_record *cut, uint64_t checkpoint_id)
{
    return cut->checkpoint_id == checkpoint_id && cut->committable_count <= PENDING_COMMITTABLES_MAX &&
           cut->position_bytes <= WEIR_POSITION_BYTES_MAX && cut->checksum == record_checksum(cut);
}

static const struct cut_record *find_record(const struct task *task, uint64_t checkpoint_id)
{
    const struct task_shared *shared = task->shared;
    if (rollback_record_is_whole(&shared->cut, checkpoint_id))
        return &shared->cut;
    return rollback_record_is_whole(&shared->kept_cut, checkpoint_id) ? &shared->kept_cut : NULL;
}

/* What a manifest would say of this task. */
static int describe(const struct task *task, const struct cut_record *cut, struct manifest *m, struct manifest_task *part)
{
    part->finished = cut->ended != 0;
    part->records_in = cut->records_in;
    part->records_out = cut->records_out;
    part->watermark_ms = cut->watermark_ms;
    part->position_count = cut->position_bytes > 0;
    part->positions = manifest_alloc(m, part->position_count, sizeof *part->positions);
    part->committable_count = cut->committable_count;
    part->committables = manifest_alloc(m, cut->committable_count, sizeof *part->committables);
    if (part->positions == NULL || part->committables == NULL)
        return WEIR_ENOMEM;
    if (part->position_count > 0) {
        part->positions[0].operator_index = task->chain->nodes[0];
        part->positions[0].size_bytes = cut->position_bytes;
        memcpy(part->positions[0].bytes, cut->position, cut->position_bytes);
    }
    for (uint32_t i = 0; i < cut->committable_count; i++) {
        const struct pending_committable *from = &cut->committables[i];
        struct manifest_committable *to = &part->committables[i];
        if (from->size_bytes > sizeof to->bytes)
            return WEIR_ECORRUPT;
        to->operator_index = from->node;
        to->checkpoint_id = from->checkpoint_id;
        to->size_bytes = from->size_bytes;
        memcpy(to->bytes, from->bytes, from->size_bytes);
    }
    return WEIR_OK;
}

static int make_part(const struct task *task, const struct cut_record *cut, struct manifest **ret_manifest,
                     struct manifest_task **ret_part, struct weir_error *err)
{
    struct manifest *m = manifest_new();
    struct manifest_task *part = m != NULL ? manifest_alloc(m, 1, sizeof *part) : NULL;
    int code = part != NULL ? describe(task, cut, m, part) : WEIR_ENOMEM;
    if (code != WEIR_OK) {
        manifest_free(m);
        return error_set(err, code, "the record of cut %llu: %s", (unsigned long long)cut->checkpoint_id, weir_status_text(code));
    }
    *ret_manifest = m;
    *ret_part = part;
    return WEIR_OK;
}

/* ---- before anything is committed on top of it ---- */

struct verifying {
    struct task *task;
    uint64_t binding;
    uint64_t count;
};

static uint64_t file_checksum(void *self, uint32_t logical, const void *bytes)
{
    struct verifying *verifying = self;
    if (++verifying->count % 1024 == 0) /* a sign of life while much is read */
        atomic_fetch_add_explicit(&verifying->task->shared->heartbeat, 1, memory_order_relaxed);
    return snapshot_checksum(verifying->binding, logical, bytes, CHUNK_BYTES);
}

static int verify(struct task *task, struct weir_error *err)
{
    struct snapshot_identity identity;
    task_snapshot_identity(task, cut_unverified(&task->region), &identity);
    struct verifying verifying = {.task = task, .binding = snapshot_binding(&identity)};
    return cut_verify(&task->region, file_checksum, &verifying, err);
}

int rollback_verify(struct task *task, struct weir_error *err)
{
    if (cut_unverified(&task->region) == 0)
        return WEIR_OK;
    int code = verify(task, err);
    if (code == WEIR_ECORRUPT)
        task->shared->memory_damaged = 1;
    return code;
}

/* ---- going back ---- */

static int roll_back(struct task *task, uint64_t checkpoint_id, struct manifest **ret_manifest, struct manifest_task **ret_part,
                     struct weir_error *err)
{
    const struct job_shared *job = task->job->shared;
    const struct cut_record *cut = find_record(task, checkpoint_id);
    if (cut == NULL || checkpoint_id <= atomic_load(&job->rollback_barred_id) || task->job->options->rollback_memory_bytes == 0)
        return error_set(err, WEIR_ENOENT, "the record of cut %llu is not in memory", (unsigned long long)checkpoint_id);
    int code = make_part(task, cut, ret_manifest, ret_part, err);
    if (code != WEIR_OK)
        return code;
    /* The second time in a row: perhaps what it found there was its end. Then it is read before it is used. */
    bool again = cut_unverified(&task->region) == checkpoint_id;
    if (cut->has_file == 0)
        chunk_region_reset(&task->region);
    else
        code = cut_roll_back(&task->region, checkpoint_id, err);
    if (code == WEIR_OK && again)
        code = verify(task, err);
    if (code != WEIR_OK)
        manifest_free(*ret_manifest);
    return code;
}

int task_roll_back(struct task *task, uint64_t checkpoint_id, struct manifest **ret_manifest,
                   const struct manifest_task **ret_restored, struct weir_error *err)
{
    struct manifest *manifest = NULL;
    struct manifest_task *part = NULL;
    int code = roll_back(task, checkpoint_id, &manifest, &part, err);
    if (code != WEIR_OK) {
        log_line(code == WEIR_ECORRUPT ? LOG_WARNING : LOG_DEBUG, "goes back to checkpoint %llu on disk: %s",
                 (unsigned long long)checkpoint_id, err->text);
        return code;
    }
    task->records_in = part->records_in;
    task->records_out = part->records_out;
    task->ended = part->finished;
    task->barrier_id = checkpoint_id;
    task->shared->rolled_back = 1;
    *ret_manifest = manifest;
    *ret_restored = part;
    return WEIR_OK;
}
