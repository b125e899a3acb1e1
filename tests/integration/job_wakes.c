/*
 * job_wakes.c - jobs that come to nothing, or late, where a sleeping reader is not woken. What happens is noted in the file
 * `note`.
 */
#include "jobs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int append_to_note(struct weir_ctx *ctx, const char *text)
{
    const struct parameters *p = weir_arg(ctx);
    int fd = open(p->note, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t written = fd >= 0 ? write(fd, text, strlen(text)) : -1;
    if (fd >= 0)
        close(fd);
    return written == (ssize_t)strlen(text) ? WEIR_OK : weir_fail(ctx, "cannot write to %s", p->note);
}

/* ---- a source that emits its next record when the last one was seen ---- */

struct asker_self {
    uint64_t next;
};

/* `how`: "idle" says between records that there is nothing to do; "busy" goes on without a pause. */
static int ask(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct parameters *p = weir_arg(ctx);
    struct asker_self *self = weir_self(ctx);
    struct stat note = {0};
    (void)records_max;
    bool answered = stat(p->note, &note) == 0 ? (uint64_t)note.st_size >= self->next : self->next == 0;
    if (answered && self->next < p->count) {
        int code = weir_emit(ctx, 0, &self->next, sizeof self->next);
        self->next += code == WEIR_OK;
        return code;
    }
    if (strcmp(p->how, "busy") == 0)
        return WEIR_OK;
    weir_wait_ms(ctx, 1);
    return WEIR_IDLE;
}

static int asker_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    memcpy(buffer, weir_self(ctx), sizeof(struct asker_self));
    *ret_size_bytes = sizeof(struct asker_self);
    return WEIR_OK;
}
static const struct weir_source asker_source = {
    .type = "asker", .self_bytes = sizeof(struct asker_self), .poll = ask, .position = asker_position};

static int pass_on(struct weir_ctx *ctx, const struct weir_record *record)
{
    return weir_emit(ctx, 0, record->data, record->size_bytes);
}
static const struct weir_operator pass_operator = {.type = "pass", .on_record = pass_on};

static int note_dot(struct weir_ctx *ctx, const struct weir_record *record)
{
    (void)record;
    return append_to_note(ctx, ".");
}
static const struct weir_sink dot_sink = {.type = "dots", .write = note_dot};

void build_answers(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *asked = weir_add_source(job, "asker", &asker_source, p);
    struct weir_stream *passed = weir_no_chain(weir_process(asked, "pass", &pass_operator, NULL));
    weir_no_chain(weir_add_sink(passed, "dots", &dot_sink, p));
}

/* ---- an operator that is done with a record only when the sink has seen the one before ---- */

static int await_seen(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    const struct row *row = record->data;
    struct stat note = {0};
    while (row->b > 0 && (stat(p->note, &note) != 0 || (uint64_t)note.st_size < row->b))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return weir_emit(ctx, 0, row, sizeof *row);
}
static const struct weir_operator slow_operator = {.type = "slow", .output_layout = &row_layout, .on_record = await_seen};

void build_steps(struct weir_job *job, const struct parameters *p)
{
    struct parameters *fast = weir_job_alloc(job, sizeof *fast);
    if (fast == NULL)
        return;
    *fast = *p;
    fast->step = 0;
    struct weir_stream *numbers = add_numbers(job, fast, "numbers", 0, p->count);
    struct weir_stream *slow = weir_no_chain(weir_process(numbers, "slow", &slow_operator, p));
    weir_no_chain(weir_add_sink(slow, "dots", &dot_sink, p));
}
