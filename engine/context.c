/* context.c - the functions of weir.h that callbacks call: state, timers, facts about the instance. (Emitting: output.c.) */
#include "base/bytes.h"
#include "base/log.h"
#include "engine/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_state(struct weir_ctx *ctx, unsigned state)
{
    if (ctx->task->warming_up)
        return error_set(&ctx->error, WEIR_EINVAL, "here is no state, no key and no timer");
    return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': it declares no state %u", ctx->node->name, state);
}

void *weir_value(struct weir_ctx *ctx, unsigned state)
{
    if (__builtin_expect(ctx->state == NULL, 0)) {
        no_state(ctx, state);
        return NULL;
    }
    ctx->task->batch_open = true;
    return op_state_value(ctx->state, state, &ctx->error);
}

static int find_keys(struct weir_ctx *ctx, const struct weir_record *records, size_t count, struct weir_bytes *ret_keys, uint64_t *ret_hashes)
{
    int code = WEIR_OK;
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        const struct key_spec *key = ctx->input_keys[records[i].input];
        if (__builtin_expect(key->fn != NULL && ctx->keys_scratch == NULL, 0)) {
            ctx->keys_scratch = malloc((size_t)WEIR_BATCH_RECORDS_MAX * WEIR_KEY_BYTES_MAX);
            if (ctx->keys_scratch == NULL)
                return error_set(&ctx->error, WEIR_ENOMEM, "operator '%s': no memory for the keys of a batch", ctx->node->name);
        }
        ret_hashes[i] = records[i].key_hash;
        code = key_extract(key, &records[i], key->fn != NULL ? ctx->keys_scratch + i * WEIR_KEY_BYTES_MAX : NULL, &ret_keys[i], &ctx->error);
    }
    return code;
}

int weir_values(struct weir_ctx *ctx, unsigned state, const struct weir_record *records, size_t count, void **ret_values)
{
    struct weir_bytes keys[WEIR_BATCH_RECORDS_MAX];
    uint64_t hashes[WEIR_BATCH_RECORDS_MAX];
    if (__builtin_expect(ctx->state == NULL && ctx->task->warming_up, 0))
        return no_state(ctx, state);
    if (__builtin_expect(!ctx->keyed, 0))
        return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': weir_values(), but its input is not keyed", ctx->node->name);
    if (__builtin_expect(count > WEIR_BATCH_RECORDS_MAX, 0))
        return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': weir_values() for %zu records; a batch has %d at most", ctx->node->name,
                         count, WEIR_BATCH_RECORDS_MAX);
    int code = find_keys(ctx, records, count, keys, hashes);
    if (code != WEIR_OK)
        return code;
    ctx->task->batch_open = true;
    ctx->batch_left_cold = 0;
    return op_state_values(ctx->state, state, keys, hashes, count, ret_values, &ctx->error);
}

const void *weir_value_get(struct weir_ctx *ctx, unsigned state, size_t *ret_size_bytes)
{
    if (ctx->state == NULL) {
        no_state(ctx, state);
        return NULL;
    }
    int code;
    size_t size_bytes = 0;
    const void *value = op_state_value_get(ctx->state, state, &size_bytes, &code, &ctx->error);
    if (value != NULL && ret_size_bytes != NULL)
        *ret_size_bytes = size_bytes;
    return value;
}

int weir_value_set(struct weir_ctx *ctx, unsigned state, const void *data, size_t size_bytes)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    ctx->task->batch_open = true;
    return op_state_value_set(ctx->state, state, data, size_bytes, &ctx->error);
}

int weir_list_append(struct weir_ctx *ctx, unsigned state, const void *data, size_t size_bytes)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    ctx->task->batch_open = true;
    return op_state_list_append(ctx->state, state, data, size_bytes, &ctx->error);
}

uint64_t weir_count(struct weir_ctx *ctx, unsigned state)
{
    uint64_t count = 0;
    if (ctx->state == NULL)
        no_state(ctx, state);
    else if (op_state_count(ctx->state, state, &count, &ctx->error) < 0)
        return 0;
    return count;
}

int weir_list_next(struct weir_ctx *ctx, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_element)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    return op_state_list_next(ctx->state, state, iterator, ret_element, &ctx->error);
}

int weir_map_next(struct weir_ctx *ctx, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_key,
                  struct weir_bytes *ret_value)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    return op_state_map_next(ctx->state, state, iterator, ret_key, ret_value, &ctx->error);
}

int weir_map_put(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    ctx->task->batch_open = true;
    return op_state_map_put(ctx->state, state, key, key_bytes, value, value_bytes, &ctx->error);
}

const void *weir_map_get(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, size_t *ret_value_bytes)
{
    if (ctx->state == NULL) {
        no_state(ctx, state);
        return NULL;
    }
    int code;
    size_t value_bytes = 0;
    const void *value = op_state_map_get(ctx->state, state, key, key_bytes, &value_bytes, &code, &ctx->error);
    if (value != NULL && ret_value_bytes != NULL)
        *ret_value_bytes = value_bytes;
    return value;
}

