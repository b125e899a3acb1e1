/* What the kernel offers: system calls, io_uring, huge pages, overcommit. */
#include "cli/doctor.h"
#include "engine/cli_api.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static void check_kernel(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    struct utsname names;
    if (uname(&names) != 0)
        memset(&names, 0, sizeof names);
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int memfd = memfd_create("weir-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    finding_found(finding, "%s %s, pidfd %s, memfd %s", names.sysname, names.release, pidfd >= 0 ? "yes" : "no",
                  memfd >= 0 ? "yes" : "no");
    if (pidfd < 0 || memfd < 0)
        finding_trouble(finding, FINDING_FAIL, "Weir supervises its processes by pidfd and joins them by sealed memfds: jobs cannot run",
                        "use Linux 5.4 or newer, or a container profile that allows these system calls");
    if (pidfd >= 0)
        close(pidfd);
    if (memfd >= 0)
        close(memfd);
}

static void check_io_uring(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    struct io_uring_params params = {0};
    uint64_t disabled = 0;
    int fd = (int)syscall(SYS_io_uring_setup, 8, &params);
    if (fd >= 0) {
        finding_found(finding, "available");
        close(fd);
        return;
    }
    bool by_sysctl = doctor_read_number("/proc/sys/kernel/io_uring_disabled", &disabled) && disabled > 0;
    finding_found(finding, "refused: %s%s", strerror(errno), by_sysctl ? " (sysctl kernel.io_uring_disabled)" : "");
    finding_trouble(finding, FINDING_WARN, "snapshots are written by pwrite, one write at a time: checkpoints of large state take longer",
                    by_sysctl ? "sysctl -w kernel.io_uring_disabled=0"
                              : "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile");
}

/* "always within_size advise [never] deny force" -> "never" */
static bool bracketed_word(const char *line, char *word, size_t capacity)
{
    const char *begin = strchr(line, '[');
    if (begin == NULL)
        return false;
    snprintf(word, capacity, "%.*s", (int)strcspn(begin + 1, "]"), begin + 1);
    return true;
}

static void check_huge_pages(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    char line[128], word[32] = "";
    bool known = doctor_read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", line, sizeof line) && bracketed_word(line, word, sizeof word);
    if (job_huge_pages_work()) {
        finding_found(finding, "given to state that asks for them (shmem_enabled is %s, which does not matter)", known ? word : "unknown");
        return;
    }
    bool denied = strcmp(word, "deny") == 0;
    finding_found(finding, "none to be had (shmem_enabled is %s)", known ? word : "unknown");
    finding_trouble(finding, FINDING_WARN, "state is mapped in 4 KiB pages: large state is slower, most of all right after a recovery",
                    denied ? "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled (as root; at every boot)"
                           : "use Linux 6.1 or newer with CONFIG_TRANSPARENT_HUGEPAGE; memory may also be short, or in pieces");
}

static void check_overcommit(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    uint64_t mode = 0;
    if (!doctor_read_number("/proc/sys/vm/overcommit_memory", &mode)) {
        finding_found(finding, "unknown: /proc/sys/vm/overcommit_memory cannot be read");
        return;
    }
    finding_found(finding, "vm.overcommit_memory is %llu", (unsigned long long)mode);
    if (mode == 2)
        finding_trouble(finding, FINDING_WARN, "the kernel promises no more memory than it has: the fork of a snapshot may be refused, and the "
                                               "checkpoint with it",
                        "sysctl -w vm.overcommit_memory=0, or raise vm.overcommit_ratio");
}

const struct doctor_check doctor_kernel_checks[] = {
    {"kernel", check_kernel},
    {"io_uring", check_io_uring},
    {"huge pages", check_huge_pages},
    {"overcommit", check_overcommit},
    {NULL, NULL},
};
