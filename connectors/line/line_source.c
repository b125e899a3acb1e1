/*
 * line_source.c - lines of standard input or of a connection.
 *
 * Without a journal what is in flight at a crash is lost, and the position is only a count. With one (journal.h),
 * records are made of what the journal holds, and the position is an offset into it.
 */
#include "connectors/io/io.h"
#include "connectors/line/journal.h"
#include "connectors/line/line_input.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX_DEFAULT 65536u
#define JOURNAL_BYTES_MAX_DEFAULT (UINT64_C(1) << 30)
#define FULL_WAIT_MS 10u

/* What position() gives. */
struct line_position {
    uint64_t offset; /* with a journal: stream offset of the next line; without: number of lines */
    uint32_t has_ended;
    uint32_t has_journal;
};
_Static_assert(sizeof(struct line_position) == 16, "durable");

struct line_source {
    struct weir_line_source_options options; /* with the defaults filled in */
    struct line_input input;
    struct journal journal;
    bool is_replaying; /* the journal's entries from before this process */
    bool has_ended;
    bool was_full;
    uint64_t line_count;
    uint64_t buffer_stream; /* stream offset of buffer[0] */
    unsigned char *buffer;
    size_t capacity; /* the longest line and an entry behind it */
    size_t used;
    size_t cursor;
};

/* ------------------------------------------------------------------------------------------------- opening ------- */

static int take_options(struct weir_ctx *ctx, struct weir_line_source_options *ret_options)
{
    const struct weir_line_source_options *given = weir_arg(ctx);
    if (given == NULL || given->address == NULL)
        return io_fail(ctx, WEIR_EINVAL, "the line source has no address: \"-\", unix:PATH or tcp:HOST:PORT");
    if (weir_subtask_count(ctx) != 1)
        return io_fail(ctx, WEIR_EINVAL, "the line source %s has one input, so its parallelism must be 1, not %u",
                       given->address, weir_subtask_count(ctx));
    if (given->line_bytes_max > WEIR_RECORD_BYTES_MAX)
        return io_fail(ctx, WEIR_EINVAL, "line_bytes_max is %u: lines have at most %u bytes", given->line_bytes_max,
                       WEIR_RECORD_BYTES_MAX);
    struct weir_line_source_options o = *given;
    if (o.line_bytes_max == 0)
        o.line_bytes_max = LINE_BYTES_MAX_DEFAULT;
    if (o.journal_bytes_max == 0)
        o.journal_bytes_max = JOURNAL_BYTES_MAX_DEFAULT;
    if (o.journal && o.journal_bytes_max / 8 < o.line_bytes_max)
        return io_fail(ctx, WEIR_EINVAL, "journal_bytes_max is %llu: eight times the longest line, %llu, is the least",
                       (unsigned long long)o.journal_bytes_max, (unsigned long long)o.line_bytes_max * 8);
    *ret_options = o;
    return WEIR_OK;
}

static int take_position(struct weir_ctx *ctx, struct line_source *self, const void *position, size_t position_bytes,
                         struct line_position *ret_position)
{
    if (position == NULL || position_bytes == 0) /* 0: a checkpoint from before the first line */
        return WEIR_OK;
    if (position_bytes != sizeof(*ret_position))
        return io_fail(ctx, WEIR_ECORRUPT, "the position of the line source takes %zu bytes, not %zu",
                       sizeof(*ret_position), position_bytes);
    memcpy(ret_position, position, position_bytes);
    if ((ret_position->has_journal != 0) != self->options.journal)
        return io_fail(ctx, WEIR_EMISMATCH,
                       "the checkpoint was taken %s a journal, and the line source has the option journal %s",
                       ret_position->has_journal != 0 ? "with" : "without", self->options.journal ? "on" : "off");
    return WEIR_OK;
}

static int open_journal(struct weir_ctx *ctx, struct line_source *self, uint64_t position, bool is_fresh)
{
    int result = journal_open(ctx, &self->journal, self->options.journal_bytes_max, position);
    if (result != WEIR_OK)
        return result;
    self->buffer_stream = position;
    self->is_replaying = true;
    if (self->journal.end > position)
        weir_log(ctx, "%s%llu bytes of input are in the journal %s and are read first",
                 is_fresh ? "the job starts from nothing, but " : "",
                 (unsigned long long)(self->journal.end - position), self->journal.directory);
    return WEIR_OK;
}

