#include "engine/batch.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "engine/task.h"
#include "state/cut.h"
#include "state/key.h"

#include <string.h>

static size_t sink_bytes(size_t position_bytes) { return align_up(sizeof(struct commit_sink) + position_bytes, 8); }

static size_t slot_bytes(unsigned ring_count, unsigned sink_count)
{
    size_t ring_bytes = ring_count * u64_max(sizeof(struct commit_input), sizeof(struct commit_output));
    return align_up(sizeof(struct commit_record) + ring_bytes + WEIR_POSITION_BYTES_MAX +
                        sink_count * sink_bytes(WEIR_POSITION_BYTES_MAX),
                    CACHE_LINE_BYTES);
}

static size_t area_bytes(unsigned ring_count, unsigned sink_count)
{
    return sizeof(struct commit_area) + 2 * slot_bytes(ring_count, sink_count);
}

static unsigned sinks_of_chain(const struct weir_job *graph, const struct plan_chain *chain)
{
    unsigned count = 0;
    for (unsigned i = 0; i < chain->node_count; i++)
        count += graph->nodes[chain->nodes[i]].kind == NODE_SINK;
    return count;
}

size_t commit_area_bytes(const struct weir_job *graph, const struct plan_chain *chain, unsigned ring_count)
{
    return area_bytes(ring_count, sinks_of_chain(graph, chain));
}

int commit_area_attach(struct task *task, bool taken_over, struct weir_error *err)
{
    uint64_t there_bytes;
    unsigned ring_count = task->in_count + task->out_count;
    unsigned sink_count = sinks_of_chain(task->job->graph, task->chain);
    size_t needed_bytes = area_bytes(ring_count, sink_count);
    struct commit_area *area = chunk_engine_area(&task->region, &there_bytes);
    if (there_bytes < needed_bytes)
        return error_set(err, WEIR_ECORRUPT, "task '%s': %llu bytes for commit records, %zu are needed", task->plan->name,
                         (unsigned long long)there_bytes, needed_bytes);
    task->commit_area = area;
    task->pending = &area->pending;
    if (!taken_over) {
        memset(area, 0, needed_bytes);
        area->slot_bytes = (uint32_t)slot_bytes(ring_count, sink_count);
        chunk_batch_begin(&task->region, 1);
    } else if (area->slot_bytes != slot_bytes(ring_count, sink_count) || area->current > 1 ||
               area->pending.count > PENDING_COMMITTABLES_MAX)
        return error_set(err, WEIR_ECORRUPT, "the head of the commit records contradicts itself");
    return WEIR_OK;
}

static struct commit_record *commit_slot(struct commit_area *area, uint32_t index)
{
    return (struct commit_record *)(void *)((unsigned char *)(area + 1) + (size_t)index * area->slot_bytes);
}

/* From behind the checksum to the end. */
static uint64_t record_checksum(const struct commit_record *record)
{
    return XXH3_64bits(&record->batch, record->size_bytes - sizeof record->checksum);
}

/* ---- writing ---- */

static unsigned char *put_rings(const struct task *task, unsigned char *to)
{
    for (unsigned i = 0; i < task->in_count; i++) {
        const struct task_input *in = &task->ins[i];
        struct commit_input input = {in->ring.tail, in->ring.run, in->barrier_id, in->blocked, in->ended};
        memcpy(to, &input, sizeof input);
        to += sizeof input;
    }
    for (unsigned i = 0; i < task->out_count; i++) {
        struct commit_output output = {task->outs[i].ring.head, task->outs[i].ring.record_count};
        memcpy(to, &output, sizeof output);
        to += sizeof output;
    }
    return to;
}

