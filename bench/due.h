/*
 * due.h - what the job of due_count.c shares with bench/run, and the records that it writes. All in the machine's byte order;
 * times are CLOCK_MONOTONIC.
 */
#ifndef WEIR_BENCH_DUE_H
#define WEIR_BENCH_DUE_H

#include "count.h"
#include "histogram.h"

#include <stdatomic.h>

/* bench/run says of which time's bids the latency is taken; the sink writes the rest, and the source origin_ns, once. */
struct due_probe {
    _Atomic int64_t origin_ns; /* when the first bid behind the filling of the state was due */
    _Atomic int64_t from_ns;   /* bids due from here on are measured, */
    _Atomic int64_t until_ns;  /* but those from here on not; both 0: none */
    _Atomic int64_t due_ns;    /* of the last bid whose result came */
    _Atomic uint64_t records;  /* results that came */
    struct histogram latency;
};
#define DUE_PROBE_BYTES 65536
_Static_assert(sizeof(struct due_probe) <= DUE_PROBE_BYTES, "bench/run makes a file of this size");

/* A record of the output. */
struct due_update {
    struct count_update update;
    int64_t due_ns; /* 0: one of those that fill the state */
};

#endif
