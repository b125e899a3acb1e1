/*
 * test_late_writes.c - FAULT F5: a snapshot child that writes with io_uring past the page cache, to a throttled disk, is
 * SIGKILLed; its writes go on landing after its death. No committed file may change by them, nor one that is written meanwhile.
 * Needs root, loop devices, io_uring and the blkio controller of cgroups (version 1).
 */
#include "support/power_disk.h"
#include "support/snapshot_fixture.h"

#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <xxhash.h>

#define CGROUPS "/sys/fs/cgroup/blkio"
#define BLOCKS 8000u /* 31 MiB, 16 of which are in flight at a time */
#define BYTES_PER_SECOND (4u << 20) /* four seconds for what is in flight */
#define WATCH_NS (5 * NS_PER_S)

static char path[SCRATCH_PATH_BYTES];
static char cgroup[128];
static struct power_disk disk;
static struct weir_error err;
static pid_t child;

static void tear_down(void)
{
    if (child > 0)
        kill(child, SIGKILL);
    umount2(disk.path, MNT_DETACH); /* after a failed assertion only */
    if (cgroup[0] != 0)
        rmdir(cgroup);
    scratch_remove(path);
}

TestSuite(F05_late_writes, .timeout = 480, .fini = tear_down);

static bool write_text(const char *directory, const char *name, const char *text)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s", directory, name);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return written;
}

/* A group whose writes to the disk are slow. Whoever is in it: nobody yet. */
static bool make_slow_group(void)
{
    struct stat info;
    char limit[64];
    snprintf(cgroup, sizeof cgroup, "%s/weir-test-%d", CGROUPS, (int)getpid());
    if (mkdir(cgroup, 0700) != 0) {
        cgroup[0] = 0;
        return false;
    }
    if (stat(disk.device, &info) != 0)
        return false;
    snprintf(limit, sizeof limit, "%u:%u %u\n", major(info.st_rdev), minor(info.st_rdev), BYTES_PER_SECOND);
    return write_text(cgroup, "blkio.throttle.write_bps_device", limit);
}

static void set_up(void)
{
    scratch_make("late", path);
    if (io_probe_uring(io_system(), NULL) == WEIR_OK && power_disk_make(&disk, path, 256) && make_slow_group())
        return;
    tear_down();
    cr_skip_test("no throttled disk here (needs root, loop devices, io_uring and " CGROUPS ")");
}

/* How many pages of a file are on the disk by now: what was reserved and not written reads as zeros. */
static unsigned count_landed(int dir_fd, const char *name)
{
    static _Alignas(4096) unsigned char data[1 << 20];
    unsigned landed = 0;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size_bytes;
    for (off_t at = 0; (size_bytes = pread(fd, data, sizeof data, at)) > 0; at += size_bytes)
        for (ssize_t i = 0; i + 4096 <= size_bytes; i += 4096)
            landed += data[i] != 0 || memcmp(data + i, data + i + 1, 4095) != 0;
    close(fd);
    return landed;
}

/* Of every byte that a manifest stands for. */
static uint64_t hash_checkpoint(const struct checkpoint_dir *dir, uint64_t id)
{
    struct manifest *m = NULL;
    uint64_t hash = id;
    cr_assert_eq(manifest_read(dir, id, &m, &err), WEIR_OK, "%s", err.text);
    for (uint32_t i = 0; i < m->task_count; i++)
        for (uint32_t j = 0; j < m->tasks[i].file_count; j++) {
            char name[FILE_NAME_BYTES + 16];
            size_t size_bytes;
            snprintf(name, sizeof name, "snapshots/%s", m->tasks[i].files[j].name);
            unsigned char *bytes = fixture_slurp(disk.path, name, &size_bytes);
            hash = hash * 31 + XXH3_64bits(bytes, size_bytes);
            free(bytes);
        }
    manifest_free(m);
    return hash;
}

