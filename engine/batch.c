#include "engine/batch.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "engine/task.h"

#include <string.h>

static size_t slot_bytes(unsigned ring_count)
{
    return align_up(sizeof(struct commit_record) + ring_count * sizeof(uint64_t), CACHE_LINE_BYTES);
}

size_t commit_area_bytes(unsigned ring_count) { return sizeof(struct commit_area) + 2 * slot_bytes(ring_count); }

int commit_area_attach(struct task *task, struct weir_error *err)
{
    uint64_t area_bytes;
    task->commit_area = chunk_engine_area(&task->region, &area_bytes);
    unsigned ring_count = task->in_count + task->out_count;
    if (area_bytes < commit_area_bytes(ring_count))
        return error_set(err, WEIR_ECORRUPT, "task '%s': %llu bytes for commit records, %zu are needed", task->plan->name, (unsigned long long)area_bytes,
                         commit_area_bytes(ring_count));
    memset(task->commit_area, 0, commit_area_bytes(ring_count));
    task->commit_area->slot_bytes = (uint32_t)slot_bytes(ring_count);
    return WEIR_OK;
}

static struct commit_record *commit_slot(struct commit_area *area, uint32_t index)
{
    return (struct commit_record *)(void *)((unsigned char *)(area + 1) + (size_t)index * area->slot_bytes);
}

static void fill_record(struct task *task, struct commit_record *record)
{
    record->batch = task->batch;
    record->records_in = task->records_in;
    record->records_out = task->records_out;
    record->marks = task->region.header->marks;
    record->overflow_read_pos = task->overflow.read_pos;
    record->overflow_write_pos = task->overflow.write_pos;
    record->barrier_id = task->barrier_id;
    record->aligning = task->aligning;
    record->ended = task->ended;
    KILL_POINT(t3);
    record->position_bytes = (uint32_t)task->position_bytes;
    memcpy(record->position, task->position, task->position_bytes);
    record->ring_count = task->in_count + task->out_count;
    uint64_t *pos = record->ring_pos;
    for (unsigned i = 0; i < task->in_count; i++)
        *pos++ = task->ins[i].ring.tail;
    for (unsigned i = 0; i < task->out_count; i++)
        *pos++ = task->outs[i].ring.head;
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

static int flush_sinks(struct task *task)
{
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
}

int batch_commit(struct task *task)
{
    if (!task->batch_open)
        return WEIR_OK;
    int code = flush_sinks(task);
    if (code < 0)
        return code;
    task->batch++;
    struct commit_area *area = task->commit_area;
    uint32_t next = 1 - atomic_load_explicit(&area->current, memory_order_relaxed);
    fill_record(task, commit_slot(area, next));
    KILL_POINT(t4);
    /* The record before the switch. Whoever takes over maps this memory after our death: compiler order would do. */
    atomic_store_explicit(&area->current, next, memory_order_release);
    KILL_POINT(t5);
    publish(task);
    atomic_store_explicit(&task->shared->in_progress.ring, 0, memory_order_relaxed);
    update_counters(task);
    task->batch_open = false;
    task->batch_records = 0;
    task->now_ms = 0;
    return WEIR_OK;
}
