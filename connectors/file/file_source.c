/*
 * file_source.c - lines or fixed-size records of files, replayable by (file, offset).
 *
 * State 0 is this subtask's share of the files (file_list.h), fixed at the first start. State 1 is, for followed files
 * only, how far each of them is read; of the file being read, and in every other mode, the position says so.
 */
#include "connectors/file/file_list.h"
#include "connectors/file/file_reader.h"
#include "connectors/io/io.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define BUFFER_BYTES (512u * 1024)
#define LINE_BYTES_MAX_DEFAULT 65536u
#define FOLLOW_MS 1000u     /* with inotify: only a safety net, for file systems that do not tell */
#define FOLLOW_MS_BLIND 20u /* without it */

enum { STATE_FILES, STATE_OFFSETS };

static const struct weir_state file_source_states[] = {
    {.name = "files", .kind = WEIR_LIST, .scope = WEIR_PER_OPERATOR, .version = 1},
    {.name = "offsets", .kind = WEIR_MAP, .scope = WEIR_PER_OPERATOR, .version = 1},
};

/* What position() gives. */
struct file_position {
    uint64_t index; /* into the share; its count when all is read */
    uint64_t offset;
};
_Static_assert(sizeof(struct file_position) == 16, "durable");

struct file_source {
    struct weir_file_source_options options; /* with the defaults filled in */
    struct file_list list;
    struct file_reader reader;
    size_t index;      /* of the file being read, or the next to be read */
    uint64_t offset;   /* where to begin in it, while it is not open */
    size_t idle_files; /* followed files without news in a row */
    int inotify_fd;
    bool waited; /* the last poll ended idle */
    bool published;
};

/* ------------------------------------------------------------------------------------------------- opening ------- */

static int take_options(struct weir_ctx *ctx, struct weir_file_source_options *ret_options)
{
    const struct weir_file_source_options *given = weir_arg(ctx);
    if (given == NULL || given->path == NULL || given->path[0] == '\0')
        return io_fail(ctx, WEIR_EINVAL, "the file source has no path: set weir_file_source_options.path");
    if (given->format != WEIR_LINES && given->format != WEIR_BINARY)
        return io_fail(ctx, WEIR_EINVAL, "the file source has no format %d", (int)given->format);
    if (given->format == WEIR_BINARY && (given->record_bytes == 0 || given->record_bytes > WEIR_RECORD_BYTES_MAX))
        return io_fail(ctx, WEIR_EINVAL, "record_bytes is %u: binary records of %s have 1 to %u bytes",
                       given->record_bytes, given->path, WEIR_RECORD_BYTES_MAX);
    if (given->line_bytes_max > WEIR_RECORD_BYTES_MAX)
        return io_fail(ctx, WEIR_EINVAL, "line_bytes_max is %u: lines of %s have at most %u bytes",
                       given->line_bytes_max, given->path, WEIR_RECORD_BYTES_MAX);
    *ret_options = *given;
    if (ret_options->line_bytes_max == 0)
        ret_options->line_bytes_max = LINE_BYTES_MAX_DEFAULT;
    return WEIR_OK;
}

