#include "connector_ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "connector_ctx: %s\n", what);
    abort();
}

static struct weir_ctx *new_host(const void *arg, size_t self_bytes)
{
    struct weir_ctx *ctx = calloc(1, sizeof(*ctx));
    must(ctx != NULL, "out of memory");
    ctx->arg = arg;
    ctx->operator_name = "op";
    ctx->job_name = "job";
    ctx->subtask_count = 1;
    ctx->generation = 1;
    ctx->wait_fd = -1;
    ctx->self = calloc(1, self_bytes + 1);
    must(ctx->self != NULL, "out of memory");
    return ctx;
}

struct weir_ctx *host_new_source(const struct weir_source *source, const void *arg)
{
    struct weir_ctx *ctx = new_host(arg, source->self_bytes);
    ctx->source = source;
    return ctx;
}

struct weir_ctx *host_new_sink(const struct weir_sink *sink, const void *arg)
{
    struct weir_ctx *ctx = new_host(arg, sink->self_bytes);
    ctx->sink = sink;
    return ctx;
}

static void clear_state(struct weir_ctx *ctx, unsigned state)
{
    for (size_t i = 0; i < ctx->entry_counts[state]; i++) {
        free(ctx->entries[state][i].key);
        free(ctx->entries[state][i].value);
    }
    ctx->entry_counts[state] = 0;
}

void host_free(struct weir_ctx *ctx)
{
    for (unsigned i = 0; i < HOST_STATES_MAX; i++)
        clear_state(ctx, i);
    free(ctx->self);
    free(ctx->output);
    free(ctx->ends);
    free(ctx);
}

void host_stop(struct weir_ctx *ctx)
{
    if (ctx->source != NULL)
        ctx->source->close(ctx);
    else
        ctx->sink->close(ctx);
    host_free(ctx);
}

/* ------------------------------------------------------------------------------------------------- images -------- */

static void image_put(struct host_image *image, const void *data, size_t size_bytes)
{
    must(image->used + 8 + size_bytes <= sizeof(image->states), "the image is too small");
    uint64_t size = size_bytes;
    memcpy(image->states + image->used, &size, 8);
    if (size_bytes > 0)
        memcpy(image->states + image->used + 8, data, size_bytes);
    image->used += 8 + size_bytes;
}

static void *image_take(const struct host_image *image, size_t *at, size_t *ret_size_bytes)
{
    uint64_t size;
    must(*at + 8 <= image->used, "the image is short");
    memcpy(&size, image->states + *at, 8);
    must(*at + 8 + size <= image->used, "the image is short");
    void *copy = calloc(1, size + 1);
    must(copy != NULL, "out of memory");
    memcpy(copy, image->states + *at + 8, size);
    *at += 8 + size;
    *ret_size_bytes = size;
    return copy;
}

static void save_states(const struct weir_ctx *ctx, struct host_image *image)
{
    image->used = 0;
    for (unsigned s = 0; s < HOST_STATES_MAX; s++) {
        image_put(image, &ctx->entry_counts[s], sizeof(size_t));
        for (size_t i = 0; i < ctx->entry_counts[s]; i++) {
            image_put(image, ctx->entries[s][i].key, ctx->entries[s][i].key_bytes);
            image_put(image, ctx->entries[s][i].value, ctx->entries[s][i].value_bytes);
        }
    }
}

static void load_states(struct weir_ctx *ctx, const struct host_image *image)
{
    size_t at = 0;
    for (unsigned s = 0; s < HOST_STATES_MAX; s++) {
        size_t size;
        size_t *count = image_take(image, &at, &size);
        ctx->entry_counts[s] = *count;
        free(count);
        for (size_t i = 0; i < ctx->entry_counts[s]; i++) {
            struct host_entry *e = &ctx->entries[s][i];
            e->key = image_take(image, &at, &e->key_bytes);
            e->value = image_take(image, &at, &e->value_bytes);
        }
    }
}

int host_start(struct weir_ctx *ctx, const struct host_image *image)
{
    bool is_restored = image != NULL && image->checkpoint != 0;
    if (is_restored) {
        load_states(ctx, image);
        ctx->restored_checkpoint = image->checkpoint;
    }
    if (ctx->source != NULL)
        return ctx->source->open(ctx, is_restored ? image->position : NULL, is_restored ? image->position_bytes : 0);
    int result = ctx->sink->open(ctx);
    if (result == WEIR_OK && is_restored && !ctx->commits_late)
        result = host_commit(ctx, image);
    if (result == WEIR_OK)
        result = ctx->sink->abort(ctx, ctx->restored_checkpoint);
    return result;
}