/* The sinks' own words of how far they have come; only where somebody may take the task over. */
static int put_sinks(struct task *task, unsigned char *to, struct commit_record *record, unsigned char **ret_end)
{
    bool wanted = task->has_sink && task->region.undo != NULL;
    for (unsigned i = 0; wanted && i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        if (ctx->node->kind != NODE_SINK || ctx->node->sink->position == NULL)
            continue;
        struct commit_sink *sink = (struct commit_sink *)(void *)to;
        size_t size_bytes = 0;
        int code = ctx_callback_result(ctx, "position", ctx->node->sink->position(ctx, sink->bytes, &size_bytes));
        if (code < 0)
            return code;
        if (size_bytes > WEIR_POSITION_BYTES_MAX)
            return error_set(&ctx->error, WEIR_ELIMIT, "a position of %zu bytes; at most %d", size_bytes, WEIR_POSITION_BYTES_MAX);
        *sink = (struct commit_sink){.node = ctx->node_index, .size_bytes = (uint32_t)size_bytes};
        to += sink_bytes(size_bytes);
        record->sink_count++;
    }
    *ret_end = to;
    return WEIR_OK;
}

static int fill_record(struct task *task, struct commit_record *record)
{
    *record = (struct commit_record){
        .batch = task->batch,
        .records_in = task->records_in,
        .records_out = task->records_out,
        .records_since_barrier = task->records_since_barrier,
        .marks = task->region.header->marks,
        .overflow_read_pos = task->overflow.read_pos,
        .overflow_write_pos = task->overflow.write_pos,
        .committed_seen = atomic_load_explicit(&task->shared->committed_seen, memory_order_relaxed),
        .barrier_id = task->barrier_id,
        .barrier_due = task->barrier_due,
        .barrier_stop = task->barrier_stop,
        .barrier_snapshot = task->barrier_snapshot,
        .aligning = task->aligning,
        .aligned_count = task->aligned_count,
        .ended = task->ended,
        .end_forwarded = task->end_forwarded,
        .stopping = task->stopping,
        .input_count = (uint16_t)task->in_count,
        .output_count = (uint16_t)task->out_count,
        .position_bytes = (uint16_t)task->position_bytes,
    };
    KILL_POINT(t3);
    unsigned char *to = put_rings(task, record->rest);
    memcpy(to, task->position, align_up(task->position_bytes, 8));
    to += align_up(task->position_bytes, 8);
    int code = put_sinks(task, to, record, &to);
    if (code < 0)
        return code;
    record->size_bytes = (uint32_t)(to - (unsigned char *)record);
    record->checksum = record_checksum(record);
    return WEIR_OK;
}

/* A wake costs both sides microseconds: a task with more to do puts it off for so long, so that one serves several batches. */
#define WAKE_DELAY_NS (100 * NS_PER_US)
/* But not behind the next batch where batches take so long: nothing can be woken while an operator works. */
#define SLOW_BATCH_NS NS_PER_MS

void batch_wake_readers(struct task *task, bool more_to_come)
{
    if (task->wake_due_since_ns == 0)
        return;
    bool slow = task->wake_due_since_ns - task->work_begun_ns > SLOW_BATCH_NS;
    if (more_to_come && !slow && clock_monotonic_ns() - task->wake_due_since_ns < WAKE_DELAY_NS)
        return;
    task->wake_due_since_ns = 0;
    for (unsigned i = 0; i < task->out_count; i++) {
        if (!task->outs[i].wake_due)
            continue;
        task->outs[i].wake_due = false;
        job_ring_task(task->job, task->outs[i].to_task);
    }
}

static void note_wake_due(struct task *task, struct task_output *out)
{
    out->wake_due = true;
    if (task->wake_due_since_ns == 0)
        task->wake_due_since_ns = clock_monotonic_ns();
}

/* Heads first: what the neighbours wait for; then tails. Idempotent: it publishes what the record says. */
static void publish(struct task *task)
{
    for (unsigned i = 0; i < task->out_count; i++) {
        bool ring = ring_publish(&task->outs[i].ring);
        KILL_POINT(r4);
        if (ring)
            note_wake_due(task, &task->outs[i]);
        KILL_POINT(t6);
    }
    KILL_POINT(c2);
    for (unsigned i = 0; i < task->in_count; i++) {
        bool ring = ring_release(&task->ins[i].ring);
        KILL_POINT(c3);
        if (ring)
            job_ring_task(task->job, task->ins[i].from_task);
    }
}

