/*
 * histogram.h - an HDR histogram (Gil Tene's: buckets of equal width within each power of two): times in ns, exact below 256,
 * within 0.8 % up to 2^42 (73 minutes), the longest exact. Plain memory of fixed size without pointers, so that processes may
 * share it: one writes, others read once it is done. Debian 12 has no package of the C library HdrHistogram_c; this is the part
 * of it that the benchmarks need.
 */
#ifndef WEIR_BENCH_HISTOGRAM_H
#define WEIR_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_SUB_BITS 7 /* 128 buckets in each power of two: a bucket is 1/128 of its value wide at most */
#define HISTOGRAM_BITS_MAX 42
#define HISTOGRAM_BUCKETS ((HISTOGRAM_BITS_MAX - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_bucket(uint64_t value)
{
    if (value >> (HISTOGRAM_SUB_BITS + 1) == 0)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    if (shift > HISTOGRAM_BITS_MAX - HISTOGRAM_SUB_BITS - 1)
        return HISTOGRAM_BUCKETS - 1;
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/* The highest value of a bucket. */
static inline uint64_t histogram_value(uint32_t bucket)
{
    if (bucket < 2 << HISTOGRAM_SUB_BITS)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    return ((uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) + 1) * (UINT64_C(1) << shift) - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->buckets[histogram_bucket(value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

/* The value that `share` (0 to 1) of all are at most; 0 where there are none. */
static inline uint64_t histogram_percentile(const struct histogram *h, double share)
{
    double wanted = share * (double)h->count;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (h->buckets[i] > 0 && (double)seen >= wanted)
            return histogram_value(i) < h->max ? histogram_value(i) : h->max;
    }
    return h->max;
}

/* One line: "count p50 p99 p99.9 p99.99 max", in ns. */
static inline void histogram_print(const struct histogram *h, FILE *file)
{
    fprintf(file, "%llu %llu %llu %llu %llu %llu\n", (unsigned long long)h->count,
            (unsigned long long)histogram_percentile(h, 0.5),
            (unsigned long long)histogram_percentile(h, 0.99), (unsigned long long)histogram_percentile(h, 0.999),
            (unsigned long long)histogram_percentile(h, 0.9999), (unsigned long long)h->max);
}

#endif