int host_cut(struct weir_ctx *ctx, uint64_t checkpoint, struct host_image *ret_image)
{
    int result;
    ret_image->position_bytes = ret_image->committable_bytes = 0;
    if (ctx->source != NULL)
        result = ctx->source->position(ctx, ret_image->position, &ret_image->position_bytes);
    else
        result = ctx->sink->prepare(ctx, checkpoint, ret_image->committable, &ret_image->committable_bytes);
    save_states(ctx, ret_image);
    ret_image->checkpoint = checkpoint;
    return result;
}

int host_end_batch(struct weir_ctx *ctx, struct host_image *ret_image)
{
    int result = ctx->sink->flush != NULL ? ctx->sink->flush(ctx) : WEIR_OK;
    ret_image->position_bytes = 0;
    if (result == WEIR_OK)
        result = ctx->sink->position(ctx, ret_image->position, &ret_image->position_bytes);
    save_states(ctx, ret_image);
    return result;
}

int host_resume(struct weir_ctx *ctx, const struct host_image *image)
{
    load_states(ctx, image);
    return ctx->sink->resume(ctx, image->position, image->position_bytes);
}

int host_persist(struct weir_ctx *ctx, const struct host_image *image)
{
    if (image->committable_bytes == 0)
        return 0;
    pid_t child = fork();
    must(child >= 0, "cannot fork");
    if (child == 0) {
        ctx->state_forbidden = true;
        int result = ctx->sink->persist(ctx, image->checkpoint, image->committable, image->committable_bytes);
        _exit(-result);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child, "cannot wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int host_commit(struct weir_ctx *ctx, const struct host_image *image)
{
    if (ctx->source != NULL)
        return ctx->source->on_committed == NULL
                   ? WEIR_OK
                   : ctx->source->on_committed(ctx, image->checkpoint, image->position, image->position_bytes);
    if (image->committable_bytes == 0)
        return WEIR_OK;
    return ctx->sink->commit(ctx, image->checkpoint, image->committable, image->committable_bytes);
}

int host_write(struct weir_ctx *ctx, const void *data, size_t size_bytes)
{
    struct weir_record record = {.data = data, .size_bytes = (uint32_t)size_bytes};
    int result = ctx->sink->write_batch(ctx, &record, 1);
    if (result == WEIR_OK && ctx->sink->flush != NULL)
        result = ctx->sink->flush(ctx);
    return result;
}

int host_drain(struct weir_ctx *ctx, uint32_t records_max)
{
    int result;
    while ((result = ctx->source->poll(ctx, records_max)) == WEIR_OK)
        continue;
    return result;
}

struct weir_bytes host_record(const struct weir_ctx *ctx, size_t index)
{
    must(index < ctx->record_count, "no such record");
    size_t start = index == 0 ? 0 : ctx->ends[index - 1];
    return (struct weir_bytes){.data = ctx->output + start, .size_bytes = ctx->ends[index] - start};
}

void host_drop_output(struct weir_ctx *ctx)
{
    ctx->output_bytes = 0;
    ctx->record_count = 0;
}

/* ------------------------------------------------------------------------------------------------- weir.h -------- */

static int fail(struct weir_ctx *ctx, int code, const char *text)
{
    ctx->error.code = code;
    snprintf(ctx->error.text, sizeof(ctx->error.text), "%s", text);
    return code;
}

int weir_emit(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes)
{
    must(port == 0 && !ctx->state_forbidden, "an emit that is not allowed");
    if (ctx->on_emit != NULL)
        return ctx->on_emit(ctx, ctx->on_emit_user, data, size_bytes);
    if (ctx->output_bytes + size_bytes + 1 > ctx->output_capacity) {
        ctx->output_capacity = (ctx->output_capacity + size_bytes + 4096) * 2;
        ctx->output = realloc(ctx->output, ctx->output_capacity);
    }
    if (ctx->record_count == ctx->record_capacity) {
        ctx->record_capacity = (ctx->record_capacity + 64) * 2;
        ctx->ends = realloc(ctx->ends, ctx->record_capacity * sizeof(*ctx->ends));
    }
    must(ctx->output != NULL && ctx->ends != NULL, "out of memory");
    if (size_bytes > 0)
        memcpy(ctx->output + ctx->output_bytes, data, size_bytes);
    ctx->output_bytes += size_bytes;
    ctx->ends[ctx->record_count++] = ctx->output_bytes;
    return WEIR_OK;
}

int weir_emit_batch(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes, size_t count)
{
    int result = WEIR_OK;
    for (size_t i = 0; result == WEIR_OK && i < count; i++)
        result = weir_emit(ctx, port, (const char *)data + i * size_bytes, size_bytes);
    return result;
}

int weir_fail(struct weir_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->error.text, sizeof(ctx->error.text), format, args);
    va_end(args);
    return ctx->error.code = WEIR_EUSER;
}

void weir_log(struct weir_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->log_text, sizeof(ctx->log_text), format, args);
    va_end(args);
    ctx->log_count++;
}

