/*
 * pace.h - a rate limit for generators, and how they share the numbers 0, 1, 2, ... among their instances: instance i
 * of n makes i, i + n, i + 2n, ... Any process; never blocks.
 *
 * The schedule is fixed when a process starts: what the job, held up later, could not take in time is made up for at
 * full speed. Times are monotonic, in nanoseconds, and given by the caller.
 */
#ifndef WEIR_CONNECTORS_PACE_H
#define WEIR_CONNECTORS_PACE_H

#include "weir.h"

#define PACE_WAIT_MS_MAX 1000

/* One instance's numbers. Plain memory of its owner. `end` and `per_second` are set before pace_start(). */
struct pace {
    uint64_t next;       /* the number to be made next */
    uint64_t end;        /* the first number that is not made */
    uint64_t step;       /* number of instances */
    uint64_t per_second; /* of all instances together; 0: no limit */
    uint64_t start_next; /* `next` when the schedule began ... */
    int64_t start_ns;    /* ... and the time of it */
};

/* Begins at instance `index` of `count`: at a fresh start (position NULL), or at a position that pace_position() gave.
 * WEIR_EMISMATCH where that is not a position of this instance at this parallelism. */
int pace_start(struct pace *pace, unsigned index, unsigned count, const void *position, size_t position_bytes,
               int64_t now_ns);
int pace_position(const struct pace *pace, void *buffer, size_t *ret_size_bytes);

/* The first number that may not be made yet, at most `end`. */
uint64_t pace_limit(const struct pace *pace, int64_t now_ns);
/* How long until `next` may be made: 1 .. PACE_WAIT_MS_MAX. */
uint32_t pace_wait_ms(const struct pace *pace, int64_t now_ns);

/* For callbacks of a source: the same by the clock, with failures and waits told to the engine. */
int pace_open(struct pace *pace, struct weir_ctx *ctx, const void *position, size_t position_bytes);
/* As pace_limit(); reads the clock where there is a rate. */
uint64_t pace_poll(const struct pace *pace);
/* What poll() returns when it stopped before `limit` or at it: WEIR_OK, WEIR_END, or WEIR_IDLE. */
int pace_result(const struct pace *pace, struct weir_ctx *ctx, uint64_t limit);

#endif
