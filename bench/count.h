/*
 * count.h - the operator that the job benchmarks share: count and highest price per auction, one update out per record. Written as a
 * user would write it, against weir.h alone.
 */
#ifndef WEIR_BENCH_COUNT_H
#define WEIR_BENCH_COUNT_H

#include <weir.h>

/* A record of the input: 32 bytes, little endian. */
struct bid {
    uint64_t auction;
    uint64_t bidder;
    uint64_t price;
    uint64_t sequence;
};

/* One update. */
struct count_update {
    uint64_t auction;
    uint64_t count;
    uint64_t price_max;
    uint64_t sequence; /* of the bid that made it */
};

extern const struct weir_state count_states[1];
extern const struct weir_operator count_operator;
extern const struct weir_layout count_layout;

/* In on_batch(): counts the bids, and gives the update that each makes. */
int count_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count, struct count_update *ret_updates);

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014): the nth number of the sequence with the given seed, n from 1. */
static inline uint64_t splitmix64_at(uint64_t seed, uint64_t n)
{
    uint64_t x = seed + n * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
