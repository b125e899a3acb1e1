#include "snapshot/checkpoint_dir.h"

#include "base/bytes.h"
#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define SNAPSHOTS_NAME "snapshots"
#define MANIFEST_PREFIX "manifest-"
#define ID_DIGITS 20

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool name_is_valid(const char *name)
{
    size_t size_bytes = strnlen(name, WEIR_NAME_BYTES_MAX + 1);
    if (size_bytes == 0 || size_bytes > WEIR_NAME_BYTES_MAX || !is_alphanumeric(name[0]))
        return false;
    for (size_t i = 0; i < size_bytes; i++)
        if (!is_alphanumeric(name[i]) && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

void snapshot_name_format(const struct snapshot_name *name, char text[FILE_NAME_BYTES])
{
    int used = snprintf(text, FILE_NAME_BYTES, "%0*" PRIu64 "-%s-%" PRIu32 "-g%" PRIu64 "-a%" PRIu32 ".snap", ID_DIGITS,
                        name->checkpoint_id, name->task, name->subtask, name->generation, name->attempt);
    CHECK(used > 0 && used < FILE_NAME_BYTES);
}

void manifest_name_format(uint64_t checkpoint_id, char text[FILE_NAME_BYTES])
{
    snprintf(text, FILE_NAME_BYTES, "manifest-%0*" PRIu64, ID_DIGITS, checkpoint_id);
}

void manifest_temp_name_format(uint64_t checkpoint_id, uint64_t generation, uint32_t attempt,
                               char text[FILE_NAME_BYTES])
{
    snprintf(text, FILE_NAME_BYTES, ".manifest-%0*" PRIu64 "-g%" PRIu64 "-a%" PRIu32 ".tmp", ID_DIGITS, checkpoint_id,
             generation, attempt);
}

/* All of text must be digits of a number up to max. */
static bool parse_number(const char *text, size_t size_bytes, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return size_bytes > 0;
}

/* Cuts "<separator><number>" off the end of text[*size_bytes]. */
static bool cut_number(const char *text, size_t *size_bytes, const char *separator, uint64_t max, uint64_t *ret_value)
{
    size_t digits = 0;
    while (digits < *size_bytes && text[*size_bytes - digits - 1] >= '0' && text[*size_bytes - digits - 1] <= '9')
        digits++;
    size_t rest = *size_bytes - digits;
    size_t separator_bytes = strlen(separator);
    if (rest < separator_bytes || memcmp(text + rest - separator_bytes, separator, separator_bytes) != 0)
        return false;
    *size_bytes = rest - separator_bytes;
    return parse_number(text + rest, digits, max, ret_value);
}

/* Cuts a suffix off. */
static bool cut_text(const char *text, size_t *size_bytes, const char *suffix)
{
    size_t suffix_bytes = strlen(suffix);
    if (*size_bytes < suffix_bytes || memcmp(text + *size_bytes - suffix_bytes, suffix, suffix_bytes) != 0)
        return false;
    *size_bytes -= suffix_bytes;
    return true;
}

/* The numbers are taken from the end, since a task's name may hold dashes. Formatting what was parsed must give the
 * same text: that refuses leading zeros and the like. */
bool snapshot_name_parse(const char *text, struct snapshot_name *ret_name)
{
    size_t size_bytes = strnlen(text, FILE_NAME_BYTES);
    struct snapshot_name name = {0};
    uint64_t attempt;
    uint64_t subtask;
    if (size_bytes == FILE_NAME_BYTES || !cut_text(text, &size_bytes, ".snap") ||
        !cut_number(text, &size_bytes, "-a", UINT32_MAX, &attempt) ||
        !cut_number(text, &size_bytes, "-g", UINT64_MAX, &name.generation) ||
        !cut_number(text, &size_bytes, "-", UINT32_MAX, &subtask) || size_bytes <= ID_DIGITS + 1 ||
        size_bytes - ID_DIGITS - 1 > WEIR_NAME_BYTES_MAX ||
        !parse_number(text, ID_DIGITS, UINT64_MAX, &name.checkpoint_id))
        return false;
    memcpy(name.task, text + ID_DIGITS + 1, size_bytes - ID_DIGITS - 1);
    name.subtask = (uint32_t)subtask;
    name.attempt = (uint32_t)attempt;
    char again[FILE_NAME_BYTES];
    if (!name_is_valid(name.task))
        return false;
    snapshot_name_format(&name, again);
    if (strcmp(again, text) != 0)
        return false;
    *ret_name = name;
    return true;
}

bool manifest_name_parse(const char *text, uint64_t *ret_checkpoint_id)
{
    size_t prefix_bytes = strlen(MANIFEST_PREFIX);
    return strnlen(text, FILE_NAME_BYTES) == prefix_bytes + ID_DIGITS &&
           memcmp(text, MANIFEST_PREFIX, prefix_bytes) == 0 &&
           parse_number(text + prefix_bytes, ID_DIGITS, UINT64_MAX, ret_checkpoint_id);
}

bool manifest_temp_name_parse(const char *text, uint64_t *ret_checkpoint_id)
{
    size_t size_bytes = strnlen(text, FILE_NAME_BYTES);
    uint64_t attempt;
    uint64_t generation;
    uint64_t checkpoint_id;
    if (size_bytes == FILE_NAME_BYTES || !cut_text(text, &size_bytes, ".tmp") ||
        !cut_number(text, &size_bytes, "-a", UINT32_MAX, &attempt) ||
        !cut_number(text, &size_bytes, "-g", UINT64_MAX, &generation) ||
        !cut_number(text, &size_bytes, ".manifest-", UINT64_MAX, &checkpoint_id))
        return false;
    char again[FILE_NAME_BYTES];
    manifest_temp_name_format(checkpoint_id, generation, (uint32_t)attempt, again);
    if (strcmp(again, text) != 0)
        return false;
    *ret_checkpoint_id = checkpoint_id;
    return true;
}

/* Makes a directory below dir_fd, durably, or leaves it as it is. */
static int make_directory(const struct io *io, int dir_fd, const char *name, struct weir_error *err)
{
    int result = io->mkdirat(io->self, dir_fd, name, 0700);
    if (result < 0 && result != -EEXIST)
        return error_set_errno(err, -result, "make directory %s", name);
    return WEIR_OK;
}

static int open_directory(const struct io *io, int dir_fd, const char *name, int *ret_fd, struct weir_error *err)
{
    int fd = io->openat(io->self, dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return error_set_errno(err, -fd, "open directory %s", name);
    *ret_fd = fd;
    return WEIR_OK;
}

static int sync_directory(const struct io *io, int fd, const char *name, struct weir_error *err)
{
    int result = io->fsync(io->self, fd);
    return result < 0 ? error_set_errno(err, -result, "sync directory %s", name) : WEIR_OK;
}

/* So that the name of `path` itself outlives a power cut. A parent that may be passed but not read cannot be synced:
 * then whoever gave the directory to this user has made it long ago. */
static int sync_parent(const struct io *io, int fd, struct weir_error *err)
{
    int parent_fd = -1;
    int code = open_directory(io, fd, "..", &parent_fd, err);
    if (code != WEIR_OK)
        return code == WEIR_EPERM ? WEIR_OK : code;
    code = sync_directory(io, parent_fd, "..", err);
    io->close(io->self, parent_fd);
    return code;
}

static int open_snapshots(struct checkpoint_dir *dir, bool make, struct weir_error *err)
{
    int code = make ? make_directory(dir->io, dir->fd, SNAPSHOTS_NAME, err) : WEIR_OK;
    if (code == WEIR_OK)
        code = open_directory(dir->io, dir->fd, SNAPSHOTS_NAME, &dir->snapshots_fd, err);
    if (code == WEIR_OK && make)
        code = sync_directory(dir->io, dir->fd, dir->path, err);
    if (code == WEIR_OK && make)
        code = sync_parent(dir->io, dir->fd, err);
    return code;
}

/* A path that ends in a symbolic link is fine here: it is the user's own argument. Below it nothing is followed. */
static int open_top(const struct io *io, const char *path, int *ret_fd, struct weir_error *err)
{
    char text[4096];
    int used = snprintf(text, sizeof text, "%s/.", path);
    if (used < 0 || (size_t)used >= sizeof text)
        return error_set(err, WEIR_EINVAL, "the path is too long");
    return open_directory(io, AT_FDCWD, text, ret_fd, err);
}

int checkpoint_dir_open(const struct io *io, const char *path, bool make, struct checkpoint_dir *ret_dir,
                        struct weir_error *err)
{
    struct checkpoint_dir dir = {.io = io, .fd = -1, .snapshots_fd = -1};
    snprintf(dir.path, sizeof dir.path, "%s", path);
    int code = make ? make_directory(io, AT_FDCWD, path, err) : WEIR_OK;
    if (code == WEIR_OK)
        code = open_top(io, path, &dir.fd, err);
    if (code == WEIR_OK)
        code = open_snapshots(&dir, make, err);
    if (code != WEIR_OK) {
        checkpoint_dir_close(&dir);
        error_context(err, "checkpoint directory %s", path);
        return code;
    }
    *ret_dir = dir;
    return WEIR_OK;
}

void checkpoint_dir_close(struct checkpoint_dir *dir)
{
    if (dir->snapshots_fd >= 0)
        dir->io->close(dir->io->self, dir->snapshots_fd);
    if (dir->fd >= 0)
        dir->io->close(dir->io->self, dir->fd);
    dir->snapshots_fd = -1;
    dir->fd = -1;
}

int checkpoint_dir_open_file(const struct checkpoint_dir *dir, int dir_fd, const char *name, int *ret_fd,
                             uint64_t *ret_size_bytes, struct weir_error *err)
{
    const struct io *io = dir->io;
    int fd = io->openat(io->self, dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd == -ELOOP)
        return error_set(err, WEIR_ECORRUPT, "%s: is a symbolic link, expected a regular file", name);
    if (fd < 0)
        return error_set_errno(err, -fd, "%s: open", name);
    struct stat info;
    int result = io->fstat(io->self, fd, &info);
    int code = WEIR_OK;
    if (result < 0)
        code = error_set_errno(err, -result, "%s: read its size", name);
    else if (!S_ISREG(info.st_mode) || info.st_size < 0)
        code = error_set(err, WEIR_ECORRUPT, "%s: is no regular file", name);
    if (code != WEIR_OK) {
        io->close(io->self, fd);
        return code;
    }
    *ret_fd = fd;
    *ret_size_bytes = (uint64_t)info.st_size;
    return WEIR_OK;
}

/* One buffer of struct dirent64, as the kernel filled it. */
static int scan_buffer(const char *data, size_t size_bytes, dir_entry_fn entry, void *self, struct weir_error *err)
{
    for (size_t used = 0; used < size_bytes;) {
        const struct dirent64 *entry_at = (const void *)(data + used);
        used += entry_at->d_reclen;
        const char *name = entry_at->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        int code = entry(self, name, err);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

/* A descriptor of its own: the read position of dir_fd is shared with all processes that inherited it. */
int checkpoint_dir_scan(const struct checkpoint_dir *dir, int dir_fd, dir_entry_fn entry, void *self,
                        struct weir_error *err)
{
    const struct io *io = dir->io;
    int fd = -1;
    int code = open_directory(io, dir_fd, ".", &fd, err);
    if (code != WEIR_OK) {
        error_context(err, "%s", dir->path);
        return code;
    }
    _Alignas(struct dirent64) char data[16384];
    while (code == WEIR_OK) {
        ssize_t size_bytes = io->getdents(io->self, fd, data, sizeof data);
        if (size_bytes == 0)
            break;
        if (size_bytes < 0)
            code = error_set_errno(err, (int)-size_bytes, "%s: list the directory", dir->path);
        else
            code = scan_buffer(data, (size_t)size_bytes, entry, self, err);
    }
    io->close(io->self, fd);
    return code;
}
