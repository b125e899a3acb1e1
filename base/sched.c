#include "base/sched.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORTEST_SLICE_NS 100000
#define STEP_BACK 10 /* of niceness: a tenth of the share of others */
#define RESET_ON_FORK 1 /* SCHED_FLAG_RESET_ON_FORK, of linux/sched.h, which contradicts sched.h */

/* sched_setattr(2), its first version: the C library has none. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static bool apply(pid_t pid, struct attributes attributes)
{
    attributes.size = sizeof attributes;
    return syscall(SYS_sched_setattr, pid, &attributes, 0) == 0;
}

/* As an ordinary process, at its own niceness. */
static void ask_slice(uint64_t slice_ns)
{
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, 0);
    if (errno == 0)
        (void)apply(0, (struct attributes){.policy = SCHED_OTHER, .nice = nice, .runtime = slice_ns, .flags = RESET_ON_FORK});
}

static bool is_ordinary(void) { return (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_OTHER; }
static bool runs_first;

void sched_run_first(void)
{
    if (!is_ordinary())
        return; /* the user has chosen another policy, or it does already */
    runs_first = true;
    if (!apply(0, (struct attributes){.policy = SCHED_FIFO, .priority = 1, .flags = RESET_ON_FORK}))
        ask_slice(SHORTEST_SLICE_NS);
}

void sched_step_back(pid_t pid)
{
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)pid);
    if (errno == 0)
        (void)setpriority(PRIO_PROCESS, (id_t)pid, nice + STEP_BACK);
}

void sched_run_as_others(void)
{
    if (runs_first)
        ask_slice(0);
    runs_first = false;
}
