/*
 * harness.c - one operator in the caller's process: weir_harness_... of weir.h. The operator runs on the real code (context, state,
 * timers); only rings, processes and the disk are left out. Its graph is made by hand: a node "input" that stands for whoever
 * feeds, and the operator.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "engine/task.h"
#include "state/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HARNESS_STATE_BYTES (UINT64_C(4) << 30) /* sparse */
#define SNAPSHOT_MAGIC UINT64_C(0x50414e5352494557)

struct harness_output {
    unsigned port;
    size_t size_bytes;
    void *bytes;
};

struct weir_harness {
    struct weir_job graph;
    struct plan plan;
    struct job_options options;
    struct job job;
    struct task task;
    struct target collected;
    struct weir_error error;
    struct harness_output *outputs;
    size_t output_count;
    size_t output_capacity;
    int64_t now_ms;
    bool started;
    bool ended;
};

static int collect(void *self, unsigned port, const void *data, size_t size_bytes)
{
    struct weir_harness *harness = self;
    if (harness->output_count == harness->output_capacity) {
        size_t capacity = harness->output_capacity == 0 ? 64 : 2 * harness->output_capacity;
        struct harness_output *outputs = realloc(harness->outputs, capacity * sizeof *outputs);
        if (outputs == NULL)
            return error_set(&harness->error, WEIR_ENOMEM, "harness: out of memory");
        harness->outputs = outputs;
        harness->output_capacity = capacity;
    }
    void *copy = malloc(size_bytes > 0 ? size_bytes : 1);
    if (copy == NULL)
        return error_set(&harness->error, WEIR_ENOMEM, "harness: out of memory");
    if (size_bytes > 0)
        memcpy(copy, data, size_bytes);
    harness->outputs[harness->output_count++] = (struct harness_output){port, size_bytes, copy};
    /* cppcheck-suppress memleak ; the harness keeps it */
    return WEIR_OK;
}

static void make_graph(struct weir_harness *harness, const struct weir_operator *op, const void *arg)
{
    struct weir_job *graph = &harness->graph;
    snprintf(graph->name, sizeof graph->name, "harness");
    graph->node_count = 2;
    graph->nodes[0] = (struct graph_node){.name = "input", .kind = NODE_SOURCE, .parallelism = 1, .output_count = 1};
    graph->nodes[1] = (struct graph_node){
        .name = "operator",
        .kind = NODE_OPERATOR,
        .op = op,
        .arg = arg,
        .parallelism = 1,
        .input_count = WEIR_INPUTS_MAX,
        .output_count = op->output_count == 0 ? 1 : op->output_count,
    };
    graph->edge_count = WEIR_INPUTS_MAX;
    for (unsigned i = 0; i < WEIR_INPUTS_MAX; i++)
        graph->edges[i] = (struct graph_edge){.to_node = 1, .to_input = (uint16_t)i, .partition = PARTITION_FORWARD};
    struct plan *plan = &harness->plan;
    plan->chain_count = 1;
    plan->chains[0] = (struct plan_chain){.nodes = {1}, .node_count = 1, .parallelism = 1};
    plan->task_count = 1;
    snprintf(plan->tasks[0].name, sizeof plan->tasks[0].name, "operator/0");
    plan->key_groups = 128;
}

struct weir_harness *weir_harness_new(const struct weir_operator *op, const void *arg)
{
    struct weir_harness *harness = op != NULL ? calloc(1, sizeof *harness) : NULL;
    if (harness == NULL)
        return NULL;
    make_graph(harness, op, arg);
    harness->job = (struct job){.graph = &harness->graph, .plan = &harness->plan, .options = &harness->options};
    size_t shared_bytes = align_up(sizeof(struct job_shared) + sizeof(struct task_shared), CACHE_LINE_BYTES);
    harness->job.shared = aligned_alloc(CACHE_LINE_BYTES, shared_bytes);
    if (harness->job.shared != NULL)
        memset(harness->job.shared, 0, shared_bytes);
    harness->task = (struct task){
        .job = &harness->job,
        .plan = &harness->plan.tasks[0],
        .chain = &harness->plan.chains[0],
        .shared = harness->job.shared != NULL ? &harness->job.shared->tasks[0] : NULL,
        .collect = collect,
        .collect_self = harness,
        .dead_letter_fd = -1,
    };
    harness->collected.kind = TARGET_COLLECTED;
    if (harness->job.shared == NULL ||
        chunk_region_create(&harness->task.region, "weir-harness", HARNESS_STATE_BYTES, 0, &harness->error) != WEIR_OK) {
        free(harness->job.shared);
        free(harness);
        return NULL;
    }
    return harness;
}

