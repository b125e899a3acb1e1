/* examples.h - the jobs that `weir run NAME` knows by name, and the sources and the sink that they share. */
#ifndef WEIR_EXAMPLES_H
#define WEIR_EXAMPLES_H

#include "weir.h"

struct weir_example {
    const char *name;
    const char *help; /* one line */
    weir_build_fn build;
};

extern const struct weir_example weir_examples[];
extern const size_t weir_example_count;

int wordcount_build(struct weir_job *job);
int weblog_build(struct weir_job *job);
int nexmark_q0_build(struct weir_job *job);
int nexmark_q1_build(struct weir_job *job);
int nexmark_q2_build(struct weir_job *job);
int nexmark_bids_build(struct weir_job *job);

/* Adds a source of lines, as the job's parameters `input`, `follow` and `journal` say. NULL where `input` is not given, or a parameter is wrong
 * (then weir_job_fail() has been called). */
struct weir_stream *example_add_lines(struct weir_job *job, const char *name);

/* Adds a sink for the directory; "-" prints on standard output, "" counts and drops. The records are written as
 * the job's parameter `format` says. Returns what weir_add_sink() returns. */
struct weir_stream *example_add_sink(struct weir_job *job, struct weir_stream *in, const char *name,
                                     const char *directory);

/* The job's parameter `parallelism`, 1 .. WEIR_PARALLELISM_MAX. */
unsigned example_parallelism(struct weir_job *job);

#endif
