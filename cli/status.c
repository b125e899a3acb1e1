/* `status`: what the coordinator says of itself, as tables. A field that is missing is shown as '-': the job may be of another version. */
#include "cli/cli.h"
#include "cli/table.h"
#include "engine/control.h"
#include "engine/option_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES 64

/* How a number of the answer is shown. */
enum figure { FIGURE_PLAIN, FIGURE_COUNT, FIGURE_RATE, FIGURE_BYTES, FIGURE_MS, FIGURE_US, FIGURE_PERCENT, FIGURE_MB_S, FIGURE_TEXT };

struct column {
    const char *header;
    const char *key; /* "a" */
    enum figure figure;
};

static const struct column task_columns[] = {
    {"STATE", "state", FIGURE_TEXT},
    {">PID", "pid", FIGURE_PLAIN},
    {">IN", "records_in", FIGURE_COUNT},
    {">OUT", "records_out", FIGURE_COUNT},
    {">IN/S", "rate_in", FIGURE_RATE},
    {">BUSY", "busy_pct", FIGURE_PERCENT},
    {">BLOCKED", "blocked_ms", FIGURE_MS},
    {">STATE SIZE", "state_bytes", FIGURE_BYTES},
    {">FORK", "fork_us_last", FIGURE_US},
    {">SNAPSHOT", "snapshot_bytes_last", FIGURE_BYTES},
    {">WRITE", "snapshot_mb_s", FIGURE_MB_S},
    {">COPIED", "chunks_copied", FIGURE_COUNT},
    {">FROZEN", "frozen_bytes", FIGURE_BYTES},
    {">KEPT", "rollback_checkpoint", FIGURE_PLAIN},
    {">TAKEN OVER", "takeovers", FIGURE_COUNT},
};
static const struct column edge_columns[] = {
    {">RING", "ring_bytes", FIGURE_BYTES},
    {">FILL", "fill_pct", FIGURE_PERCENT},
    {">BLOCKED", "blocked_ms", FIGURE_MS},
    {">RECORDS", "records", FIGURE_COUNT},
};

static void format_figure(const json_t *value, enum figure figure, char *text, size_t capacity)
{
    double number = json_number_value(value);
    uint64_t natural = number > 0 && number < 9e18 ? (uint64_t)number : 0;
    char figures[TEXT_BYTES];
    if (figure == FIGURE_TEXT || !json_is_number(value)) {
        snprintf(text, capacity, "%s", json_is_string(value) ? json_string_value(value) : "-");
        return;
    }
    switch (figure) {
    case FIGURE_PLAIN: snprintf(text, capacity, "%.0f", number); break;
    case FIGURE_COUNT:
    case FIGURE_RATE: human_count(number, text, capacity); break;
    case FIGURE_BYTES: human_bytes(natural, text, capacity); break;
    case FIGURE_MS: human_duration((int64_t)(number * 1e6), text, capacity); break;
    case FIGURE_US: human_duration((int64_t)(number * 1e3), text, capacity); break;
    case FIGURE_PERCENT: snprintf(text, capacity, "%.0f%%", number); break;
    case FIGURE_MB_S: snprintf(text, capacity, "%s/s", human_bytes((uint64_t)(number > 0 ? number * 1e6 : 0), figures, sizeof figures)); break;
    case FIGURE_TEXT: break;
    }
}

static void add_figures(struct table *table, const json_t *row, const struct column *columns, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[TEXT_BYTES];
        format_figure(json_object_get(row, columns[i].key), columns[i].figure, text, sizeof text);
        table_cell(table, "%s", text);
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

/* ------------------------------------------------------------------------------------------------ the tables ----- */

static void begin(struct table *table, const char *first, const char *second, const struct column *columns, unsigned count)
{
    const char *headers[TABLE_COLUMNS_MAX] = {first, second};
    for (unsigned i = 0; i < count; i++)
        headers[2 + i] = columns[i].header;
    table_begin(table, headers, 2 + count);
}

/* "tokenize > count": the chain of operators that share the task's process. */
static void add_operators(struct table *table, const json_t *operators)
{
    char text[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(operators) && used < sizeof text; i++) {
        const char *name = json_string_value(json_array_get(operators, i));
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? "" : " > ", name != NULL ? name : "?");
    }
    table_cell(table, "%s", text[0] != 0 ? text : "-");
}

static void print_tasks(const json_t *tasks)
{
    enum { COLUMNS = sizeof task_columns / sizeof task_columns[0] };
    struct table table;
    begin(&table, "TASK", "OPERATORS", task_columns, COLUMNS);
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        const json_t *task = json_array_get(tasks, i);
        table_cell(&table, "%s/%lld", text_of(task, "name"), (long long)json_integer_value(json_object_get(task, "subtask")));
        add_operators(&table, json_object_get(task, "operators"));
        add_figures(&table, task, task_columns, COLUMNS);
    }
    putchar('\n');
    table_end(&table);
}

static void print_edges(const json_t *edges)
{
    enum { COLUMNS = sizeof edge_columns / sizeof edge_columns[0] };
    struct table table;
    if (json_array_size(edges) == 0)
        return;
    begin(&table, "FROM", "TO", edge_columns, COLUMNS);
    for (size_t i = 0; i < json_array_size(edges); i++) {
        const json_t *edge = json_array_get(edges, i);
        table_cell(&table, "%s", text_of(edge, "from"));
        table_cell(&table, "%s", text_of(edge, "to"));
        add_figures(&table, edge, edge_columns, COLUMNS);
    }
    putchar('\n');
    table_end(&table);
}

