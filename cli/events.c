/* `events`: the event log, old files first. */
#include "base/clock.h"
#include "cli/cli.h"
#include "engine/event_log.h"
#include "engine/option_value.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_MAX 1000000
#define FOLLOW_MS 200
#define EVENT_COLUMNS 26

struct query {
    char directory[PATH_MAX];
    struct event_filter filter;
    size_t limit; /* SIZE_MAX: all */
    bool follow;
    bool as_json;
};

struct kept {
    json_t *event; /* owned; NULL: none yet */
};

/* The last `limit` events, in a ring. */
struct tail {
    struct kept *events;
    size_t capacity;
    size_t count; /* ever added */
};

static int parse_event(const char *text, struct weir_error *err)
{
    const char *names[EVENT_KIND_COUNT];
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++) {
        names[i] = event_name(i);
        if (strcmp(names[i], text) == 0)
            return WEIR_OK;
    }
    const char *nearest = nearest_word(text, names, EVENT_KIND_COUNT);
    error_set(err, WEIR_EINVAL, "--event: there is no event '%s'", text);
    if (nearest != NULL)
        return error_append(err, ": did you mean '%s'?", nearest);
    error_append(err, ": it takes one of");
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++)
        error_append(err, "%s %s", i == 0 ? "" : ",", names[i]);
    return WEIR_EINVAL;
}

/* A time, or a span before now. */
static int parse_since(const char *text, int64_t *ret_since_ms, struct weir_error *err)
{
    int64_t span_ns = 0;
    if (value_duration(text, &span_ns, NULL) == WEIR_OK) {
        *ret_since_ms = clock_wall_ms() - span_ns / NS_PER_MS;
        return WEIR_OK;
    }
    if (event_time_parse(text, ret_since_ms, NULL) == WEIR_OK)
        return WEIR_OK;
    return error_set(err, WEIR_EINVAL, "--since: '%s' is not accepted: it takes a time such as 2026-01-31T12:00:00Z, or a span such as 10min",
                     text);
}

static int parse_limit(const char *text, size_t *ret_limit, struct weir_error *err)
{
    uint64_t limit = 0;
    if (value_count(text, &limit, NULL) != WEIR_OK || limit == 0 || limit > LIMIT_MAX)
        return error_set(err, WEIR_EINVAL, "--limit: '%s' is not accepted: it takes a number from 1 to %d", text, LIMIT_MAX);
    *ret_limit = (size_t)limit;
    return WEIR_OK;
}

static int parse_query(const struct cli *cli, const struct arguments *arguments, struct query *query, struct weir_error *err)
{
    const char *event = arguments_value(arguments, "event");
    const char *since = arguments_value(arguments, "since");
    const char *limit = arguments_value(arguments, "limit");
    *query = (struct query){.limit = SIZE_MAX, .filter.event = event, .follow = arguments_has(arguments, "follow"),
                            .as_json = arguments_has(arguments, "json")};
    int code = event != NULL ? parse_event(event, err) : WEIR_OK;
    if (code == WEIR_OK && since != NULL)
        code = parse_since(since, &query->filter.since_ms, err);
    if (code == WEIR_OK && limit != NULL)
        code = parse_limit(limit, &query->limit, err);
    return code == WEIR_OK ? target_find(cli, arguments, true, query->directory, err) : code;
}

/* ------------------------------------------------------------------------------------------------ printing ------- */

