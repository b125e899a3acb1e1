/* test_commands.c - the `weir` command against a real job: what it prints, as JSON and for people, and how it exits. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(commands, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define SILENT "--set count=100 --set hold=1 --set p=2 --no-chain --checkpoint-interval 20ms"
enum { DONE = 0, FAILED = 1, USAGE = 2, NOT_FOUND = 3, REFUSED = 4, DAMAGED = 5 };

/* What the last command printed, as one JSON document. */
static json_t *reply(void)
{
    json_error_t error;
    json_t *value = json_loads(s.out, 0, &error);
    cr_assert_not_null(value, "no JSON: %s: %s", error.text, s.out);
    return value;
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "no text '%s'", key);
    return text;
}

static json_int_t number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number '%s'", key);
    return (json_int_t)json_number_value(value);
}

Test(commands, list_shows_a_running_job_and_no_longer_when_it_has_ended)
{
    cr_assert_eq(weir(&s, "list --json"), DONE, "%s", s.err);
    json_t *before = reply();
    cr_assert_eq(json_array_size(json_object_get(before, "running")), 0);
    cr_assert_geq(json_array_size(json_object_get(before, "built_in")), 5);
    struct process *job = start_job(&s, SILENT);
    await_running(&s);
    cr_assert_eq(weir(&s, "list --json"), DONE, "%s", s.err);
    json_t *during = reply(), *row = json_array_get(json_object_get(during, "running"), 0);
    cr_assert_str_eq(text_in(row, "name"), "shapes");
    cr_assert_str_eq(text_in(row, "directory"), s.directory);
    cr_assert_str_eq(text_in(row, "state"), "running");
    cr_assert_eq(weir(&s, "list"), DONE);
    ASSERT_OUT_SAYS(&s, "shapes", s.directory, "wordcount", "nexmark_q0");
    stop_job(&s, job);
    cr_assert_eq(weir(&s, "list --json"), DONE, "%s", s.err);
    json_t *after = reply();
    cr_assert_eq(json_array_size(json_object_get(after, "running")), 0);
    json_decref(before);
    json_decref(during);
    json_decref(after);
}

Test(commands, status_has_every_field_that_its_format_names)
{
    static const char *const task_numbers[] = {"subtask", "pid", "records_in", "records_out", "batches", "idle_ms", "blocked_ms", "state_bytes",
                                               "fork_us_last", "pause_us_last", "pause_us_max", "align_us_last", "snapshot_bytes_last",
                                               "snapshot_mb_s", "chunks_copied", "overflow_records"};
    static const char *const edge_numbers[] = {"ring_bytes", "fill_pct", "blocked_ms", "records"};
    struct process *job = start_job(&s, SILENT);
    await_output(&s, 100);
    cr_assert_eq(weir(&s, "status @ --json"), DONE, "%s", s.err);
    json_t *status = reply();
    cr_assert_str_eq(text_in(status, "job"), "shapes");
    cr_assert_str_eq(text_in(status, "directory"), s.directory);
    cr_assert_str_eq(text_in(status, "state"), "running");
    cr_assert_str_eq(text_in(status, "guarantee"), "exactly-once");
    cr_assert_eq(number_in(status, "launcher_pid"), (json_int_t)job->pid);
    cr_assert_eq(number_in(status, "generation"), 1);
    cr_assert_eq(number_in(status, "restarts"), 0);
    cr_assert_geq(number_in(json_object_get(status, "checkpoints"), "completed"), 1);
    json_t *tasks = json_object_get(status, "tasks"), *edges = json_object_get(status, "edges");
    cr_assert_eq(json_array_size(tasks), 4);
    cr_assert_eq(json_array_size(edges), 4, "one source to two counters, two counters to one sink");
    json_int_t counted = 0;
    for (size_t i = 0; i < 4; i++) {
        const json_t *task = json_array_get(tasks, i);
        for (size_t j = 0; j < sizeof task_numbers / sizeof task_numbers[0]; j++)
            number_in(task, task_numbers[j]);
        for (size_t j = 0; j < sizeof edge_numbers / sizeof edge_numbers[0]; j++)
            number_in(json_array_get(edges, i), edge_numbers[j]);
        cr_assert_str_eq(text_in(task, "state"), "running");
        counted += strcmp(text_in(task, "name"), "count") == 0 ? number_in(task, "records_in") : 0;
    }
    cr_assert_eq(counted, 100);
    cr_assert_eq(number_in(json_array_get(tasks, 0), "records_out"), 100);
    cr_assert_eq(number_in(json_array_get(tasks, 3), "records_in"), 100);
    cr_assert_eq(weir(&s, "status @"), DONE);
    ASSERT_OUT_SAYS(&s, "shapes", "numbers/0", "count/1", "write/0", s.directory);
    json_decref(status);
    stop_job(&s, job);
}

