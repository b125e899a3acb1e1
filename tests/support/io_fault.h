/*
 * io_fault.h - a `struct io` that counts calls, fails the N-th one, and makes reads and writes short: for the tests of
 * snapshot/. Everything that does not fail is done for real. Header only; one per test.
 */
#ifndef WEIR_TESTS_IO_FAULT_H
#define WEIR_TESTS_IO_FAULT_H

#include "snapshot/io.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

struct io_fault {
    struct io io;             /* what to hand to the code under test */
    unsigned calls;           /* so far */
    unsigned fail_at;         /* this call fails, counted from 1; 0: none */
    bool fail_after;          /* all later ones too */
    void (*at_call)(void *arg); /* called before it instead, and nothing fails by itself */
    void *at_call_arg;
    int errno_value;          /* with which */
    bool failed;              /* it did */
    char failed_name[16];     /* which operation that was */
    const char *only;         /* only calls of this operation count, NULL: of all */
    size_t part_bytes_max;    /* a read or write moves at most so much, 0: all */
    unsigned interrupt_every; /* every so-many-th read or write says EINTR (or interrupt_errno), 0: none */
    int interrupt_errno;
    unsigned moves;
    bool refuse_uring;
    bool refuse_direct_writes; /* EINVAL for each write while O_DIRECT is on */
    bool direct_on;
    unsigned unaligned_direct; /* direct writes that did not begin at a multiple of 4096 */
    unsigned sizes_set;        /* set_size calls */
    unsigned syncs;            /* fsync and fdatasync calls that reached the kernel */
    int open_fds;
};

static bool fault_hits(struct io_fault *f, const char *name)
{
    if (f->only != NULL && strcmp(f->only, name) != 0)
        return false;
    f->calls++;
    bool hit = f->fail_at != 0 && (f->calls == f->fail_at || (f->fail_after && f->calls > f->fail_at));
    if (hit) {
        f->failed = true;
        strncpy(f->failed_name, name, sizeof f->failed_name - 1);
    }
    if (hit && f->at_call != NULL) {
        f->at_call(f->at_call_arg);
        return false;
    }
    return hit;
}

static bool fault_interrupts(struct io_fault *f)
{
    f->moves++;
    return f->interrupt_every != 0 && f->moves % f->interrupt_every == 0;
}

static size_t fault_part(const struct io_fault *f, size_t size_bytes)
{
    return f->part_bytes_max != 0 && size_bytes > f->part_bytes_max ? f->part_bytes_max : size_bytes;
}

static int fault_openat(void *self, int dir_fd, const char *name, int flags, mode_t mode)
{
    struct io_fault *f = self;
    if (fault_hits(f, "openat"))
        return -f->errno_value;
    int fd = io_system()->openat(NULL, dir_fd, name, flags, mode);
    f->open_fds += fd >= 0;
    return fd;
}

static int fault_close(void *self, int fd)
{
    struct io_fault *f = self;
    int result = io_system()->close(NULL, fd); /* Linux closes, whatever it answers */
    f->open_fds--;
    return fault_hits(f, "close") ? -f->errno_value : result;
}

static ssize_t fault_pread(void *self, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    struct io_fault *f = self;
    if (fault_interrupts(f))
        return -f->interrupt_errno;
    if (fault_hits(f, "pread"))
        return -f->errno_value;
    return io_system()->pread(NULL, fd, data, fault_part(f, size_bytes), offset);
}

static ssize_t fault_pwrite(void *self, int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    struct io_fault *f = self;
    if (fault_interrupts(f))
        return -f->interrupt_errno;
    if (f->refuse_direct_writes && f->direct_on)
        return -EINVAL;
    f->unaligned_direct += f->direct_on && offset % 4096 != 0;
    if (fault_hits(f, "pwrite"))
        return -f->errno_value;
    return io_system()->pwrite(NULL, fd, data, fault_part(f, size_bytes), offset);
}

static int fault_set_size(void *self, int fd, uint64_t size_bytes, bool allocate)
{
    struct io_fault *f = self;
    f->sizes_set++;
    return fault_hits(f, "set_size") ? -f->errno_value : io_system()->set_size(NULL, fd, size_bytes, allocate);
}

static int fault_fdatasync(void *self, int fd)
{
    struct io_fault *f = self;
    f->syncs++;
    return fault_hits(f, "fdatasync") ? -f->errno_value : io_system()->fdatasync(NULL, fd);
}

static int fault_fsync(void *self, int fd)
{
    struct io_fault *f = self;
    f->syncs++;
    return fault_hits(f, "fsync") ? -f->errno_value : io_system()->fsync(NULL, fd);
}

