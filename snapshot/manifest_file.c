#include "snapshot/manifest.h"

#include "base/kill_point.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

struct manifest_writer {
    const struct checkpoint_dir *dir;
    const struct io *io;
    const unsigned char *bytes;
    size_t size_bytes;
    char temp_name[FILE_NAME_BYTES];
    char name[FILE_NAME_BYTES];
    bool temp_exists;
    bool manifest_exists;
};

static int failed(const char *name, int result, const char *what, struct weir_error *err)
{
    return error_set_errno(err, -result, "%s: %s", name, what);
}

static int injected(const struct manifest_writer *w, const char *point, struct weir_error *err)
{
    return error_set(err, WEIR_EIO, "%s: kill point %s reports an error", w->temp_name, point);
}

static int write_temp(struct manifest_writer *w, int fd, struct weir_error *err)
{
    const struct io *io = w->io;
    size_t half_bytes = w->size_bytes / 2;
    ssize_t result = io_write_full(io, fd, w->bytes, half_bytes, 0);
    if (result < 0)
        return failed(w->temp_name, (int)result, "write", err);
    if (KILL_POINT_ERROR(k3))
        return injected(w, "k3", err);
    result = io_write_full(io, fd, w->bytes + half_bytes, w->size_bytes - half_bytes, half_bytes);
    if (result < 0)
        return failed(w->temp_name, (int)result, "write", err);
    if (KILL_POINT_ERROR(k4))
        return injected(w, "k4", err);
    int synced = io->fsync(io->self, fd); /* once: see snapshot_write() */
    return synced < 0 ? failed(w->temp_name, synced, "fsync", err) : WEIR_OK;
}

static int make_temp(struct manifest_writer *w, struct weir_error *err)
{
    const struct io *io = w->io;
    int fd = io->openat(io->self, w->dir->fd, w->temp_name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return failed(w->temp_name, fd, "create", err);
    w->temp_exists = true;
    int code = write_temp(w, fd, err);
    int result = io->close(io->self, fd);
    if (code == WEIR_OK && result < 0)
        code = failed(w->temp_name, result, "close", err);
    if (code == WEIR_OK && KILL_POINT_ERROR(k5))
        code = injected(w, "k5", err);
    return code;
}

/* The commit itself. */
static int rename_and_sync(struct manifest_writer *w, struct weir_error *err)
{
    const struct io *io = w->io;
    int result = io->rename_new(io->self, w->dir->fd, w->temp_name, w->name);
    if (result < 0)
        return failed(w->name, result, "rename the finished manifest to this name", err);
    w->temp_exists = false;
    w->manifest_exists = true;
    if (KILL_POINT_ERROR(k6))
        return injected(w, "k6", err);
    result = io->fsync(io->self, w->dir->fd);
    return result < 0 ? failed(w->name, result, "fsync of the directory", err) : WEIR_OK;
}

/* Best effort: what stays is garbage for checkpoint_retain(), or a complete checkpoint that nobody was told of. */
static void undo(struct manifest_writer *w)
{
    const struct io *io = w->io;
    if (w->temp_exists)
        io->unlinkat(io->self, w->dir->fd, w->temp_name);
    if (w->manifest_exists)
        io->unlinkat(io->self, w->dir->fd, w->name);
}

static int commit(struct manifest_writer *w, struct weir_error *err)
{
    int code = make_temp(w, err);
    if (code == WEIR_OK)
        code = rename_and_sync(w, err);
    if (code == WEIR_OK)
        return WEIR_OK;
    undo(w);
    if (code == WEIR_ENOSPC)
        error_append(err, ": free space in %s", w->dir->path);
    error_context(err, "manifest in %s", w->dir->path);
    return code;
}

int manifest_write(const struct checkpoint_dir *dir, struct manifest *m, uint32_t attempt, struct weir_error *err)
{
    struct manifest_writer w = {.dir = dir, .io = dir->io};
    void *bytes;
    int code = manifest_encode(m, &bytes, &w.size_bytes, err);
    if (code != WEIR_OK) {
        error_context(err, "manifest of checkpoint %" PRIu64, m->checkpoint_id);
        return code;
    }
    w.bytes = bytes;
    manifest_temp_name_format(m->checkpoint_id, m->generation, attempt, w.temp_name);
    manifest_name_format(m->checkpoint_id, w.name);
    code = commit(&w, err);
    free(bytes);
    return code;
}

static int read_bytes(const struct checkpoint_dir *dir, const char *name, void **ret_bytes, size_t *ret_size_bytes,
                      struct weir_error *err)
{
    const struct io *io = dir->io;
    int fd;
    uint64_t size_bytes;
    int code = checkpoint_dir_open_file(dir, dir->fd, name, &fd, &size_bytes, err);
    if (code != WEIR_OK)
        return code;
    void *bytes = NULL;
    if (size_bytes > MANIFEST_BYTES_MAX)
        code = error_set(err, WEIR_ECORRUPT, "%s: %" PRIu64 " bytes, a manifest has at most %u", name, size_bytes,
                         MANIFEST_BYTES_MAX);
    else if ((bytes = malloc(size_bytes + 1)) == NULL)
        code = error_set(err, WEIR_ENOMEM, "%s: %" PRIu64 " bytes: out of memory", name, size_bytes);
    ssize_t result = code == WEIR_OK ? io_read_full(io, fd, bytes, size_bytes, 0) : 0;
    if (result < 0)
        code = failed(name, (int)result, "read", err);
    io->close(io->self, fd);
    if (code != WEIR_OK) {
        free(bytes);
        return code;
    }
    *ret_bytes = bytes;
    *ret_size_bytes = (size_t)result;
    return WEIR_OK;
}

int manifest_read(const struct checkpoint_dir *dir, uint64_t checkpoint_id, struct manifest **ret_manifest,
                  struct weir_error *err)
{
    char name[FILE_NAME_BYTES];
    manifest_name_format(checkpoint_id, name);
    void *bytes = NULL;
    size_t size_bytes = 0;
    struct manifest *m = NULL;
    int code = read_bytes(dir, name, &bytes, &size_bytes, err);
    if (code == WEIR_OK) {
        code = manifest_decode(bytes, size_bytes, &m, err);
        if (code == WEIR_OK && m->checkpoint_id != checkpoint_id)
            code = error_set(err, WEIR_ECORRUPT, "holds checkpoint %" PRIu64, m->checkpoint_id);
        if (code != WEIR_OK)
            error_context(err, "%s", name);
    } else if (code == WEIR_ENOENT)
        error_set(err, code, "there is no checkpoint %" PRIu64 " (no file %s): 'weir checkpoints' lists those that are kept", checkpoint_id, name);
    free(bytes);
    if (code != WEIR_OK) {
        manifest_free(m);
        error_context(err, "%s", dir->path);
        return code;
    }
    *ret_manifest = m;
    return WEIR_OK;
}
