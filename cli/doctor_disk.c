/* The file system that checkpoints go to. What is written for measuring is never given a name, or loses it at once. */
#include "base/bytes.h"
#include "base/clock.h"
#include "cli/doctor.h"
#include "engine/option_value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROBE_BYTES 4096
#define SYNC_COUNT 9
#define SPACE_WANTED (UINT64_C(1) << 30)
#define SPACE_NEEDED (UINT64_C(16) << 20)

static const struct {
    unsigned long magic;
    const char *name;
    const char *trouble; /* NULL: none */
} file_systems[] = {
    {0xEF53, "ext2/3/4", NULL},
    {0x58465342, "xfs", NULL},
    {0x9123683E, "btrfs", NULL},
    {0x2FC12FC1, "zfs", NULL},
    {0xF2F52010, "f2fs", NULL},
    {0x01021994, "tmpfs", "checkpoints are gone after a reboot"},
    {0x858458F6, "ramfs", "checkpoints are gone after a reboot"},
    {0x794C7630, "overlayfs", "in a container its contents usually end with the container, and O_DIRECT may be refused"},
    {0x6969, "nfs", "locks and fsync depend on the server: a second instance may not be noticed"},
    {0xFF534D42, "cifs", "locks and fsync depend on the server: a second instance may not be noticed"},
    {0xFE534D42, "smb2", "locks and fsync depend on the server: a second instance may not be noticed"},
    {0x01021997, "9p", "fsync may not reach the disk of the host"},
    {0x65735546, "fuse", "durability depends on the program behind it"},
};

/* A file without a name, or -errno. */
static int open_probe(const char *directory, int flags)
{
    char path[PATH_MAX + 32];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "%s/.weir-doctor-%d", directory, (int)getpid());
    fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    int error = errno;
    if (fd < 0 && error == EINVAL)
        unlink(path); /* O_DIRECT is refused after the file was made */
    if (fd < 0)
        return -error;
    unlink(path);
    return fd;
}

static void check_directory(const struct doctor *doctor, struct finding *finding)
{
    struct statfs status;
    const char *name = NULL, *trouble = NULL;
    int fd = open_probe(doctor->directory, 0);
    if (fd < 0 || statfs(doctor->directory, &status) != 0) {
        finding_found(finding, "%.200s: %s", doctor->directory, strerror(fd < 0 ? -fd : errno));
        finding_trouble(finding, FINDING_FAIL, "no file can be made there: jobs cannot take checkpoints", "give another with --directory, or mend its permissions");
    } else {
        for (size_t i = 0; i < COUNT_OF(file_systems); i++)
            if (file_systems[i].magic == ((unsigned long)status.f_type & 0xFFFFFFFFul)) {
                name = file_systems[i].name;
                trouble = file_systems[i].trouble;
            }
        finding_found(finding, "%.200s on %s", doctor->directory, name != NULL ? name : "a file system unknown to Weir");
        if (trouble != NULL)
            finding_trouble(finding, FINDING_WARN, trouble, "keep checkpoints on a local disk: --directory");
    }
    if (fd >= 0)
        close(fd);
}

static void check_space(const struct doctor *doctor, struct finding *finding)
{
    struct statvfs status;
    char available[32];
    if (statvfs(doctor->directory, &status) != 0) {
        finding_found(finding, "unknown: %s", strerror(errno));
        return;
    }
    uint64_t bytes = (uint64_t)status.f_bavail * status.f_frsize;
    finding_found(finding, "%s available to this user", human_bytes(bytes, available, sizeof available));
    if (bytes < SPACE_WANTED)
        finding_trouble(finding, bytes < SPACE_NEEDED ? FINDING_FAIL : FINDING_WARN,
                        "a checkpoint of all state is written before an old one is deleted: on a full disk checkpoints fail, and output waits",
                        "free some space, or give a directory on another disk with --directory");
    else if (status.f_files > 0 && status.f_favail < 1000)
        finding_trouble(finding, FINDING_WARN, "hardly any files can be made there (inodes): checkpoints will fail", "remove files, or use another file system");
}

static void check_direct(const struct doctor *doctor, struct finding *finding)
{
    void *page = NULL;
    int fd = open_probe(doctor->directory, O_DIRECT);
    bool written = false;
    if (fd >= 0 && posix_memalign(&page, PROBE_BYTES, PROBE_BYTES) == 0) {
        memset(page, 0, PROBE_BYTES);
        written = pwrite(fd, page, PROBE_BYTES, 0) == PROBE_BYTES;
    }
    free(page);
    if (fd >= 0)
        close(fd);
    finding_found(finding, "O_DIRECT in blocks of 4 KiB %s", written ? "works" : "is refused");
    if (!written)
        finding_trouble(finding, FINDING_WARN, "snapshots go through the page cache: they take memory and push other files out of it",
                        "keep checkpoints on ext4, xfs or btrfs: --directory");
}

static int compare_times(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* The median time of a small write with its fdatasync; negative where one fails. */
static int64_t measure_sync_ns(int fd)
{
    char page[PROBE_BYTES] = {0};
    int64_t times[SYNC_COUNT];
    for (int i = 0; i < SYNC_COUNT; i++) {
        int64_t begin_ns = clock_monotonic_ns();
        if (pwrite(fd, page, sizeof page, (off_t)i * PROBE_BYTES) != PROBE_BYTES || fdatasync(fd) != 0)
            return -1;
        times[i] = clock_monotonic_ns() - begin_ns;
    }
    qsort(times, SYNC_COUNT, sizeof times[0], compare_times);
    return times[SYNC_COUNT / 2];
}

static void check_sync(const struct doctor *doctor, struct finding *finding)
{
    char median[32];
    int fd = open_probe(doctor->directory, 0);
    int64_t sync_ns = fd >= 0 ? measure_sync_ns(fd) : -1;
    if (fd >= 0)
        close(fd);
    if (sync_ns < 0) {
        finding_found(finding, "writing and syncing failed");
        finding_trouble(finding, FINDING_FAIL, "no checkpoint can complete there", "mend the disk, or give another directory with --directory");
        return;
    }
    finding_found(finding, "4 KiB and fdatasync take %s (median of %d)", human_duration(sync_ns, median, sizeof median), SYNC_COUNT);
    if (sync_ns > 50 * NS_PER_MS)
        finding_trouble(finding, FINDING_WARN, "a checkpoint syncs several times: intervals below about half a second will not be kept, and output of sinks waits "
                                               "for them",
                        "use a faster disk (an SSD), or a longer --checkpoint-interval");
}

const struct doctor_check doctor_disk_checks[] = {
    {"directory", check_directory},
    {"space", check_space},
    {"direct writes", check_direct},
    {"sync", check_sync},
    {NULL, NULL},
};
