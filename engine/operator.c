/* operator.c - operator instances: made, opened, fed with records, timers and the end of input. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/batch.h"
#include "engine/task.h"
#include "state/key.h"

#include <stdio.h>
#include <stdlib.h>

int key_too_short(const struct key_spec *key, const struct weir_record *record, struct weir_error *err)
{
    return error_set(err, WEIR_EUSER, "a record of %u bytes is too short for its key at bytes %u to %u", record->size_bytes, key->offset,
                     key->offset + key->size_bytes);
}

int key_call(const struct key_spec *key, const struct weir_record *record, void *scratch, struct weir_bytes *ret_key,
             struct weir_error *err)
{
    struct weir_bytes found = {NULL, 0};
    int code = key->fn(record, scratch, &found);
    if (code < 0)
        return error_set(err, WEIR_EUSER, "the key function failed with %d (%s)", code, weir_status_name(code));
    if (found.data == NULL || found.size_bytes == 0)
        return error_set(err, WEIR_EUSER, "the key function yields no key for a record of %u bytes", record->size_bytes);
    if (found.size_bytes > WEIR_KEY_BYTES_MAX)
        return error_set(err, WEIR_EUSER, "the key function yields a key of %zu bytes; at most %d", found.size_bytes,
                         WEIR_KEY_BYTES_MAX);
    *ret_key = found;
    return WEIR_OK;
}

void ctx_take_failure(const struct weir_ctx *ctx, int code, struct weir_error *ret_failure)
{
    if (ctx->error.code == WEIR_OK) {
        error_set(ret_failure, code, "operator '%s': returned %d (%s)", ctx->node->name, code, weir_status_name(code));
        return;
    }
    *ret_failure = ctx->error;
    ret_failure->code = code; /* weir_fail() is for the words; the code that was returned may say more */
    if (strncmp(ret_failure->text, "operator '", 10) != 0)
        error_context(ret_failure, "operator '%s'", ctx->node->name);
}

int ctx_refuse_result(struct weir_ctx *ctx, const char *callback, int code)
{
    return error_set(&ctx->error, WEIR_EINVAL, "callback %s returned %d; it must return WEIR_OK or a negative code", callback, code);
}

int ctx_set_key(struct weir_ctx *ctx, const struct weir_record *record)
{
    struct weir_bytes key = {0};
    int code = key_extract(ctx->input_keys[record->input], record, ctx->key_scratch, &key, &ctx->error);
    if (code != WEIR_OK)
        return code;
    op_state_set_key(ctx->state, key.data, key.size_bytes, record->key_hash);
    return WEIR_OK;
}

/* The graph's own view of a node's inputs: their keys and layouts. */
static void describe_inputs(struct weir_ctx *ctx, const struct weir_job *graph)
{
    for (unsigned i = 0; i < graph->edge_count; i++) {
        const struct graph_edge *edge = &graph->edges[i];
        if (edge->to_node != ctx->node_index)
            continue;
        if (edge->partition == PARTITION_HASH)
            ctx->input_keys[edge->to_input] = &edge->key;
        if (edge->from_port == 0)
            ctx->input_layouts[edge->to_input] = graph->nodes[edge->from_node].layout;
    }
    ctx->keyed = ctx->input_keys[0] != NULL;
}

static bool wants_state(const struct graph_node *node, bool keyed)
{
    unsigned count;
    node_states(node, &count);
    return count > 0 || keyed || (node->kind == NODE_OPERATOR && node->op->on_timer != NULL);
}

static int make_state(struct task *task, struct weir_ctx *ctx, unsigned slot, struct weir_error *err)
{
    if (!wants_state(ctx->node, ctx->keyed))
        return WEIR_OK;
    struct op_state_config config = {
        .operator_name = ctx->node->name,
        .slot = slot,
        .keyed = ctx->keyed,
        .key_bytes = ctx->keyed && ctx->input_keys[0]->fn == NULL ? ctx->input_keys[0]->size_bytes : 0,
        .range = KEY_RANGE_ALL,
    };
    config.states = node_states(ctx->node, &config.state_count);
    if (ctx->keyed)
        config.range = key_subtask_range(task->plan->subtask, task->chain->parallelism, task->job->plan->key_groups);
    int code = op_state_open(&ctx->state, &task->region, &config, err);
    if (code != WEIR_OK)
        return code;
    task->has_state = true;
    return WEIR_OK;
}

