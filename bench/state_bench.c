/*
 * state_bench.c - updates per second of a keyed counter (8-byte keys) on one core, straight on the state layer: no
 * ring, no records; by processor time, so that a busy machine disturbs it less. For tuning; the figures of whole jobs
 * come from bench/run.
 *
 *     state_bench [KEYS[/VALUE_BYTES]...]       default: 1000 1000000 10000000, of 16 bytes
 */
#include "base/clock.h"
#include "state/op_state.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH WEIR_BATCH_RECORDS_MAX
#define BATCH_ROUNDS 16 /* a transaction is so many times BATCH updates */
#define MEASURE_NS (NS_PER_S / 2)

struct counter_bench {
    struct chunk_region region;
    struct op_state *op;
    uint64_t key_count;
    uint64_t random;
    uint64_t batch;
    int64_t cut_ns; /* spent in releasing and taking cuts: the part of a barrier's pause that depends on the size of a chunk */
    uint64_t cut_count;
    struct weir_error err;
};

static int64_t processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void fail(const struct weir_error *err)
{
    fprintf(stderr, "state_bench: %s\n", err->text);
    exit(1);
}

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
static uint64_t scatter(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t random_below(struct counter_bench *bench, uint64_t bound)
{
    bench->random += UINT64_C(0x9e3779b97f4a7c15);
    return (uint64_t)(((unsigned __int128)scatter(bench->random) * bound) >> 64);
}

static void update(struct counter_bench *bench, const uint64_t *keys)
{
    uint64_t hashes[BATCH];
    struct weir_bytes key_bytes[BATCH];
    void *values[BATCH];
    for (int i = 0; i < BATCH; i++) {
        hashes[i] = key_hash_8(&keys[i]);
        key_bytes[i] = (struct weir_bytes){&keys[i], sizeof keys[i]};
    }
    if (op_state_values(bench->op, 0, key_bytes, hashes, BATCH, values, &bench->err) != WEIR_OK)
        fail(&bench->err);
    for (int i = 0; i < BATCH; i++)
        ++*(uint64_t *)values[i];
}

static void fill(struct counter_bench *bench)
{
    uint64_t keys[BATCH];
    for (uint64_t i = 0; i < bench->key_count; i += BATCH) {
        for (uint64_t j = 0; j < BATCH; j++)
            keys[j] = scatter((i + j) % bench->key_count + 1);
        update(bench, keys);
    }
}

/* As the engine does it, but for the commit record. */
static void next_batch(struct counter_bench *bench)
{
    chunk_batch_end(&bench->region);
    chunk_batch_begin(&bench->region, ++bench->batch);
}

/* Updates per second of random keys; a cut is taken and released at once at each `cut_every_ns`, 0 for never. */
static double measure(struct counter_bench *bench, int64_t cut_every_ns)
{
    int64_t start_ns = processor_ns();
    int64_t now_ns = start_ns;
    int64_t next_cut_ns = cut_every_ns > 0 ? start_ns + cut_every_ns : INT64_MAX;
    uint64_t updates = 0;
    uint64_t cut = 0;
    while (now_ns - start_ns < MEASURE_NS) {
        for (int round = 0; round < 1000; round++) {
            if (round % BATCH_ROUNDS == 0)
                next_batch(bench);
            uint64_t keys[BATCH];
            for (int i = 0; i < BATCH; i++)
                keys[i] = scatter(random_below(bench, bench->key_count) + 1);
            update(bench, keys);
        }
        updates += 1000 * BATCH;
        now_ns = processor_ns();
        if (now_ns >= next_cut_ns) {
            if (chunk_cut_live(&bench->region) != NULL)
                chunk_cut_release(&bench->region);
            chunk_cut(&bench->region, ++cut);
            bench->cut_ns += processor_ns() - now_ns;
            bench->cut_count++;
            next_cut_ns = now_ns + cut_every_ns;
        }
    }
    if (chunk_cut_live(&bench->region) != NULL)
        chunk_cut_release(&bench->region);
    return (double)updates * 1e9 / (double)(now_ns - start_ns);
}

static void run(uint64_t key_count, uint32_t value_bytes)
{
    const struct weir_state counter_state = {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = value_bytes};
    struct counter_bench bench = {.key_count = key_count};
    struct weir_error err = {0};
    struct op_state_config config = {.operator_name = "bench", .states = &counter_state, .state_count = 1,
                                     .keyed = true, .key_bytes = 8};
    if (chunk_region_create(&bench.region, "state_bench", UINT64_C(4) << 30, 0, &err) != WEIR_OK ||
        op_state_open(&bench.op, &bench.region, &config, &err) != WEIR_OK)
        fail(&err);
    int64_t start_ns = processor_ns();
    fill(&bench);
    double fill_s = (double)(processor_ns() - start_ns) / 1e9;
    double plain = measure(&bench, 0);
    double cuts = measure(&bench, 100 * NS_PER_MS);
    if (chunk_undo_create(&bench.region, "state_bench-undo", UNDO_BYTES_MAX, &err) != WEIR_OK)
        fail(&err);
    double undo = measure(&bench, 0);
    struct chunk_usage usage;
    chunk_usage(&bench.region, &usage);
    double cut_ms = bench.cut_count > 0 ? (double)bench.cut_ns / (double)bench.cut_count / 1e6 : 0;
    printf("%9llu keys: insert %6.1f, update %6.1f, with an undo log %6.1f, with a cut every 100 ms %6.1f M/s; %7.1f MiB, chunks copied "
           "%llu, cut %.3f ms\n",
           (unsigned long long)key_count, (double)key_count / fill_s / 1e6, plain / 1e6, undo / 1e6, cuts / 1e6,
           (double)usage.live_bytes / 1048576, (unsigned long long)usage.copied_chunks, cut_ms);
    op_state_close(bench.op);
    chunk_region_destroy(&bench.region);
}

int main(int argc, char **argv)
{
    const char *const standard[] = {"1000", "1000000", "10000000"};
    const char *const *counts = argc > 1 ? (const char *const *)argv + 1 : standard;
    int count = argc > 1 ? argc - 1 : 3;
    for (int i = 0; i < count; i++) {
        const char *slash = strchr(counts[i], '/');
        run(strtoull(counts[i], NULL, 10), slash != NULL ? (uint32_t)strtoul(slash + 1, NULL, 10) : 16);
    }
    return 0;
}
