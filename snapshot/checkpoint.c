#include "snapshot/checkpoint.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static int list_entry(void *self, const char *name, struct weir_error *err)
{
    struct checkpoint_list *list = self;
    uint64_t id;
    if (!manifest_name_parse(name, &id))
        return WEIR_OK;
    if ((list->count & (list->count - 1)) == 0) { /* 0 or a power of two: full */
        size_t capacity = list->count == 0 ? 1 : 2 * list->count;
        struct checkpoint_info *more = reallocarray(list->checkpoints, capacity, sizeof *more);
        if (more == NULL)
            return error_set(err, WEIR_ENOMEM, "a list of %zu checkpoints: out of memory", capacity);
        list->checkpoints = more;
    }
    list->checkpoints[list->count++] = (struct checkpoint_info){.id = id};
    return WEIR_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t id_a = ((const struct checkpoint_info *)a)->id;
    uint64_t id_b = ((const struct checkpoint_info *)b)->id;
    return (id_a > id_b) - (id_a < id_b);
}

int checkpoint_list_ids(const struct checkpoint_dir *dir, struct checkpoint_list *ret_list, struct weir_error *err)
{
    struct checkpoint_list list = {0};
    int code = checkpoint_dir_scan(dir, dir->fd, list_entry, &list, err);
    if (code != WEIR_OK) {
        checkpoint_list_free(&list);
        return code;
    }
    if (list.count > 1)
        qsort(list.checkpoints, list.count, sizeof *list.checkpoints, compare_ids);
    *ret_list = list;
    return WEIR_OK;
}

void checkpoint_list_free(struct checkpoint_list *list)
{
    free(list->checkpoints);
    list->checkpoints = NULL;
    list->count = 0;
}

static int check_file(const struct checkpoint_dir *dir, const struct snapshot_file *file, struct weir_error *err)
{
    struct stat info;
    int result = dir->io->fstatat(dir->io->self, dir->snapshots_fd, file->name, &info);
    if (result < 0)
        return error_set_errno(err, -result, "%s/snapshots/%s", dir->path, file->name);
    if (!S_ISREG(info.st_mode))
        return error_set(err, WEIR_ECORRUPT, "%s/snapshots/%s: is no regular file", dir->path, file->name);
    if (info.st_size < 0 || (uint64_t)info.st_size != file->size_bytes)
        return error_set(err, WEIR_ECORRUPT, "%s/snapshots/%s: expected %" PRIu64 " bytes, found %lld", dir->path,
                         file->name, file->size_bytes, (long long)info.st_size);
    return WEIR_OK;
}

int checkpoint_check_files(const struct checkpoint_dir *dir, const struct manifest *m, struct weir_error *err)
{
    for (uint32_t i = 0; i < m->task_count; i++)
        for (uint32_t j = 0; j < m->tasks[i].file_count; j++) {
            int code = check_file(dir, &m->tasks[i].files[j], err);
            if (code != WEIR_OK)
                return code;
        }
    return WEIR_OK;
}

/* The manifest, where it is whole and all its files are there. */
static int read_complete(const struct checkpoint_dir *dir, uint64_t checkpoint_id, struct manifest **ret_manifest,
                         struct weir_error *err)
{
    struct manifest *m = NULL;
    int code = manifest_read(dir, checkpoint_id, &m, err);
    if (code == WEIR_OK)
        code = checkpoint_check_files(dir, m, err);
    if (code != WEIR_OK) {
        manifest_free(m);
        return code;
    }
    *ret_manifest = m;
    return WEIR_OK;
}

static void describe(const struct checkpoint_dir *dir, struct checkpoint_info *info)
{
    struct manifest *m = NULL;
    int code = manifest_read(dir, info->id, &m, &info->reason);
    if (code != WEIR_OK)
        return;
    info->kind = m->kind;
    info->created_ms = m->created_ms;
    info->duration_ns = m->duration_ns;
    info->total_bytes = m->total_bytes;
    info->complete = checkpoint_check_files(dir, m, &info->reason) == WEIR_OK;
    manifest_free(m);
}

int checkpoint_list(const struct checkpoint_dir *dir, struct checkpoint_list *ret_list, struct weir_error *err)
{
    int code = checkpoint_list_ids(dir, ret_list, err);
    for (size_t i = 0; code == WEIR_OK && i < ret_list->count; i++)
        describe(dir, &ret_list->checkpoints[i]);
    return code;
}

/* Going back further than needed may undo what was made visible: so only for what is wrong with the checkpoint itself,
 * not for a process that is out of memory, of descriptors or of rights. */
static bool is_damage(int code)
{
    return code == WEIR_ECORRUPT || code == WEIR_EMISMATCH || code == WEIR_ENOENT || code == WEIR_EIO;
}