/* The child, in the slow group: killed when it has written something and asks for much more. */
static void write_and_be_killed(const struct checkpoint_dir *dir, const struct snapshot_identity *identity,
                                char name[FILE_NAME_BYTES])
{
    snapshot_name_format(&identity->name, name);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct snapshot_result result;
        char number[16];
        snprintf(number, sizeof number, "%d\n", (int)getpid());
        if (write_text(cgroup, "cgroup.procs", number))
            fixture_write_with(dir, identity, &(struct snapshot_options){.io_mode = IO_URING}, BLOCKS, 42, &result, NULL);
        _exit(0);
    }
    int64_t deadline_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while (count_landed(dir->snapshots_fd, name) == 0)
        cr_assert_lt(clock_monotonic_ns(), deadline_ns, "the child writes nothing");
    cr_assert_eq(kill(child, SIGKILL), 0);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    child = 0;
    cr_assert(WIFSIGNALED(status), "it was at its end before it was killed");
}

Test(F05_late_writes, what_a_dead_child_still_writes_changes_no_checkpoint)
{
    set_up();
    struct checkpoint_dir dir = fixture_open(io_system(), disk.path);
    struct snapshot_identity identity = fixture_identity(2, "words", 0);
    char name[FILE_NAME_BYTES];
    cr_assert_eq(fixture_checkpoint(&dir, 1, 700, &err), WEIR_OK, "%s", err.text);
    uint64_t before = hash_checkpoint(&dir, 1);
    write_and_be_killed(&dir, &identity, name);
    unsigned at_death = count_landed(dir.snapshots_fd, name);
    /* The job goes on at once: a checkpoint is made while the writes still land. */
    cr_assert_eq(fixture_checkpoint(&dir, 3, 700, &err), WEIR_OK, "%s", err.text);
    uint64_t meanwhile = hash_checkpoint(&dir, 3);
    unsigned rounds = 0;
    for (int64_t end_ns = clock_monotonic_ns() + WATCH_NS; clock_monotonic_ns() < end_ns; rounds++) {
        cr_assert_eq(hash_checkpoint(&dir, 1), before, "a committed checkpoint has changed");
        cr_assert_eq(hash_checkpoint(&dir, 3), meanwhile, "a checkpoint made meanwhile has changed");
    }
    unsigned at_end = count_landed(dir.snapshots_fd, name);
    fprintf(stderr, "pages on the disk when the child was reaped: %u, %lld s later: %u; %u rounds\n", at_death,
            (long long)(WATCH_NS / NS_PER_S), at_end, rounds);
    cr_expect_gt(at_end, at_death, "the fault did not happen: nothing landed after the death");
    cr_assert_eq(checkpoint_retain(&dir, 2, 4, NULL, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(fixture_count_files(disk.path, "snapshots", ""), 4, "and what the dead one left goes");
    cr_expect_eq(fixture_load(&dir, 1, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(fixture_load(&dir, 3, &err), WEIR_OK, "%s", err.text);
    checkpoint_dir_close(&dir);
    cr_expect(power_disk_unmount(&disk));
}

/* Its file is deleted while its writes are under way, so that its place on the disk is free for the next file. */
Test(F05_late_writes, what_a_dead_child_still_writes_does_not_land_in_the_file_that_gets_its_place)
{
    set_up();
    struct checkpoint_dir dir = fixture_open(io_system(), disk.path);
    struct snapshot_identity identity = fixture_identity(2, "words", 0);
    char name[FILE_NAME_BYTES];
    cr_assert_eq(fixture_checkpoint(&dir, 1, 10, &err), WEIR_OK, "%s", err.text);
    write_and_be_killed(&dir, &identity, name);
    cr_assert_eq(checkpoint_retain(&dir, 1, 3, NULL, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(fixture_checkpoint(&dir, 3, 5000, &err), WEIR_OK, "%s", err.text);
    uint64_t hash = hash_checkpoint(&dir, 3);
    for (int64_t end_ns = clock_monotonic_ns() + WATCH_NS; clock_monotonic_ns() < end_ns;)
        cr_assert_eq(hash_checkpoint(&dir, 3), hash, "a checkpoint made meanwhile has changed");
    checkpoint_dir_close(&dir);
    cr_assert(power_disk_unmount(&disk) && power_disk_mount(&disk), "and as it is on the disk itself");
    dir = fixture_open(io_system(), disk.path);
    cr_expect_eq(hash_checkpoint(&dir, 3), hash);
    cr_expect_eq(fixture_load(&dir, 3, &err), WEIR_OK, "%s", err.text);
    checkpoint_dir_close(&dir);
    cr_expect(power_disk_unmount(&disk));
}
