/*
 * report.h - what came of it all: faults, recoveries, records; as numbers, as JSON and as JUnit's XML.
 */
#ifndef WEIR_CHAOS_REPORT_H
#define WEIR_CHAOS_REPORT_H

#include "chaos/output.h"
#include "chaos/process.h"

#include <jansson.h>
#include <limits.h>

/* How a job came back: key, for people. */
#define RECOVERY_PATH_TABLE(X)                                                                                         \
    X(IN_PLACE, "in_place", "in place, by a standby or a new process")                                                 \
    X(ROLLBACK, "rollback", "rollback in memory")                                                                      \
    X(DISK, "disk", "restore from disk")                                                                               \
    X(RESTART, "restart", "restore from disk by a new launcher")                                                       \
    X(COORDINATOR, "coordinator", "coordinator replaced, records flowed on")

enum recovery_path {
#define RECOVERY_PATH_ENUM(id, key, text) RECOVERY_PATH_##id,
    RECOVERY_PATH_TABLE(RECOVERY_PATH_ENUM)
#undef RECOVERY_PATH_ENUM
    RECOVERY_PATH_COUNT
};
const char *recovery_path_key(unsigned path);
const char *recovery_path_text(unsigned path);

/* Of one path; a recovery may have no time (it was not measured). */
struct recoveries {
    uint64_t count;
    int64_t *times_ns;
    size_t time_count, time_capacity;
};
struct recovery_times {
    int64_t p50_ns, p99_ns, max_ns; /* 0: none measured */
};
void recoveries_add(struct recoveries *recoveries, int64_t time_ns); /* negative: not measured */
/* Sorts the times. */
struct recovery_times recoveries_times(struct recoveries *recoveries);

/* A fault that was chosen. */
struct fault_record {
    uint64_t number; /* of random faults, from 1; 0: another one */
    const char *kind; /* "kill", "kill point", "disk fault" */
    char place[PROCESS_NAME_BYTES];
    bool hit; /* false: the process was not there in time, or the place was not reached */
};

enum case_state { CASE_PASSED, CASE_DIFFERS, CASE_FAILED, CASE_NOT_REACHED };
const char *case_state_name(enum case_state state);

/* One run of the job. */
struct run_case {
    char name[128];
    enum case_state state;
    int64_t duration_ns;
    uint64_t faults; /* that took effect */
    unsigned launches;
    struct difference difference; /* of all outputs together */
    char text[WEIR_ERROR_BYTES]; /* what went wrong */
    char directory[PATH_MAX];    /* where it was kept; "": it was not */
};

struct chaos_report {
    char job[WEIR_NAME_BYTES_MAX + 1];
    uint64_t seed;
    uint64_t faults_wanted; /* random ones */
    struct fault_record *faults;
    size_t fault_count, fault_capacity;
    struct recoveries recoveries[RECOVERY_PATH_COUNT];
    struct run_case *cases;
    size_t case_count, case_capacity;
    int64_t duration_ns;
    bool out_of_memory; /* something is missing here */
};

/* Sums over all runs. */
struct chaos_totals {
    uint64_t hits, misses, random_hits, random_chosen;
    uint64_t compared, lost, doubled, wrong;
    uint64_t runs, passed, differing, failed, not_reached;
    uint64_t recoveries;
    struct recovery_times times;
};

void report_add_fault(struct chaos_report *report, const struct fault_record *fault);
/* The new case, zeroed; NULL when out of memory. Good until the next one. */
struct run_case *report_add_case(struct chaos_report *report);
struct chaos_totals report_totals(struct chaos_report *report);
void report_free(struct chaos_report *report);

/* NULL when out of memory. */
json_t *report_json(struct chaos_report *report);
int report_junit(struct chaos_report *report, const char *path, struct weir_error *err);

#endif
