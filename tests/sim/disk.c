/*
 * disk.c - the simulated disk: tests/faults/disk_model.h, which knows what a power cut may leave, with processes that are preempted and
 * killed around and in the middle of its operations, that wait for it, and to which it reports errors.
 */
#include "sim/sim.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct io front; /* handed to the engine */
static int owner_of_fd[DISK_FDS_MAX];
#define FD_FIRST 1000 /* of the disk model */

static const struct io *back(void) { return &sim.disk->io; }

/* Others run meanwhile. */
static void take_time(void)
{
    if (sim.current == NULL)
        return;
    if (sim_one_in(3))
        proc_yield();
    if (sim.profile.slow_disk && sim_one_in(40))
        proc_block(WAIT_TIME, NULL, 0, sim.now_ns + (int64_t)sim_below(200 * (uint64_t)NS_PER_MS));
}

static void take_time_to_sync(void)
{
    if (sim.current != NULL)
        proc_block(WAIT_TIME, NULL, 0, sim.now_ns + (int64_t)(sim_below(sim_one_in(6) ? 4000 : 200) * 1000));
    take_time();
}

static int error_for(const char *what)
{
    if (sim.current == NULL || !faults_disk_error(what))
        return 0;
    return sim_one_in(3) ? -ENOSPC : -EIO;
}

static int front_openat(void *self, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)self;
    take_time();
    int error = (flags & O_CREAT) != 0 ? error_for("openat") : 0;
    int fd = error != 0 ? error : back()->openat(back()->self, dir_fd, name, flags, mode);
    if ((flags & O_CREAT) != 0)
        sim_note("disk: makes %s: %d", name, fd < 0 ? fd : 0);
    if (fd >= FD_FIRST)
        owner_of_fd[fd - FD_FIRST] = sim.current != NULL ? sim.current->pid : 0;
    return fd;
}

static int front_close(void *self, int fd)
{
    (void)self;
    owner_of_fd[fd - FD_FIRST] = 0;
    return back()->close(back()->self, fd);
}

static ssize_t front_pread(void *self, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    (void)self;
    take_time();
    return back()->pread(back()->self, fd, data, size_bytes, offset);
}

/* In two parts sometimes: a death in between leaves the first, and so does an error. */
static ssize_t front_pwrite(void *self, int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    (void)self;
    take_time();
    size_t first_bytes = sim_one_in(4) ? (size_t)sim_below(size_bytes + 1) : 0;
    if (first_bytes > 0)
        back()->pwrite(back()->self, fd, data, first_bytes, offset);
    take_time();
    int error = error_for("pwrite");
    if (error != 0)
        return error;
    if (first_bytes > 0 && sim_one_in(2))
        return (ssize_t)first_bytes; /* a short write */
    ssize_t rest = back()->pwrite(back()->self, fd, (const char *)data + first_bytes, size_bytes - first_bytes, offset + first_bytes);
    take_time();
    return rest < 0 ? rest : (ssize_t)size_bytes;
}

static int front_set_size(void *self, int fd, uint64_t size_bytes, bool allocate)
{
    (void)self;
    take_time();
    int error = error_for("set_size");
    return error != 0 ? error : back()->set_size(back()->self, fd, size_bytes, allocate);
}

static int front_fdatasync(void *self, int fd)
{
    (void)self;
    take_time_to_sync();
    int error = error_for("fdatasync");
    if (error != 0)
        disk_arm(sim.disk, 1, -error); /* what was written is not promised any more, whatever a later sync says */
    int result = back()->fdatasync(back()->self, fd);
    disk_arm(sim.disk, 0, 0);
    sim_note("disk: fdatasync: %d", result);
    take_time();
    return result;
}

static int front_fsync(void *self, int fd)
{
    (void)self;
    take_time_to_sync();
    int error = error_for("fsync");
    if (error != 0)
        disk_arm(sim.disk, 1, -error);
    int result = back()->fsync(back()->self, fd);
    disk_arm(sim.disk, 0, 0);
    sim_note("disk: fsync: %d", result);
    take_time();
    return result;
}

