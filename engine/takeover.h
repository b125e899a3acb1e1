/*
 * takeover.h - the launcher's half of a takeover in place: whether a task that died may be taken over, and that it is. The other half,
 * in the new process, is task_take_over_main() (task.c) and batch_recover() (batch.c).
 *
 * Only a death from outside is taken over (SIGKILL, the OOM killer), of a task that runs, in a job that runs. Everything
 * else goes back to the last checkpoint: a task that died of its own fault, hung, could not take over (its undo log or commit record
 * fails its check), or has a sink without resume(); and a task whose last TAKEOVERS_MAX takers all died before they got on.
 *
 * Who may is decided by one compare-and-swap of task_shared.owner: to the next incarnation (a takeover), or to nobody (the job goes back).
 */
#ifndef WEIR_ENGINE_TAKEOVER_H
#define WEIR_ENGINE_TAKEOVER_H

#include "engine/job.h"

#define TAKEOVERS_MAX 3 /* without a batch that was committed, or a moment without work, in between */

/* The signals that an instruction of the process itself raises: its memory is not to be trusted. */
bool takeover_signal_is_own_fault(int signal_number);

/* Whether all of the task's sinks can go on in another process. */
bool takeover_is_possible(const struct job *job, unsigned task);

/* Launcher: the process of a task has been reaped, and exit_status and exit_pid say so. True: it is the caller's to fork the
 * process that takes over. False: the whole job goes back. */
bool takeover_claim(struct job *job, unsigned task);
/* Launcher: the event of the death that was taken over. (Of others it is the coordinator's to tell.) */
void takeover_log_death(struct job *job, unsigned task);
/* Launcher: the task is nobody's (the fork failed). */
void takeover_give_up(struct job *job, unsigned task);

#endif
