/*
 * job.h - a running job as each of its processes sees it: made by the launcher before the first fork, read-only afterwards
 * but for what `shared` points to.
 */
#ifndef WEIR_ENGINE_JOB_H
#define WEIR_ENGINE_JOB_H

#include "engine/cli_api.h"
#include "engine/event_log.h"
#include "engine/job_shared.h"
#include "engine/plan.h"
#include "snapshot/checkpoint.h"
#include "state/chunk.h"

struct job_task_memory {
    struct chunk_region region; /* mapped in the launcher, inherited; base NULL where the task has no state */
    int overflow_fd;
    int event_fd; /* rings a task that polls */
};

struct job {
    const struct weir_job *graph;
    const struct job_options *options;
    struct plan *plan;
    struct job_shared *shared;
    uint64_t shared_bytes;
    int *ring_fds;                    /* by ring */
    struct ring_shared **ring_controls; /* by ring: the control pages, mapped in the launcher, inherited */
    uint64_t ring_bytes;
    struct job_task_memory *memory;   /* by task */
    int coordinator_fd;               /* eventfd: wakes the coordinator */
    int launcher_fd;                  /* eventfd: wakes the launcher */
    int listen_fd;                    /* control socket */
    int lock_fd;
    pid_t launcher_pid;
    int oom_score;                    /* the launcher's; those of all others are above it */
    struct checkpoint_dir dir;
    struct event_log events;
    enum io_mode io_mode;
    bool had_ended;                   /* by the checkpoint it starts from, its input has ended and all is emitted */
};

/* Wakes whoever polls an eventfd. Any process. */
void job_wake(int event_fd);
/* Rings one task, or all of them. */
void job_ring_task(const struct job *job, unsigned task);
void job_ring_all_tasks(const struct job *job);
/* The same when a process has died that may have owed them a wake: doorbell_ring_for_dead(). */
void job_ring_task_for_dead(const struct job *job, unsigned task);
void job_ring_all_tasks_for_dead(const struct job *job);
/* After fork: a name for log, kill points and ps; death with the launcher; default signals. _exits where the launcher is gone. */
void job_enter_process(const struct job *job, const char *name);
/* The part of it that changes when a standby becomes the task. */
void job_set_process_name(const struct job *job, const char *name);
/* The calling process's oom_score_adj. */
int job_oom_score(void);
/* What --no-chain and --chain-keyed ask for. */
enum plan_chaining job_chaining(const struct job_options *options);
/* The job's clock, of timers and weir_now_ms(): the wall clock as it was when the job started, counted on from there. So it never goes
 * back, nor jumps, while the job runs, whatever is done to the machine's. */
int64_t job_now_ms(const struct job *job);
/* What the manifests of this job must agree with: operators, states, tasks. */
int job_expected_manifest(const struct job *job, struct manifest **ret_manifest, struct weir_error *err);
/* The state of a checkpoint changes here and nowhere else, over a table of allowed moves. */
void checkpoint_move(struct coordinator_shared *coordinator, enum checkpoint_state to);
const char *checkpoint_state_name(enum checkpoint_state state);

/* The process of the coordinator. Never returns. */
_Noreturn void coordinator_main(struct job *job);

#endif
