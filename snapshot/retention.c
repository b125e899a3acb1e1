#include "snapshot/checkpoint.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/kill_point.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* A list of names, owned. */
struct names {
    char (*text)[FILE_NAME_BYTES];
    size_t count;
    size_t capacity;
};

struct retention {
    const struct checkpoint_dir *dir;
    uint64_t lowest_live_id;
    bool in_doubt;           /* some manifest is unreadable ... */
    uint64_t doubt_id;       /* ... the newest of them: it may refer to any file up to its own id */
    struct names referenced; /* snapshots that a remaining manifest names; sorted */
    struct names doomed;     /* what the scans chose for deletion */
    struct retain_result result;
    struct weir_error first_error;
};

static int names_add(struct names *names, const char *name, struct weir_error *err)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 64 : 2 * names->capacity;
        void *text = reallocarray(names->text, capacity, sizeof *names->text);
        if (text == NULL)
            return error_set(err, WEIR_ENOMEM, "a list of %zu files: out of memory", capacity);
        names->text = text;
        names->capacity = capacity;
    }
    memset(names->text[names->count], 0, FILE_NAME_BYTES);
    memcpy(names->text[names->count++], name, strnlen(name, FILE_NAME_BYTES - 1));
    return WEIR_OK;
}

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

static bool names_have(const struct names *sorted, const char *name)
{
    return sorted->count > 0 && bsearch(name, sorted->text, sorted->count, FILE_NAME_BYTES, compare_names) != NULL;
}

/* A failure to delete one thing keeps nobody from deleting the others. */
static void note_error(struct retention *r, const struct weir_error *error)
{
    if (r->first_error.code == WEIR_OK)
        r->first_error = *error;
}

/* Only regular files are ours, whatever the name says. False: it is still there. */
static bool delete_file(struct retention *r, int dir_fd, const char *name)
{
    const struct io *io = r->dir->io;
    struct weir_error error = {0};
    struct stat info;
    int result = io->fstatat(io->self, dir_fd, name, &info);
    if (result == -ENOENT)
        return true;
    if (result >= 0 && !S_ISREG(info.st_mode)) {
        error_set(&error, WEIR_ECORRUPT, "%s: has the name of a checkpoint's file but is no regular file: left alone",
                  name);
        note_error(r, &error);
        return false;
    }
    if (result >= 0)
        result = io->unlinkat(io->self, dir_fd, name);
    if (result >= 0 || result == -ENOENT)
        return true;
    error_set_errno(&error, -result, "%s: delete", name);
    note_error(r, &error);
    return false;
}

static int reference_files(struct retention *r, const struct manifest *m, struct weir_error *err)
{
    for (uint32_t i = 0; i < m->task_count; i++)
        for (uint32_t j = 0; j < m->tasks[i].file_count; j++) {
            int code = names_add(&r->referenced, m->tasks[i].files[j].name, err);
            if (code != WEIR_OK)
                return code;
        }
    return WEIR_OK;
}

static void doubt(struct retention *r, uint64_t checkpoint_id, const struct weir_error *reason)
{
    r->in_doubt = true;
    r->doubt_id = u64_max(r->doubt_id, checkpoint_id);
    r->result.manifests_unreadable++;
    r->result.doubt = *reason;
}

/* Newest first: keep, or delete the manifest. One that cannot be deleted keeps its files. A checkpoint with missing
 * files does not count as one of those to keep, since nobody could go back to it; but its manifest stays unless a newer
 * one is whole. */
static int sort_out(struct retention *r, uint64_t checkpoint_id, uint32_t keep_count, uint32_t *kept,
                    struct weir_error *err)
{
    struct manifest *m = NULL;
    struct weir_error reason = {0};
    if (manifest_read(r->dir, checkpoint_id, &m, &reason) != WEIR_OK) {
        doubt(r, checkpoint_id, &reason);
        return WEIR_OK;
    }
    char name[FILE_NAME_BYTES];
    manifest_name_format(checkpoint_id, name);
    bool savepoint = m->kind == MANIFEST_SAVEPOINT;
    bool deleted = !savepoint && *kept >= keep_count && delete_file(r, r->dir->fd, name);
    if (!savepoint && *kept < keep_count && checkpoint_check_files(r->dir, m, NULL) == WEIR_OK)
        (*kept)++;
    r->result.checkpoints_deleted += deleted;
    int code = deleted ? WEIR_OK : reference_files(r, m, err);
    manifest_free(m);
    return code;
}

