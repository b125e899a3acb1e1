#include "base/error.h"
#include "engine/event_file.h"
#include "engine/event_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX (2u * EVENT_LOG_LINE_BYTES_MAX)

struct event_reader {
    struct event_filter filter;
    int directory_fd;
    int fd; /* -1: between two files */
    struct stat file; /* of fd */
    uint64_t skipped;
    size_t begin, end; /* what is buffered and not yet taken */
    bool overlong;     /* in the middle of a line that did not fit */
    bool rotated;      /* fd was seen to be an old file before its end was reached */
    char buffer[LINE_BYTES_MAX];
};

static int open_file(const struct event_reader *reader, unsigned age, struct stat *ret_status)
{
    char name[EVENT_FILE_NAME_BYTES];
    event_file_name(age, name);
    int fd = openat(reader->directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, ret_status) != 0 || !S_ISREG(ret_status->st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool enter_file(struct event_reader *reader, unsigned age)
{
    struct stat status;
    int fd = open_file(reader, age, &status);
    if (fd < 0)
        return false;
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = fd;
    reader->file = status;
    reader->begin = reader->end = 0;
    reader->overlong = false;
    reader->rotated = false;
    return true;
}

/* The oldest file that is younger than `age`. */
static bool enter_younger_than(struct event_reader *reader, unsigned age)
{
    while (age-- > 0)
        if (enter_file(reader, age))
            return true;
    return false;
}

/* Where the file of fd is now; EVENT_LOG_FILE_COUNT when it was rotated out altogether. */
static unsigned current_age(const struct event_reader *reader)
{
    unsigned age = 0;
    for (; age < EVENT_LOG_FILE_COUNT; age++) {
        char name[EVENT_FILE_NAME_BYTES];
        struct stat status;
        event_file_name(age, name);
        if (fstatat(reader->directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_ino == reader->file.st_ino &&
            status.st_dev == reader->file.st_dev)
            break;
    }
    return age;
}

/* At the end of a file. An old one is read once more before it is left: its last lines may have come between our read and its
 * rotation. Returns false at the end of the youngest. */
static bool advance_file(struct event_reader *reader)
{
    unsigned age = current_age(reader);
    if (age == 0)
        return false;
    if (!reader->rotated) {
        reader->rotated = true;
        return true;
    }
    bool torn = reader->end > reader->begin;
    if (!enter_younger_than(reader, age))
        return false;
    reader->skipped += torn;
    return true;
}

int event_reader_open(const char *directory, const struct event_filter *filter, struct event_reader **ret_reader,
                      struct weir_error *err)
{
    struct event_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return error_set(err, WEIR_ENOMEM, "event log: out of memory");
    reader->fd = -1;
    if (filter != NULL)
        reader->filter = *filter;
    reader->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = WEIR_OK;
    if (reader->directory_fd < 0)
        code = error_set_errno(err, errno, "event log: cannot open the directory '%s'", directory);
    else if (!enter_younger_than(reader, EVENT_LOG_FILE_COUNT))
        code = error_set(err, WEIR_ENOENT, "event log: there is no events.jsonl in '%s': no job has run there", directory);
    if (code != WEIR_OK) {
        event_reader_close(reader);
        return code;
    }
    *ret_reader = reader;
    return WEIR_OK;
}

void event_reader_close(struct event_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->fd >= 0)
        close(reader->fd);
    if (reader->directory_fd >= 0)
        close(reader->directory_fd);
    free(reader);
}

uint64_t event_reader_skipped(const struct event_reader *reader) { return reader->skipped; }

/* More bytes behind those that are buffered; 0 at the end of the file. */
static ssize_t fill_buffer(struct event_reader *reader)
{
    memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
    reader->end -= reader->begin;
    reader->begin = 0;
    if (reader->end == sizeof reader->buffer) { /* no line end in all of it: drop it, and what follows up to the next */
        reader->overlong = true;
        reader->end = 0;
    }
    ssize_t got = read(reader->fd, reader->buffer + reader->end, sizeof reader->buffer - reader->end);
    if (got > 0)
        reader->end += (size_t)got;
    return got;
}

/* A whole line with its end cut off, or WEIR_END at the end of the youngest file. A last line without an end stays unread:
 * its writer may be at it; once the file is rotated away it is torn. */
static int next_line(struct event_reader *reader, char **ret_line, size_t *ret_size_bytes, struct weir_error *err)
{
    for (;;) {
        char *from = reader->buffer + reader->begin;
        char *line_end = memchr(from, '\n', reader->end - reader->begin);
        if (line_end != NULL) {
            reader->begin += (size_t)(line_end - from) + 1;
            if (reader->overlong) {
                reader->overlong = false;
                reader->skipped++;
                continue;
            }
            *ret_line = from;
            *ret_size_bytes = (size_t)(line_end - from);
            return WEIR_OK;
        }
        ssize_t got = fill_buffer(reader);
        if (got < 0 && errno != EINTR)
            return error_set_errno(err, errno, "event log: cannot read");
        if (got == 0 && !advance_file(reader))
            return WEIR_END;
    }
}

static bool passes(const struct event_filter *filter, const char *time, const char *event)
{
    int64_t time_ms = 0;
    if (filter->event != NULL && strcmp(filter->event, event) != 0)
        return false;
    return filter->since_ms == 0 || event_time_parse(time, &time_ms, NULL) != WEIR_OK || time_ms >= filter->since_ms;
}

int event_reader_next(struct event_reader *reader, json_t **ret_event, struct weir_error *err)
{
    char *line = NULL;
    size_t size_bytes = 0;
    int code;
    while ((code = next_line(reader, &line, &size_bytes, err)) == WEIR_OK) {
        const char *time = NULL, *event = NULL;
        json_t *object = json_loadb(line, size_bytes, JSON_REJECT_DUPLICATES, NULL);
        if (object == NULL || json_unpack(object, "{s:s, s:s}", "time", &time, "event", &event) != 0)
            reader->skipped += size_bytes > 0;
        else if (passes(&reader->filter, time, event)) {
            *ret_event = object;
            return WEIR_OK;
        }
        json_decref(object);
    }
    return code;
}
