/*
 * io.h - what the connectors share: failures with errno, whole reads and writes, durable directories.
 *
 * Used in a task's process from a callback; nothing here keeps state. Functions with a ctx report by weir_fail() and
 * return a negative code that says more than WEIR_EUSER: an output disk that is full is no fault of the record that met
 * it.
 */
#ifndef WEIR_CONNECTORS_IO_IO_H
#define WEIR_CONNECTORS_IO_IO_H

#include "weir.h"

#include <dirent.h>
#include <sys/types.h>

#define IO_PATH_BYTES 4096

/* weir_fail() with "text: strerror". Returns the code that fits errno_value: WEIR_ENOSPC, WEIR_ENOENT, WEIR_EIO ... */
int io_fail_errno(struct weir_ctx *ctx, int errno_value, const char *format, ...) WEIR_PRINTF(3, 4);
/* weir_fail() with a code of its own. Returns `code`. */
int io_fail(struct weir_ctx *ctx, int code, const char *format, ...) WEIR_PRINTF(3, 4);

/* Writes all of it at the file's offset / at `offset`, through EINTR and short writes. Returns the bytes written, which
 * are fewer than size_bytes only on failure, with errno set. */
size_t io_write_all(int fd, const void *data, size_t size_bytes);
size_t io_pwrite_all(int fd, const void *data, size_t size_bytes, uint64_t offset);
/* Reads until size_bytes, the end of the file or a failure. The bytes read, or -1 with errno. */
ssize_t io_pread_all(int fd, void *data, size_t size_bytes, uint64_t offset);

/* Makes `path` and its parents (mode 0777 less the umask) where they are missing, durably. 0, or -1 with errno. Blocks.
 */
int io_make_directories(const char *path);
/* Opens a directory for the *at() calls; -1 with errno. */
int io_open_directory(const char *path);
/* Makes the directory connectors/<operator>/ below the job's, and opens it. ret_path has IO_PATH_BYTES. WEIR_OK and
 * *ret_fd; *ret_fd is -1 where the job has no directory. Blocks. */
int io_open_job_directory(struct weir_ctx *ctx, char *ret_path, int *ret_fd);

/* The next name of an open directory; NULL with errno 0 at its end, with another errno where reading failed. */
const char *io_next_name(DIR *directory);

/* Makes the file `name` below directory_fd with this content, in one step: nobody ever sees half of it. WEIR_OK;
 * WEIR_END where it exists already (and is left alone); -1 with errno. `unique` tells apart the processes that try at
 * the same time. */
int io_create_once(int directory_fd, const char *name, uint64_t unique, const void *data, size_t size_bytes);
/* Removes what a process with the same number left when it died in io_create_once(). */
void io_create_clean(int directory_fd, const char *name, uint64_t unique);
/* The whole file below directory_fd, malloc'ed, with a zero byte behind it; NULL with errno (EFBIG beyond bytes_max).
 */
void *io_read_file(int directory_fd, const char *name, size_t bytes_max, size_t *ret_size_bytes);

#endif
