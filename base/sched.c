#include "base/sched.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sched_setattr(2), its first version: the C library has none. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void sched_ask_slice(uint64_t slice_ns)
{
    struct attributes attributes = {.size = sizeof attributes, .policy = SCHED_OTHER, .runtime = slice_ns};
    errno = 0;
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    if (errno != 0 || sched_getscheduler(0) != SCHED_OTHER)
        return; /* the user has chosen another policy: it stays */
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}
