#include "snapshot/manifest.h"

#include "base/bytes.h"

#include <stdlib.h>

/* Memory of one manifest: a list of pieces that are freed together. */
struct manifest_arena {
    struct manifest_arena *next;
    _Alignas(16) unsigned char bytes[];
};

struct manifest *manifest_new(void)
{
    struct manifest *m = calloc(1, sizeof *m);
    if (m != NULL)
        m->kind = MANIFEST_CHECKPOINT;
    return m;
}

void manifest_free(struct manifest *m)
{
    if (m == NULL)
        return;
    for (struct manifest_arena *piece = m->arena; piece != NULL;) {
        struct manifest_arena *next = piece->next;
        free(piece);
        piece = next;
    }
    free(m);
}

void *manifest_alloc(struct manifest *m, size_t count, size_t size_bytes)
{
    size_t payload_bytes;
    size_t total_bytes;
    if (__builtin_mul_overflow(count, size_bytes, &payload_bytes) ||
        __builtin_add_overflow(payload_bytes, sizeof(struct manifest_arena) + 1, &total_bytes))
        return NULL;
    struct manifest_arena *piece = calloc(1, total_bytes);
    if (piece == NULL)
        return NULL;
    piece->next = m->arena;
    m->arena = piece;
    return piece->bytes;
}

const struct manifest_task *manifest_find_task(const struct manifest *m, const char *name, uint32_t subtask)
{
    for (uint32_t i = 0; i < m->task_count; i++)
        if (m->tasks[i].subtask == subtask && strcmp(m->tasks[i].name, name) == 0)
            return &m->tasks[i];
    return NULL;
}

void manifest_identity(const struct manifest *m, const struct manifest_task *task, const struct snapshot_file *file,
                       struct snapshot_identity *ret_identity)
{
    struct snapshot_identity identity = {.name = {.checkpoint_id = file->checkpoint_id,
                                                  .subtask = task->subtask,
                                                  .generation = file->generation,
                                                  .attempt = file->attempt}};
    memcpy(identity.job_id, m->job_id, sizeof identity.job_id);
    memcpy(identity.name.task, task->name, sizeof identity.name.task);
    *ret_identity = identity;
}