/* A reader's buffer takes the longest line twice: one that is being completed, and more behind it. */
static int make_buffer(struct weir_ctx *ctx, struct file_source *self)
{
    size_t unit =
        self->options.format == WEIR_BINARY ? self->options.record_bytes : (size_t)self->options.line_bytes_max + 2;
    size_t capacity = unit * 2 > BUFFER_BYTES ? unit * 2 : BUFFER_BYTES;
    self->reader.capacity = capacity - capacity % (self->options.format == WEIR_BINARY ? unit : 1);
    self->reader.buffer = malloc(self->reader.capacity);
    if (self->reader.buffer == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a buffer of %zu bytes", self->reader.capacity);
    return WEIR_OK;
}

static int choose_files(struct weir_ctx *ctx, struct file_source *self)
{
    int result = file_list_find(ctx, &self->options, &self->list);
    if (result == WEIR_OK)
        result = file_list_take_share(ctx, &self->options, &self->list);
    if (result == WEIR_OK)
        result = file_list_store(ctx, STATE_FILES, &self->list);
    if (result == WEIR_OK && self->list.count > 0)
        self->offset = self->list.entries[0].begin;
    return result;
}

/* A position in a file lies in this subtask's range of it; but the last line of a range may reach beyond, and a followed file grows. */
static bool is_within(const struct file_source *self, const struct file_position *p)
{
    if (p->index >= self->list.count)
        return p->index == self->list.count;
    const struct file_entry *e = &self->list.entries[p->index];
    const uint64_t end = self->options.follow ? UINT64_MAX : self->options.format == WEIR_LINES ? e->size_bytes : e->end;
    return p->offset >= e->begin && p->offset <= end;
}

static int restore_files(struct weir_ctx *ctx, struct file_source *self, const void *position, size_t position_bytes)
{
    struct file_position p;
    int result = file_list_load(ctx, STATE_FILES, &self->list);
    if (result != WEIR_OK)
        return result;
    if (position == NULL || position_bytes == 0) { /* the checkpoint was taken before the first record */
        self->offset = self->list.count > 0 ? self->list.entries[0].begin : 0;
        return WEIR_OK;
    }
    if (position_bytes != sizeof(p))
        return io_fail(ctx, WEIR_ECORRUPT, "the position of the file source takes %zu bytes, not %zu", sizeof(p),
                       position_bytes);
    memcpy(&p, position, sizeof(p));
    if (!is_within(self, &p))
        return io_fail(ctx, WEIR_ECORRUPT, "the position of the file source is damaged: file %llu of %zu, offset %llu",
                       (unsigned long long)p.index, self->list.count, (unsigned long long)p.offset);
    if (p.index < self->list.count && self->options.format == WEIR_BINARY &&
        (p.offset - self->list.entries[p.index].begin) % self->options.record_bytes != 0)
        return io_fail(ctx, WEIR_EMISMATCH,
                       "the checkpoint was taken with records of another size than %u bytes: offset %llu of %s is "
                       "inside one",
                       self->options.record_bytes, (unsigned long long)p.offset, self->list.entries[p.index].path);
    self->index = (size_t)p.index;
    self->offset = p.offset;
    return WEIR_OK;
}

/* Without inotify (a limit, another file system) polling by time serves. */
static void watch_files(struct file_source *self)
{
    self->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    for (size_t i = 0; i < self->list.count && self->inotify_fd >= 0; i++) {
        if (inotify_add_watch(self->inotify_fd, self->list.entries[i].path,
                              IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF) < 0) {
            close(self->inotify_fd);
            self->inotify_fd = -1;
        }
    }
}

/* The end of the line that the byte before a range belongs to: that line is the neighbour's. */
static int skip_partial_line(struct weir_ctx *ctx, struct file_reader *r)
{
    for (;;) {
        const unsigned char *end = memchr(r->buffer + r->cursor, '\n', r->used - r->cursor);
        if (end != NULL) {
            r->cursor = (size_t)(end - r->buffer) + 1;
            return WEIR_OK;
        }
        r->cursor = r->used;
        int result = file_reader_fill(ctx, r);
        if (result != WEIR_OK)
            return result == WEIR_END ? WEIR_OK : result;
    }
}

static int open_file(struct weir_ctx *ctx, struct file_source *self)
{
    const struct file_entry *e = &self->list.entries[self->index];
    const bool lines = self->options.format == WEIR_LINES;
    /* A range ends where it ends, but its last line may reach beyond. */
    uint64_t end = self->options.follow ? UINT64_MAX : (lines ? e->size_bytes : e->end);
    bool align = lines && self->offset == e->begin && e->begin > 0;
    int result = file_reader_open(ctx, &self->reader, e->path, self->offset - (align ? 1 : 0), end, e->size_bytes);
    return result == WEIR_OK && align ? skip_partial_line(ctx, &self->reader) : result;
}

static int open_source(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct file_source *self = weir_self(ctx);
    self->reader.fd = -1;
    self->inotify_fd = -1;
    int result = take_options(ctx, &self->options);
    if (result == WEIR_OK)
        result = make_buffer(ctx, self);
    self->published = true; /* perhaps by the process whose place this one takes */
    bool is_fresh = position == NULL && weir_restored_checkpoint(ctx) == 0;
    if (result == WEIR_OK)
        result = is_fresh ? choose_files(ctx, self) : restore_files(ctx, self, position, position_bytes);
    if (result == WEIR_OK && !is_fresh)
        file_list_remove_older(ctx);
    if (result == WEIR_OK && self->options.follow)
        watch_files(self);
    if (result == WEIR_OK && self->index < self->list.count)
        result = open_file(ctx, self);
    return result;
}

/* ------------------------------------------------------------------------------------------------- reading ------- */

/* Emits up to *records_max lines that begin before `limit`. WEIR_OK: as many as were asked for; WEIR_END: no further
 * whole line in the file or range; *records_max counts down. */
static int emit_lines(struct weir_ctx *ctx, struct file_source *self, uint32_t *records_max)
{
    struct file_reader *r = &self->reader;
    const uint64_t limit = self->options.follow ? UINT64_MAX : self->list.entries[self->index].end;
    while (*records_max > 0 && file_reader_offset(r) < limit) {
        const unsigned char *line = r->buffer + r->cursor;
        const size_t available = r->used - r->cursor;
        const unsigned char *line_end = memchr(line, '\n', available);
        size_t size = line_end != NULL ? (size_t)(line_end - line) : available;
        size_t consumed = size + (line_end != NULL);
        if (line_end == NULL && size <= (size_t)self->options.line_bytes_max + 1) {
            int result = file_reader_fill(ctx, r);
            if (result == WEIR_OK)
                continue;
            if (result != WEIR_END || self->options.follow || size == 0)
                return result;
            line = r->buffer + r->cursor; /* a last line without an end; filling may have moved it */
        }
        if (line_end != NULL && size > 0 && line[size - 1] == '\r')
            size--;
        if (size > self->options.line_bytes_max)
            return io_fail(ctx, WEIR_EFINAL,
                           "a line of the input file %s is longer than %u bytes (line_bytes_max), at offset %llu",
                           r->path, self->options.line_bytes_max, (unsigned long long)file_reader_offset(r));
        int result = weir_emit(ctx, 0, line, size);
        if (result != WEIR_OK)
            return result;
        r->cursor += consumed;
        --*records_max;
    }
    return *records_max > 0 ? WEIR_END : WEIR_OK;
}

/* The same for records of a fixed size. An incomplete one at the end of a growing file waits there. */
static int emit_records(struct weir_ctx *ctx, struct file_source *self, uint32_t *records_max)
{
    struct file_reader *r = &self->reader;
    const size_t size = self->options.record_bytes;
    while (*records_max > 0) {
        size_t ready = (r->used - r->cursor) / size;
        if (ready == 0) {
            int result = file_reader_fill(ctx, r);
            if (result != WEIR_OK)
                return result;
            continue;
        }
        if (ready > *records_max)
            ready = *records_max;
        int result = weir_emit_batch(ctx, 0, r->buffer + r->cursor, size, ready);
        if (result != WEIR_OK)
            return result;
        r->cursor += ready * size;
        *records_max -= (uint32_t)ready;
    }
    return WEIR_OK;
}

static int emit_some(struct weir_ctx *ctx, struct file_source *self, uint32_t *records_max)
{
    return self->options.format == WEIR_LINES ? emit_lines(ctx, self, records_max)
                                              : emit_records(ctx, self, records_max);
}

static int open_next(struct weir_ctx *ctx, struct file_source *self, size_t index)
{
    file_reader_close(&self->reader);
    self->index = index;
    self->offset = index < self->list.count ? self->list.entries[index].begin : 0;
    return index < self->list.count ? open_file(ctx, self) : WEIR_OK;
}

static int poll_bounded(struct weir_ctx *ctx, struct file_source *self, uint32_t records_max)
{
    while (self->index < self->list.count) {
        int result = emit_some(ctx, self, &records_max);
        if (result != WEIR_END)
            return result;
        result = file_reader_check_size(ctx, &self->reader);
        if (result == WEIR_OK)
            result = open_next(ctx, self, self->index + 1);
        if (result != WEIR_OK)
            return result;
    }
    return WEIR_END;
}

/* ------------------------------------------------------------------------------------------------- following ----- */

/* Each file's offset is noted when its turn ends, and found again when it comes. */
static int next_followed(struct weir_ctx *ctx, struct file_source *self)
{
    uint64_t index = self->index;
    uint64_t offset = file_reader_offset(&self->reader);
    int result = weir_map_put(ctx, STATE_OFFSETS, &index, sizeof(index), &offset, sizeof(offset));
    if (result != WEIR_OK)
        return result;
    index = (index + 1) % self->list.count;
    size_t noted_bytes = 0;
    const void *noted = weir_map_get(ctx, STATE_OFFSETS, &index, sizeof(index), &noted_bytes);
    offset = 0;
    if (noted != NULL && noted_bytes != sizeof(offset))
        return io_fail(ctx, WEIR_ECORRUPT, "the offsets of the followed files are damaged: one takes %zu bytes", noted_bytes);
    if (noted != NULL)
        memcpy(&offset, noted, sizeof(offset));
    file_reader_close(&self->reader);
    self->index = (size_t)index;
    self->offset = offset;
    return open_file(ctx, self);
}

static int wait_for_news(struct weir_ctx *ctx, struct file_source *self)
{
    if (self->inotify_fd >= 0)
        weir_wait_fd(ctx, self->inotify_fd);
    weir_wait_ms(ctx, self->inotify_fd >= 0 ? FOLLOW_MS : FOLLOW_MS_BLIND);
    self->idle_files = 0;
    self->waited = true;
    return WEIR_IDLE;
}

/* Before reading, never after: news that come while we read must wake us. */
static void drain_news(const struct file_source *self)
{
    char events[4096];
    while (self->inotify_fd >= 0 && read(self->inotify_fd, events, sizeof(events)) > 0)
        continue;
}

static int poll_followed(struct weir_ctx *ctx, struct file_source *self, uint32_t records_max)
{
    if (self->list.count == 0)
        return WEIR_END; /* more subtasks than files */
    if (self->waited)
        drain_news(self);
    self->waited = false;
    for (;;) {
        uint32_t left = records_max;
        int result = emit_some(ctx, self, &left);
        self->idle_files = left < records_max ? 0 : self->idle_files + 1;
        records_max = left;
        if (result != WEIR_END)
            return result;
        result = file_reader_check_size(ctx, &self->reader);
        if (result == WEIR_OK)
            result = file_reader_check_name(ctx, &self->reader);
        if (result == WEIR_OK && self->list.count > 1)
            result = next_followed(ctx, self);
        if (result != WEIR_OK)
            return result;
        if (self->idle_files >= self->list.count)
            return wait_for_news(ctx, self);
    }
}

/* ------------------------------------------------------------------------------------------------- callbacks ----- */

static int poll_source(struct weir_ctx *ctx, uint32_t records_max)
{
    struct file_source *self = weir_self(ctx);
    return self->options.follow ? poll_followed(ctx, self, records_max) : poll_bounded(ctx, self, records_max);
}

static int position_of(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct file_source *self = weir_self(ctx);
    struct file_position p = {.index = self->index, .offset = self->offset};
    if (self->reader.fd >= 0)
        p.offset = file_reader_offset(&self->reader);
    memcpy(buffer, &p, sizeof(p));
    *ret_size_bytes = sizeof(p);
    return WEIR_OK;
}

static int on_committed(struct weir_ctx *ctx, uint64_t checkpoint, const void *position, size_t position_bytes)
{
    (void)checkpoint;
    (void)position;
    (void)position_bytes;
    struct file_source *self = weir_self(ctx);
    if (self->published)
        file_list_unpublish(ctx);
    self->published = false;
    return WEIR_OK;
}

static void close_source(struct weir_ctx *ctx)
{
    struct file_source *self = weir_self(ctx);
    file_reader_close(&self->reader);
    if (self->inotify_fd >= 0)
        close(self->inotify_fd);
    file_list_free(&self->list);
    free(self->reader.buffer);
    self->reader.buffer = NULL;
    self->inotify_fd = -1;
}

const struct weir_source weir_file_source = {
    .type = "file",
    .states = file_source_states,
    .state_count = sizeof(file_source_states) / sizeof(file_source_states[0]),
    .self_bytes = sizeof(struct file_source),
    .open = open_source,
    .poll = poll_source,
    .position = position_of,
    .on_committed = on_committed,
    .close = close_source,
};
