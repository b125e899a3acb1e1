#include "cli/cli.h"
#include "cli/table.h"
#include "engine/control.h"
#include "engine/option_value.h"
#include "engine/registry.h"

#include <stdio.h>
#include <stdlib.h>

#define STATUS_TIMEOUT_MS 500 /* a job that does not answer must not hold the list up */

/* What a row says of a running job. */
struct summary {
    const char *state;
    json_int_t uptime_ms;
    json_int_t checkpoint;
};

static struct summary summarise(const json_t *status)
{
    struct summary summary = {"no answer", -1, 0};
    if (status != NULL)
        json_unpack((json_t *)status, "{s?s, s?I, s?{s?{s?I}}}", "state", &summary.state, "uptime_ms", &summary.uptime_ms, "checkpoints", "last",
                    "id", &summary.checkpoint);
    return summary;
}

static json_t *describe(const struct registry_entry *entry, const struct summary *summary)
{
    json_t *row = json_pack("{s:s, s:s, s:s}", "name", entry->name, "state", summary->state, "directory", entry->directory);
    if (row != NULL && summary->uptime_ms >= 0)
        json_object_set_new(row, "uptime_ms", json_integer(summary->uptime_ms));
    if (row != NULL && summary->checkpoint > 0)
        json_object_set_new(row, "last_checkpoint", json_integer(summary->checkpoint));
    return row;
}

static void add_row(struct table *table, const struct registry_entry *entry, const struct summary *summary)
{
    char uptime[32];
    table_cell(table, "%s", entry->name);
    table_cell(table, "%s", summary->state);
    table_cell(table, "%s", summary->uptime_ms < 0 ? "-" : human_duration(summary->uptime_ms * 1000000, uptime, sizeof uptime));
    if (summary->checkpoint > 0)
        table_cell(table, "%lld", (long long)summary->checkpoint);
    else
        table_cell(table, "-");
    table_cell(table, "%s", entry->directory);
}

static json_t *describe_examples(const struct cli *cli)
{
    json_t *examples = json_array();
    for (size_t i = 0; i < cli->job_count; i++)
        json_array_append_new(examples, json_pack("{s:s, s:s}", "name", cli->jobs[i].name, "help", cli->jobs[i].help));
    return examples;
}

static void print_examples(const struct cli *cli)
{
    static const char *const headers[] = {"BUILT-IN JOB", "WHAT IT DOES"};
    struct table table;
    table_begin(&table, headers, 2);
    for (size_t i = 0; i < cli->job_count; i++) {
        table_cell(&table, "%s", cli->jobs[i].name);
        table_cell(&table, "%s", cli->jobs[i].help);
    }
    table_end(&table);
}

static int print_list(const struct cli *cli, bool as_json, const struct registry_entry *entries, size_t count)
{
    static const char *const headers[] = {"RUNNING JOB", "STATE", ">UPTIME", ">CHECKPOINT", "DIRECTORY"};
    struct table table;
    json_t *running = json_array();
    table_begin(&table, headers, 5);
    for (size_t i = 0; i < count; i++) {
        json_t *status = NULL;
        control_call(entries[i].directory, "status", NULL, STATUS_TIMEOUT_MS, &status, NULL);
        struct summary summary = summarise(status);
        if (as_json)
            json_array_append_new(running, describe(&entries[i], &summary));
        else
            add_row(&table, &entries[i], &summary);
        json_decref(status);
    }
    if (!as_json && count == 0)
        printf("No job runs.\n");
    table_end(&table);
    int status = EXIT_DONE;
    if (as_json) {
        json_t *all = json_pack("{s:O, s:o}", "running", running, "built_in", describe_examples(cli));
        status = print_json(all);
        json_decref(all);
    } else if (!cli->own) {
        putchar('\n');
        print_examples(cli);
    }
    json_decref(running);
    return status;
}

int list_command(const struct cli *cli, const struct arguments *arguments)
{
    struct weir_error err = {0};
    struct registry_entry *entries = NULL;
    size_t count = 0;
    if (registry_list(&entries, &count, &err) != WEIR_OK)
        return print_failure(cli, &err);
    int status = print_list(cli, arguments_has(arguments, "json"), entries, count);
    free(entries);
    return status;
}