static void stop_operator(struct weir_harness *harness)
{
    if (!harness->started)
        return;
    for (unsigned port = 0; port < WEIR_OUTPUTS_MAX; port++)
        harness->task.ops[0].outputs[port] = (struct output){0};
    task_free_operators(&harness->task);
    harness->started = false;
}

void weir_harness_free(struct weir_harness *harness)
{
    if (harness == NULL)
        return;
    if (harness->started)
        task_close_operators(&harness->task);
    stop_operator(harness);
    weir_harness_drop_output(harness);
    free(harness->outputs);
    chunk_region_destroy(&harness->task.region);
    free(harness->job.shared);
    free(harness);
}

const struct weir_error *weir_harness_error(const struct weir_harness *harness) { return &harness->error; }

/* The operator's own words, where it has any. */
static int note_failure(struct weir_harness *harness, int code)
{
    if (code < 0 && harness->started && harness->task.ops[0].error.code != WEIR_OK)
        harness->error = harness->task.ops[0].error;
    else if (code < 0 && harness->error.code == WEIR_OK)
        error_set(&harness->error, code, "the operator returned %d (%s)", code, weir_status_name(code));
    return code;
}

static int start_operator(struct weir_harness *harness)
{
    if (harness->started)
        return WEIR_OK;
    struct task *task = &harness->task;
    task->manual_now_ms = harness->now_ms;
    int code = task_make_operators(task, &harness->error);
    if (code == WEIR_OK && task->head_takes_spans && task->ops[0].keyed)
        code = error_set(&harness->error, WEIR_EINVAL, "on_span is not for keyed operators: give on_batch");
    if (code == WEIR_OK)
        code = task_warm_up_operators(task, &harness->error);
    if (code == WEIR_OK)
        code = task_open_state(task, &harness->error);
    if (code != WEIR_OK) {
        task_free_operators(task);
        return code;
    }
    harness->started = true;
    for (unsigned port = 0; port < task->ops[0].node->output_count; port++)
        task->ops[0].outputs[port] = (struct output){.targets = &harness->collected, .target_count = 1};
    return task_open_operators(task, NULL, &harness->error);
}

static int set_key(struct weir_harness *harness, const struct key_spec *key)
{
    if (harness->started)
        return error_set(&harness->error, WEIR_EINVAL, "harness: the key must be set before the first record");
    for (unsigned i = 0; i < harness->graph.edge_count; i++) {
        harness->graph.edges[i].partition = PARTITION_HASH;
        harness->graph.edges[i].key = *key;
    }
    return WEIR_OK;
}

int weir_harness_key_by(struct weir_harness *harness, uint32_t offset, uint32_t size_bytes)
{
    if (size_bytes == 0 || size_bytes > WEIR_KEY_BYTES_MAX)
        return error_set(&harness->error, WEIR_EINVAL, "harness: a key of %u bytes; it takes 1 to %d", size_bytes, WEIR_KEY_BYTES_MAX);
    return set_key(harness, &(struct key_spec){.offset = offset, .size_bytes = size_bytes});
}

int weir_harness_key_by_fn(struct weir_harness *harness, weir_key_fn fn)
{
    if (fn == NULL)
        return error_set(&harness->error, WEIR_EINVAL, "harness: the key function is NULL");
    return set_key(harness, &(struct key_spec){.fn = fn});
}

static int hash_of(struct weir_harness *harness, struct weir_record *record)
{
    struct weir_ctx *ctx = &harness->task.ops[0];
    struct weir_bytes key = {0};
    if (!ctx->keyed)
        return WEIR_OK;
    int code = key_extract(ctx->input_keys[record->input], record, ctx->key_scratch, &key, &harness->error);
    if (code == WEIR_OK)
        record->key_hash = key_hash(key.data, key.size_bytes);
    return code;
}

int weir_harness_feed(struct weir_harness *harness, unsigned input, const void *data, size_t size_bytes)
{
    if (input >= WEIR_INPUTS_MAX || size_bytes > WEIR_RECORD_BYTES_MAX)
        return error_set(&harness->error, WEIR_EINVAL, "harness: input %u, record of %zu bytes: out of bounds", input, size_bytes);
    int code = start_operator(harness);
    if (code < 0)
        return code;
    void *copy = malloc(size_bytes > 0 ? size_bytes : 1); /* aligned, as in a ring */
    if (copy == NULL)
        return error_set(&harness->error, WEIR_ENOMEM, "harness: out of memory");
    if (size_bytes > 0)
        memcpy(copy, data, size_bytes);
    struct weir_record record = {.data = copy, .size_bytes = (uint32_t)size_bytes, .input = (uint16_t)input};
    code = hash_of(harness, &record);
    if (code >= 0)
        code = note_failure(harness, ctx_process(&harness->task.ops[0], &record, 1));
    free(copy);
    return code;
}

