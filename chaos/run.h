/*
 * run.h - one run of the job: started, watched, hit, started again where its launcher died, and its end waited for.
 */
#ifndef WEIR_CHAOS_RUN_H
#define WEIR_CHAOS_RUN_H

#include "chaos/chaos.h"

/* What happens to the run. Zero: nothing. */
struct run_plan {
    const char *name;
    bool random;            /* the random faults that are left */
    const char *kill;       /* WEIR_KILL of the first launch; NULL: none */
    const char *io_fault;   /* WEIR_IO_FAULT of the first launch */
    const char *place;      /* for the report: what kill or io_fault is about */
    bool first_fault; /* first_kind to the first task once there is a checkpoint, so that there is a recovery */
    enum fault_kind first_kind;
};

struct run_result {
    int64_t duration_ns;
    uint64_t hits;
    unsigned launches;
    bool reached; /* kill or io_fault took effect */
};

/* WEIR_OK: the job has come to its end. Else how it failed, in words; WEIR_ETIMEOUT, WEIR_ECANCELLED. Nothing of it runs
 * afterwards. `directory` exists and is empty. Recoveries and faults are added to chaos->report. */
int run_supervise(struct chaos *chaos, const struct run_plan *plan, const char *directory, struct run_result *ret_result,
                  struct weir_error *err);

#endif
