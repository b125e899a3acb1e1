/*
 * grow.c - the job of figures `growth` and `memory`: records of any size made in memory, partitioned by their first eight
 * bytes, to as many tasks as one likes, each of which reads every byte.
 *
 *     grow run [--set bytes=N] [--set tasks=N] [--set keys=N] [--set records=N] [--set tally=1] [options of run; see run --help]
 *
 * tally=1: the tasks count the records of each key in eight bytes of state, too. The first `keys` records are one for each key.
 * One source; operator and sink are one process unless --no-chain says otherwise.
 */
#include "count.h"

#include <string.h>

#define GROW_BYTES_MAX 65536

struct grow_options {
    uint64_t bytes;
    uint64_t keys;
    uint64_t records; /* 0: no end */
    unsigned char *record;
};

/* ---- the source ---- */

static int grow_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct grow_options *options = weir_arg(ctx);
    uint64_t *next = weir_self(ctx);
    for (uint32_t i = 0; i < records_max; i++) {
        if (options->records != 0 && *next == options->records)
            return WEIR_END;
        uint64_t key = *next < options->keys ? *next : splitmix64_at(42, *next) % options->keys;
        memcpy(options->record, &key, sizeof key);
        int code = weir_emit(ctx, 0, options->record, options->bytes);
        if (code < 0)
            return code;
        ++*next;
    }
    return WEIR_OK;
}

static int grow_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    memcpy(buffer, weir_self(ctx), sizeof(uint64_t));
    *ret_size_bytes = sizeof(uint64_t);
    return WEIR_OK;
}

static int grow_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    if (position != NULL && position_bytes == sizeof(uint64_t))
        memcpy(weir_self(ctx), position, sizeof(uint64_t));
    return WEIR_OK;
}

static const struct weir_source grow_source = {
    .type = "grow",
    .self_bytes = sizeof(uint64_t),
    .open = grow_open,
    .poll = grow_poll,
    .position = grow_position,
};

/* ---- the operator ---- */

/* Of all eight-byte words of a record, so that every byte is read. */
static uint64_t sum_of(const struct weir_record *record)
{
    const uint64_t *words = record->data;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < record->size_bytes / sizeof *words; i++)
        sum += words[i];
    return sum;
}

static int read_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    uint64_t *sum = weir_self(ctx);
    for (size_t i = 0; i < count; i++)
        *sum += sum_of(&records[i]);
    return WEIR_OK;
}

static const struct weir_operator read_operator = {.type = "read", .self_bytes = sizeof(uint64_t), .on_batch = read_on_batch};

static const struct weir_state tally_states[] = {
    {.name = "tally", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)},
};

static int tally_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    void *tallies[WEIR_BATCH_RECORDS_MAX];
    int code = weir_values(ctx, 0, records, count, tallies);
    for (size_t i = 0; code == WEIR_OK && i < count; i++)
        ++*(uint64_t *)tallies[i];
    return code == WEIR_OK ? read_on_batch(ctx, records, count) : code;
}

static const struct weir_operator tally_operator = {
    .type = "tally", .states = tally_states, .state_count = 1, .self_bytes = sizeof(uint64_t), .on_batch = tally_on_batch};

/* ---- the graph ---- */

static int build(struct weir_job *job)
{
    struct grow_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return WEIR_ENOMEM;
    options->bytes = weir_param_u64(job, "bytes", 32, "Bytes of a record: a multiple of 8 from 8 to 65536");
    options->keys = weir_param_u64(job, "keys", 1000, "Number of keys");
    options->records = weir_param_u64(job, "records", 0, "Number of records; 0: no end");
    uint64_t tasks = weir_param_u64(job, "tasks", 1, "Instances of the operator");
    bool tally = weir_param_u64(job, "tally", 0, "1: keyed state of eight bytes") != 0;
    if (options->bytes % 8 != 0 || options->bytes == 0 || options->bytes > GROW_BYTES_MAX || options->keys == 0)
        return weir_job_fail(job, "records have a multiple of 8 bytes, at most %d, and at least one key", GROW_BYTES_MAX);
    options->record = weir_job_alloc(job, options->bytes);
    if (options->record == NULL)
        return WEIR_ENOMEM;
    memset(options->record, 1, options->bytes);
    struct weir_stream *keyed = weir_key_by(weir_add_source(job, "source", &grow_source, options), 0, sizeof(uint64_t));
    struct weir_stream *read = weir_process(keyed, "read", tally ? &tally_operator : &read_operator, options);
    weir_parallelism(read, (unsigned)tasks);
    weir_parallelism(weir_add_sink(read, "sink", &weir_null_sink, options), (unsigned)tasks);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "grow", build); }
