#include "engine/event_log.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/event_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    const char *help;
} event_table[] = {
#define EVENT_ROW(id, name, help) {name, help},
    EVENT_TABLE(EVENT_ROW)
#undef EVENT_ROW
};

const char *event_name(unsigned kind) { return kind < EVENT_KIND_COUNT ? event_table[kind].name : NULL; }

const char *event_help(unsigned kind) { return kind < EVENT_KIND_COUNT ? event_table[kind].help : NULL; }

void event_file_name(unsigned age, char name[EVENT_FILE_NAME_BYTES])
{
    if (age == 0)
        snprintf(name, EVENT_FILE_NAME_BYTES, "events.jsonl");
    else
        snprintf(name, EVENT_FILE_NAME_BYTES, "events.%u.jsonl", age);
}

static int open_current(int directory_fd)
{
    char name[EVENT_FILE_NAME_BYTES];
    event_file_name(0, name);
    return openat(directory_fd, name, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
}

/* Whether the last byte of the file is something else than a line end: the trace of a process killed while writing. */
static bool ends_torn(int fd)
{
    struct stat status;
    char last = '\n';
    if (fstat(fd, &status) != 0 || status.st_size == 0)
        return false;
    return pread(fd, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

int event_log_open(struct event_log *log, int directory_fd, struct weir_error *err)
{
    struct stat status;
    int own_fd = fcntl(directory_fd, F_DUPFD_CLOEXEC, 3);
    if (own_fd < 0)
        return error_set_errno(err, errno, "event log: cannot duplicate the directory's descriptor");
    int fd = open_current(own_fd);
    int code = WEIR_OK;
    if (fd < 0)
        code = error_set_errno(err, errno, "event log: cannot open events.jsonl in the checkpoint directory");
    else if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        code = error_set(err, WEIR_EINVAL, "event log: events.jsonl is not a regular file: move it away");
    if (code != WEIR_OK) {
        close(own_fd);
        if (fd >= 0)
            close(fd);
        return code;
    }
    *log = (struct event_log){.directory_fd = own_fd, .fd = fd, .file_bytes_max = EVENT_LOG_FILE_BYTES, .torn = ends_torn(fd)};
    return WEIR_OK;
}

void event_log_close(struct event_log *log)
{
    if (log->fd >= 0) {
        close(log->fd);
        close(log->directory_fd);
    }
    log->fd = -1;
    log->directory_fd = -1;
}

/* ------------------------------------------------------------------------------------------------ rotation ------- */

/* Whether log->fd is what events.jsonl names: another process may have rotated it away. */
static bool is_current(const struct event_log *log)
{
    char name[EVENT_FILE_NAME_BYTES];
    struct stat mine, named;
    event_file_name(0, name);
    return fstat(log->fd, &mine) == 0 && fstatat(log->directory_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

static void reopen(struct event_log *log)
{
    int fd = open_current(log->directory_fd);
    if (fd < 0)
        return; /* goes on in the old file: no event is lost */
    close(log->fd);
    log->fd = fd;
    log->torn = ends_torn(fd);
}

/* events.2 -> events.3, events.1 -> events.2, events -> events.1. A kill between two renames leaves a gap in the numbers, which
 * the reader passes over and the next rotation closes. */
static void shift_files(int directory_fd)
{
    for (unsigned age = EVENT_LOG_FILE_COUNT - 1; age >= 1; age--) {
        char from[EVENT_FILE_NAME_BYTES], to[EVENT_FILE_NAME_BYTES];
        event_file_name(age - 1, from);
        event_file_name(age, to);
        if (renameat(directory_fd, from, directory_fd, to) != 0 && errno != ENOENT)
            return;
    }
}

/* Of several processes that find the file full one rotates; it holds the lock of the file that it moves away. Returns false where the
 * file is full and must not grow further. */
static bool rotate_if_full(struct event_log *log)
{
    struct stat status;
    if (fstat(log->fd, &status) != 0 || (uint64_t)status.st_size < log->file_bytes_max)
        return true;
    if (!is_current(log)) {
        reopen(log);
        return true;
    }
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0)
        return (uint64_t)status.st_size < 2 * log->file_bytes_max;
    if (is_current(log))
        shift_files(log->directory_fd);
    flock(log->fd, LOCK_UN);
    reopen(log);
    return true;
}

/* ------------------------------------------------------------------------------------------------ appending ------ */

const char *event_time_format(int64_t time_ms, char *buffer, size_t capacity)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char text[EVENT_TIME_BYTES] = "?";
    if (time_ms >= 0 && gmtime_r(&seconds, &parts) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(buffer, capacity, "%s.%03dZ", text, (int)(time_ms % 1000));
    return buffer;
}

/* ".123" -> 123; moves *text behind it. */
static unsigned parse_milliseconds(const char **text)
{
    const char *at = *text;
    if (at[0] != '.' || !isdigit((unsigned char)at[1]) || !isdigit((unsigned char)at[2]) || !isdigit((unsigned char)at[3]))
        return 0;
    *text += 4;
    return (unsigned)((at[1] - '0') * 100 + (at[2] - '0') * 10 + (at[3] - '0'));
}

int event_time_parse(const char *text, int64_t *ret_time_ms, struct weir_error *err)
{
    struct tm parts = {0};
    unsigned ms = 0;
    const char *at = strptime(text, "%Y-%m-%d", &parts);
    if (at != NULL && *at == 'T') {
        at = strptime(at + 1, "%H:%M:%S", &parts);
        if (at != NULL)
            ms = parse_milliseconds(&at);
        if (at != NULL && *at == 'Z')
            at++;
    }
    if (at == NULL || *at != 0 || parts.tm_year < 70)
        return error_set(err, WEIR_EINVAL, "'%s' is no time: it is written 2026-01-31T12:00:00Z", text);
    *ret_time_ms = (int64_t)timegm(&parts) * 1000 + ms;
    return WEIR_OK;
}

/* The line's object: time and event first, then the fields. Takes no reference of fields. */
static json_t *event_object(enum event_kind kind, json_t *fields)
{
    char time[EVENT_TIME_BYTES];
    json_t *event = json_pack("{s:s, s:s}", "time", event_time_format(clock_wall_ms(), time, sizeof time), "event", event_name(kind));
    if (event != NULL && fields != NULL && json_object_update_missing(event, fields) != 0) {
        json_decref(event);
        return NULL;
    }
    return event;
}

/* "\n" of an earlier torn line, the object, "\n"; to be freed. NULL when out of memory, or too long. */
static char *event_line(const struct event_log *log, enum event_kind kind, json_t *fields, size_t *ret_size_bytes)
{
    json_t *event = event_object(kind, fields);
    if (event == NULL)
        return NULL;
    size_t needed = json_dumpb(event, NULL, 0, JSON_COMPACT | JSON_PRESERVE_ORDER);
    char *line = needed > 0 && needed <= EVENT_LOG_LINE_BYTES_MAX ? malloc(needed + 2) : NULL;
    size_t used = 0;
    if (line != NULL) {
        if (log->torn)
            line[used++] = '\n';
        used += json_dumpb(event, line + used, needed, JSON_COMPACT | JSON_PRESERVE_ORDER);
        line[used++] = '\n';
    }
    json_decref(event);
    *ret_size_bytes = used;
    return line;
}

static int write_line(struct event_log *log, const char *line, size_t size_bytes)
{
    ssize_t written;
    do
        written = write(log->fd, line, size_bytes);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return error_from_errno(errno);
    log->torn = (size_t)written < size_bytes;
    return log->torn ? WEIR_ENOSPC : WEIR_OK;
}

int event_log_append(struct event_log *log, enum event_kind kind, json_t *fields)
{
    size_t size_bytes = 0;
    int code = WEIR_OK;
    if (log->fd < 0) {
        json_decref(fields);
        return WEIR_OK;
    }
    char *line = event_line(log, kind, fields, &size_bytes);
    json_decref(fields);
    if (line == NULL) {
        json_t *cut = json_pack("{s:b}", "cut", 1);
        line = event_line(log, kind, cut, &size_bytes);
        json_decref(cut);
    }
    if (line == NULL)
        code = WEIR_ENOMEM;
    else if (!rotate_if_full(log))
        code = WEIR_ELIMIT;
    else
        code = write_line(log, line, size_bytes);
    free(line);
    return code;
}