static int make_operator(struct task *task, struct weir_ctx *ctx, unsigned slot, struct weir_error *err)
{
    const struct weir_job *graph = task->job->graph;
    ctx->task = task;
    ctx->node_index = task->chain->nodes[slot];
    ctx->node = &graph->nodes[ctx->node_index];
    ctx->wait_fd = -1;
    describe_inputs(ctx, graph);
    size_t self_bytes = node_self_bytes(ctx->node);
    ctx->self = calloc(1, self_bytes > 0 ? self_bytes : 1);
    ctx->key_scratch = malloc(WEIR_KEY_BYTES_MAX);
    if (ctx->self == NULL || ctx->key_scratch == NULL)
        return error_set(err, WEIR_ENOMEM, "operator '%s': no memory for an instance of %zu bytes", ctx->node->name, self_bytes);
    task->has_source |= ctx->node->kind == NODE_SOURCE;
    task->has_sink |= ctx->node->kind == NODE_SINK;
    return WEIR_OK;
}

int task_make_operators(struct task *task, struct weir_error *err)
{
    task->op_count = task->chain->node_count;
    task->ops = calloc(task->op_count, sizeof *task->ops);
    if (task->ops == NULL)
        return error_set(err, WEIR_ENOMEM, "task '%s': out of memory", task->plan->name);
    int code = WEIR_OK;
    for (unsigned i = 0; code == WEIR_OK && i < task->op_count; i++)
        code = make_operator(task, &task->ops[i], i, err);
    task->head_takes_spans = code == WEIR_OK && ctx_takes_spans(&task->ops[0]);
    return code;
}

int task_open_state(struct task *task, struct weir_error *err)
{
    int code = WEIR_OK;
    for (unsigned i = 0; code == WEIR_OK && i < task->op_count; i++)
        code = make_state(task, &task->ops[i], i, err);
    return code;
}

void task_free_operators(struct task *task)
{
    for (unsigned i = 0; i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        op_state_close(ctx->state);
        free(ctx->self);
        free(ctx->scratch.bytes);
        free(ctx->aligned.bytes);
        free(ctx->key_scratch);
        free(ctx->keys_scratch);
    }
    free(task->ops);
    task->ops = NULL;
    task->op_count = 0;
}

static int open_source(struct weir_ctx *ctx, const struct manifest_task *restored)
{
    const struct weir_source *source = ctx->node->source;
    const struct manifest_position *position = NULL;
    if (restored != NULL && restored->position_count > 0)
        position = &restored->positions[0];
    if (position != NULL) {
        memcpy(ctx->task->position, position->bytes, position->size_bytes);
        ctx->task->position_bytes = position->size_bytes;
    }
    if (source->open == NULL)
        return WEIR_OK;
    return source->open(ctx, position != NULL ? position->bytes : NULL, position != NULL ? position->size_bytes : 0);
}

/* After a crash: what was prepared for the restored checkpoint becomes visible, everything after it goes. Where the checkpoint is read
 * lazily, the first part waits until all of it has proved whole: the coordinator says so as of any that completed. */
