/*
 * power_disk.h - an ext4 on a loop device whose power can be cut: the file system's shutdown ioctl, unmount, mount.
 * The mounts are in a mount namespace of the test's own process and the loop device is released with its last mount, so that both
 * are gone when the process is, however it ends. Needs root, loop devices and mkfs.ext4.
 */
#ifndef WEIR_TESTS_POWER_DISK_H
#define WEIR_TESTS_POWER_DISK_H

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
/* What becomes of the journal: its transaction in progress is still written, or not. */
enum power_cut { CUT_LOG_FLUSHED = 1, CUT_LOG_LOST = 2 };

struct power_disk {
    char path[512];  /* where it is mounted */
    char image[520]; /* the file that holds it */
    int device_fd;   /* of the loop device, while it is being mounted */
    char device[32];
};

static inline bool power_disk_attach(struct power_disk *disk)
{
    int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int image_fd = open(disk->image, O_RDWR | O_CLOEXEC);
    bool attached = false;
    for (int tries = 0; !attached && tries < 20 && control_fd >= 0 && image_fd >= 0; tries++) {
        int number = ioctl(control_fd, LOOP_CTL_GET_FREE);
        struct loop_config config = {.fd = (uint32_t)image_fd, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        snprintf(disk->device, sizeof disk->device, "/dev/loop%d", number);
        disk->device_fd = number < 0 ? -1 : open(disk->device, O_RDWR | O_CLOEXEC);
        attached = disk->device_fd >= 0 && ioctl(disk->device_fd, LOOP_CONFIGURE, &config) == 0;
        if (!attached && disk->device_fd >= 0)
            close(disk->device_fd); /* somebody else was faster */
    }
    if (control_fd >= 0)
        close(control_fd);
    if (image_fd >= 0)
        close(image_fd);
    return attached;
}

static inline bool power_disk_mount(struct power_disk *disk)
{
    if (!power_disk_attach(disk))
        return false;
    bool mounted = mount(disk->device, disk->path, "ext4", MS_NOATIME, "commit=300") == 0;
    close(disk->device_fd);
    return mounted;
}

/* A new one at `path`/disk. False: not possible here. */
static inline bool power_disk_make(struct power_disk *disk, const char *path, unsigned size_mib)
{
    char command[1200];
    int used = snprintf(disk->path, sizeof disk->path, "%s/disk", path);
    if (used < 0 || (size_t)used >= sizeof disk->path)
        return false;
    snprintf(disk->image, sizeof disk->image, "%s.img", disk->path);
    snprintf(command, sizeof command, "truncate -s %uM '%s' && mkfs.ext4 -q -F '%s' >/dev/null 2>&1", size_mib, disk->image,
             disk->image);
    return geteuid() == 0 && mkdir(disk->path, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && system(command) == 0 && power_disk_mount(disk);
}

/* A killed process's io_uring holds its files for a moment longer than the process is there. */
static inline bool power_disk_unmount(struct power_disk *disk)
{
    int64_t deadline_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while (umount(disk->path) != 0)
        if (errno != EBUSY || clock_monotonic_ns() > deadline_ns)
            return false;
    return true;
}

/* From here on every operation on it fails; what is not on the disk by now is gone. */
static inline bool power_disk_cut(const struct power_disk *disk, enum power_cut how)
{
    uint32_t flags = how;
    int fd = open(disk->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool cut = fd >= 0 && ioctl(fd, EXT4_IOC_SHUTDOWN, &flags) == 0;
    if (fd >= 0)
        close(fd);
    return cut;
}

/* After a cut, with nothing open on it any more. */
static inline bool power_disk_restart(struct power_disk *disk) { return power_disk_unmount(disk) && power_disk_mount(disk); }

#endif