void *weir_map_value(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, size_t value_bytes)
{
    if (ctx->state == NULL) {
        no_state(ctx, state);
        return NULL;
    }
    ctx->task->batch_open = true;
    return op_state_map_value(ctx->state, state, key, key_bytes, value_bytes, &ctx->error);
}

int weir_map_remove(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    ctx->task->batch_open = true;
    return op_state_map_remove(ctx->state, state, key, key_bytes, &ctx->error);
}

int weir_clear(struct weir_ctx *ctx, unsigned state)
{
    if (ctx->state == NULL)
        return no_state(ctx, state);
    ctx->task->batch_open = true;
    return op_state_clear(ctx->state, state, &ctx->error);
}

int weir_clear_key(struct weir_ctx *ctx)
{
    if (ctx->state == NULL)
        return no_state(ctx, 0);
    ctx->task->batch_open = true;
    return op_state_clear_key(ctx->state, &ctx->error);
}

const void *weir_key(struct weir_ctx *ctx, size_t *ret_size_bytes)
{
    size_t size_bytes = 0;
    const void *key = ctx->keyed && ctx->state != NULL ? op_state_key(ctx->state, &size_bytes) : NULL;
    if (key != NULL && ret_size_bytes != NULL)
        *ret_size_bytes = size_bytes;
    return key;
}

int weir_select_key(struct weir_ctx *ctx, const struct weir_record *record)
{
    if (!ctx->keyed)
        return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': weir_select_key(), but its input is not keyed", ctx->node->name);
    if (ctx->state == NULL)
        return no_state(ctx, 0);
    ctx_prefetch_batch(ctx);
    return ctx_set_key(ctx, record);
}

int weir_timer_set(struct weir_ctx *ctx, uint64_t id, int64_t at_ms)
{
    if (ctx->state == NULL || ctx->node->kind != NODE_OPERATOR || ctx->node->op->on_timer == NULL)
        return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': sets a timer, but has no on_timer", ctx->node->name);
    ctx->task->batch_open = true;
    return op_state_timer_set(ctx->state, id, at_ms, &ctx->error);
}

int weir_timer_cancel(struct weir_ctx *ctx, uint64_t id)
{
    if (ctx->state == NULL)
        return WEIR_END;
    ctx->task->batch_open = true;
    return op_state_timer_cancel(ctx->state, id, &ctx->error);
}

int64_t weir_now_ms(const struct weir_ctx *ctx) { return task_now_ms(ctx->task); }

int weir_fail(struct weir_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_set_va(&ctx->error, WEIR_EUSER, format, args);
    va_end(args);
    return WEIR_EUSER;
}

const struct weir_error *weir_ctx_error(const struct weir_ctx *ctx) { return &ctx->error; }
void *weir_self(struct weir_ctx *ctx) { return ctx->self; }
const void *weir_arg(const struct weir_ctx *ctx) { return ctx->node->arg; }
const char *weir_operator_name(const struct weir_ctx *ctx) { return ctx->node->name; }
unsigned weir_subtask_index(const struct weir_ctx *ctx) { return ctx->task->plan->subtask; }
unsigned weir_subtask_count(const struct weir_ctx *ctx) { return ctx->task->chain->parallelism; }
const char *weir_job_name(const struct weir_ctx *ctx) { return ctx->task->job->graph->name; }
const char *weir_job_directory(const struct weir_ctx *ctx) { return ctx->task->job->options->directory; }

uint64_t weir_generation(const struct weir_ctx *ctx) { return atomic_load(&ctx->task->job->shared->generation); }

uint64_t weir_restored_checkpoint(const struct weir_ctx *ctx)
{
    return atomic_load(&ctx->task->job->shared->restore_checkpoint);
}

const struct weir_layout *weir_input_layout(const struct weir_ctx *ctx, unsigned input)
{
    return input < WEIR_INPUTS_MAX ? ctx->input_layouts[input] : NULL;
}

void weir_log(struct weir_ctx *ctx, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_line(LOG_INFO, "%s: %s", ctx->node->name, text);
}

uint64_t *weir_counter(struct weir_ctx *ctx, const char *name)
{
    struct user_counter *counters = ctx->task->shared->user_counters;
    if (ctx->task->warming_up) /* the counters may be another process's */
        return &ctx->spare_counter;
    for (unsigned i = 0; i < USER_COUNTERS_MAX; i++) {
        struct user_counter *counter = &counters[i];
        if (counter->name[0] == 0) {
            counter->node = ctx->node_index;
            snprintf(counter->name, sizeof counter->name, "%s", name);
        }
        if (counter->node == ctx->node_index && strncmp(counter->name, name, sizeof counter->name - 1) == 0)
            return &counter->value;
    }
    return &ctx->spare_counter; /* all are taken: counted, but not shown */
}

void weir_wait_fd(struct weir_ctx *ctx, int fd) { ctx->wait_fd = fd; }
void weir_wait_ms(struct weir_ctx *ctx, uint32_t wait_ms) { ctx->wait_ms = wait_ms; }
