/* jobs.h - the graphs that the test program can run (--set shape=NAME), and the parts they are made of. */
#ifndef WEIR_TESTS_JOBS_H
#define WEIR_TESTS_JOBS_H

#include <weir.h>

/* The one record of most shapes; printed as "a<TAB>b<TAB>c". */
struct row {
    uint64_t a, b, c;
};
extern const struct weir_layout row_layout;

struct parameters {
    const char *shape;
    const char *output;
    const char *input;  /* wordcount: file, directory or glob */
    const char *how;    /* shape-specific: which failure, which states */
    const char *note;   /* a file in which attempts are counted */
    uint64_t count;     /* records of a source; 0: without end */
    uint64_t keys;
    unsigned p;         /* parallelism */
    uint64_t bytes;     /* of a record or an output */
    uint64_t at;        /* the record that fails */
    uint64_t times;     /* how often it fails */
    uint64_t delay_ms;  /* of timers, slow sinks, slow sources */
    uint64_t step;      /* records between two delays of a slow source */
    bool together;      /* they emit up to eight records at once */
    bool hold;          /* sources do not end, they fall silent */
    uint64_t each;      /* records that one becomes */
    bool plain;         /* record by record what is done by batches else */
    bool spans;         /* by records in a row, where that can be */
};

/* Source of rows {v % keys, v, 0} for v = first, first + 1, ..., split among its subtasks by turns. */
struct numbers {
    uint64_t first;
    uint64_t count; /* 0: without end */
    uint64_t keys;
    uint64_t step; /* 0: no delays */
    uint64_t delay_ms;
    bool together;
    bool hold;
};
extern const struct weir_source numbers_source;
struct weir_stream *add_numbers(struct weir_job *job, const struct parameters *p, const char *name, uint64_t first,
                                uint64_t count);

/* Sink to `output` (below it `part`, where given) as text lines. */
struct weir_stream *add_lines_sink(struct weir_job *job, struct weir_stream *in, const char *name, const struct parameters *p,
                                   const char *part);
/* A sink that takes delay_ms a record. */
extern const struct weir_sink slow_sink;

/* Per key: {key, how many so far, b}. */
extern const struct weir_operator count_operator;

/* Each builds a graph. */
void build_wordcount(struct weir_job *job, const struct parameters *p);
void build_union(struct weir_job *job, const struct parameters *p);
void build_two_input(struct weir_job *job, const struct parameters *p);
void build_side_output(struct weir_job *job, const struct parameters *p);
void build_broadcast(struct weir_job *job, const struct parameters *p);
void build_rebalance(struct weir_job *job, const struct parameters *p);
void build_forward(struct weir_job *job, const struct parameters *p);
void build_keyed(struct weir_job *job, const struct parameters *p);
void build_burst(struct weir_job *job, const struct parameters *p);
void build_starve(struct weir_job *job, const struct parameters *p);
void build_slow(struct weir_job *job, const struct parameters *p);
void build_early(struct weir_job *job, const struct parameters *p);
void build_timer(struct weir_job *job, const struct parameters *p);
void build_fail(struct weir_job *job, const struct parameters *p);
void build_big_record(struct weir_job *job, const struct parameters *p);
void build_bad_key(struct weir_job *job, const struct parameters *p);
void build_states(struct weir_job *job, const struct parameters *p);
void build_broken(struct weir_job *job, const struct parameters *p);
void build_batches(struct weir_job *job, const struct parameters *p);
void build_answers(struct weir_job *job, const struct parameters *p);
void build_steps(struct weir_job *job, const struct parameters *p);
void build_warm(struct weir_job *job, const struct parameters *p);

#endif