static int sort_out_all(struct retention *r, const struct checkpoint_list *list, uint32_t keep_count,
                        struct weir_error *err)
{
    uint32_t kept = 0;
    for (size_t i = list->count; i > 0; i--) {
        int code = sort_out(r, list->checkpoints[i - 1].id, keep_count, &kept, err);
        if (code != WEIR_OK)
            return code;
    }
    if (r->referenced.count > 1)
        qsort(r->referenced.text, r->referenced.count, FILE_NAME_BYTES, compare_names);
    return WEIR_OK;
}

static int choose_temp(void *self, const char *name, struct weir_error *err)
{
    struct retention *r = self;
    uint64_t id;
    if (!manifest_temp_name_parse(name, &id) || id >= r->lowest_live_id)
        return WEIR_OK;
    return names_add(&r->doomed, name, err);
}

static int choose_snapshot(void *self, const char *name, struct weir_error *err)
{
    struct retention *r = self;
    struct snapshot_name parsed;
    if (!snapshot_name_parse(name, &parsed) || parsed.checkpoint_id >= r->lowest_live_id ||
        names_have(&r->referenced, name))
        return WEIR_OK;
    if (r->in_doubt && parsed.checkpoint_id <= r->doubt_id) {
        r->result.files_kept_in_doubt++;
        return WEIR_OK;
    }
    return names_add(&r->doomed, name, err);
}

static int choose_files(struct retention *r, int dir_fd, dir_entry_fn choose, struct weir_error *err)
{
    r->doomed.count = 0;
    return checkpoint_dir_scan(r->dir, dir_fd, choose, r, err);
}

static void delete_chosen(struct retention *r, int dir_fd)
{
    for (size_t i = 0; i < r->doomed.count; i++)
        r->result.files_deleted += delete_file(r, dir_fd, r->doomed.text[i]);
}

static int delete_manifests(struct retention *r, uint32_t keep_count, struct weir_error *err)
{
    struct checkpoint_list list = {0};
    int code = checkpoint_list_ids(r->dir, &list, err);
    if (code == WEIR_OK)
        code = sort_out_all(r, &list, keep_count, err);
    checkpoint_list_free(&list);
    if (code == WEIR_OK)
        code = choose_files(r, r->dir->fd, choose_temp, err);
    if (code == WEIR_OK)
        delete_chosen(r, r->dir->fd);
    return code;
}

/* Until the directory is synced a power cut may bring a manifest back, which must find its files: also one that an
 * earlier call, or a failed commit, deleted. */
static int delete_snapshots(struct retention *r, struct weir_error *err)
{
    int code = choose_files(r, r->dir->snapshots_fd, choose_snapshot, err);
    if (code != WEIR_OK || r->doomed.count == 0)
        return code;
    int result = r->dir->io->fsync(r->dir->io->self, r->dir->fd);
    if (result < 0)
        return error_set_errno(err, -result, "fsync of the directory, before snapshots are deleted");
    KILL_POINT(k9);
    delete_chosen(r, r->dir->snapshots_fd);
    return WEIR_OK;
}

int checkpoint_retain(const struct checkpoint_dir *dir, uint32_t keep_count, uint64_t lowest_live_id,
                      struct retain_result *ret_result, struct weir_error *err)
{
    CHECK(keep_count >= 1);
    struct retention r = {.dir = dir, .lowest_live_id = lowest_live_id};
    int code = delete_manifests(&r, keep_count, err);
    if (code == WEIR_OK)
        code = delete_snapshots(&r, err);
    free(r.referenced.text);
    free(r.doomed.text);
    if (code == WEIR_OK && r.first_error.code != WEIR_OK)
        code = error_set(err, r.first_error.code, "%s", r.first_error.text);
    if (code != WEIR_OK)
        error_context(err, "clean-up of %s", dir->path);
    if (ret_result != NULL)
        *ret_result = r.result;
    return code;
}
