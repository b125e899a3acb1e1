/*
 * takeover.h - a takeover in place: whether a task that died may be taken over, by whom, and the standby that waits for it. What the new
 * process then does is in takeover_task.c and batch_recover() (batch.c).
 *
 * Only a death from outside is taken over (SIGKILL, the OOM killer), of a task that runs, in a job that runs. Everything
 * else goes back to the last checkpoint: a task that died of its own fault, hung, could not take over (its undo log or commit record
 * fails its check), or has a sink without resume(); and a task whose last TAKEOVERS_MAX takers all died before they got on.
 *
 * Two may do it. The standby: forked by the launcher while the task lives, everything mapped, page tables filled, operators made and warmed up,
 * asleep in the lock of a robust mutex that the task holds; the kernel wakes it when the task dies, before it tears the dead one's memory down (set_robust_list(2)). The launcher: when it
 * reaps the dead process, by a fork from the shared memory alone; needed where the standby is dead too, or not forked yet. A compare-and-
 * swap of task_shared.owner decides, between the two and against going back.
 */
#ifndef WEIR_ENGINE_TAKEOVER_H
#define WEIR_ENGINE_TAKEOVER_H

#include "engine/job.h"

/* Without a batch that was committed, or a moment without work, in between. Many: who kills from outside may do so for reasons of his own.
 * But there is an end: a batch that needs more memory than there is is killed by the kernel each time. */
#define TAKEOVERS_MAX 12

/* The signals that an instruction of the process itself raises: its memory is not to be trusted. */
bool takeover_signal_is_own_fault(int signal_number);

/* Whether all of the task's sinks can go on in another process. */
bool takeover_is_possible(const struct job *job, unsigned task);
/* Whether the last TAKEOVERS_MAX processes that took it over all died before they got on, or as many with the next record in hand: that may
 * come only after a while, in which they have nothing to do. */
bool takeover_got_nowhere(const struct task_shared *task);

/* Launcher, before it forks the tasks anew, when none of their processes lives: nobody's successor waits, the mutex is free. */
int takeover_reset(struct task_shared *shared, struct weir_error *err);

/* ---- the launcher ---- */

/* The process whose the task is; 0: none. */
pid_t takeover_owner(const struct task_shared *shared);
/* It has forked the process of a task. */
void takeover_note_owner(struct job *job, unsigned task, pid_t pid);
/* The process `pid` of a task has been reaped, and exit_status says how. True: it is the caller's to fork the one that takes
 * over. False: the whole job goes back, or a standby has taken over already (*ret_is_taken). */
bool takeover_claim(struct job *job, unsigned task, pid_t pid, bool *ret_is_taken);
/* The event of the death that was taken over. (Of others it is the coordinator's to tell.) */
void takeover_log_death(struct job *job, unsigned task, pid_t pid, int status);
/* The task is nobody's (the fork failed). */
void takeover_give_up(struct job *job, unsigned task);
/* Whether a standby has followed this process, which has not been reaped yet. */
bool takeover_is_followed(const struct task_shared *shared, pid_t pid);
/* The same of one that has been reaped now: it is forgotten. */
bool takeover_was_followed(struct task_shared *shared, pid_t pid);
/* A process was reaped that a standby had followed. It died of its own fault, and could not say so first: its successor is killed, and
 * the job goes back. */
void takeover_distrust(struct job *job, unsigned task, int status);
/* Whether a standby should be forked. */
bool takeover_wants_standby(const struct job *job, unsigned task);

/* ---- the task ---- */

/* Before anything that may fault: its own faults mark it before it dies of them. */
void takeover_mark_own_faults(struct task_shared *shared);
/* There was no process left for its snapshot child: the standbys make room, and there are none from now on. A checkpoint is worth more
 * than takeovers that are faster. */
void takeover_spare_standbys(struct job *job);
/* In its snapshot child: faults of that one are not the task's. */
void takeover_forget_marks(void);
/* Takes the mutex where it is free; then a standby may be forked. May be called again and again. */
void takeover_guard(const struct job *job, unsigned task);

/* ---- the standby ---- */

/* Sleeps until the task dies, and then runs before all others until it has got on. True: its place is ours. False: it is not to be taken over, or somebody else does. */
bool takeover_wait(struct job *job, unsigned task);
/* For one that is not fit to: sleeps as long, or the launcher would fork one after another. The launcher takes over then. */
void takeover_decline(struct job *job, unsigned task);

#endif