static void print_counters(const json_t *counters)
{
    static const char *const headers[] = {"OPERATOR", "COUNTER", ">VALUE"};
    struct table table;
    if (json_array_size(counters) == 0)
        return;
    table_begin(&table, headers, 3);
    for (size_t i = 0; i < json_array_size(counters); i++) {
        const json_t *counter = json_array_get(counters, i);
        const char *owner = text_of(counter, "operator");
        table_cell(&table, "%s", owner[0] != '-' ? owner : text_of(counter, "task"));
        table_cell(&table, "%s", text_of(counter, "name"));
        table_cell(&table, "%lld", (long long)json_integer_value(json_object_get(counter, "value")));
    }
    putchar('\n');
    table_end(&table);
}

static void print_fact(const json_t *status, const char *name, const char *key, enum figure figure)
{
    char text[PATH_MAX];
    format_figure(json_object_get(status, key), figure, text, sizeof text);
    for (char *at = text; *at != 0; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    printf("%-12s %s\n", name, text);
}

static void print_checkpoints(const json_t *checkpoints)
{
    char duration[TEXT_BYTES], bytes[TEXT_BYTES], age[TEXT_BYTES];
    const json_t *last = json_object_get(checkpoints, "last");
    printf("%-12s %lld completed, %lld failed", "checkpoints", (long long)json_integer_value(json_object_get(checkpoints, "completed")),
           (long long)json_integer_value(json_object_get(checkpoints, "failed")));
    if (json_is_object(last)) {
        format_figure(json_object_get(last, "duration_ms"), FIGURE_MS, duration, sizeof duration);
        format_figure(json_object_get(last, "bytes"), FIGURE_BYTES, bytes, sizeof bytes);
        format_figure(json_object_get(last, "age_ms"), FIGURE_MS, age, sizeof age);
        printf("; last %lld: took %s, %s, %s ago", (long long)json_integer_value(json_object_get(last, "id")), duration, bytes, age);
    }
    if (json_is_integer(json_object_get(checkpoints, "in_progress")))
        printf("; %lld in progress", (long long)json_integer_value(json_object_get(checkpoints, "in_progress")));
    putchar('\n');
}

static void print_status(const json_t *status)
{
    print_fact(status, "job", "job", FIGURE_TEXT);
    print_fact(status, "state", "state", FIGURE_TEXT);
    print_fact(status, "directory", "directory", FIGURE_TEXT);
    print_fact(status, "guarantee", "guarantee", FIGURE_TEXT);
    print_fact(status, "uptime", "uptime_ms", FIGURE_MS);
    print_fact(status, "generation", "generation", FIGURE_PLAIN);
    print_fact(status, "recoveries", "restarts", FIGURE_PLAIN);
    print_fact(status, "last one by", "recovery_path_last", FIGURE_TEXT);
    print_checkpoints(json_object_get(status, "checkpoints"));
    print_tasks(json_object_get(status, "tasks"));
    print_edges(json_object_get(status, "edges"));
    print_counters(json_object_get(status, "counters"));
}

/* On a terminal each replaces the one before; elsewhere they follow one another: JSON a line each, text with an empty line between. */
static void show(const struct arguments *arguments, const json_t *status, bool again)
{
    if (arguments_has(arguments, "json")) {
        if (arguments_has(arguments, "watch"))
            print_json_line(status);
        else
            print_json(status);
    } else {
        if (arguments_has(arguments, "watch") && isatty(STDOUT_FILENO) == 1)
            fputs("\033[H\033[2J", stdout);
        else if (again)
            putchar('\n');
        print_status(status);
    }
    fflush(stdout);
}

static int show_once(const struct arguments *arguments, const char *directory, unsigned timeout_ms, bool again, struct weir_error *err)
{
    json_t *status = NULL;
    int code = control_call(directory, "status", NULL, timeout_ms, &status, err);
    if (code != WEIR_OK)
        return error_context(err, "status");
    show(arguments, status, again);
    json_decref(status);
    return WEIR_OK;
}

/* A coordinator that was replaced in the middle of an answer is asked again. WEIR_END: the job is over. */
static int watch(const struct arguments *arguments, const char *directory, unsigned timeout_ms, struct weir_error *err)
{
    int code = WEIR_OK;
    while (code == WEIR_OK && !ferror(stdout)) {
        sleep(1);
        code = show_once(arguments, directory, timeout_ms, true, err);
        if (code == WEIR_EFAILED && control_is_served(directory))
            code = WEIR_OK;
        else if (code == WEIR_EFAILED || code == WEIR_ENOENT)
            code = WEIR_END;
    }
    return code;
}

int status_command(const struct cli *cli, const struct arguments *arguments)
{
    char directory[PATH_MAX];
    unsigned timeout_ms = 0;
    struct weir_error err = {0};
    int code = arguments_timeout(arguments, 5000, &timeout_ms, &err);
    if (code == WEIR_OK)
        code = target_find(cli, arguments, false, directory, &err);
    if (code == WEIR_OK)
        code = show_once(arguments, directory, timeout_ms, false, &err);
    if (code == WEIR_OK && arguments_has(arguments, "watch"))
        code = watch(arguments, directory, timeout_ms, &err);
    if (code == WEIR_END)
        fprintf(stderr, "%s: status: the job on '%s' runs no more\n", cli->program, directory);
    return code >= 0 ? EXIT_DONE : print_failure(cli, &err);
}
