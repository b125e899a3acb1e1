/*
 * stdout_sink.c - rows on standard output, held back until their checkpoint commits.
 *
 * Rows wait in staged files (io/staging.h) in connectors/<operator>/ of the job's directory; commit prints them and
 * removes the file. Beside a file that is being printed, <staged>.printed holds how far that is, noted after each piece
 * of whole rows: after a kill at most one piece (4 KiB, or one row that is longer) is printed twice.
 *
 * Without a job directory there is nowhere to hold rows back: they are printed at the end of each batch, at least once.
 */
#include "connectors/io/io.h"
#include "connectors/io/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)4096) /* PIPE_BUF: a pipe takes it whole or not at all */
#define ROLL_BYTES (UINT64_C(16) << 20)

struct stdout_sink {
    struct staging staging; /* first */
    bool direct; /* no job directory */
    char directory[IO_PATH_BYTES];
    char piece[PIECE_BYTES];
};

/* Writes to standard output, waiting where it was made non-blocking by somebody. */
static int print(struct weir_ctx *ctx, const char *data, size_t size_bytes)
{
    size_t done = 0;
    while (done < size_bytes) {
        done += io_write_all(STDOUT_FILENO, data + done, size_bytes - done);
        if (done == size_bytes)
            break;
        struct pollfd writable = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (errno == EAGAIN)
            poll(&writable, 1, -1);
        else if (errno == EPIPE)
            return io_fail(ctx, WEIR_EFINAL, "standard output was closed by its reader");
        else
            return io_fail_errno(ctx, errno, "cannot write to standard output");
    }
    return WEIR_OK;
}

static int print_row(struct weir_ctx *ctx, struct staging *s, const struct weir_record *record)
{
    if (s->format == WEIR_RAW)
        return print(ctx, record->data, record->size_bytes);
    size_t size = staging_format_row(s, record, (char *)s->buffer, s->capacity - 1);
    if (size >= s->capacity) {
        unsigned char *larger = realloc(s->buffer, size + 1);
        if (larger == NULL)
            return io_fail(ctx, WEIR_ENOMEM, "out of memory for a row of %zu bytes", size);
        s->buffer = larger;
        s->capacity = size + 1;
        size = staging_format_row(s, record, (char *)s->buffer, size);
    }
    s->buffer[size] = '\n';
    return print(ctx, (const char *)s->buffer, size + 1);
}

static int write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct stdout_sink *self = weir_self(ctx);
    if (!self->direct)
        return staging_write(ctx, &self->staging, records, count);
    int result = WEIR_OK;
    for (size_t i = 0; i < count && result == WEIR_OK; i++)
        result = print_row(ctx, &self->staging, &records[i]);
    return result;
}

/* A staged file that is missing was printed: nobody else has business in the job's directory. */
static bool was_printed(const struct staging *s, uint64_t number)
{
    (void)s;
    (void)number;
    return true;
}

/* How much of a piece to print at once: up to its last line end, so that what is printed twice is whole rows. */
static size_t whole_rows(const struct stdout_sink *self, size_t size_bytes)
{
    const char *end = self->staging.format == WEIR_RAW ? NULL : memrchr(self->piece, '\n', size_bytes);
    return end != NULL ? (size_t)(end - self->piece) + 1 : size_bytes;
}

static int print_file(struct weir_ctx *ctx, struct stdout_sink *self, int fd, int progress_fd)
{
    uint64_t printed = 0;
    if (io_pread_all(progress_fd, &printed, sizeof(printed), 0) != (ssize_t)sizeof(printed))
        printed = 0;
    for (;;) {
        ssize_t n = io_pread_all(fd, self->piece, PIECE_BYTES, printed);
        if (n < 0)
            return io_fail_errno(ctx, errno, "cannot read held-back rows in %s at offset %llu", self->directory,
                                 (unsigned long long)printed);
        if (n == 0)
            return WEIR_OK;
        size_t size = whole_rows(self, (size_t)n);
        int result = print(ctx, self->piece, size);
        if (result != WEIR_OK)
            return result;
        printed += size;
        if (io_pwrite_all(progress_fd, &printed, sizeof(printed), 0) != sizeof(printed))
            return io_fail_errno(ctx, errno, "cannot note what was printed in %s", self->directory);
    }
}

static int finish_rows(struct weir_ctx *ctx, struct staging *s, uint64_t number, const char *staged)
{
    (void)number;
    struct stdout_sink *self = (struct stdout_sink *)s; /* its first member */
    char progress[STAGING_NAME_BYTES + 16];
    snprintf(progress, sizeof(progress), "%s.printed", staged);
    int fd = openat(s->directory_fd, staged, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return WEIR_OK; /* printed before */
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot open %s/%s", s->directory, staged);
    int progress_fd = openat(s->directory_fd, progress, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    int result = progress_fd < 0 ? io_fail_errno(ctx, errno, "cannot make %s/%s", s->directory, progress)
                                 : print_file(ctx, self, fd, progress_fd);
    if (result == WEIR_OK && unlinkat(s->directory_fd, staged, 0) != 0)
        result = io_fail_errno(ctx, errno, "cannot remove %s/%s", s->directory, staged);
    if (result == WEIR_OK)
        unlinkat(s->directory_fd, progress, 0); /* left over, it does no harm until the next abort removes it */
    if (progress_fd >= 0)
        close(progress_fd);
    close(fd);
    return result;
}

/* A reader that has gone is a failure to report, not a signal that kills the task at every restart. */
static void ignore_broken_pipes(void)
{
    struct sigaction old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static int open_sink(struct weir_ctx *ctx)
{
    struct stdout_sink *self = weir_self(ctx);
    const struct weir_stdout_sink_options *options = weir_arg(ctx);
    struct staging *s = &self->staging;
    s->fd = s->directory_fd = -1;
    if (options != NULL && options->format > WEIR_RAW)
        return io_fail(ctx, WEIR_EINVAL, "the stdout sink has no format %d", (int)options->format);
    ignore_broken_pipes();
    int result = io_open_job_directory(ctx, self->directory, &s->directory_fd);
    if (result != WEIR_OK)
        return result;
    self->direct = s->directory_fd < 0;
    if (self->direct)
        weir_log(ctx, "the job has no directory: rows are printed at once, and again after a crash");
    s->finish = finish_rows;
    s->is_finished = was_printed;
    s->directory = self->directory;
    s->prefix = "rows";
    s->roll_bytes = ROLL_BYTES;
    s->format = options != NULL ? options->format : WEIR_TEXT_LINES;
    return staging_open(ctx, s);
}

static int resume_sink(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    const struct stdout_sink *self = weir_self(ctx);
    int result = open_sink(ctx);
    return result != WEIR_OK || self->direct ? result : staging_resume(ctx, position, position_bytes);
}

const struct weir_sink weir_stdout_sink = {
    .type = "stdout",
    .states = staging_states,
    .state_count = STAGING_STATE_COUNT,
    .self_bytes = sizeof(struct stdout_sink),
    .open = open_sink,
    .write_batch = write_batch,
    .flush = staging_flush,
    .prepare = staging_prepare,
    .persist = staging_persist,
    .commit = staging_commit,
    .abort = staging_abort,
    .close = staging_close,
    .position = staging_position,
    .resume = resume_sink,
    .commits_late = true,
};