static int reconcile_sink(struct weir_ctx *ctx, const struct manifest_task *restored)
{
    const struct weir_sink *sink = ctx->node->sink;
    bool late = page_in_is_wanted(ctx->task->job);
    for (uint32_t i = 0; restored != NULL && i < restored->committable_count; i++) {
        const struct manifest_committable *committable = &restored->committables[i];
        if (committable->operator_index != ctx->node_index)
            continue;
        int code = WEIR_OK;
        if (late)
            code = barrier_add_pending(ctx->task, ctx, committable->checkpoint_id, committable->bytes, committable->size_bytes);
        else if (sink->commit != NULL)
            code = ctx_callback_result(
                ctx, "commit", sink->commit(ctx, committable->checkpoint_id, committable->bytes, committable->size_bytes));
        if (code < 0)
            return code;
        KILL_POINT(v4);
    }
    uint64_t restored_id = atomic_load(&ctx->task->job->shared->restore_checkpoint);
    return sink->abort == NULL ? WEIR_OK : ctx_callback_result(ctx, "abort", sink->abort(ctx, restored_id));
}

static int open_sink(struct weir_ctx *ctx, const struct manifest_task *restored)
{
    int code = ctx->node->sink->open == NULL ? WEIR_OK : ctx->node->sink->open(ctx);
    return code != WEIR_OK ? code : reconcile_sink(ctx, restored);
}

static int open_operator(struct weir_ctx *ctx, const struct manifest_task *restored)
{
    switch (ctx->node->kind) {
    case NODE_SOURCE:
        return open_source(ctx, restored);
    case NODE_SINK:
        return open_sink(ctx, restored);
    case NODE_OPERATOR:
        break;
    }
    return ctx->node->op->open == NULL ? WEIR_OK : ctx->node->op->open(ctx);
}

static int resume_sink(struct weir_ctx *ctx)
{
    const void *position = NULL;
    size_t size_bytes = 0;
    if (ctx->node->sink->position != NULL && !batch_sink_position(ctx->task, ctx->node_index, &position, &size_bytes))
        return error_set(&ctx->error, WEIR_ECORRUPT, "the commit record has no position of this sink");
    return ctx->node->sink->resume(ctx, position, size_bytes);
}

static int resume_operator(struct weir_ctx *ctx)
{
    struct task *task = ctx->task;
    switch (ctx->node->kind) {
    case NODE_SOURCE:
        return ctx->node->source->open == NULL ? WEIR_OK : ctx->node->source->open(ctx, task->position, task->position_bytes);
    case NODE_SINK:
        return resume_sink(ctx);
    case NODE_OPERATOR:
        break;
    }
    return ctx->node->op->open == NULL ? WEIR_OK : ctx->node->op->open(ctx);
}

/* The words of a failed callback: its own, or the bare code. */
static int callback_failed(struct weir_ctx *ctx, int code, const char *what, struct weir_error *err)
{
    if (ctx->error.code != WEIR_OK)
        return error_set(err, code, "operator '%s': %s: %s", ctx->node->name, what, ctx->error.text);
    return error_set(err, code, "operator '%s': %s returned %d (%s)", ctx->node->name, what, code, weir_status_name(code));
}

static int warm_up(struct weir_ctx *ctx, struct weir_error *err)
{
    const struct graph_node *node = ctx->node;
    int (*callback)(struct weir_ctx *) = node->kind == NODE_SOURCE ? node->source->warm_up
                                         : node->kind == NODE_SINK ? node->sink->warm_up
                                                                   : node->op->warm_up;
    if (callback == NULL)
        return WEIR_OK;
    ctx->task->warming_up = true;
    ctx->task->batch_open = false;
    int code = ctx_callback_result(ctx, "warm_up", callback(ctx));
    ctx->task->warming_up = false;
    if (code < 0)
        return callback_failed(ctx, code, "warm_up", err);
    if (ctx->task->batch_open)
        return error_set(err, WEIR_EINVAL, "operator '%s': warm_up() emitted a record: it is lost; emit in open() or later",
                         node->name);
    return WEIR_OK;
}

int task_warm_up_operators(struct task *task, struct weir_error *err)
{
    int code = WEIR_OK;
    for (unsigned i = task->op_count; code == WEIR_OK && i-- > 0;)
        code = warm_up(&task->ops[i], err);
    return code;
}

