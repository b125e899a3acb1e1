/* job_parts.c - the source, the sinks and the operator that the shapes share. */
#include "jobs.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct weir_field row_fields[] = {{"a", WEIR_U64, 0, 0}, {"b", WEIR_U64, 8, 0}, {"c", WEIR_U64, 16, 0}};
const struct weir_layout row_layout = {.name = "row", .fields = row_fields, .field_count = 3};

/* ---- numbers ---- */

struct numbers_self {
    uint64_t next; /* how many this subtask has emitted */
    bool waited;
};

static int numbers_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct numbers_self *self = weir_self(ctx);
    if (position != NULL && position_bytes != sizeof self->next)
        return weir_fail(ctx, "a position of %zu bytes", position_bytes);
    if (position != NULL)
        memcpy(&self->next, position, sizeof self->next);
    return WEIR_OK;
}

/* How many of the numbers are this subtask's. */
static uint64_t own_count(struct weir_ctx *ctx, const struct numbers *numbers)
{
    unsigned subtasks = weir_subtask_count(ctx), subtask = weir_subtask_index(ctx);
    return numbers->count == 0 ? UINT64_MAX : (numbers->count + subtasks - 1 - subtask) / subtasks;
}

#define ROWS_TOGETHER 8

/* Those before `to`, at once: also where it was asked for fewer, as a source might that cannot split what it has got. */
static int numbers_poll_together(struct weir_ctx *ctx, const struct numbers *numbers, struct numbers_self *self, uint64_t to, uint64_t end)
{
    struct row rows[ROWS_TOGETHER];
    size_t count = 0;
    for (uint64_t i = self->next; i < to; i++) {
        uint64_t v = numbers->first + i * weir_subtask_count(ctx) + weir_subtask_index(ctx);
        rows[count++] = (struct row){v % numbers->keys, v, 0};
    }
    int code = weir_emit_batch(ctx, 0, rows, sizeof rows[0], count);
    if (code < 0)
        return code;
    self->next = to;
    return to < end ? WEIR_OK : WEIR_END;
}

static int numbers_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct numbers *numbers = weir_arg(ctx);
    struct numbers_self *self = weir_self(ctx);
    uint64_t end = own_count(ctx, numbers);
    if (numbers->together)
        return numbers_poll_together(ctx, numbers, self, end - self->next < ROWS_TOGETHER ? end : self->next + ROWS_TOGETHER, end);
    for (uint32_t i = 0; i < records_max && self->next < end; i++) {
        if (numbers->step > 0 && self->next > 0 && self->next % numbers->step == 0 && !self->waited) {
            self->waited = true;
            weir_wait_ms(ctx, (uint32_t)numbers->delay_ms);
            return WEIR_IDLE;
        }
        self->waited = false;
        uint64_t v = numbers->first + self->next * weir_subtask_count(ctx) + weir_subtask_index(ctx);
        struct row row = {v % numbers->keys, v, 0};
        int code = weir_emit(ctx, 0, &row, sizeof row);
        if (code < 0)
            return code;
        self->next++;
    }
    if (self->next < end)
        return WEIR_OK;
    if (!numbers->hold)
        return WEIR_END;
    weir_wait_ms(ctx, 60000);
    return WEIR_IDLE;
}

static int numbers_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct numbers_self *self = weir_self(ctx);
    memcpy(buffer, &self->next, sizeof self->next);
    *ret_size_bytes = sizeof self->next;
    return WEIR_OK;
}

const struct weir_source numbers_source = {
    .type = "numbers",
    .self_bytes = sizeof(struct numbers_self),
    .output_layout = &row_layout,
    .open = numbers_open,
    .poll = numbers_poll,
    .position = numbers_position,
};

struct weir_stream *add_numbers(struct weir_job *job, const struct parameters *p, const char *name, uint64_t first, uint64_t count)
{
    struct numbers *numbers = weir_job_alloc(job, sizeof *numbers);
    if (numbers == NULL)
        return NULL;
    *numbers = (struct numbers){
        .first = first, .count = count, .keys = p->keys, .step = p->step, .delay_ms = p->delay_ms, .together = p->together, .hold = p->hold};
    return weir_add_source(job, name, &numbers_source, numbers);
}

/* ---- sinks ---- */

struct weir_stream *add_lines_sink(struct weir_job *job, struct weir_stream *in, const char *name, const struct parameters *p,
                                   const char *part)
{
    struct weir_file_sink_options *options = weir_job_alloc(job, sizeof *options);
    char *directory = weir_job_alloc(job, strlen(p->output) + strlen(part) + 2);
    if (options == NULL || directory == NULL)
        return NULL;
    sprintf(directory, "%s%s%s", p->output, *part != 0 ? "-" : "", part);
    options->directory = directory;
    options->format = WEIR_TEXT_LINES;
    return weir_add_sink(in, name, &weir_file_sink, options);
}

static int slow_write(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    struct timespec delay = {(time_t)(p->delay_ms / 1000), (long)(p->delay_ms % 1000) * 1000000L};
    (void)record;
    nanosleep(&delay, NULL);
    return WEIR_OK;
}

const struct weir_sink slow_sink = {.type = "slow", .write = slow_write};

/* ---- count ---- */

static const struct weir_state count_states[] = {
    {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)}};

static int count_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct row *row = record->data;
    uint64_t *count = weir_value(ctx, 0);
    if (count == NULL)
        return weir_ctx_error(ctx)->code;
    struct row out = {row->a, ++*count, row->b};
    return weir_emit(ctx, 0, &out, sizeof out);
}

const struct weir_operator count_operator = {
    .type = "count", .states = count_states, .state_count = 1, .output_layout = &row_layout, .on_record = count_on_record};