static int open_source(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct line_source *self = weir_self(ctx);
    struct line_position p = {0};
    self->input.fd = -1;
    self->journal.directory_fd = self->journal.read_fd = self->journal.write_fd = -1;
    int result = take_options(ctx, &self->options);
    if (result == WEIR_OK)
        result = take_position(ctx, self, position, position_bytes, &p);
    if (result != WEIR_OK)
        return result;
    self->capacity = JOURNAL_ENTRY_BYTES_MAX + self->options.line_bytes_max + 2;
    self->buffer = malloc(self->capacity);
    if (self->buffer == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a buffer of %zu bytes", self->capacity);
    if (self->options.journal) {
        result = open_journal(ctx, self, p.offset, weir_restored_checkpoint(ctx) == 0);
    } else {
        self->line_count = p.offset;
        self->has_ended = p.has_ended != 0;
        weir_log(ctx,
                 "the input %s cannot be replayed: lines in flight are lost when a process of the job dies; the option "
                 "journal keeps them",
                 self->options.address);
    }
    if (result == WEIR_OK && !self->has_ended && !self->journal.ended)
        result = line_input_open(ctx, self->options.address, &self->input);
    return result;
}

/* ------------------------------------------------------------------------------------------------- lines --------- */

static int emit_line(struct weir_ctx *ctx, struct line_source *self, size_t size_bytes, size_t consumed_bytes)
{
    const unsigned char *line = self->buffer + self->cursor;
    if (consumed_bytes > size_bytes && size_bytes > 0 && line[size_bytes - 1] == '\r')
        size_bytes--;
    if (size_bytes > self->options.line_bytes_max)
        return io_fail(ctx, WEIR_ELIMIT, "line %llu of %s is longer than %u bytes (line_bytes_max)%s",
                       (unsigned long long)self->line_count + 1, self->options.address, self->options.line_bytes_max,
                       self->options.journal ? "; it is in the journal, so a restart meets it again" : "");
    int result = weir_emit(ctx, 0, line, size_bytes);
    if (result == WEIR_OK) {
        self->cursor += consumed_bytes;
        self->line_count++;
    }
    return result;
}

/* WEIR_OK: as many as were asked for; WEIR_END: there is no further whole line in the buffer. */
static int emit_lines(struct weir_ctx *ctx, struct line_source *self, uint32_t *records_max)
{
    while (*records_max > 0) {
        const unsigned char *line = self->buffer + self->cursor;
        size_t available = self->used - self->cursor;
        const unsigned char *end = memchr(line, '\n', available);
        if (end == NULL && (available <= (size_t)self->options.line_bytes_max + 1))
            return WEIR_END;
        size_t size = end != NULL ? (size_t)(end - line) : available;
        int result = emit_line(ctx, self, size, size + (end != NULL));
        if (result != WEIR_OK)
            return result;
        --*records_max;
    }
    return WEIR_OK;
}

/* A last line without an end is a line. */
static int emit_rest(struct weir_ctx *ctx, struct line_source *self)
{
    size_t rest = self->used - self->cursor;
    int result = rest > 0 ? emit_line(ctx, self, rest, rest) : WEIR_OK;
    return result == WEIR_OK ? WEIR_END : result;
}

static void drop_rest(struct weir_ctx *ctx, struct line_source *self)
{
    if (self->used > self->cursor)
        weir_log(ctx, "the connection broke off in a line: its first %zu bytes are dropped", self->used - self->cursor);
    self->cursor = self->used;
}

/* ------------------------------------------------------------------------------------------------- refilling ----- */

static void compact(struct line_source *self)
{
    self->used -= self->cursor;
    memmove(self->buffer, self->buffer + self->cursor, self->used);
    self->buffer_stream += self->cursor;
    self->cursor = 0;
}

/* The input goes on where the journal stops only if it is the same open pipe or file that the dead process read. */
static int begin_live(struct weir_ctx *ctx, struct line_source *self)
{
    self->is_replaying = false;
    bool goes_on = self->input.identity != 0 && self->input.identity == self->journal.last_identity;
    if (self->journal.ended || goes_on || self->used == self->cursor)
        return WEIR_OK;
    drop_rest(ctx, self);
    return journal_mark(ctx, &self->journal, &self->input, JOURNAL_RESET);
}

static int replay(struct weir_ctx *ctx, struct line_source *self)
{
    size_t size = 0;
    uint32_t flags = 0;
    int result = journal_read(ctx, &self->journal, self->buffer + self->used, &size, &flags);
    if (result == WEIR_END)
        return begin_live(ctx, self);
    if (result != WEIR_OK)
        return result;
    self->used += size;
    if (flags & JOURNAL_RESET)
        drop_rest(ctx, self);
    self->has_ended = (flags & JOURNAL_END) != 0;
    return WEIR_OK;
}

static int append(struct weir_ctx *ctx, struct line_source *self)
{
    size_t size = 0;
    bool is_full = journal_is_full(&self->journal);
    if (is_full && !self->was_full)
        weir_log(ctx, "the journal is full: input waits until a checkpoint frees a part of it");
    self->was_full = is_full;
    if (is_full) {
        weir_wait_ms(ctx, FULL_WAIT_MS);
        return WEIR_IDLE;
    }
    int result = journal_append(ctx, &self->journal, &self->input, self->buffer + self->used, &size);
    if (result == WEIR_OK)
        self->used += size;
    return result;
}

static int read_input(struct weir_ctx *ctx, struct line_source *self)
{
    size_t size = 0;
    int result = line_input_read(ctx, &self->input, self->buffer + self->used, self->capacity - self->used, &size);
    if (result == WEIR_OK)
        self->used += size;
    return result;
}

static int take_live(struct weir_ctx *ctx, struct line_source *self)
{
    int result = self->options.journal ? append(ctx, self) : read_input(ctx, self);
    if (result == WEIR_IDLE && !self->was_full)
        weir_wait_fd(ctx, self->input.fd);
    if (result != WEIR_END)
        return result;
    self->has_ended = true;
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------- callbacks ----- */

static int poll_source(struct weir_ctx *ctx, uint32_t records_max)
{
    struct line_source *self = weir_self(ctx);
    bool has_taken = false; /* one entry a poll, so that a fast input does not keep the task from its barriers */
    for (;;) {
        int result = emit_lines(ctx, self, &records_max);
        if (result != WEIR_END)
            return result;
        if (self->has_ended)
            return emit_rest(ctx, self);
        if (has_taken)
            return WEIR_OK;
        compact(self);
        has_taken = !self->is_replaying;
        result = self->is_replaying ? replay(ctx, self) : take_live(ctx, self);
        if (result != WEIR_OK)
            return result;
    }
}

static int position_of(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct line_source *self = weir_self(ctx);
    struct line_position p = {.has_ended = self->has_ended, .has_journal = self->options.journal};
    p.offset = self->options.journal ? self->buffer_stream + self->cursor : self->line_count;
    memcpy(buffer, &p, sizeof(p));
    *ret_size_bytes = sizeof(p);
    return WEIR_OK;
}

static int on_committed(struct weir_ctx *ctx, uint64_t checkpoint, const void *position, size_t position_bytes)
{
    (void)checkpoint;
    struct line_source *self = weir_self(ctx);
    struct line_position p;
    if (!self->options.journal || position_bytes != sizeof(p))
        return WEIR_OK;
    memcpy(&p, position, sizeof(p));
    return journal_trim(ctx, &self->journal, p.offset);
}

static void close_source(struct weir_ctx *ctx)
{
    struct line_source *self = weir_self(ctx);
    line_input_close(&self->input);
    if (self->options.journal)
        journal_close(&self->journal);
    free(self->buffer);
    self->buffer = NULL;
}

const struct weir_source weir_line_source = {
    .type = "line",
    .self_bytes = sizeof(struct line_source),
    .open = open_source,
    .poll = poll_source,
    .position = position_of,
    .on_committed = on_committed,
    .close = close_source,
};