Test(commands, a_job_is_found_by_name_and_by_directory)
{
    struct process *job = start_job(&s, SILENT);
    await_running(&s);
    cr_assert_eq(weir(&s, "status shapes --json"), DONE, "%s", s.err);
    cr_assert_eq(program(&s, "status --directory @ --json"), DONE, "%s", s.err);
    stop_job(&s, job);
    cr_assert_eq(weir(&s, "status @"), NOT_FOUND);
    cr_assert_eq(weir(&s, "stop @"), NOT_FOUND);
    cr_assert_eq(weir(&s, "kill @ count"), NOT_FOUND);
    cr_assert_eq(weir(&s, "checkpoint @"), NOT_FOUND);
    cr_assert_eq(weir(&s, "status nobody"), NOT_FOUND);
    ASSERT_ERR_SAYS(&s, "nobody");
}

Test(commands, wrong_usage_is_told_with_what_would_be_right)
{
    cr_assert_eq(weir(&s, "stauts @"), USAGE);
    ASSERT_ERR_SAYS(&s, "stauts", "status");
    cr_assert_eq(weir(&s, "status @ --jsno"), USAGE);
    ASSERT_ERR_SAYS(&s, "jsno", "json");
    cr_assert_eq(weir(&s, "kill @"), USAGE);
    cr_assert_eq(weir(&s, "run"), USAGE);
    cr_assert_eq(weir(&s, "run wordcount --ring-size 100k"), USAGE);
    ASSERT_ERR_SAYS(&s, "--ring-size", "power of two");
    cr_assert_eq(weir(&s, "run wordcount --checkpoint-interval 1ms"), USAGE);
    ASSERT_ERR_SAYS(&s, "--checkpoint-interval", "2ms");
    cr_assert_eq(weir(&s, "run no-such-job"), NOT_FOUND, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "no-such-job");
}

Test(commands, every_command_has_help_and_every_flag_its_line)
{
    static const char *const commands[] = {"run", "list", "status", "checkpoint", "checkpoints", "inspect",
                                           "stop", "kill", "chaos", "events", "doctor", "help"};
    cr_assert_eq(weir(&s, "--help"), DONE, "%s", s.err);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        cr_assert_not_null(strstr(s.out, commands[i]), "%s", commands[i]);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        cr_assert_eq(weir(&s, "%s --help", commands[i]), DONE, "%s: %s", commands[i], s.err);
        cr_assert_gt(strlen(s.out), 40, "%s: %s", commands[i], s.out);
    }
    cr_assert_eq(weir(&s, "run --help"), DONE);
    ASSERT_OUT_SAYS(&s, "--checkpoint-interval", "--guarantee", "--no-chain", "--restart", "--set", "--directory");
    cr_assert_eq(program(&s, "run --help"), DONE);
    ASSERT_OUT_SAYS(&s, "shape", "which graph", "keys");
}

