/*
 * job.c - the job that is run in the simulation: sources with positions, a count by key, sinks in two phases; and the world outside that
 * they write to, which outlives processes and, where it was persisted, the power.
 */
#include "sim/sim.h"

#include "engine/cli_api.h"

#include <stdlib.h>
#include <string.h>

/* ---- the world: what a sink wrote in one life, in order ---- */

#define AREAS_MAX 1024
struct area {
    struct sim_row *rows;
    uint32_t count, capacity;
    uint32_t persisted; /* rows before it survive a power cut */
    uint32_t visible;   /* rows before it are committed */
    unsigned sink;
    bool dropped;
};
static struct area areas[AREAS_MAX];
static uint32_t area_count;

struct staged {
    uint32_t area, from, to;
};

void job_power_cut(void)
{
    for (uint32_t i = 0; i < area_count; i++)
        if (areas[i].count > areas[i].persisted)
            areas[i].count = areas[i].persisted;
}

/* ---- source ---- */

struct source_self {
    uint32_t next;
};

uint32_t job_key(uint32_t source, uint32_t seq)
{
    uint64_t x = (sim.seed << 20) + (uint64_t)source * 1000003 + seq;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((x ^ x >> 31) % sim.profile.keys);
}

static int source_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct source_self *self = weir_self(ctx);
    if (position == NULL)
        return WEIR_OK;
    if (position_bytes != sizeof *self)
        return weir_fail(ctx, "a position of %zu bytes", position_bytes);
    memcpy(self, position, sizeof *self);
    return WEIR_OK;
}

static int source_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    struct source_self *self = weir_self(ctx);
    uint32_t left = (uint32_t)sim_below(12);
    for (; left > 0 && records_max > 0 && self->next < sim.profile.records; left--, records_max--) {
        struct sim_row row = {.source = weir_subtask_index(ctx), .seq = self->next};
        row.key = job_key(row.source, row.seq);
        int code = weir_emit(ctx, 0, &row, sizeof row);
        if (code < 0)
            return code;
        self->next++;
    }
    if (self->next == sim.profile.records)
        return WEIR_END;
    if (sim_one_in(4))
        return WEIR_OK;
    weir_wait_ms(ctx, 1 + (uint32_t)sim_below(3));
    return WEIR_IDLE;
}

static int source_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    memcpy(buffer, weir_self(ctx), sizeof(struct source_self));
    *ret_size_bytes = sizeof(struct source_self);
    return WEIR_OK;
}

static const struct weir_source source = {
    .type = "sim-source",
    .self_bytes = sizeof(struct source_self),
    .open = source_open,
    .poll = source_poll,
    .position = source_position,
};

/* ---- count: the same thing in three kinds of state, which must agree ---- */

enum { COUNT, SEQS, LAST };
static const struct weir_state count_states[] = {
    [COUNT] = {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = 8},
    [SEQS] = {.name = "seqs", .kind = WEIR_LIST, .scope = WEIR_PER_KEY},
    [LAST] = {.name = "last", .kind = WEIR_MAP, .scope = WEIR_PER_KEY},
};

#define SEQS_MAX 8 /* then the list begins anew: chunks come and go */

/* The newest record of its source under this key, and how many there have been. `padded`: the row, with more behind it. */
static int note_record(struct weir_ctx *ctx, const struct sim_row *row, const void *padded)
{
    size_t size_bytes;
    const uint32_t *last = weir_map_get(ctx, LAST, &row->source, sizeof row->source, &size_bytes);
    if (last != NULL && *last >= row->seq)
        sim_fail("state of key %u: record %u of source %u comes behind %u", row->key, row->seq, row->source, *last);
    int code = weir_map_put(ctx, LAST, &row->source, sizeof row->source, &row->seq, sizeof row->seq);
    if (code >= 0 && row->count % SEQS_MAX == 1)
        code = weir_clear(ctx, SEQS);
    if (code >= 0)
        code = weir_list_append(ctx, SEQS, padded, sizeof *row + (sim_one_in(2) ? 0 : sim_below(sim.profile.fat_state)));
    return code;
}

static void check_list(struct weir_ctx *ctx, const struct sim_row *row)
{
    struct weir_iterator iterator = {0};
    struct weir_bytes element;
    uint32_t expected = row->count - (row->count - 1) % SEQS_MAX;
    while (weir_list_next(ctx, SEQS, &iterator, &element) == WEIR_OK) {
        struct sim_row noted;
        memcpy(&noted, element.data, sizeof noted);
        if (noted.count != expected || noted.key != row->key)
            sim_fail("state of key %u: its list has number %u of key %u, expected number %u", row->key, noted.count, noted.key, expected);
        expected++;
    }
    if (expected != row->count + 1)
        sim_fail("state of key %u: counted to %u, the list ends at %u", row->key, row->count, expected - 1);
}