int batch_flush_sinks(struct task *task)
{
    poison_forget(task); /* what a sink cannot hand over is many records' */
    for (unsigned i = 0; task->has_sink && i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        if (ctx->node->kind != NODE_SINK)
            continue;
        int code = ctx_flush(ctx);
        if (code < 0)
            return code;
    }
    return WEIR_OK;
}

static void update_counters(struct task *task)
{
    struct task_counters *counters = &task->shared->counters;
    counter_set(&counters->records_in, task->records_in);
    counter_set(&counters->records_out, task->records_out);
    counter_set(&counters->batches, task->batch);
    const struct chunk_header *header = task->region.header;
    const struct chunk_cut *kept = cut_kept(&task->region);
    counter_set(&counters->frozen_bytes, (header->marks.retire_tail - header->marks.release_pos) << CHUNK_SHIFT);
    counter_set(&counters->rollback_checkpoint, kept != NULL ? kept->number : 0);
    counter_set(&counters->rollback_given_up, header->counters.given_up);
}

int batch_commit(struct task *task)
{
    if (!task->batch_open)
        return WEIR_OK;
    CHECK(!task->has_gathered);
    int code = batch_flush_sinks(task);
    if (code < 0)
        return code;
    chunk_batch_end(&task->region);
    overflow_settle(&task->overflow);
    task->batch++;
    struct commit_area *area = task->commit_area;
    uint32_t next = 1 - atomic_load_explicit(&area->current, memory_order_relaxed);
    code = fill_record(task, commit_slot(area, next));
    if (code < 0)
        return code;
    KILL_POINT(t4);
    /* The record before the switch. Whoever takes over maps this memory after our death: compiler order would do. */
    atomic_store_explicit(&area->current, next, memory_order_release);
    KILL_POINT(t5);
    publish(task);
    update_counters(task);
    KILL_POINT(t7);
    chunk_batch_begin(&task->region, task->batch + 1);
    task->batch_open = false;
    task->batch_records = 0;
    task->now_ms = 0;
    return WEIR_OK;
}

/* ---- reading it again, in a process that takes over ---- */

static int check_record(const struct task *task, const struct commit_record *record, struct weir_error *err)
{
    const struct weir_job *graph = task->job->graph;
    if (record->size_bytes < sizeof *record || record->size_bytes > task->commit_area->slot_bytes ||
        record->checksum != record_checksum(record))
        return error_set(err, WEIR_ECORRUPT, "the commit record of batch %llu fails its checksum", (unsigned long long)record->batch);
    size_t size_bytes = sizeof *record + record->input_count * sizeof(struct commit_input) +
                        record->output_count * sizeof(struct commit_output) + align_up(record->position_bytes, 8);
    if (record->batch == 0 || record->input_count != task->in_count || record->output_count != task->out_count ||
        record->sink_count > sinks_of_chain(graph, task->chain) || record->position_bytes > WEIR_POSITION_BYTES_MAX ||
        size_bytes > record->size_bytes || record->overflow_read_pos > record->overflow_write_pos ||
        record->overflow_write_pos > task->overflow.limit_bytes)
        return error_set(err, WEIR_ECORRUPT, "the commit record of batch %llu contradicts itself", (unsigned long long)record->batch);
    return WEIR_OK;
}

