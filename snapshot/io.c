#include "snapshot/io.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RETRIES_MAX 100
#define DIRECT_ALIGNMENT_MAX 4096u /* buffers, offsets and sizes here are multiples of this */

static int result_of(int result) { return result < 0 ? -errno : result; }
static ssize_t size_of(ssize_t result) { return result < 0 ? -errno : result; }

static int system_openat(void *self, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)self;
    return result_of(openat(dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode));
}

static int system_close(void *self, int fd)
{
    (void)self;
    return result_of(close(fd));
}

static ssize_t system_pread(void *self, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    (void)self;
    return size_of(pread(fd, data, size_bytes, (off_t)offset));
}

static ssize_t system_pwrite(void *self, int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    (void)self;
    return size_of(pwrite(fd, data, size_bytes, (off_t)offset));
}

static int system_set_size(void *self, int fd, uint64_t size_bytes, bool allocate)
{
    (void)self;
    return result_of(allocate ? fallocate(fd, 0, 0, (off_t)size_bytes) : ftruncate(fd, (off_t)size_bytes));
}

static int system_fdatasync(void *self, int fd)
{
    (void)self;
    return result_of(fdatasync(fd));
}

static int system_fsync(void *self, int fd)
{
    (void)self;
    return result_of(fsync(fd));
}

/* Where the file system has no such rename: a second name, which must be new as well, then the first one goes. */
static int system_rename_new(void *self, int dir_fd, const char *from, const char *to)
{
    (void)self;
    int result = result_of(renameat2(dir_fd, from, dir_fd, to, RENAME_NOREPLACE));
    if (result != -EINVAL && result != -ENOSYS)
        return result;
    result = result_of(linkat(dir_fd, from, dir_fd, to, 0));
    return result < 0 ? result : result_of(unlinkat(dir_fd, from, 0));
}

static int system_unlinkat(void *self, int dir_fd, const char *name)
{
    (void)self;
    return result_of(unlinkat(dir_fd, name, 0));
}

static int system_mkdirat(void *self, int dir_fd, const char *name, mode_t mode)
{
    (void)self;
    return result_of(mkdirat(dir_fd, name, mode));
}

static int system_fstat(void *self, int fd, struct stat *ret_stat)
{
    (void)self;
    return result_of(fstat(fd, ret_stat));
}

static int system_fstatat(void *self, int dir_fd, const char *name, struct stat *ret_stat)
{
    (void)self;
    return result_of(fstatat(dir_fd, name, ret_stat, AT_SYMLINK_NOFOLLOW));
}

static ssize_t system_getdents(void *self, int fd, void *data, size_t size_bytes)
{
    (void)self;
    return size_of(syscall(SYS_getdents64, fd, data, size_bytes));
}

/* Since Linux 6.1 the kernel says which alignment direct writes need; before, and where it does not say, 4096 is
 * enough. */
static bool direct_alignment_is_ok(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx info;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 || (info.stx_mask & STATX_DIOALIGN) == 0)
        return true;
    return info.stx_dio_offset_align > 0 && info.stx_dio_offset_align <= DIRECT_ALIGNMENT_MAX &&
           info.stx_dio_mem_align <= DIRECT_ALIGNMENT_MAX;
#else
    (void)fd;
    return true;
#endif
}

static int system_set_direct(void *self, int fd, bool on)
{
    (void)self;
    if (on && !direct_alignment_is_ok(fd))
        return -EINVAL;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    return result_of(fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT));
}

static int system_ring_init(void *self, struct io_uring *ring, unsigned depth)
{
    (void)self;
    return io_uring_queue_init(depth, ring, 0);
}

static void system_ring_exit(void *self, struct io_uring *ring)
{
    (void)self;
    io_uring_queue_exit(ring);
}

static int system_ring_submit(void *self, struct io_uring *ring)
{
    (void)self;
    return io_uring_submit(ring);
}

static int system_ring_wait(void *self, struct io_uring *ring, struct io_uring_cqe **ret_cqe)
{
    (void)self;
    return io_uring_wait_cqe(ring, ret_cqe);
}

