#include "connectors/file/file_reader.h"

#include "connectors/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_truncated(struct weir_ctx *ctx, const struct file_reader *r, uint64_t size_bytes)
{
    uint64_t read_so_far = r->buffer_offset + r->used;
    uint64_t expected = r->size_expected > read_so_far ? r->size_expected : read_so_far;
    return io_fail(ctx, WEIR_EIO,
                   "the input file %s was truncated while the job reads it: it has %llu bytes where %llu are expected, "
                   "and is read up to offset %llu",
                   r->path, (unsigned long long)size_bytes, (unsigned long long)expected,
                   (unsigned long long)file_reader_offset(r));
}

int file_reader_check_size(struct weir_ctx *ctx, const struct file_reader *r)
{
    struct stat open_file;
    if (fstat(r->fd, &open_file) != 0)
        return io_fail_errno(ctx, errno, "cannot examine the input file %s", r->path);
    if ((uint64_t)open_file.st_size < r->size_expected || (uint64_t)open_file.st_size < r->buffer_offset + r->used)
        return fail_truncated(ctx, r, (uint64_t)open_file.st_size);
    return WEIR_OK;
}

int file_reader_check_name(struct weir_ctx *ctx, const struct file_reader *r)
{
    struct stat open_file, named;
    if (fstat(r->fd, &open_file) != 0)
        return io_fail_errno(ctx, errno, "cannot examine the input file %s", r->path);
    if (stat(r->path, &named) != 0)
        return io_fail_errno(ctx, errno,
                             "the input file %s was removed or renamed while the job reads it at offset %llu", r->path,
                             (unsigned long long)file_reader_offset(r));
    if (named.st_dev != open_file.st_dev || named.st_ino != open_file.st_ino)
        return io_fail(ctx, WEIR_EIO,
                       "the input file %s was replaced by another one while the job reads it at offset %llu", r->path,
                       (unsigned long long)file_reader_offset(r));
    return WEIR_OK;
}

int file_reader_open(struct weir_ctx *ctx, struct file_reader *r, const char *path, uint64_t offset, uint64_t end,
                     uint64_t size_expected)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the input file %s", path);
    r->fd = fd;
    r->path = path;
    r->end = end;
    r->size_expected = size_expected > offset ? size_expected : offset;
    r->buffer_offset = offset;
    r->used = r->cursor = 0;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return io_fail_errno(ctx, errno, "cannot examine the input file %s", path);
    if (!S_ISREG(st.st_mode))
        return io_fail(ctx, WEIR_EINVAL, "the input %s is not a regular file", path);
    if ((uint64_t)st.st_size < r->size_expected)
        return fail_truncated(ctx, r, (uint64_t)st.st_size);
    posix_fadvise(fd, (off_t)offset, 0, POSIX_FADV_SEQUENTIAL); /* only advice */
    return WEIR_OK;
}

void file_reader_close(struct file_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

int file_reader_fill(struct weir_ctx *ctx, struct file_reader *r)
{
    size_t rest = r->used - r->cursor;
    if (r->cursor > 0) {
        memmove(r->buffer, r->buffer + r->cursor, rest);
        r->buffer_offset += r->cursor;
        r->cursor = 0;
        r->used = rest;
    }
    uint64_t at = r->buffer_offset + rest;
    if (at >= r->end)
        return WEIR_END;
    size_t wanted = r->capacity - rest;
    if (wanted > r->end - at)
        wanted = (size_t)(r->end - at);
    ssize_t n = io_pread_all(r->fd, r->buffer + rest, wanted, at);
    if (n < 0)
        return io_fail_errno(ctx, errno, "cannot read the input file %s at offset %llu", r->path,
                             (unsigned long long)at);
    r->used += (size_t)n;
    if (n > 0)
        return WEIR_OK;
    if (r->end == UINT64_MAX) /* a growing file */
        return WEIR_END;
    int result = file_reader_check_size(ctx, r);
    return result == WEIR_OK ? fail_truncated(ctx, r, at) : result;
}