static int count_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    unsigned char *fat = weir_self(ctx); /* this process's own */
    struct sim_row row;
    memcpy(&row, record->data, sizeof row);
    uint64_t *count = weir_value(ctx, COUNT);
    if (count == NULL)
        return weir_ctx_error(ctx)->code;
    row.count = (uint32_t)++*count;
    memcpy(fat, &row, sizeof row); /* its readers look at the first bytes only */
    int code = note_record(ctx, &row, fat);
    if (code >= 0)
        check_list(ctx, &row);
    if (code < 0)
        return code;
    return weir_emit(ctx, 0, fat, sizeof row + (sim.profile.fat > 0 ? sim_below(sim.profile.fat) : 0));
}

static const struct weir_operator count_operator = {
    .type = "sim-count",
    .states = count_states,
    .state_count = sizeof count_states / sizeof count_states[0],
    .self_bytes = sizeof(struct sim_row) + SIM_FAT_BYTES_MAX,
    .on_record = count_record,
};

/* ---- sink ---- */

struct sink_self {
    uint32_t area;
    uint32_t count;
    uint32_t prepared;
};

static int sink_open(struct weir_ctx *ctx)
{
    struct sink_self *self = weir_self(ctx);
    if (area_count == AREAS_MAX)
        return weir_fail(ctx, "too many lives");
    unsigned subtask = weir_subtask_index(ctx); /* the engine's functions may give the processor away: nothing half done meanwhile */
    self->area = area_count++;
    areas[self->area] = (struct area){.sink = subtask};
    return WEIR_OK;
}

static int sink_resume(struct weir_ctx *ctx, const void *position, size_t size_bytes)
{
    struct sink_self *self = weir_self(ctx);
    if (size_bytes != sizeof *self)
        return weir_fail(ctx, "a position of %zu bytes", size_bytes);
    memcpy(self, position, sizeof *self);
    struct area *area = &areas[self->area];
    if (self->count > area->count)
        sim_fail("sink %u goes on at row %u, but only %u were written", area->sink, self->count, area->count);
    area->count = self->count;
    return WEIR_OK;
}

static int sink_write(struct weir_ctx *ctx, const struct weir_record *record)
{
    struct sink_self *self = weir_self(ctx);
    struct area *area = &areas[self->area];
    if (area->count == area->capacity) {
        area->capacity = area->capacity == 0 ? 64 : 2 * area->capacity;
        area->rows = realloc(area->rows, area->capacity * sizeof *area->rows);
    }
    if (self->count != area->count)
        sim_fail("sink %u: two processes write at once", area->sink);
    memcpy(&area->rows[area->count++], record->data, sizeof area->rows[0]);
    self->count++;
    return WEIR_OK;
}

static int sink_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    memcpy(buffer, weir_self(ctx), sizeof(struct sink_self));
    *ret_size_bytes = sizeof(struct sink_self);
    return WEIR_OK;
}

static int sink_prepare(struct weir_ctx *ctx, uint64_t checkpoint, void *committable, size_t *ret_size_bytes)
{
    struct sink_self *self = weir_self(ctx);
    (void)checkpoint;
    struct staged staged = {self->area, self->prepared, self->count};
    if (staged.from == staged.to)
        return WEIR_OK;
    self->prepared = self->count;
    memcpy(committable, &staged, sizeof staged);
    *ret_size_bytes = sizeof staged;
    return WEIR_OK;
}

static int sink_persist(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes)
{
    struct staged staged;
    (void)ctx, (void)checkpoint, (void)size_bytes;
    memcpy(&staged, committable, sizeof staged);
    struct area *area = &areas[staged.area];
    proc_block(WAIT_TIME, NULL, 0, sim.now_ns + (int64_t)sim_below(300000));
    if (staged.to > area->persisted && staged.to <= area->count)
        area->persisted = staged.to;
    return WEIR_OK;
}

static int sink_commit(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes)
{
    struct staged staged;
    (void)ctx, (void)size_bytes;
    memcpy(&staged, committable, sizeof staged);
    struct area *area = &areas[staged.area];
    judge_sink_commit(checkpoint);
    if (staged.to <= area->visible)
        return WEIR_OK;
    if (area->dropped || staged.to > area->count)
        sim_fail("checkpoint %llu: sink %u is to commit rows that are gone", (unsigned long long)checkpoint, area->sink);
    if (staged.from != area->visible)
        sim_fail("checkpoint %llu: sink %u commits from row %u, but %u are visible", (unsigned long long)checkpoint, area->sink,
                 staged.from, area->visible);
    if (staged.to > area->persisted)
        sim_fail("checkpoint %llu: sink %u makes visible what was not persisted", (unsigned long long)checkpoint, area->sink);
    area->visible = staged.to;
    judge_visible(checkpoint, area->sink, area->rows + staged.from, staged.to - staged.from);
    return WEIR_OK;
}