static int take_rings(struct task *task, const struct commit_record *record, const unsigned char **at, struct weir_error *err)
{
    int code = WEIR_OK;
    for (unsigned i = 0; code == WEIR_OK && i < task->in_count; i++) {
        struct task_input *in = &task->ins[i];
        struct commit_input input;
        memcpy(&input, *at, sizeof input);
        *at += sizeof input;
        in->barrier_id = input.barrier_id;
        in->blocked = input.blocked != 0;
        in->ended = input.ended != 0;
        code = ring_consumer_adopt(&in->ring, input.tail, input.run, err);
    }
    for (unsigned i = 0; code == WEIR_OK && i < task->out_count; i++) {
        struct commit_output output;
        memcpy(&output, *at, sizeof output);
        *at += sizeof output;
        code = ring_producer_adopt(&task->outs[i].ring, output.head, output.record_count, err);
    }
    return code == WEIR_OK ? WEIR_OK : error_context(err, "commit record of batch %llu", (unsigned long long)record->batch);
}

static void take_numbers(struct task *task, const struct commit_record *record)
{
    task->batch = record->batch;
    task->records_in = record->records_in;
    task->records_out = record->records_out;
    task->records_since_barrier = record->records_since_barrier;
    task->overflow.read_pos = record->overflow_read_pos;
    task->overflow.write_pos = record->overflow_write_pos;
    task->barrier_id = record->barrier_id;
    task->barrier_due = record->barrier_due;
    task->barrier_stop = record->barrier_stop != 0;
    task->barrier_snapshot = record->barrier_snapshot != 0;
    task->aligning = record->aligning != 0;
    task->aligned_count = record->aligned_count;
    task->ended = record->ended != 0;
    task->end_forwarded = record->end_forwarded != 0;
    task->stopping = record->stopping != 0;
    atomic_store_explicit(&task->shared->committed_seen, record->committed_seen, memory_order_release);
}

int batch_recover(struct task *task, uint64_t *ret_undone_bytes, struct weir_error *err)
{
    struct commit_area *area = task->commit_area;
    const struct commit_record *record = commit_slot(area, atomic_load_explicit(&area->current, memory_order_acquire));
    int code = check_record(task, record, err);
    if (code == WEIR_OK)
        code = chunk_batch_undo(&task->region, &record->marks, record->batch, ret_undone_bytes, err);
    if (code != WEIR_OK)
        return code;
    const unsigned char *at = record->rest;
    code = take_rings(task, record, &at, err);
    if (code != WEIR_OK)
        return code;
    take_numbers(task, record);
    task->position_bytes = record->position_bytes;
    memcpy(task->position, at, record->position_bytes);
    task->cut_live = chunk_cut_live(&task->region) != NULL;
    chunk_batch_begin(&task->region, task->batch + 1);
    return WEIR_OK;
}

bool batch_sink_position(const struct task *task, unsigned node, const void **ret_position, size_t *ret_size_bytes)
{
    struct commit_area *area = task->commit_area;
    const struct commit_record *record = commit_slot(area, atomic_load_explicit(&area->current, memory_order_acquire));
    const unsigned char *at = record->rest + record->input_count * sizeof(struct commit_input) +
                              record->output_count * sizeof(struct commit_output) + align_up(record->position_bytes, 8);
    const unsigned char *end = (const unsigned char *)record + record->size_bytes;
    for (unsigned i = 0; i < record->sink_count && (size_t)(end - at) >= sizeof(struct commit_sink); i++) {
        const struct commit_sink *sink = (const struct commit_sink *)(const void *)at;
        if (sink->size_bytes > WEIR_POSITION_BYTES_MAX || sink_bytes(sink->size_bytes) > (size_t)(end - at))
            return false;
        if (sink->node == node) {
            *ret_position = sink->bytes;
            *ret_size_bytes = sink->size_bytes;
            return true;
        }
        at += sink_bytes(sink->size_bytes);
    }
    return false;
}

void batch_publish_again(struct task *task)
{
    publish(task);
    for (unsigned i = 0; i < task->out_count; i++) /* published before, perhaps, by one that died before it rang */
        job_ring_task_for_dead(task->job, task->outs[i].to_task);
    for (unsigned i = 0; i < task->in_count; i++)
        job_ring_task_for_dead(task->job, task->ins[i].from_task);
}