int task_open_operators(struct task *task, const struct manifest_task *restored, struct weir_error *err)
{
    for (unsigned i = task->op_count; i-- > 0;) { /* sinks first: a source may emit as soon as it is open */
        struct weir_ctx *ctx = &task->ops[i];
        int code = ctx_callback_result(ctx, "open", open_operator(ctx, restored));
        if (code < 0)
            return callback_failed(ctx, code, "open", err);
    }
    return WEIR_OK;
}

int task_resume_operators(struct task *task, struct weir_error *err)
{
    for (unsigned i = task->op_count; i-- > 0;) {
        struct weir_ctx *ctx = &task->ops[i];
        const char *callback = ctx->node->kind == NODE_SINK ? "resume" : "open";
        int code = ctx_callback_result(ctx, callback, resume_operator(ctx));
        if (code < 0)
            return callback_failed(ctx, code, callback, err);
    }
    return WEIR_OK;
}

void task_close_operators(struct task *task)
{
    for (unsigned i = 0; i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        void (*close_fn)(struct weir_ctx *) = ctx->node->kind == NODE_SOURCE ? ctx->node->source->close
                                              : ctx->node->kind == NODE_SINK ? ctx->node->sink->close
                                                                             : ctx->node->op->close;
        if (close_fn != NULL)
            close_fn(ctx);
    }
}

/* The state of a whole batch, before the first record asks for its own. */
static void prefetch_state(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    uint64_t hashes[WEIR_BATCH_RECORDS_MAX];
    size_t hash_count = u64_min(count, WEIR_BATCH_RECORDS_MAX);
    for (size_t i = 0; i < hash_count; i++)
        hashes[i] = records[i].key_hash;
    op_state_prefetch(ctx->state, hashes, hash_count);
}

void ctx_prefetch_batch(struct weir_ctx *ctx)
{
    if (ctx->batch_left_cold == 0)
        return;
    prefetch_state(ctx, ctx->batch, ctx->batch_left_cold);
    ctx->batch_left_cold = 0;
}

static int process_one_by_one(struct weir_ctx *ctx, const struct weir_record *records, size_t count, const char *name,
                              int (*callback)(struct weir_ctx *, const struct weir_record *))
{
    if (ctx->keyed && count > 1)
        prefetch_state(ctx, records, count);
    for (size_t i = 0; i < count; i++) {
        int code = ctx->keyed ? ctx_set_key(ctx, &records[i]) : WEIR_OK;
        if (code == WEIR_OK)
            code = callback(ctx, &records[i]);
        if (__builtin_expect(code != WEIR_OK, 0))
            return ctx_callback_result(ctx, name, code);
        KILL_POINT(t2);
    }
    return WEIR_OK;
}

static int process_at_once(struct weir_ctx *ctx, const struct weir_record *records, size_t count, const char *name,
                           int (*callback)(struct weir_ctx *, const struct weir_record *, size_t))
{
    int code = callback(ctx, records, count);
    KILL_POINT(t2);
    return ctx_callback_result(ctx, name, code);
}

bool ctx_takes_spans(const struct weir_ctx *ctx)
{
    return ctx->node->kind == NODE_SINK ? ctx->node->sink->write_span != NULL
                                        : ctx->node->kind == NODE_OPERATOR && ctx->node->op->on_span != NULL;
}

static int process_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    bool is_sink = ctx->node->kind == NODE_SINK;
    int code = is_sink ? ctx->node->sink->write_span(ctx, span) : ctx->node->op->on_span(ctx, span);
    KILL_POINT(t2);
    return ctx_callback_result(ctx, is_sink ? "write_span" : "on_span", code);
}

static void note_written(struct weir_ctx *ctx, size_t count)
{
    ctx->sink_dirty = true;
    ctx->task->records_out += count;
}

int ctx_process_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    if (ctx->node->kind == NODE_SINK)
        note_written(ctx, span->count);
    return process_span(ctx, span);
}

