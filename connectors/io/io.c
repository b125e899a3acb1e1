#include "connectors/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_BYTES 900

static int code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
        return WEIR_ENOENT;
    case ENOMEM:
        return WEIR_ENOMEM;
    case EEXIST:
        return WEIR_EEXIST;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return WEIR_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return WEIR_EPERM;
    case EMFILE:
    case ENFILE:
        return WEIR_ELIMIT;
    default:
        return WEIR_EIO;
    }
}

int io_fail_errno(struct weir_ctx *ctx, int errno_value, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    weir_fail(ctx, "%s: %s", text, strerror(errno_value));
    return code_of_errno(errno_value);
}

int io_fail(struct weir_ctx *ctx, int code, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    weir_fail(ctx, "%s", text);
    return code;
}

size_t io_write_all(int fd, const void *data, size_t size_bytes)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t n = write(fd, (const char *)data + done, size_bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    return done;
}

size_t io_pwrite_all(int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t n = pwrite(fd, (const char *)data + done, size_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    return done;
}

ssize_t io_pread_all(int fd, void *data, size_t size_bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t n = pread(fd, (char *)data + done, size_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int io_open_directory(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

/* The entry of a new directory is durable once its parent is synced. */
static int sync_parent(const char *path)
{
    char parent[IO_PATH_BYTES];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == parent)
        slash[1] = '\0';
    else if (slash != NULL)
        *slash = '\0';
    int fd = io_open_directory(slash != NULL ? parent : ".");
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

static int make_directory(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return sync_parent(path);
    if (errno != EEXIST)
        return -1;
    struct stat st;
    if (stat(path, &st) != 0)
        return -1;
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    return 0;
}

int io_make_directories(const char *path)
{
    char partial[IO_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(partial)) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    memcpy(partial, path, length + 1);
    while (length > 1 && partial[length - 1] == '/')
        partial[--length] = '\0';
    struct stat st;
    if (stat(partial, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (partial[i] != '/' || partial[i - 1] == '/')
            continue;
        partial[i] = '\0';
        if (make_directory(partial) != 0)
            return -1;
        partial[i] = '/';
    }
    return make_directory(partial);
}

int io_open_job_directory(struct weir_ctx *ctx, char *ret_path, int *ret_fd)
{
    const char *job_directory = weir_job_directory(ctx);
    *ret_fd = -1;
    if (job_directory[0] == '\0')
        return WEIR_OK;
    int length = snprintf(ret_path, IO_PATH_BYTES, "%s/connectors/%s", job_directory, weir_operator_name(ctx));
    if (length < 0 || length >= IO_PATH_BYTES)
        return io_fail(ctx, WEIR_ELIMIT, "the job's directory has too long a name: %s", job_directory);
    if (io_make_directories(ret_path) != 0)
        return io_fail_errno(ctx, errno, "cannot make the directory %s", ret_path);
    int fd = io_open_directory(ret_path);
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the directory %s", ret_path);
    *ret_fd = fd;
    return WEIR_OK;
}

const char *io_next_name(DIR *directory)
{
    errno = 0;
    const struct dirent *entry = readdir(directory);
    return entry != NULL ? entry->d_name : NULL;
}

/* 0, or -1 with errno where it is too long. */
static int temporary_name(const char *name, uint64_t unique, char ret_name[NAME_MAX + 1])
{
    int length = snprintf(ret_name, NAME_MAX + 1, ".new-%s.%llu", name[0] == '.' ? name + 1 : name, (unsigned long long)unique);
    if (length >= 0 && length <= NAME_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

void io_create_clean(int directory_fd, const char *name, uint64_t unique)
{
    char temporary[NAME_MAX + 1];
    if (temporary_name(name, unique, temporary) == 0)
        unlinkat(directory_fd, temporary, 0); /* it is seldom there */
}

int io_create_once(int directory_fd, const char *name, uint64_t unique, const void *data, size_t size_bytes)
{
    char temporary[NAME_MAX + 1];
    if (temporary_name(name, unique, temporary) != 0)
        return -1;
    unlinkat(directory_fd, temporary, 0); /* of a dead process with the same number */
    int fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    int result = -1;
    if (io_write_all(fd, data, size_bytes) == size_bytes && fsync(fd) == 0)
        result = linkat(directory_fd, temporary, directory_fd, name, 0);
    int saved = errno;
    close(fd);
    unlinkat(directory_fd, temporary, 0);
    errno = saved;
    if (result == 0)
        return fsync(directory_fd) == 0 ? WEIR_OK : -1;
    return saved == EEXIST ? WEIR_END : -1;
}

void *io_read_file(int directory_fd, const char *name, size_t bytes_max, size_t *ret_size_bytes)
{
    int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    struct stat st;
    char *data = NULL;
    int saved = 0;
    if (fstat(fd, &st) != 0)
        saved = errno;
    else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > bytes_max)
        saved = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
    else if ((data = malloc((size_t)st.st_size + 1)) == NULL)
        saved = ENOMEM;
    if (data != NULL) {
        ssize_t n = io_pread_all(fd, data, (size_t)st.st_size, 0);
        saved = errno;
        if (n < 0) {
            free(data);
            data = NULL;
        } else {
            data[n] = '\0';
            *ret_size_bytes = (size_t)n;
        }
    }
    close(fd);
    errno = saved;
    return data;
}