static int sink_abort(struct weir_ctx *ctx, uint64_t restored_checkpoint)
{
    const struct sink_self *self = weir_self(ctx);
    unsigned subtask = weir_subtask_index(ctx);
    (void)restored_checkpoint;
    for (uint32_t i = 0; i < area_count; i++)
        if (i != self->area && areas[i].sink == subtask)
            areas[i].dropped = true;
    return WEIR_OK;
}

static const struct weir_sink sink = {
    .type = "sim-sink",
    .self_bytes = sizeof(struct sink_self),
    .open = sink_open,
    .write = sink_write,
    .prepare = sink_prepare,
    .persist = sink_persist,
    .commit = sink_commit,
    .abort = sink_abort,
    .position = sink_position,
    .resume = sink_resume,
};

/* ---- the command ---- */

static int build(struct weir_job *job)
{
    const struct profile *profile = &sim.profile;
    struct weir_stream *in = weir_parallelism(weir_add_source(job, "in", &source, NULL), profile->sources);
    struct weir_stream *keyed = weir_key_by(in, offsetof(struct sim_row, key), sizeof(uint32_t));
    struct weir_stream *counted = weir_parallelism(weir_process(keyed, "count", &count_operator, NULL), profile->counts);
    if (profile->sinks != profile->counts)
        counted = weir_rebalance(counted);
    weir_parallelism(weir_add_sink(counted, "out", &sink, NULL), profile->sinks);
    return WEIR_OK;
}

static int set_options(struct job_options *options, struct weir_error *err)
{
    const struct profile *profile = &sim.profile;
    char retained[24];
    snprintf(retained, sizeof retained, "%llu", (unsigned long long)profile->retained);
    const char *const values[][2] = {
        {"checkpoint-interval", profile->interval}, {"checkpoint-timeout", "300ms"}, {"checkpoint-tolerated-failures", "unlimited"},
        {"checkpoints-retained", retained},         {"io", "pwrite"},                {"no-chain", profile->no_chain ? "true" : "false"},
        {"takeover", profile->takeover},            {"restart-delay", "1ms"},        {"restart-delay-max", "20ms"},
        {"heartbeat-timeout", "100ms"},             {"ring-size", "64KiB"},          {"state-limit", "1MiB"},
        {"overflow-limit", "2MiB"},                 {"poison-attempts", "1000"},     {"key-groups", "8"},
        {"rollback-memory", profile->rollback_memory},
        {"restore-mode", profile->eager ? "eager" : "lazy"},
    };
    job_options_init(options);
    snprintf(options->directory, sizeof options->directory, "/disk");
    int code = WEIR_OK;
    for (size_t i = 0; code == WEIR_OK && i < sizeof values / sizeof values[0]; i++)
        code = job_options_set(options, values[i][0], values[i][1], OPTION_FROM_USER, err);
    return code;
}

static void count_tasks(const struct weir_job *job, const struct job_options *options)
{
    struct task_info *tasks;
    size_t count = 0;
    struct weir_error err = {0};
    if (job_tasks(job, options, &tasks, &count, &err) != WEIR_OK || count > SIM_TASKS_MAX)
        sim_fail("tasks of the job: %s", err.text);
    sim.task_count = (unsigned)count;
}

void job_command_main(void)
{
    struct weir_error *err = calloc(1, sizeof *err); /* little on the stack: every process has a copy of it */
    struct job_options *options = calloc(1, sizeof *options);
    struct weir_job *job = job_new("sim", err);
    int code = job == NULL ? err->code : set_options(options, err);
    if (code == WEIR_OK)
        code = job_build(job, build, options, err);
    if (code != WEIR_OK)
        sim_fail("the job: %s", err->text);
    count_tasks(job, options);
    code = job_run(job, options, NULL, err);
    sim_note("the command ends with %d: %s", code, code == WEIR_OK ? "" : err->text);
    if (judge_run_ended(code, err))
        sim.over = true;
    else
        sim.start_at_ns = sim.now_ns + 1 + (int64_t)sim_below(10000000);
    proc_exit(0);
}

void job_begin_seed(void)
{
    area_count = 0;
    memset(areas, 0, sizeof areas);
}
