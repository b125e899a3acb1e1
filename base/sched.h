/*
 * sched.h - how the kernel's scheduler treats this process.
 */
#ifndef WEIR_BASE_SCHED_H
#define WEIR_BASE_SCHED_H

#include <stdint.h>

/*
 * Asks for time slices of so many nanoseconds (the kernel keeps them between 0.1 and 100 ms); 0: its usual ones. A process with a shorter
 * slice than the one that runs is let in when it wakes; else it may wait for the next tick of the timer. Its share of the
 * processor stays the same. Advice: kernels before 6.12 know nothing of it. Inherited by fork.
 * Source: sched(7), sched_setattr(2), kernel "sched/eevdf: Use sched_attr::sched_runtime to set request/slice suggestion".
 */
void sched_ask_slice(uint64_t slice_ns);

#endif
