/*
 * sched.h - how the kernel's scheduler treats this process. All of it is advice: what the kernel, or the user's rights, do not allow is
 * left out.
 */
#ifndef WEIR_BASE_SCHED_H
#define WEIR_BASE_SCHED_H

#include <sys/types.h>

/*
 * From now on this process runs as soon as it is woken, whoever has the processor: for one that sleeps until it is needed, and then must
 * not wait. By SCHED_FIFO where the user may (root, CAP_SYS_NICE, RLIMIT_RTPRIO); else by asking for the shortest time slice (0.1 ms,
 * Linux 6.12 and later), which lets it in beside most neighbours. Not inherited by fork.
 * Sources: sched(7), sched_setattr(2), kernel "sched/eevdf: Use sched_attr::sched_runtime to set request/slice suggestion".
 */
void sched_run_first(void);
/* Back to what it was before, but that what it forks from now on has no niceness below 0. */
void sched_run_as_others(void);
/* Another process of this user, which is being torn down and has time: 10 nicer than it was. It still ends within ten times what it needs where all
 * processors are busy. */
void sched_step_back(pid_t pid);

#endif