Test(commands, checkpoints_and_inspect_show_what_is_on_disk)
{
    cr_assert_eq(run_job(&s, "--set count=1000 --set p=2"), DONE, "%s", s.err);
    cr_assert_eq(weir(&s, "checkpoints @ --json"), DONE, "%s", s.err);
    json_t *list = reply(), *first = json_array_get(json_object_get(list, "checkpoints"), 0);
    cr_assert_eq(weir(&s, "inspect @ --json"), DONE, "%s", s.err);
    json_t *checkpoint = reply(), *operators = json_object_get(checkpoint, "operators");
    cr_assert_eq(number_in(first, "id"), number_in(checkpoint, "checkpoint"));
    cr_assert_str_eq(text_in(checkpoint, "job"), "shapes");
    cr_assert_eq(json_array_size(operators), 3);
    const json_t *count = json_array_get(operators, 1), *state = json_array_get(json_object_get(count, "states"), 0);
    cr_assert_str_eq(text_in(count, "name"), "count");
    cr_assert_eq(number_in(count, "parallelism"), 2);
    cr_assert_str_eq(text_in(state, "name"), "count");
    cr_assert_str_eq(text_in(state, "kind"), "value");
    cr_assert_eq(number_in(state, "size_bytes"), 8);
    json_t *tasks = json_object_get(checkpoint, "tasks");
    for (size_t i = 0; i < json_array_size(tasks); i++) { /* sizes as the file system has them */
        json_t *files = json_object_get(json_array_get(tasks, i), "files");
        for (size_t j = 0; j < json_array_size(files); j++) {
            char path[3 * PATH_BYTES];
            struct stat stat_of_file;
            snprintf(path, sizeof path, "%s/snapshots/%s", s.directory, text_in(json_array_get(files, j), "name"));
            cr_assert_eq(stat(path, &stat_of_file), 0, "%s", path);
            cr_assert_eq(number_in(json_array_get(files, j), "size_bytes"), (json_int_t)stat_of_file.st_size);
        }
    }
    cr_assert_eq(weir(&s, "inspect @ --verify"), DONE, "%s", s.err);
    ASSERT_OUT_SAYS(&s, "count", "Verified");
    cr_assert_eq(weir(&s, "inspect @ 4711"), NOT_FOUND);
    json_decref(list);
    json_decref(checkpoint);
}

Test(commands, verify_finds_every_kind_of_damage)
{
    char command[4 * PATH_BYTES];
    cr_assert_eq(run_job(&s, "--set count=1000"), DONE, "%s", s.err);
    snprintf(command, sizeof command, "f=$(ls '%s'/snapshots/*.snap | tail -1) && cp \"$f\" '%s/whole' && truncate -s -4096 \"$f\"", s.directory,
             s.root);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(weir(&s, "inspect @ --verify"), DAMAGED, "truncated: %s", s.out);
    snprintf(command, sizeof command, "f=$(ls '%s'/snapshots/*.snap | tail -1) && rm \"$f\"", s.directory);
    cr_assert_eq(system(command), 0);
    cr_assert_neq(weir(&s, "inspect @ --verify"), DONE, "missing: %s", s.out);
    snprintf(command, sizeof command, "f=$(ls '%s'/manifest-* | tail -1) && truncate -s -1 \"$f\"", s.directory);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(weir(&s, "inspect @"), DAMAGED, "manifest: %s", s.err);
    ASSERT_ERR_SAYS(&s, "manifest-");
    cr_assert_eq(weir(&s, "checkpoints @"), DONE, "the list still shows it: %s", s.err);
}

Test(commands, events_are_filtered_and_limited)
{
    cr_assert_eq(run_job(&s, "--set count=1000"), DONE, "%s", s.err);
    cr_assert_eq(weir(&s, "events @ --event job_started --json"), DONE, "%s", s.err);
    json_t *event = reply();
    cr_assert_str_eq(text_in(event, "event"), "job_started");
    cr_assert_str_eq(text_in(event, "job"), "shapes");
    json_decref(event);
    cr_assert_eq(weir(&s, "events @ --limit 1 --json"), DONE);
    event = reply();
    cr_assert_str_eq(text_in(event, "event"), "job_finished");
    json_decref(event);
    cr_assert_eq(weir(&s, "events @"), DONE);
    ASSERT_OUT_SAYS(&s, "checkpoint_triggered", "checkpoint_acknowledged", "checkpoint_completed", "job_finished");
    cr_assert_eq(weir(&s, "events @ --event no_such_event"), USAGE, "%s", s.out);
}