/* Whatever the file holds, it gives no orders to a terminal. */
static void print_safely(const char *text)
{
    for (; *text != 0; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void print_field(const char *key, const json_t *value)
{
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar(' ');
    print_safely(key);
    putchar('=');
    print_safely(json_is_string(value) ? json_string_value(value) : text != NULL ? text : "?");
    free(text);
}

static void print_event(json_t *event, bool as_json)
{
    const char *key;
    json_t *value;
    if (as_json) {
        char *line = json_dumps(event, JSON_COMPACT | JSON_PRESERVE_ORDER);
        puts(line != NULL ? line : "{}");
        free(line);
        return;
    }
    const char *name = json_string_value(json_object_get(event, "event"));
    print_safely(json_string_value(json_object_get(event, "time")));
    putchar(' ');
    print_safely(name);
    for (size_t column = strlen(name); column < EVENT_COLUMNS; column++)
        putchar(' ');
    json_object_foreach(event, key, value)
        if (strcmp(key, "time") != 0 && strcmp(key, "event") != 0)
            print_field(key, value);
    putchar('\n');
}

static int keep(struct tail *tail, json_t *event, struct weir_error *err)
{
    if (tail->events == NULL && (tail->events = calloc(tail->capacity, sizeof *tail->events)) == NULL)
        return error_set(err, WEIR_ENOMEM, "events: out of memory");
    struct kept *slot = &tail->events[tail->count++ % tail->capacity];
    json_decref(slot->event);
    slot->event = event;
    return WEIR_OK;
}

static void print_tail(struct tail *tail, bool as_json)
{
    size_t first = tail->count > tail->capacity ? tail->count - tail->capacity : 0;
    for (size_t i = first; i < tail->count; i++) {
        print_event(tail->events[i % tail->capacity].event, as_json);
        json_decref(tail->events[i % tail->capacity].event);
    }
    free(tail->events);
    *tail = (struct tail){0};
}

/* Says once of each line that is left out. */
static void report_skipped(const struct cli *cli, const struct event_reader *reader, uint64_t *reported)
{
    uint64_t skipped = event_reader_skipped(reader);
    if (skipped > *reported)
        fprintf(stderr, "%s: events: %llu lines could not be read: torn by a crash, or damaged\n", cli->program,
                (unsigned long long)(skipped - *reported));
    *reported = skipped;
}

/* Until the time is over; false where nobody reads standard output any more. */
static bool wait_for_news(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};
    return poll(&output, 1, FOLLOW_MS) <= 0 || (output.revents & (POLLERR | POLLHUP)) == 0;
}

static int follow(const struct cli *cli, const struct query *query, struct event_reader *reader, uint64_t *reported,
                  struct weir_error *err)
{
    int code = WEIR_END;
    bool has_reader = true;
    while (code >= 0 && fflush(stdout) == 0 && has_reader) {
        json_t *event = NULL;
        code = event_reader_next(reader, &event, err);
        if (code == WEIR_OK)
            print_event(event, query->as_json);
        else
            has_reader = wait_for_news();
        report_skipped(cli, reader, reported);
        json_decref(event);
    }
    return code;
}

static int show(const struct cli *cli, const struct query *query, struct event_reader *reader, struct weir_error *err)
{
    struct tail tail = {.capacity = query->limit};
    uint64_t reported = 0;
    json_t *event = NULL;
    int code;
    while ((code = event_reader_next(reader, &event, err)) == WEIR_OK) {
        if (query->limit == SIZE_MAX) {
            print_event(event, query->as_json);
            json_decref(event);
        } else if (keep(&tail, event, err) != WEIR_OK) {
            json_decref(event);
            code = err->code;
            break;
        }
    }
    print_tail(&tail, query->as_json);
    report_skipped(cli, reader, &reported);
    return code == WEIR_END && query->follow ? follow(cli, query, reader, &reported, err) : code;
}

int events_command(const struct cli *cli, const struct arguments *arguments)
{
    struct query query;
    struct event_reader *reader = NULL;
    struct weir_error err = {0};
    int code = parse_query(cli, arguments, &query, &err);
    if (code == WEIR_OK)
        code = event_reader_open(query.directory, &query.filter, &reader, &err);
    if (code == WEIR_OK)
        code = show(cli, &query, reader, &err);
    event_reader_close(reader);
    return code < 0 ? print_failure(cli, &err) : EXIT_DONE;
}