static int process_in_spans_of_one(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    int code = WEIR_OK;
    for (size_t i = 0; code >= 0 && i < count; i++) {
        const struct weir_record *record = &records[i];
        code = process_span(ctx, &(struct weir_span){.data = record->data,
                                                     .stride_bytes = ring_payload_bytes(record->size_bytes),
                                                     .size_bytes = record->size_bytes,
                                                     .count = 1,
                                                     .input = record->input});
    }
    return code;
}

int ctx_process(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    if (ctx->node->kind == NODE_SINK) {
        const struct weir_sink *sink = ctx->node->sink;
        note_written(ctx, count);
        if (sink->write_batch != NULL)
            return process_at_once(ctx, records, count, "write_batch", sink->write_batch);
        if (sink->write != NULL)
            return process_one_by_one(ctx, records, count, "write", sink->write);
        return process_in_spans_of_one(ctx, records, count);
    }
    const struct weir_operator *op = ctx->node->op;
    if (op->on_batch == NULL && op->on_record == NULL)
        return process_in_spans_of_one(ctx, records, count);
    if (op->on_batch == NULL)
        return process_one_by_one(ctx, records, count, "on_record", op->on_record);
    if (ctx->keyed) {
        int code = ctx_set_key(ctx, &records[0]);
        if (code < 0)
            return code;
        ctx->batch = records;
        ctx->batch_left_cold = count;
    }
    return process_at_once(ctx, records, count, "on_batch", op->on_batch);
}

int ctx_flush(struct weir_ctx *ctx)
{
    if (!ctx->sink_dirty)
        return WEIR_OK;
    ctx->sink_dirty = false;
    return ctx->node->sink->flush == NULL ? WEIR_OK : ctx_callback_result(ctx, "flush", ctx->node->sink->flush(ctx));
}

int ctx_end(struct weir_ctx *ctx)
{
    if (ctx->keyed)
        op_state_unset_key(ctx->state);
    if (ctx->node->kind != NODE_OPERATOR || ctx->node->op->on_end == NULL)
        return WEIR_OK;
    return ctx_callback_result(ctx, "on_end", ctx->node->op->on_end(ctx));
}

int64_t task_now_ms(struct task *task)
{
    if (task->manual_now_ms >= 0)
        return task->manual_now_ms;
    if (task->now_ms == 0)
        task->now_ms = job_now_ms(task->job);
    return task->now_ms;
}

int64_t task_next_timer_ms(const struct task *task)
{
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < task->op_count; i++)
        if (task->ops[i].state != NULL) {
            int64_t at;
            if (op_state_timer_next(task->ops[i].state, &at) && at < next)
                next = at;
        }
    return next;
}

static int fire_operator_timers(struct weir_ctx *ctx, int64_t now_ms)
{
    int fired = 0;
    uint64_t id;
    int64_t at_ms;
    /* At most a gulp at a time: each batch stays small, and barriers are not held up. */
    while (fired < GULP_RECORDS_MAX) {
        int code = op_state_timer_pop(ctx->state, now_ms, &id, &at_ms, &ctx->error);
        if (code == WEIR_END)
            break;
        if (code == WEIR_OK && ctx->node->kind == NODE_OPERATOR && ctx->node->op->on_timer != NULL)
            code = ctx_callback_result(ctx, "on_timer", ctx->node->op->on_timer(ctx, id, at_ms));
        if (code < 0)
            return code;
        fired++;
    }
    return fired;
}

int task_fire_timers(struct task *task)
{
    int fired = 0;
    for (unsigned i = 0; i < task->op_count; i++) {
        struct weir_ctx *ctx = &task->ops[i];
        int64_t next_ms;
        if (ctx->state == NULL || !op_state_timer_next(ctx->state, &next_ms) || next_ms > task_now_ms(task))
            continue;
        int result = fire_operator_timers(ctx, task_now_ms(task));
        int code = result < 0 ? result : task_hand_on(task);
        if (code < 0)
            return code;
        fired += result;
    }
    if (fired > 0) {
        task->batch_open = true;
        counter_add(&task->shared->counters.timers_fired, (uint64_t)fired);
    }
    return fired;
}
