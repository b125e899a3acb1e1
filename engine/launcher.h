/*
 * launcher.h - the one parent of a job's processes. It makes the shared memory, forks the coordinator and the tasks, reaps,
 * and forks again when the coordinator says so. When it dies, everything else dies with it (PR_SET_PDEATHSIG).
 */
#ifndef WEIR_ENGINE_LAUNCHER_H
#define WEIR_ENGINE_LAUNCHER_H

#include "engine/job.h"

/* Everything of a job but its processes: directory, lock, plan, shared memory, rings (setup.c). */
int job_set_up(struct job *job, const struct weir_job *graph, const struct job_options *options, struct weir_error *err);
void job_tear_down(struct job *job);
/* Rings empty, doorbells awake, tasks' slots clean: before (re-)forking, while no task lives. */
int job_reset_tasks(struct job *job, struct weir_error *err);
/* Chooses what the first start restores, checks that it fits this job, and sets the first ids (setup.c). */
int job_choose_start(struct job *job, struct weir_error *err);

/* Sets the generation to the one after the last that ran in this directory, at least to `at_least`, and notes it in the LOCK file:
 * names that carry it (staged output, snapshots) are never used twice, also where no checkpoint was completed in between. Not
 * synced: after a power cut the newest manifest's generation counts. */
int job_next_generation(struct job *job, uint64_t at_least, struct weir_error *err);

/* Runs the job's processes until the coordinator ends it. */
int launcher_run(struct job *job, const struct run_observer *observer, struct weir_error *err);

#endif
