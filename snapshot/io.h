/*
 * io.h - every fallible file operation of this folder, as one table of functions: the seam at which tests fail the N-th
 * call, shorten a write or count calls. io_system() is the real table.
 *
 * Each function returns its result (>= 0) or -errno, never -1; none retries, none writes a message. All names are
 * relative to a directory descriptor and are never followed when they are symbolic links. `self` is the table's own
 * first member, handed to each function. May be used in any process, and in a forked child: no locks, no stdio, no
 * heap.
 */
#ifndef WEIR_SNAPSHOT_IO_H
#define WEIR_SNAPSHOT_IO_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct io_uring;
struct io_uring_cqe;

/* How blocks go to and from disk. IO_AUTO: io_uring, or pread/pwrite where it is refused. */
enum io_mode { IO_AUTO, IO_URING, IO_PWRITE };

struct io {
    void *self;
    int (*openat)(void *self, int dir_fd, const char *name, int flags, mode_t mode);
    int (*close)(void *self, int fd);
    ssize_t (*pread)(void *self, int fd, void *data, size_t size_bytes, uint64_t offset);
    ssize_t (*pwrite)(void *self, int fd, const void *data, size_t size_bytes, uint64_t offset);
    /* Sets a file's size; allocate: what is added has its place on disk (-EOPNOTSUPP where the file system cannot). */
    int (*set_size)(void *self, int fd, uint64_t size_bytes, bool allocate);
    int (*fdatasync)(void *self, int fd);
    int (*fsync)(void *self, int fd);
    /* Both names in dir_fd; fails with -EEXIST where `to` exists. */
    int (*rename_new)(void *self, int dir_fd, const char *from, const char *to);
    int (*unlinkat)(void *self, int dir_fd, const char *name);
    int (*mkdirat)(void *self, int dir_fd, const char *name, mode_t mode);
    int (*fstat)(void *self, int fd, struct stat *ret_stat);
    int (*fstatat)(void *self, int dir_fd, const char *name, struct stat *ret_stat);
    /* Raw getdents64: 0 at the end. */
    ssize_t (*getdents)(void *self, int fd, void *data, size_t size_bytes);
    /* Switches O_DIRECT of an open file on or off; -EINVAL where the file system (or its alignment, above 4096) does
     * not allow it. */
    int (*set_direct)(void *self, int fd, bool on);

    /* io_uring: the ring belongs to the process that made it. */
    int (*ring_init)(void *self, struct io_uring *ring, unsigned depth);
    void (*ring_exit)(void *self, struct io_uring *ring);
    int (*ring_submit)(void *self, struct io_uring *ring);
    /* Waits for one completion; its res may be changed here by a test. */
    int (*ring_wait)(void *self, struct io_uring *ring, struct io_uring_cqe **ret_cqe);
    /* How many of size_bytes the next request asks for: all of them, or fewer in a test. */
    size_t (*ring_size)(void *self, size_t size_bytes);
};

/* The real table. Static memory, no state. */
const struct io *io_system(void);

/* The start-up probe: WEIR_OK where a ring can be made, and a request completes; else why not, in words, in err
 * (WEIR_EUNSUPPORTED, WEIR_EPERM, WEIR_ENOMEM ...). Makes and destroys a ring. */
int io_probe_uring(const struct io *io, struct weir_error *err);

/* "auto", "uring", "pwrite". */
const char *io_mode_name(enum io_mode mode);
/* WEIR_EINVAL, in words, for anything else. */
int io_mode_parse(const char *text, enum io_mode *ret_mode, struct weir_error *err);

/* Loops over short results and (at most 100 times in a row) EINTR and EAGAIN. Returns the bytes moved (fewer only at
 * the end of the file, when reading) or -errno. */
ssize_t io_read_full(const struct io *io, int fd, void *data, size_t size_bytes, uint64_t offset);
ssize_t io_write_full(const struct io *io, int fd, const void *data, size_t size_bytes, uint64_t offset);

#endif
