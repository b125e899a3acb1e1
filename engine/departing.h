/*
 * departing.h - processes of the job that were killed, execute nothing any more, and are not gone yet: the kernel tears their memory
 * down (tens of milliseconds a GiB), or waits for what they had in flight on a disk. A job that goes back need not wait for that.
 *
 * What it must not meet is a process that still runs. The kernel says so of each (proc_pid_stat(5): flags): a process that takes a fatal
 * signal, or exits, never returns to user space. A snapshot child may also hang in a system call: it returns to user space as
 * little, and none of its calls touches memory that others have.
 *
 * Two things wait until the old processes are gone for good: sinks are opened (the old one may still hold locks and files), and the next
 * checkpoint is begun (two snapshot children may not write the same sums). The launcher calls all of this.
 */
#ifndef WEIR_ENGINE_DEPARTING_H
#define WEIR_ENGINE_DEPARTING_H

#include "engine/job.h"

struct departing_child {
    pid_t pid;
    unsigned task; /* whose it was; the plan's task count: nobody knows */
};

/* The launcher's private list. Zeroed: empty. */
struct departing {
    struct departing_child *children;
    unsigned count;
    unsigned capacity;
};

/* Whether this process, which was killed, executes nothing any more. False also where that cannot be told. */
bool departing_is_powerless(const struct job *job, pid_t pid);
/* Adds a child that is to go; before job_reset_tasks(), which forgets whose it was. False: no memory. */
bool departing_add(const struct job *job, struct departing *list, pid_t pid);
/* Tells the tasks, and the coordinator, how many there are; after job_reset_tasks(). */
void departing_tell(struct job *job, const struct departing *list);
/* One was reaped. False: it is none of these. */
bool departing_gone(struct job *job, struct departing *list, pid_t pid);
bool departing_has(const struct departing *list, pid_t pid);
void departing_free(struct departing *list);

#endif
