/*
 * cli_api.h - the command's one door to running a job: build the graph, list its parameters, run it. What concerns a job
 * that runs already goes through engine/control.h and engine/registry.h; what lies on disk through snapshot/ and
 * engine/event_log.h.
 *
 * All of it is called in the launcher. Order: job_new, job_build, job_run, job_free.
 */
#ifndef WEIR_ENGINE_CLI_API_H
#define WEIR_ENGINE_CLI_API_H

#include "engine/options.h"

/* An empty job. `name` is its identity on disk, WEIR_NAME_BYTES_MAX at most, [A-Za-z0-9_-]; copied. NULL with err set. */
struct weir_job *job_new(const char *name, struct weir_error *err);
void job_free(struct weir_job *job);

/* Calls the build function once: weir_param() reads options' params, weir_default() sets options (OPTION_FROM_JOB). Then
 * checks the graph and that every given param was asked for. `options` is borrowed until the call returns. */
int job_build(struct weir_job *job, weir_build_fn build, struct job_options *options, struct weir_error *err);

/* The params that the build function asked for, in that order, once each. Also after a job_build() that failed: then those
 * that it asked for up to the failure. fallback may be NULL; the texts belong to the job. */
struct param_info {
    const char *name;
    const char *fallback;
    const char *help;
};
size_t job_param_count(const struct weir_job *job);
struct param_info job_param_at(const struct weir_job *job, size_t index);

/* The nodes of the graph, once it is built, in the order in which they were added. source or sink is NULL where it is another kind of
 * node. Texts belong to the job. */
struct node_info {
    const char *name;
    const struct weir_source *source;
    const struct weir_sink *sink;
    const void *arg;
};
size_t job_node_count(const struct weir_job *job);
struct node_info job_node_at(const struct weir_job *job, size_t index);
/* Puts another sink, with its own options, in the place of a sink, before the run. `arg` must outlive the job (weir_job_alloc). */
int job_replace_sink(struct weir_job *job, size_t index, const struct weir_sink *sink, const void *arg, struct weir_error *err);

/* A task of the plan that the job would run with: its name, as in status, and the operators in it. */
#define TASK_INFO_NAME_BYTES (WEIR_NAME_BYTES_MAX + 1 + 16)
struct task_info {
    char name[TASK_INFO_NAME_BYTES];
    unsigned subtask;
    unsigned operator_count;
    const char *operators[64]; /* the texts belong to the job */
};
/* In the order of the plan; free() the array. */
int job_tasks(const struct weir_job *job, const struct job_options *options, struct task_info **ret_tasks, size_t *ret_count,
              struct weir_error *err);

/* What the observer is shown, about twice a second. Sums over all tasks, since the first start of this run. */
struct job_progress {
    const char *state;        /* "starting", "running", "recovering", "stopping", "finished", "failed"; static memory */
    bool ended;               /* the last call */
    int64_t uptime_ns;
    uint64_t records_in;      /* emitted by the sources */
    uint64_t records_out;     /* taken by the sinks */
    double records_in_per_s;  /* over the last interval */
    double records_out_per_s;
    uint64_t lag_records;     /* published in the rings and not yet consumed */
    unsigned ring_fill_pct_max;
    uint64_t checkpoints_completed;
    uint64_t checkpoints_failed;
    uint64_t checkpoint_last; /* 0: none yet */
    int64_t checkpoint_last_duration_ns;
    int64_t checkpoint_last_age_ns;
    uint64_t checkpoint_last_bytes;
    uint64_t restarts;        /* recoveries of tasks, whatever died */
    uint64_t restored_checkpoint; /* that this run began with; 0: a fresh start */
};

/* Called in the launcher's loop: must not block. on_progress may be NULL. */
struct run_observer {
    void *self;
    void (*on_progress)(void *self, const struct job_progress *progress);
};

/* Runs the job; forks; returns in the launcher only, when all its processes have ended. `options` are finished
 * (job_options_finish). observer may be NULL. SIGINT and SIGTERM stop the job with a final checkpoint, a second one at once.
 * WEIR_OK: the input ended or the job was stopped with its final checkpoint. WEIR_ECANCELLED: stopped at once.
 * WEIR_EBUSY: another instance runs on the directory. WEIR_EFAILED and others: the job failed. */
int job_run(struct weir_job *graph, const struct job_options *options, const struct run_observer *observer,
            struct weir_error *err);

/* Whether the state of a job gets huge pages on this system: tried, with one. */
bool job_huge_pages_work(void);

#endif