static size_t system_ring_size(void *self, size_t size_bytes)
{
    (void)self;
    return size_bytes;
}

static const struct io system_table = {
    .openat = system_openat,
    .close = system_close,
    .pread = system_pread,
    .pwrite = system_pwrite,
    .set_size = system_set_size,
    .fdatasync = system_fdatasync,
    .fsync = system_fsync,
    .rename_new = system_rename_new,
    .unlinkat = system_unlinkat,
    .mkdirat = system_mkdirat,
    .fstat = system_fstat,
    .fstatat = system_fstatat,
    .getdents = system_getdents,
    .set_direct = system_set_direct,
    .ring_init = system_ring_init,
    .ring_exit = system_ring_exit,
    .ring_submit = system_ring_submit,
    .ring_wait = system_ring_wait,
    .ring_size = system_ring_size,
};

const struct io *io_system(void) { return &system_table; }

/* Docker's and systemd's filters answer EPERM, a kernel without it ENOSYS, the sysctl EPERM. */
static int probe_refused(int result, struct weir_error *err)
{
    error_set_errno(
        err, -result,
        "io_uring is refused by this system (seccomp, the sysctl kernel.io_uring_disabled, or locked memory)");
    return result == -EPERM || result == -EACCES ? WEIR_EPERM : error_from_errno(-result);
}

static int probe_request(const struct io *io, struct io_uring *ring, struct weir_error *err)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        return error_set(err, WEIR_EUNSUPPORTED, "io_uring: a new ring has no room for a request");
    io_uring_prep_nop(sqe);
    int result = io->ring_submit(io->self, ring);
    if (result < 0)
        return probe_refused(result, err);
    struct io_uring_cqe *cqe;
    result = io->ring_wait(io->self, ring, &cqe);
    if (result < 0)
        return probe_refused(result, err);
    result = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return result < 0 ? probe_refused(result, err) : WEIR_OK;
}

int io_probe_uring(const struct io *io, struct weir_error *err)
{
    struct io_uring ring;
    int result = io->ring_init(io->self, &ring, 4);
    if (result < 0)
        return probe_refused(result, err);
    int code = probe_request(io, &ring, err);
    io->ring_exit(io->self, &ring);
    return code;
}

static const char *const mode_names[] = {[IO_AUTO] = "auto", [IO_URING] = "uring", [IO_PWRITE] = "pwrite"};

const char *io_mode_name(enum io_mode mode) { return mode_names[mode]; }

int io_mode_parse(const char *text, enum io_mode *ret_mode, struct weir_error *err)
{
    for (size_t i = 0; i < COUNT_OF(mode_names); i++)
        if (strcmp(text, mode_names[i]) == 0) {
            *ret_mode = (enum io_mode)i;
            return WEIR_OK;
        }
    return error_set(err, WEIR_EINVAL, "'%s' is no way to do input and output: auto, uring or pwrite", text);
}

static bool is_transient(ssize_t result) { return result == -EINTR || result == -EAGAIN; }

ssize_t io_read_full(const struct io *io, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    size_t done = 0;
    for (int retries = 0; done < size_bytes;) {
        ssize_t result = io->pread(io->self, fd, (char *)data + done, size_bytes - done, offset + done);
        if (is_transient(result) && retries++ < RETRIES_MAX)
            continue;
        if (result < 0)
            return result;
        if (result == 0)
            break;
        done += (size_t)result;
        retries = 0;
    }
    return (ssize_t)done;
}

ssize_t io_write_full(const struct io *io, int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    size_t done = 0;
    for (int retries = 0; done < size_bytes;) {
        ssize_t result = io->pwrite(io->self, fd, (const char *)data + done, size_bytes - done, offset + done);
        if ((is_transient(result) || result == 0) && retries++ < RETRIES_MAX)
            continue;
        if (result <= 0)
            return result < 0 ? result : -EIO;
        done += (size_t)result;
        retries = 0;
    }
    return (ssize_t)done;
}
