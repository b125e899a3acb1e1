/*
 * chaos.h - a job under faults, and what it put out compared with what it should have: the work of `weir chaos` and weir_chaos().
 *
 *   prepare (build the job, find its outputs) -> a run without faults, or --expect -> runs under random faults -> a run for each
 *   kill point and each disk fault -> report
 *
 * A run is a process of its own (the launcher of the job) with its own directory below the scratch directory. The caller must
 * have one thread only, and no child that it does not expect to be reaped. Blocks.
 */
#ifndef WEIR_CHAOS_CHAOS_H
#define WEIR_CHAOS_CHAOS_H

#include "chaos/job.h"
#include "chaos/report.h"

#include <signal.h>

struct chaos_progress {
    const char *run; /* "random faults, run 3" */
    uint64_t runs;   /* that have ended */
    uint64_t faults; /* that took effect */
    uint64_t faults_wanted; /* random ones; 0: none */
    uint64_t recoveries;
    int64_t elapsed_ns;
};

struct chaos_observer {
    void *self;
    void (*on_progress)(void *self, const struct chaos_progress *progress); /* some times a second; NULL: none */
    const volatile sig_atomic_t *interrupted; /* not 0: end everything and clean up; NULL: never */
};

struct chaos {
    struct chaos_options options;
    struct chaos_job job;
    struct chaos_observer observer;
    struct chaos_report report;
    char scratch[PATH_MAX]; /* made by chaos_run(); "": it has gone */
    struct output expected[CHAOS_OUTPUTS_MAX];
    char expected_paths[CHAOS_OUTPUTS_MAX][PATH_MAX];
    uint64_t faults_done; /* random ones that were chosen and tried */
    int64_t wait_left_ns; /* before the next one; it goes on from run to run */
    bool fault_waits;     /* wait_left_ns is that of fault number faults_done + 1 */
    int64_t began_ns;
};

void chaos_init(struct chaos *chaos, const char *name, weir_build_fn build);
/* An option of chaos or of `run`, by its long name. Borrowed. */
int chaos_set(struct chaos *chaos, const char *name, const char *value, struct weir_error *err);
/* Once all are set: checks them, and builds the job without running it. */
int chaos_prepare(struct chaos *chaos, struct weir_error *err);
/* The whole of it. WEIR_OK: the report tells what came out, whatever that is. Failures are those of the undertaking itself:
 * the run without faults failed, nothing to compare, no space, interrupted (WEIR_ECANCELLED). */
int chaos_run(struct chaos *chaos, struct weir_error *err);
/* Whether all was the same, and all faults that were asked for were tried and at least one of them took effect; err says what
 * is not. */
int chaos_verdict(struct chaos *chaos, struct weir_error *err);
void chaos_free(struct chaos *chaos);

#endif