int weir_harness_set_time(struct weir_harness *harness, int64_t now_ms)
{
    if (now_ms < 0)
        return error_set(&harness->error, WEIR_EINVAL, "harness: a time of %lld ms; from 0 up", (long long)now_ms);
    int code = start_operator(harness);
    harness->now_ms = now_ms;
    harness->task.manual_now_ms = now_ms;
    int fired = code < 0 ? code : 1;
    while (fired > 0)
        fired = task_fire_timers(&harness->task);
    return fired < 0 ? note_failure(harness, fired) : WEIR_OK;
}

int weir_harness_end(struct weir_harness *harness)
{
    int code = start_operator(harness);
    return code < 0 ? code : note_failure(harness, ctx_end(&harness->task.ops[0]));
}

static const struct harness_output *output_at(const struct weir_harness *harness, unsigned port, size_t index)
{
    for (size_t i = 0; i < harness->output_count; i++)
        if (harness->outputs[i].port == port && index-- == 0)
            return &harness->outputs[i];
    return NULL;
}

size_t weir_harness_output_count(const struct weir_harness *harness, unsigned port)
{
    size_t count = 0;
    for (size_t i = 0; i < harness->output_count; i++)
        count += harness->outputs[i].port == port;
    return count;
}

struct weir_bytes weir_harness_output(const struct weir_harness *harness, unsigned port, size_t index)
{
    const struct harness_output *output = output_at(harness, port, index);
    return output == NULL ? (struct weir_bytes){NULL, 0} : (struct weir_bytes){output->bytes, output->size_bytes};
}

void weir_harness_drop_output(struct weir_harness *harness)
{
    for (size_t i = 0; i < harness->output_count; i++)
        free(harness->outputs[i].bytes);
    harness->output_count = 0;
}

/* ---- snapshot: a count, then id and bytes of each chunk ---- */

int weir_harness_snapshot(struct weir_harness *harness, void **ret_bytes, size_t *ret_size_bytes)
{
    int code = start_operator(harness);
    if (code < 0)
        return code;
    struct chunk_region *region = &harness->task.region;
    chunk_cut(region, 1);
    size_t count = chunk_cut_live(region)->chunk_count;
    size_t size_bytes = 16 + count * (sizeof(uint32_t) + CHUNK_BYTES);
    unsigned char *bytes = malloc(size_bytes);
    struct writer w = {.data = bytes, .capacity = size_bytes};
    if (bytes != NULL) {
        writer_u64(&w, SNAPSHOT_MAGIC);
        writer_u64(&w, count);
        uint32_t logical = 0;
        struct chunk_frozen chunk;
        while (chunk_cut_next(region, &logical, &chunk)) {
            writer_u32(&w, chunk.logical);
            writer_put(&w, chunk.bytes, CHUNK_BYTES);
        }
    }
    chunk_cut_release(region);
    if (bytes == NULL)
        return error_set(&harness->error, WEIR_ENOMEM, "harness: no memory for a snapshot of %zu bytes", size_bytes);
    CHECK(!w.failed && w.used == size_bytes);
    *ret_bytes = bytes;
    *ret_size_bytes = size_bytes;
    return WEIR_OK;
}

static int load(struct weir_harness *harness, struct reader *r)
{
    uint64_t magic = reader_u64(r), count = reader_u64(r);
    if (r->failed || magic != SNAPSHOT_MAGIC || count > r->size_bytes / CHUNK_BYTES)
        return error_set(&harness->error, WEIR_ECORRUPT, "harness: these bytes are no snapshot of a harness");
    for (uint64_t i = 0; i < count; i++) {
        uint32_t logical = reader_u32(r);
        const void *chunk = reader_take(r, CHUNK_BYTES);
        if (chunk == NULL)
            return error_set(&harness->error, WEIR_ECORRUPT, "harness: the snapshot ends after %zu bytes", r->size_bytes);
        int code = chunk_restore(&harness->task.region, logical, chunk, &harness->error);
        if (code != WEIR_OK)
            return code;
    }
    if (count > 0)
        chunk_restore_finish(&harness->task.region, false);
    return WEIR_OK;
}

int weir_harness_restore(struct weir_harness *harness, const void *bytes, size_t size_bytes)
{
    if (harness->started)
        task_close_operators(&harness->task);
    stop_operator(harness);
    chunk_region_reset(&harness->task.region);
    struct reader r = {.data = bytes, .size_bytes = size_bytes};
    int code = load(harness, &r);
    return code == WEIR_OK ? start_operator(harness) : code;
}