const struct weir_error *weir_ctx_error(const struct weir_ctx *ctx) { return &ctx->error; }
void *weir_self(struct weir_ctx *ctx) { return ctx->self; }
const void *weir_arg(const struct weir_ctx *ctx) { return ctx->arg; }
const char *weir_operator_name(const struct weir_ctx *ctx) { return ctx->operator_name; }
const char *weir_job_name(const struct weir_ctx *ctx) { return ctx->job_name; }
const char *weir_job_directory(const struct weir_ctx *ctx) { return ctx->job_directory; }
unsigned weir_subtask_index(const struct weir_ctx *ctx) { return ctx->subtask_index; }
unsigned weir_subtask_count(const struct weir_ctx *ctx) { return ctx->subtask_count; }
uint64_t weir_generation(const struct weir_ctx *ctx) { return ctx->generation; }
uint64_t weir_restored_checkpoint(const struct weir_ctx *ctx) { return ctx->restored_checkpoint; }
void weir_wait_fd(struct weir_ctx *ctx, int fd) { ctx->wait_fd = fd; }
void weir_wait_ms(struct weir_ctx *ctx, uint32_t wait_ms) { ctx->wait_ms = wait_ms; }

const struct weir_layout *weir_input_layout(const struct weir_ctx *ctx, unsigned input)
{
    (void)input;
    return ctx->layout;
}

static const struct weir_state *declared(struct weir_ctx *ctx, unsigned state, enum weir_state_kind kind)
{
    const struct weir_state *states = ctx->source != NULL ? ctx->source->states : ctx->sink->states;
    uint32_t count = ctx->source != NULL ? ctx->source->state_count : ctx->sink->state_count;
    must(!ctx->state_forbidden && state < count && states[state].kind == kind, "a state call that is not allowed");
    must(ctx->entry_counts[state] < HOST_ENTRIES_MAX - 1, "too many entries for the stand-in");
    return &states[state];
}

void *weir_value(struct weir_ctx *ctx, unsigned state)
{
    const struct weir_state *s = declared(ctx, state, WEIR_VALUE);
    struct host_entry *e = &ctx->entries[state][0];
    if (ctx->entry_counts[state] == 0) {
        *e = (struct host_entry){.value = calloc(1, s->size_bytes), .value_bytes = s->size_bytes};
        ctx->entry_counts[state] = 1;
    }
    return e->value;
}

static void *copy_of(const void *data, size_t size_bytes)
{
    void *copy = malloc(size_bytes + 1);
    must(copy != NULL, "out of memory");
    memcpy(copy, data, size_bytes);
    return copy;
}

int weir_list_append(struct weir_ctx *ctx, unsigned state, const void *data, size_t size_bytes)
{
    declared(ctx, state, WEIR_LIST);
    if (size_bytes > WEIR_ENTRY_BYTES_MAX)
        return fail(ctx, WEIR_ELIMIT, "entry too large");
    ctx->entries[state][ctx->entry_counts[state]++] =
        (struct host_entry){.value = copy_of(data, size_bytes), .value_bytes = size_bytes};
    return WEIR_OK;
}

int weir_list_next(struct weir_ctx *ctx, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_element)
{
    declared(ctx, state, WEIR_LIST);
    if (iterator->opaque[0] >= ctx->entry_counts[state])
        return WEIR_END;
    const struct host_entry *e = &ctx->entries[state][iterator->opaque[0]++];
    *ret_element = (struct weir_bytes){.data = e->value, .size_bytes = e->value_bytes};
    return WEIR_OK;
}

static struct host_entry *find(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes)
{
    for (size_t i = 0; i < ctx->entry_counts[state]; i++) {
        struct host_entry *e = &ctx->entries[state][i];
        if (e->key_bytes == key_bytes && memcmp(e->key, key, key_bytes) == 0)
            return e;
    }
    return NULL;
}

int weir_map_put(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes)
{
    declared(ctx, state, WEIR_MAP);
    struct host_entry *e = find(ctx, state, key, key_bytes);
    if (e == NULL) {
        e = &ctx->entries[state][ctx->entry_counts[state]++];
        *e = (struct host_entry){.key = copy_of(key, key_bytes), .key_bytes = key_bytes};
    }
    free(e->value);
    e->value = copy_of(value, value_bytes);
    e->value_bytes = value_bytes;
    return WEIR_OK;
}

const void *weir_map_get(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes,
                         size_t *ret_value_bytes)
{
    declared(ctx, state, WEIR_MAP);
    const struct host_entry *e = find(ctx, state, key, key_bytes);
    if (e == NULL)
        return NULL;
    if (ret_value_bytes != NULL)
        *ret_value_bytes = e->value_bytes;
    return e->value;
}
