#include "engine/event_log.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[SCRATCH_PATH_BYTES];
static int directory_fd;
static struct event_log events;
static struct weir_error failure;

static void setup(void)
{
    scratch_make("event-log", directory);
    directory_fd = open(directory, O_RDONLY | O_DIRECTORY);
    cr_assert_eq(event_log_open(&events, directory_fd, &failure), WEIR_OK, "%s", failure.text);
}

static void teardown(void)
{
    event_log_close(&events);
    close(directory_fd);
    scratch_remove(directory);
}

TestSuite(event_log, .init = setup, .fini = teardown);

static void append_number(int number)
{
    cr_assert_eq(event_log_append(&events, EVENT_CHECKPOINT_COMPLETED, json_pack("{s:i}", "checkpoint", number)), WEIR_OK);
}

/* Bytes straight into the file, as a crash or a stranger would leave them. */
static void write_raw(const char *name, const char *bytes)
{
    int fd = openat(directory_fd, name, O_WRONLY | O_APPEND | O_CREAT, 0600);
    cr_assert_eq(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
    close(fd);
}

static struct event_reader *reader_of(const struct event_filter *filter)
{
    struct event_reader *reader = NULL;
    cr_assert_eq(event_reader_open(directory, filter, &reader, &failure), WEIR_OK, "%s", failure.text);
    return reader;
}

/* The "checkpoint" of the next event, -1 at the end. */
static long next_number(struct event_reader *reader)
{
    json_t *event = NULL;
    json_int_t number = -2;
    int code = event_reader_next(reader, &event, &failure);
    if (code != WEIR_OK) {
        cr_assert_eq(code, WEIR_END, "%s", failure.text);
        return -1;
    }
    json_unpack(event, "{s:I}", "checkpoint", &number);
    json_decref(event);
    return (long)number;
}

Test(event_log, a_line_is_one_object_with_time_and_event_first)
{
    char line[256];
    append_number(7);
    int fd = openat(directory_fd, "events.jsonl", O_RDONLY);
    ssize_t got = read(fd, line, sizeof line - 1);
    close(fd);
    cr_assert_gt(got, 0);
    line[got] = 0;
    cr_assert_eq(line[got - 1], '\n');
    cr_assert_eq(strncmp(line, "{\"time\":\"2", 10), 0, "%s", line);
    cr_assert_not_null(strstr(line, "Z\",\"event\":\"checkpoint_completed\",\"checkpoint\":7}\n"), "%s", line);
}

Test(event_log, the_file_is_for_its_owner_alone)
{
    struct stat status;
    cr_assert_eq(fstatat(directory_fd, "events.jsonl", &status, 0), 0);
    cr_assert_eq(status.st_mode & 0777, 0600);
}

Test(event_log, it_survives_being_closed_and_opened)
{
    append_number(1);
    event_log_close(&events);
    cr_assert_eq(event_log_open(&events, directory_fd, &failure), WEIR_OK);
    append_number(2);
    struct event_reader *reader = reader_of(NULL);
    cr_assert_eq(next_number(reader), 1);
    cr_assert_eq(next_number(reader), 2);
    cr_assert_eq(next_number(reader), -1);
    event_reader_close(reader);
}

Test(event_log, a_line_torn_by_a_crash_is_ended_and_the_next_one_is_whole)
{
    append_number(1);
    event_log_close(&events);
    write_raw("events.jsonl", "{\"time\":\"2026-01-31T12:00:00.000Z\",\"event\":\"chec");
    cr_assert_eq(event_log_open(&events, directory_fd, &failure), WEIR_OK);
    append_number(2);
    struct event_reader *reader = reader_of(NULL);
    cr_assert_eq(next_number(reader), 1);
    cr_assert_eq(next_number(reader), 2);
    cr_assert_eq(next_number(reader), -1);
    cr_assert_eq(event_reader_skipped(reader), 1);
    event_reader_close(reader);
}

Test(event_log, opening_and_closing_a_torn_log_without_an_event_adds_nothing)
{
    struct stat before, after;
    event_log_close(&events);
    write_raw("events.jsonl", "half");
    fstatat(directory_fd, "events.jsonl", &before, 0);
    cr_assert_eq(event_log_open(&events, directory_fd, &failure), WEIR_OK);
    fstatat(directory_fd, "events.jsonl", &after, 0);
    cr_assert_eq(before.st_size, after.st_size);
}

Test(event_log, a_line_that_is_still_being_written_is_not_read)
{
    append_number(1);
    struct event_reader *reader = reader_of(NULL);
    cr_assert_eq(next_number(reader), 1);
    write_raw("events.jsonl", "{\"time\":\"2026-01-31T12:00:00.000Z\",\"event\":\"x\",");
    cr_assert_eq(next_number(reader), -1);
    write_raw("events.jsonl", "\"checkpoint\":9}\n");
    cr_assert_eq(next_number(reader), 9);
    cr_assert_eq(event_reader_skipped(reader), 0);
    event_reader_close(reader);
}

Test(event_log, what_is_no_event_is_skipped_and_counted)
{
    write_raw("events.jsonl", "nonsense\n[]\n{}\n{\"time\":1,\"event\":2}\n\"x\"\n{\"time\":\"t\"}\n\n\xff\xfe\n");
    append_number(5);
    struct event_reader *reader = reader_of(NULL);
    cr_assert_eq(next_number(reader), 5);
    cr_assert_eq(next_number(reader), -1);
    cr_assert_eq(event_reader_skipped(reader), 7, "an empty line is no damage: %llu", (unsigned long long)event_reader_skipped(reader));
    event_reader_close(reader);
}

Test(event_log, a_line_longer_than_any_event_is_skipped)
{
    char *line = malloc(400001);
    memset(line, 'x', 400000);
    line[400000] = 0;
    write_raw("events.jsonl", line);
    write_raw("events.jsonl", "\n");
    free(line);
    append_number(5);
    struct event_reader *reader = reader_of(NULL);
    cr_assert_eq(next_number(reader), 5);
    cr_assert_eq(event_reader_skipped(reader), 1);
    event_reader_close(reader);
}

Test(event_log, rotation_keeps_the_youngest_in_order_and_bounds_the_size)
{
    enum { COUNT = 2000 };
    events.file_bytes_max = 8192;
    for (int i = 0; i < COUNT; i++)
        append_number(i);
    uint64_t total = 0;
    for (unsigned age = 0; age < 6; age++) {
        char name[32];
        struct stat status;
        snprintf(name, sizeof name, age == 0 ? "events.jsonl" : "events.%u.jsonl", age);
        bool exists = fstatat(directory_fd, name, &status, 0) == 0;
        cr_assert_eq(exists, age < EVENT_LOG_FILE_COUNT, "%s", name);
        total += exists ? (uint64_t)status.st_size : 0;
    }
    cr_assert_leq(total, EVENT_LOG_FILE_COUNT * (8192 + 256));
    struct event_reader *reader = reader_of(NULL);
    long first = next_number(reader), last = first, number;
    for (; (number = next_number(reader)) != -1; last = number)
        cr_assert_eq(number, last + 1);
    cr_assert_eq(last, COUNT - 1);
    cr_assert_gt(first, 0, "old events were dropped");
    event_reader_close(reader);
}

Test(event_log, a_reader_follows_across_rotations)
{
    events.file_bytes_max = 4096;
    append_number(0);
    struct event_reader *reader = reader_of(NULL);
    long expected = 0;
    for (int i = 1; i < 500; i++) {
        append_number(i);
        if (i % 7 == 0)
            for (long number; (number = next_number(reader)) != -1; expected++)
                cr_assert_eq(number, expected);
    }
    for (long number; (number = next_number(reader)) != -1; expected++)
        cr_assert_eq(number, expected);
    cr_assert_eq(expected, 500);
    event_reader_close(reader);
}

Test(event_log, several_processes_write_whole_lines_through_rotations)
{
    enum { WRITERS = 4, EACH = 300 };
    for (int writer = 0; writer < WRITERS; writer++)
        if (fork() == 0) {
            struct event_log own;
            int code = event_log_open(&own, directory_fd, NULL);
            own.file_bytes_max = 64 << 10;
            for (int i = 0; i < EACH && code == WEIR_OK; i++)
                code = event_log_append(&own, EVENT_TASK_HUNG, json_pack("{s:i}", "checkpoint", writer * EACH + i));
            _exit(code == WEIR_OK ? 0 : 1);
        }
    for (int writer = 0; writer < WRITERS; writer++) {
        int status = 0;
        cr_assert_gt(wait(&status), 0);
        cr_assert_eq(status, 0);
    }
    static bool seen[WRITERS * EACH];
    struct event_reader *reader = reader_of(NULL);
    long number, count = 0;
    for (; (number = next_number(reader)) != -1; count++) {
        cr_assert(number >= 0 && number < WRITERS * EACH && !seen[number], "%ld", number);
        seen[number] = true;
    }
    cr_assert_eq(count, WRITERS * EACH);
    cr_assert_eq(event_reader_skipped(reader), 0);
    event_reader_close(reader);
}

Test(event_log, an_event_that_is_too_long_is_written_without_its_fields)
{
    char *text = malloc(EVENT_LOG_LINE_BYTES_MAX + 1);
    memset(text, 'x', EVENT_LOG_LINE_BYTES_MAX);
    text[EVENT_LOG_LINE_BYTES_MAX] = 0;
    cr_assert_eq(event_log_append(&events, EVENT_POISON_RECORD, json_pack("{s:s}", "bytes", text)), WEIR_OK);
    free(text);
    struct event_reader *reader = reader_of(NULL);
    json_t *event = NULL;
    cr_assert_eq(event_reader_next(reader, &event, &failure), WEIR_OK);
    cr_assert_str_eq(json_string_value(json_object_get(event, "event")), "poison_record");
    cr_assert(json_is_true(json_object_get(event, "cut")));
    cr_assert_null(json_object_get(event, "bytes"));
    json_decref(event);
    event_reader_close(reader);
}

Test(event_log, fields_cannot_replace_time_and_event)
{
    cr_assert_eq(event_log_append(&events, EVENT_TASK_HUNG, json_pack("{s:s, s:s}", "event", "job_failed", "time", "never")), WEIR_OK);
    struct event_reader *reader = reader_of(NULL);
    json_t *event = NULL;
    cr_assert_eq(event_reader_next(reader, &event, &failure), WEIR_OK);
    cr_assert_str_eq(json_string_value(json_object_get(event, "event")), "task_hung");
    json_decref(event);
    event_reader_close(reader);
}

Test(event_log, the_filter_takes_name_and_time)
{
    write_raw("events.jsonl", "{\"time\":\"2026-01-31T12:00:00.000Z\",\"event\":\"task_hung\",\"checkpoint\":1}\n"
                              "{\"time\":\"2026-01-31T12:00:01.500Z\",\"event\":\"task_hung\",\"checkpoint\":2}\n"
                              "{\"time\":\"2026-01-31T12:00:02.000Z\",\"event\":\"job_started\",\"checkpoint\":3}\n"
                              "{\"time\":\"2026-01-31T12:00:03.000Z\",\"event\":\"task_hung\",\"checkpoint\":4}\n");
    struct event_filter filter = {.event = "task_hung"};
    cr_assert_eq(event_time_parse("2026-01-31T12:00:01.5Z", &filter.since_ms, NULL), WEIR_EINVAL, "milliseconds have three digits");
    cr_assert_eq(event_time_parse("2026-01-31T12:00:01.500Z", &filter.since_ms, NULL), WEIR_OK);
    struct event_reader *reader = reader_of(&filter);
    cr_assert_eq(next_number(reader), 2);
    cr_assert_eq(next_number(reader), 4);
    cr_assert_eq(next_number(reader), -1);
    event_reader_close(reader);
}

Test(event_log, a_directory_without_a_log_is_said_so)
{
    struct event_reader *reader = NULL;
    unlinkat(directory_fd, "events.jsonl", 0);
    cr_assert_eq(event_reader_open(directory, NULL, &reader, &failure), WEIR_ENOENT);
    cr_assert_not_null(strstr(failure.text, directory));
    cr_assert_eq(event_reader_open("/nonexistent/x", NULL, &reader, &failure), WEIR_ENOENT);
}

Test(event_log, what_is_no_regular_file_is_refused)
{
    struct event_log other;
    unlinkat(directory_fd, "events.jsonl", 0);
    cr_assert_eq(mkfifoat(directory_fd, "events.jsonl", 0600), 0);
    cr_assert_eq(event_log_open(&other, directory_fd, &failure), WEIR_EINVAL);
    unlinkat(directory_fd, "events.jsonl", 0);
    cr_assert_eq(symlinkat("somewhere-else", directory_fd, "events.jsonl"), 0);
    cr_assert_neq(event_log_open(&other, directory_fd, &failure), WEIR_OK, "a link would lead out of the directory");
}

Test(event_log, a_log_that_is_not_open_drops_events)
{
    struct event_log none = {.fd = -1, .directory_fd = -1};
    cr_assert_eq(event_log_append(&none, EVENT_TASK_HUNG, json_pack("{s:i}", "checkpoint", 1)), WEIR_OK);
}

Test(event_log, times_are_formatted_and_parsed_back)
{
    char text[EVENT_TIME_BYTES];
    int64_t time_ms = 0;
    cr_assert_str_eq(event_time_format(1436918400123, text, sizeof text), "2015-07-15T00:00:00.123Z");
    cr_assert_eq(event_time_parse(text, &time_ms, NULL), WEIR_OK);
    cr_assert_eq(time_ms, 1436918400123);
    cr_assert_eq(event_time_parse("2015-07-15", &time_ms, NULL), WEIR_OK);
    cr_assert_eq(time_ms, 1436918400000);
    static const char *const wrong[] = {"", "yesterday", "2015-13-01", "2015-07-15T", "2015-07-15 00:00:00", "2015-07-15T00:00:00ZZ"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(event_time_parse(wrong[i], &time_ms, NULL), WEIR_EINVAL, "'%s' was taken", wrong[i]);
}

Test(event_log, every_kind_has_a_name_and_an_explanation)
{
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++)
        cr_assert(event_name(i) != NULL && event_help(i) != NULL && strlen(event_help(i)) > 5);
    cr_assert_null(event_name(EVENT_KIND_COUNT));
}