/* A checkpoint of a newer version is whole, and its output may be visible: to go on from an older one would write that once more. */
static int refuse_to_go_on(uint64_t id, int code, const struct weir_error *reason, struct weir_error *err)
{
    if (code == WEIR_EVERSION)
        return error_set(err, code, "checkpoint %" PRIu64 " is of a newer version, and is not passed over for an older one: %s", id,
                         reason->text);
    return error_set(err, code, "checkpoint %" PRIu64 " cannot be read, which says nothing about it: %s", id, reason->text);
}

/* The first usable one from the end of the list, between the two ids. */
static int choose(const struct checkpoint_dir *dir, const struct checkpoint_list *list, uint64_t above_id, uint64_t below_id,
                  checkpoint_skipped_fn skipped, void *self, struct manifest **ret_manifest, struct weir_error *err)
{
    size_t skipped_count = 0;
    struct weir_error reason = {0};
    for (size_t i = list->count; i > 0; i--) {
        uint64_t id = list->checkpoints[i - 1].id;
        if (id >= below_id || id <= above_id)
            continue;
        memset(&reason, 0, sizeof reason);
        int code = read_complete(dir, id, ret_manifest, &reason);
        if (code == WEIR_OK)
            return WEIR_OK;
        if (!is_damage(code))
            return refuse_to_go_on(id, code, &reason, err);
        if (skipped != NULL)
            skipped(self, id, &reason);
        skipped_count++;
    }
    if (skipped_count == 0)
        return WEIR_END;
    return error_set(err, WEIR_ECORRUPT, "%s: none of its %zu checkpoints can be used; of the oldest: %s", dir->path,
                     skipped_count, reason.text);
}

int checkpoint_find_newest(const struct checkpoint_dir *dir, uint64_t below_id, checkpoint_skipped_fn skipped,
                           void *self, struct manifest **ret_manifest, struct weir_error *err)
{
    return checkpoint_find_between(dir, 0, below_id, skipped, self, ret_manifest, err);
}

int checkpoint_find_between(const struct checkpoint_dir *dir, uint64_t above_id, uint64_t below_id, checkpoint_skipped_fn skipped,
                            void *self, struct manifest **ret_manifest, struct weir_error *err)
{
    struct checkpoint_list list;
    int code = checkpoint_list_ids(dir, &list, err);
    if (code != WEIR_OK)
        return code;
    struct manifest *m = NULL;
    code = choose(dir, &list, above_id, below_id, skipped, self, &m, err);
    checkpoint_list_free(&list);
    if (code != WEIR_OK)
        return code;
    int result = dir->io->fsync(dir->io->self, dir->fd);
    if (result < 0) {
        manifest_free(m);
        return error_set_errno(err, -result, "%s: fsync of the directory before its newest checkpoint is used",
                               dir->path);
    }
    *ret_manifest = m;
    return WEIR_OK;
}

static int max_entry(void *self, const char *name, struct weir_error *err)
{
    (void)err;
    uint64_t *id_max = self;
    uint64_t id;
    struct snapshot_name snapshot;
    if (snapshot_name_parse(name, &snapshot))
        *id_max = u64_max(*id_max, snapshot.checkpoint_id);
    else if (manifest_name_parse(name, &id) || manifest_temp_name_parse(name, &id))
        *id_max = u64_max(*id_max, id);
    return WEIR_OK;
}

int checkpoint_id_max(const struct checkpoint_dir *dir, uint64_t *ret_checkpoint_id, struct weir_error *err)
{
    uint64_t id_max = 0;
    int code = checkpoint_dir_scan(dir, dir->fd, max_entry, &id_max, err);
    if (code == WEIR_OK)
        code = checkpoint_dir_scan(dir, dir->snapshots_fd, max_entry, &id_max, err);
    if (code == WEIR_OK)
        *ret_checkpoint_id = id_max;
    return code;
}

static int ignore_block(void *self, uint32_t id, const void *block, struct weir_error *err)
{
    (void)self;
    (void)id;
    (void)block;
    (void)err;
    return WEIR_OK;
}

static int verify_file(const struct checkpoint_dir *dir, const struct manifest *m, const struct manifest_task *task,
                       const struct snapshot_file *file, enum io_mode io_mode, struct weir_error *err)
{
    struct snapshot_identity identity;
    manifest_identity(m, task, file, &identity);
    struct snapshot_reader *reader = NULL;
    int code = snapshot_open(dir, file, &identity, io_mode, &reader, err);
    if (code == WEIR_OK)
        code = snapshot_read(reader, ignore_block, NULL, err);
    snapshot_close(reader);
    return code;
}

int checkpoint_verify(const struct checkpoint_dir *dir, uint64_t checkpoint_id, enum io_mode io_mode,
                      struct weir_error *err)
{
    struct manifest *m = NULL;
    int code = manifest_read(dir, checkpoint_id, &m, err);
    for (uint32_t i = 0; code == WEIR_OK && i < m->task_count; i++)
        for (uint32_t j = 0; code == WEIR_OK && j < m->tasks[i].file_count; j++)
            code = verify_file(dir, m, &m->tasks[i], &m->tasks[i].files[j], io_mode, err);
    manifest_free(m);
    return code;
}