Test(commands, kill_names_what_it_killed)
{
    struct process *job = start_job(&s, SILENT);
    await_output(&s, 100);
    cr_assert_eq(weir(&s, "kill @ count/1 --json"), DONE, "%s", s.err);
    json_t *killed = reply(), *rows = json_object_get(killed, "killed");
    cr_assert_eq(json_array_size(rows), 1);
    cr_assert_str_eq(text_in(json_array_get(rows, 0), "task"), "count/1");
    await_events(&s, "takeover", 1);
    await_events(&s, "process_died", 1);
    json_t *died = event_at(&s, "process_died", 0);
    cr_assert_str_eq(text_in(died, "task"), "count/1");
    cr_assert_eq(number_in(died, "pid"), number_in(json_array_get(rows, 0), "pid"));
    cr_assert_eq(weir(&s, "kill @ nobody"), NOT_FOUND);
    ASSERT_ERR_SAYS(&s, "nobody");
    cr_assert_eq(weir(&s, "kill @ count/7"), NOT_FOUND, "%s", s.err);
    json_decref(killed);
    json_decref(died);
    stop_job(&s, job);
}

Test(commands, stop_waits_until_the_job_has_ended)
{
    struct process *job = start_job(&s, SILENT);
    await_running(&s);
    cr_assert_eq(weir(&s, "stop @ --json"), DONE, "%s", s.err);
    json_t *stopped = reply();
    cr_assert_gt(number_in(stopped, "checkpoint"), 0);
    cr_assert_eq(weir(&s, "status @"), NOT_FOUND, "nothing answers any more");
    cr_assert_eq(end_of(&s, job), DONE, "%s", s.err);
    json_decref(stopped);
}

Test(commands, doctor_judges_the_machine_and_the_directory)
{
    int status = weir(&s, "doctor --json --directory %s", s.root);
    cr_assert(status == DONE || status == FAILED, "%d: %s", status, s.err);
    json_t *judged = reply();
    cr_assert(json_is_object(judged));
    json_decref(judged);
    weir(&s, "doctor");
    ASSERT_OUT_SAYS(&s, "io_uring", "huge pages", "overcommit", "open files", "locked memory");
}

Test(commands, the_control_socket_is_for_its_user_alone)
{
    char path[2 * PATH_BYTES];
    struct stat stat_of;
    struct process *job = start_job(&s, SILENT);
    await_running(&s);
    snprintf(path, sizeof path, "%s/control.sock", s.directory);
    cr_assert_eq(stat(path, &stat_of), 0);
    cr_assert_eq(stat_of.st_mode & 07777, 0600);
    cr_assert_eq(stat(s.directory, &stat_of), 0);
    cr_assert_eq(stat_of.st_mode & 0777, 0700);
    stop_job(&s, job);
    cr_assert_neq(stat(path, &stat_of), 0, "the socket is gone with the job");
}

Test(commands, run_of_a_built_in_example_counts_words)
{
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s/text", s.root);
    write_file(path, "to be or not to be\nthat is the question\n");
    int status = weir(&s, "run wordcount --directory @ --set input=%s --set output=%s", path, s.output);
    cr_assert_eq(status, DONE, "%s", s.err);
    struct lines lines = output_lines(s.output);
    bool two = false;
    for (size_t i = 0; i < lines.count; i++)
        two |= strcmp(lines.line[i], "be\t2") == 0;
    cr_assert(two, "'be' comes twice");
    lines_free(&lines);
    cr_assert_str_empty(s.out, "silence in a pipe: %s", s.out);
}
