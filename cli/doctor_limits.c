/* What this process may use: files, processes, locked memory, memory, processors. */
#include "cli/doctor.h"

#include "base/bytes.h"
#include "engine/option_value.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NUMBER_BYTES 32
#define FILES_WANTED 1024
#define FILES_NEEDED 64
#define PROCESSES_WANTED 512
#define MEMLOCK_WANTED (64u << 10)
#define MEMORY_WANTED (UINT64_C(512) << 20)

static const char *limit_text(rlim_t limit, char *text, size_t capacity)
{
    if (limit == RLIM_INFINITY)
        snprintf(text, capacity, "unlimited");
    else
        snprintf(text, capacity, "%llu", (unsigned long long)limit);
    return text;
}

static void check_files(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    char soft[NUMBER_BYTES], hard[NUMBER_BYTES];
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit); /* cannot fail for a known resource */
    finding_found(finding, "%s (at most %s)", limit_text(limit.rlim_cur, soft, sizeof soft), limit_text(limit.rlim_max, hard, sizeof hard));
    if (limit.rlim_cur < FILES_WANTED)
        finding_trouble(finding, limit.rlim_cur < FILES_NEEDED ? FINDING_FAIL : FINDING_WARN,
                        "each ring and each task takes a descriptor in the launcher: larger jobs will not start",
                        "ulimit -n 4096, or LimitNOFILE=4096 in the service's unit");
}

static void check_processes(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    char soft[NUMBER_BYTES];
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NPROC, &limit);
    finding_found(finding, "%s", limit_text(limit.rlim_cur, soft, sizeof soft));
    if (limit.rlim_cur < PROCESSES_WANTED)
        finding_trouble(finding, FINDING_WARN, "every task is a process, has a standby, and another one while it takes a snapshot: the limit counts all "
                                               "processes of the user",
                        "ulimit -u 4096, or TasksMax and LimitNPROC in the service's unit");
}

static void check_locked_memory(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    char soft[NUMBER_BYTES];
    struct rlimit limit = {0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    finding_found(finding, "%s", limit.rlim_cur == RLIM_INFINITY ? "unlimited" : format_bytes(limit.rlim_cur, soft, sizeof soft));
    if (limit.rlim_cur < MEMLOCK_WANTED && geteuid() != 0)
        finding_trouble(finding, FINDING_WARN, "before Linux 5.12 the queues of io_uring count as locked memory: snapshots may fall back to pwrite",
                        "ulimit -l 1024, or LimitMEMLOCK=1M in the service's unit");
}

/* ------------------------------------------------------------------------------------------------ memory --------- */

/* The path of this process's cgroup that holds `controller` ("" for version 2), below the mount point. */
static bool cgroup_path(const char *controller, char *path, size_t capacity)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':');
        char *at = names != NULL ? strchr(names + 1, ':') : NULL;
        if (at == NULL)
            continue;
        *at = 0;
        names++;
        found = strcmp(names, controller) == 0 || (controller[0] != 0 && strstr(names, controller) != NULL);
        if (found)
            snprintf(path, capacity, "%s", at + 1);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* The smallest limit of this cgroup and those above it; UINT64_MAX: none. */
static uint64_t smallest_limit(const char *mount, char *path, const char *file)
{
    uint64_t smallest = UINT64_MAX, limit = 0;
    for (;;) {
        char name[2 * PATH_MAX];
        snprintf(name, sizeof name, "%s%s/%s", mount, path, file);
        if (doctor_read_number(name, &limit) && limit < smallest)
            smallest = limit;
        char *slash = strrchr(path, '/');
        if (slash == NULL || path[0] == 0)
            return smallest;
        *slash = 0;
    }
}

static uint64_t memory_limit(void)
{
    char path[PATH_MAX];
    uint64_t limit = UINT64_MAX;
    if (cgroup_path("", path, sizeof path))
        limit = smallest_limit("/sys/fs/cgroup", path, "memory.max");
    if (limit == UINT64_MAX && cgroup_path("memory", path, sizeof path))
        limit = smallest_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
    return limit;
}

static void check_memory(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    char machine[NUMBER_BYTES], allowed[NUMBER_BYTES];
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = memory_limit();
    human_bytes(total, machine, sizeof machine);
    if (limit >= total)
        finding_found(finding, "%s, no smaller limit of a cgroup", machine);
    else
        finding_found(finding, "%s, of which the cgroup allows %s", machine, human_bytes(limit, allowed, sizeof allowed));
    if (limit < total / 2)
        finding_trouble(finding, FINDING_WARN, "rings and state are shared memory, which the cgroup counts: beyond it tasks are killed, and "
                                               "--state-limit's default goes by the machine's memory",
                        "raise memory.max, or set --state-limit below the cgroup's limit");
    else if (u64_min(total, limit) < MEMORY_WANTED)
        finding_trouble(finding, FINDING_WARN, "that is little: jobs with much state are killed for want of memory", "add memory, or set --state-limit");
}

/* ------------------------------------------------------------------------------------------------ processors ----- */

/* "200000 100000" -> 2.0; 0: no quota. */
static double cpu_quota(void)
{
    char path[PATH_MAX], name[2 * PATH_MAX], line[64];
    char *behind_quota, *behind_period;
    if (!cgroup_path("", path, sizeof path))
        return 0;
    snprintf(name, sizeof name, "/sys/fs/cgroup%s/cpu.max", path);
    if (!doctor_read_line(name, line, sizeof line))
        return 0;
    unsigned long long quota = strtoull(line, &behind_quota, 10);
    unsigned long long period = strtoull(behind_quota, &behind_period, 10);
    if (behind_quota == line || behind_period == behind_quota || period == 0) /* "max 100000": no quota */
        return 0;
    return (double)quota / (double)period;
}

static void check_processors(const struct doctor *doctor, struct finding *finding)
{
    (void)doctor;
    cpu_set_t allowed;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int usable = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : (int)online;
    double quota = cpu_quota();
    if (quota > 0)
        finding_found(finding, "%d of %ld usable, with a quota of %.1f", usable, online, quota);
    else
        finding_found(finding, "%d of %ld usable", usable, online);
    if (usable < 2)
        finding_trouble(finding, FINDING_WARN, "all tasks share one processor: jobs work, but nothing runs at the same time", "give the process more: taskset, cpuset, or CPUAffinity= in its unit");
    else if (quota > 0 && quota < 1)
        finding_trouble(finding, FINDING_WARN, "the quota stops all tasks for a part of every period: latencies of tens of milliseconds", "raise cpu.max");
}

const struct doctor_check doctor_limit_checks[] = {
    {"processors", check_processors},
    {"memory", check_memory},
    {"open files", check_files},
    {"processes", check_processes},
    {"locked memory", check_locked_memory},
    {NULL, NULL},
};
