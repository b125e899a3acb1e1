/*
 * job.h - the user's job as chaos runs it: with a directory of its own for each run, and its output led there.
 *
 * File sinks write to RUN/output/NAME in place of their own directory, and standard output becomes such a file sink: both are
 * found in the graph, so a job needs nothing for it. A sink of the user's own is led by --output-param, or is not compared.
 */
#ifndef WEIR_CHAOS_JOB_H
#define WEIR_CHAOS_JOB_H

#include "chaos/fault.h"
#include "engine/options.h"

#define CHAOS_PAIRS_MAX 512
#define CHAOS_OUTPUTS_MAX 65

/* Where a run keeps things, below its directory. */
#define CHAOS_CHECKPOINTS "checkpoints"
#define CHAOS_OUTPUT "output"
#define CHAOS_LOG "log"

struct chaos_output {
    char name[WEIR_NAME_BYTES_MAX + 1]; /* of the sink, or of --output-param; its directory in RUN/output */
    uint64_t record_bytes;              /* 0: lines */
};

/* An option of `run`. Borrowed. */
struct chaos_pair {
    const char *name;
    const char *value;
};

struct chaos_job {
    const char *name;
    weir_build_fn build;
    const struct chaos_options *options;
    struct chaos_pair pairs[CHAOS_PAIRS_MAX];
    size_t pair_count;
    /* filled by chaos_job_prepare() */
    struct chaos_output outputs[CHAOS_OUTPUTS_MAX];
    size_t output_count;
    struct fault_places places;
    char first_task[PROCESS_NAME_BYTES];
};

/* Adds an option of `run`. WEIR_EINVAL for those that a run under chaos cannot have. */
int chaos_job_option(struct chaos_job *job, const char *name, const char *value, struct weir_error *err);
/* Builds the job once, in this process, without running it: everything that can be wrong with job and options is found here. */
int chaos_job_prepare(struct chaos_job *job, struct weir_error *err);
void chaos_job_free(struct chaos_job *job);
/* Builds and runs it, with `directory` for all that it writes. Called in a process of its own, which becomes the launcher. */
int chaos_job_run(const struct chaos_job *job, const char *directory, struct weir_error *err);

#endif