static int front_rename_new(void *self, int dir_fd, const char *from, const char *to)
{
    (void)self;
    take_time();
    int error = error_for("rename");
    int result = error != 0 ? error : back()->rename_new(back()->self, dir_fd, from, to);
    sim_note("disk: renames to %s: %d", to, result);
    uint64_t id;
    if (result >= 0 && manifest_name_parse(to, &id))
        judge_manifest_renamed(id);
    take_time();
    return result;
}

static int front_unlinkat(void *self, int dir_fd, const char *name)
{
    (void)self;
    take_time();
    int error = error_for("unlink");
    int result = error != 0 ? error : back()->unlinkat(back()->self, dir_fd, name);
    sim_note("disk: unlinks %s: %d", name, result);
    take_time();
    return result;
}

static int front_mkdirat(void *self, int dir_fd, const char *name, mode_t mode)
{
    (void)self;
    return back()->mkdirat(back()->self, dir_fd, name, mode);
}

static int front_fstat(void *self, int fd, struct stat *ret_stat)
{
    (void)self;
    return back()->fstat(back()->self, fd, ret_stat);
}

static int front_fstatat(void *self, int dir_fd, const char *name, struct stat *ret_stat)
{
    (void)self;
    take_time();
    return back()->fstatat(back()->self, dir_fd, name, ret_stat);
}

static ssize_t front_getdents(void *self, int fd, void *data, size_t size_bytes)
{
    (void)self;
    return back()->getdents(back()->self, fd, data, size_bytes);
}

static int front_set_direct(void *self, int fd, bool on)
{
    (void)self;
    return back()->set_direct(back()->self, fd, on);
}

static int front_ring_init(void *self, struct io_uring *ring, unsigned depth)
{
    (void)self, (void)ring, (void)depth;
    return -EPERM;
}

const struct io *disk_io(void) { return &front; }

int __wrap_io_for_job(const struct io **ret_io, struct weir_error *err);
int __wrap_io_for_job(const struct io **ret_io, struct weir_error *err)
{
    (void)err;
    *ret_io = &front;
    return WEIR_OK;
}

void disk_died(int pid)
{
    for (int i = 0; i < DISK_FDS_MAX; i++)
        if (owner_of_fd[i] == pid && sim.disk->fds[i].used) {
            sim.disk->io.close(sim.disk, FD_FIRST + i);
            owner_of_fd[i] = 0;
        }
}

void disk_begin_seed(void)
{
    front = (struct io){.openat = front_openat,
                        .close = front_close,
                        .pread = front_pread,
                        .pwrite = front_pwrite,
                        .set_size = front_set_size,
                        .fdatasync = front_fdatasync,
                        .fsync = front_fsync,
                        .rename_new = front_rename_new,
                        .unlinkat = front_unlinkat,
                        .mkdirat = front_mkdirat,
                        .fstat = front_fstat,
                        .fstatat = front_fstatat,
                        .getdents = front_getdents,
                        .set_direct = front_set_direct,
                        .ring_init = front_ring_init};
    memset(owner_of_fd, 0, sizeof owner_of_fd);
    sim.disk = disk_new();
}

/* Each open question is answered by chance; all or none of them sometimes. */
void disk_power_cut(void)
{
    unsigned unit_bytes = sim_one_in(2) ? DISK_SECTOR_BYTES : 4096;
    struct disk_pending pending = disk_pending(sim.disk, sim.disk->op_count, unit_bytes);
    bool *bits = calloc(pending.bit_count + 1, sizeof *bits);
    uint64_t kind = sim_below(4);
    for (size_t i = 0; i < pending.bit_count; i++)
        bits[i] = kind == 0 ? false : kind == 1 ? true : sim_one_in(2);
    sim_note("the power is cut: %zu operations are not synced, %zu questions", pending.count, pending.bit_count);
    struct disk *left = disk_cut(sim.disk, &pending, bits, sim_one_in(2));
    left->allow_direct = false;
    sim.disk = left;
    memset(owner_of_fd, 0, sizeof owner_of_fd);
}