static int fault_rename_new(void *self, int dir_fd, const char *from, const char *to)
{
    struct io_fault *f = self;
    return fault_hits(f, "rename_new") ? -f->errno_value : io_system()->rename_new(NULL, dir_fd, from, to);
}

static int fault_unlinkat(void *self, int dir_fd, const char *name)
{
    struct io_fault *f = self;
    return fault_hits(f, "unlinkat") ? -f->errno_value : io_system()->unlinkat(NULL, dir_fd, name);
}

static int fault_mkdirat(void *self, int dir_fd, const char *name, mode_t mode)
{
    struct io_fault *f = self;
    return fault_hits(f, "mkdirat") ? -f->errno_value : io_system()->mkdirat(NULL, dir_fd, name, mode);
}

static int fault_fstat(void *self, int fd, struct stat *ret_stat)
{
    struct io_fault *f = self;
    return fault_hits(f, "fstat") ? -f->errno_value : io_system()->fstat(NULL, fd, ret_stat);
}

static int fault_fstatat(void *self, int dir_fd, const char *name, struct stat *ret_stat)
{
    struct io_fault *f = self;
    return fault_hits(f, "fstatat") ? -f->errno_value : io_system()->fstatat(NULL, dir_fd, name, ret_stat);
}

static ssize_t fault_getdents(void *self, int fd, void *data, size_t size_bytes)
{
    struct io_fault *f = self;
    return fault_hits(f, "getdents") ? -f->errno_value : io_system()->getdents(NULL, fd, data, size_bytes);
}

static int fault_set_direct(void *self, int fd, bool on)
{
    struct io_fault *f = self;
    if (fault_hits(f, "set_direct"))
        return -f->errno_value;
    int result = io_system()->set_direct(NULL, fd, on);
    if (result >= 0)
        f->direct_on = on;
    return result;
}

static int fault_ring_init(void *self, struct io_uring *ring, unsigned depth)
{
    struct io_fault *f = self;
    if (f->refuse_uring)
        return -EPERM;
    return fault_hits(f, "ring_init") ? -f->errno_value : io_system()->ring_init(NULL, ring, depth);
}

static void fault_ring_exit(void *self, struct io_uring *ring)
{
    (void)self;
    io_system()->ring_exit(NULL, ring);
}

static int fault_ring_submit(void *self, struct io_uring *ring)
{
    struct io_fault *f = self;
    return fault_hits(f, "ring_submit") ? -f->errno_value : io_system()->ring_submit(NULL, ring);
}

/* The completion is real; what it says is changed. A short one was asked to be short, by ring_size(). */
static int fault_ring_wait(void *self, struct io_uring *ring, struct io_uring_cqe **ret_cqe)
{
    struct io_fault *f = self;
    int result = io_system()->ring_wait(NULL, ring, ret_cqe);
    if (result < 0)
        return result;
    if (fault_interrupts(f))
        (*ret_cqe)->res = -f->interrupt_errno;
    else if (fault_hits(f, "completion"))
        (*ret_cqe)->res = -f->errno_value;
    return result;
}

static size_t fault_ring_size(void *self, size_t size_bytes) { return fault_part(self, size_bytes); }

/* Call it on the struct where it will stay: its table points to itself. */
static inline void io_fault_init(struct io_fault *f)
{
    memset(f, 0, sizeof *f);
    f->errno_value = EIO;
    f->interrupt_errno = EINTR;
    f->io = (struct io){.self = f,
                        .openat = fault_openat,
                        .close = fault_close,
                        .pread = fault_pread,
                        .pwrite = fault_pwrite,
                        .set_size = fault_set_size,
                        .fdatasync = fault_fdatasync,
                        .fsync = fault_fsync,
                        .rename_new = fault_rename_new,
                        .unlinkat = fault_unlinkat,
                        .mkdirat = fault_mkdirat,
                        .fstat = fault_fstat,
                        .fstatat = fault_fstatat,
                        .getdents = fault_getdents,
                        .set_direct = fault_set_direct,
                        .ring_init = fault_ring_init,
                        .ring_exit = fault_ring_exit,
                        .ring_submit = fault_ring_submit,
                        .ring_wait = fault_ring_wait,
                        .ring_size = fault_ring_size};
}

/* Starts to count anew: the call-th call from here fails. */
static inline void io_fault_arm(struct io_fault *f, unsigned call, int errno_value)
{
    f->calls = 0;
    f->fail_at = call;
    f->errno_value = errno_value;
    f->failed = false;
    f->failed_name[0] = 0;
}

#endif
