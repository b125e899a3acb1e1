/*
 * work.h - what the job of work.c writes down at its end, for bench/run: 9 words in the machine's byte order.
 */
#ifndef WEIR_BENCH_WORK_H
#define WEIR_BENCH_WORK_H

#include <stdint.h>

enum { WORK_SOURCE, WORK_OPERATOR, WORK_SINK, WORK_ROLES };

/* Of the process that ran this operator; operators of one process name the same. Zero: there was none. */
struct work_process {
    int64_t pid;
    uint64_t cpu_ns;
};

struct work_result {
    uint64_t count;     /* results that the sink got */
    uint64_t price_sum; /* of their prices, or highest prices */
    uint64_t count_sum; /* of their counts; 0 for w0 and w1 */
    struct work_process process[WORK_ROLES];
};

#endif
