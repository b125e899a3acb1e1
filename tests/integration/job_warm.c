/*
 * job_warm.c - an operator that warms up. Each process that does so appends a line to the file `note`: its pid. `how`: "slips" fails in
 * the second process, the first standby; "state", "emits", "key" do there what is not possible.
 */
#include "jobs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 11

struct warm_self {
    uint64_t warm; /* 1 after warm_up() */
    uint64_t open; /* 1 after an open() that found it warm */
};
static const struct weir_state warm_states[] = {
    {.name = "seen", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)}};

static int misuse(struct weir_ctx *ctx, const char *how)
{
    struct row row = {0};
    const struct weir_record record = {.data = &row, .size_bytes = sizeof row};
    if (strcmp(how, "state") == 0)
        return weir_value(ctx, 0) == NULL ? weir_ctx_error(ctx)->code : WEIR_OK;
    if (strcmp(how, "emits") == 0)
        return weir_emit(ctx, 0, &row, sizeof row);
    if (strcmp(how, "key") == 0)
        return weir_key(ctx, NULL) != NULL ? WEIR_OK : weir_select_key(ctx, &record);
    return WEIR_OK;
}

static int warm_up(struct weir_ctx *ctx)
{
    const struct parameters *p = weir_arg(ctx);
    struct warm_self *self = weir_self(ctx);
    struct stat found = {0};
    char line[LINE_BYTES + 1];
    int fd = open(p->note, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &found) != 0)
        return weir_fail(ctx, "cannot open %s", p->note);
    snprintf(line, sizeof line, "%10d\n", (int)getpid());
    ssize_t written = write(fd, line, LINE_BYTES);
    close(fd);
    if (written != LINE_BYTES)
        return weir_fail(ctx, "cannot write to %s", p->note);
    if (strcmp(p->how, "slips") == 0 && found.st_size == LINE_BYTES)
        return weir_fail(ctx, "the model is being replaced");
    ++*weir_counter(ctx, "warmed");
    self->warm = 1;
    return misuse(ctx, p->how);
}

static int open_warm(struct weir_ctx *ctx)
{
    struct warm_self *self = weir_self(ctx);
    self->open = self->warm;
    return self->warm == 1 ? WEIR_OK : weir_fail(ctx, "opened without having been warmed up");
}

static int count_warm(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct warm_self *self = weir_self(ctx);
    struct row row;
    uint64_t *seen = weir_value(ctx, 0);
    memcpy(&row, record->data, sizeof row);
    if (seen == NULL || self->open != 1)
        return weir_fail(ctx, "a record before open()");
    row.c = row.b;
    row.b = ++*seen;
    return weir_emit(ctx, 0, &row, sizeof row);
}
static const struct weir_operator warm_operator = {.type = "warm",
                                                   .states = warm_states,
                                                   .state_count = 1,
                                                   .self_bytes = sizeof(struct warm_self),
                                                   .output_layout = &row_layout,
                                                   .warm_up = warm_up,
                                                   .open = open_warm,
                                                   .on_record = count_warm};

void build_warm(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *keyed = weir_key_by(add_numbers(job, p, "numbers", 0, p->count), 0, sizeof(uint64_t));
    add_lines_sink(job, weir_process(keyed, "count", &warm_operator, p), "write", p, "");
}
