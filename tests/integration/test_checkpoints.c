/* test_checkpoints.c - when checkpoints are taken, completed, given up, kept; what the event log says of them. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(checkpoints, .init = begin, .fini = end, .timeout = TIMEOUT_S);

/* A job that never ends: 100 numbers every 20 ms, counted per key. */
#define ENDLESS "--set count=0 --set step=100 --set delay=20"
/* One that has nothing more to do after 100 numbers, and goes on. */
#define SILENT "--set count=100 --set hold=1"

static void assert_keyed_output(uint64_t count, uint64_t keys)
{
    struct lines expected = {0};
    for (uint64_t i = 0; i < count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % keys, i / keys + 1, i);
    assert_same_lines(&expected, output_lines(s.output));
}

static json_int_t number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number '%s'", key);
    return (json_int_t)json_number_value(value);
}

Test(checkpoints, an_interval_of_two_milliseconds_completes_one_after_another)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 2ms --set p=2");
    await_events(&s, "checkpoint_completed", 50);
    stop_job(&s, job);
    json_t *all = events(&s);
    json_int_t last = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *event = json_array_get(all, i);
        if (strcmp(json_string_value(json_object_get(event, "event")), "checkpoint_completed") != 0)
            continue;
        cr_assert_gt(number_in(event, "checkpoint"), last, "checkpoints complete in their order");
        last = number_in(event, "checkpoint");
    }
    json_decref(all);
    cr_assert_eq(event_count(&s, "checkpoint_aborted"), 0);
}

Test(checkpoints, every_task_acknowledges_before_the_checkpoint_completes)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 20ms --set p=3 --no-chain");
    await_events(&s, "checkpoint_completed", 5);
    stop_job(&s, job);
    json_t *all = events(&s);
    unsigned triggered = 0, acknowledged = 0, completed = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *event = json_string_value(json_object_get(json_array_get(all, i), "event"));
        if (strcmp(event, "checkpoint_triggered") == 0) {
            triggered++;
            acknowledged = 0;
        }
        acknowledged += strcmp(event, "checkpoint_acknowledged") == 0;
        if (strcmp(event, "checkpoint_completed") != 0)
            continue;
        completed++;
        cr_assert_eq(acknowledged, 5, "numbers, count/0 .. count/2 and write acknowledge, not %u", acknowledged);
        cr_assert_eq(triggered, completed);
    }
    json_decref(all);
    cr_assert_geq(completed, 5);
}

Test(checkpoints, so_many_records_trigger_one)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval off --checkpoint-records 500");
    await_events(&s, "checkpoint_completed", 4);
    json_t *event = event_at(&s, "checkpoint_triggered", 2);
    cr_assert_str_eq(json_string_value(json_object_get(event, "trigger")), "records");
    json_decref(event);
    stop_job(&s, job);
}

Test(checkpoints, without_any_trigger_there_is_only_the_final_one)
{
    cr_assert_eq(run_job(&s, "--set count=5000 --checkpoint-interval off"), 0, "%s", s.err);
    cr_assert_eq(event_count(&s, "checkpoint_completed"), 1);
    json_t *event = event_at(&s, "checkpoint_triggered", 0);
    cr_assert_str_eq(json_string_value(json_object_get(event, "trigger")), "final");
    json_decref(event);
    assert_keyed_output(5000, 17);
}

/* Milliseconds since midnight of an event's time "2026-01-31T12:00:00.123Z". */
static int64_t ms_of_day(const json_t *event)
{
    unsigned h, m, sec, ms;
    const char *time = json_string_value(json_object_get(event, "time"));
    cr_assert_not_null(time);
    cr_assert_eq(sscanf(time + 11, "%u:%u:%u.%uZ", &h, &m, &sec, &ms), 4, "'%s'", time);
    return ((h * 60 + m) * 60 + sec) * INT64_C(1000) + ms;
}

Test(checkpoints, a_minimum_pause_separates_them)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 2ms --checkpoint-min-pause 200ms");
    await_events(&s, "checkpoint_completed", 4);
    for (int i = 0; i < 3; i++) {
        json_t *completed = event_at(&s, "checkpoint_completed", i), *next = event_at(&s, "checkpoint_triggered", i + 1);
        int64_t pause_ms = (ms_of_day(next) - ms_of_day(completed) + 86400000) % 86400000;
        cr_assert_geq(pause_ms, 195, "only %" PRId64 " ms between two checkpoints", pause_ms); /* 5 ms: two roundings and the clock's steps */
        json_decref(completed);
        json_decref(next);
    }
    stop_job(&s, job);
}

Test(checkpoints, one_that_takes_too_long_is_given_up_and_the_job_goes_on)
{
    s.kill_list = strdup("h3:1:delay=60000@snapshot:count");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 20ms --checkpoint-timeout 300ms "
                                    "--checkpoint-tolerated-failures unlimited");
    await_events(&s, "checkpoint_aborted", 1);
    json_t *event = event_at(&s, "checkpoint_aborted", 0);
    const char *reason = json_string_value(json_object_get(event, "reason"));
    cr_assert(reason != NULL && strstr(reason, "--checkpoint-timeout") != NULL, "reason: %s", reason);
    cr_assert_eq(number_in(event, "failures"), 1);
    json_decref(event);
    await_events(&s, "checkpoint_completed", 3);
    cr_assert_eq(event_count(&s, "recovery_started"), 0, "a slow snapshot is no reason to recover");
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output), 17);
}

Test(checkpoints, a_snapshot_child_that_dies_aborts_its_checkpoint_only)
{
    s.kill_list = strdup("h2:2:kill,h5:1:kill");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 20ms");
    await_events(&s, "checkpoint_aborted", 2);
    await_events(&s, "checkpoint_completed", 4);
    json_t *event = event_at(&s, "checkpoint_aborted", 0);
    const char *reason = json_string_value(json_object_get(event, "reason"));
    cr_assert(reason != NULL && strstr(reason, "count/0") != NULL && strstr(reason, "signal 9") != NULL, "reason: %s", reason);
    json_decref(event);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output), 17);
}

Test(checkpoints, more_failures_in_a_row_than_are_tolerated_fail_the_job)
{
    s.kill_list = strdup("h2:1:kill,h2:1:kill,h2:1:kill,h2:1:kill");
    int status = run_job(&s, ENDLESS " --checkpoint-interval 5ms --checkpoint-tolerated-failures 2");
    cr_assert_eq(status, 1, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, "3 checkpoints in a row failed", "--checkpoint-tolerated-failures");
    cr_assert_eq(event_count(&s, "checkpoint_aborted"), 3);
    cr_assert_eq(event_count(&s, "job_failed"), 1);
    json_t *event = event_at(&s, "job_failed", 0);
    cr_assert_str_eq(json_string_value(json_object_get(event, "code")), "WEIR_EFAILED");
    json_decref(event);
}

Test(checkpoints, failures_that_a_success_interrupts_are_tolerated)
{
    s.kill_list = strdup("h2:1:kill,h2:2:kill,h2:2:kill,h2:2:kill");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 5ms --checkpoint-tolerated-failures 1");
    await_events(&s, "checkpoint_aborted", 4);
    await_events(&s, "checkpoint_completed", 5);
    stop_job(&s, job);
}

Test(checkpoints, as_many_are_kept_as_were_asked_for)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 5ms --checkpoints-retained 3");
    await_events(&s, "checkpoint_completed", 12);
    stop_job(&s, job);
    cr_assert_eq(manifests_on_disk(&s), 3);
    cr_assert_eq(weir(&s, "checkpoints @ --json"), 0, "%s", s.err);
    json_t *reply = json_loads(s.out, 0, NULL);
    cr_assert_eq(json_array_size(json_object_get(reply, "checkpoints")), 3, "%s", s.out);
    json_decref(reply);
    json_t *newest = event_at(&s, "checkpoint_completed", -1);
    cr_assert_eq(weir(&s, "inspect @ %d --verify", (int)number_in(newest, "checkpoint")), 0, "%s", s.err);
    json_decref(newest);
}

Test(checkpoints, the_command_takes_one_and_waits_for_it)
{
    struct process *job = start_job(&s, SILENT " --checkpoint-interval off");
    await_running(&s);
    cr_assert_eq(weir(&s, "checkpoint @ --json"), 0, "%s", s.err);
    json_t *reply = json_loads(s.out, 0, NULL);
    cr_assert_not_null(reply, "%s", s.out);
    json_t *completed = event_at(&s, "checkpoint_completed", -1);
    cr_assert_not_null(completed, "it is complete when the command ends");
    cr_assert_eq(number_in(reply, "checkpoint"), number_in(completed, "checkpoint"));
    json_t *triggered = event_at(&s, "checkpoint_triggered", -1);
    cr_assert_str_eq(json_string_value(json_object_get(triggered, "trigger")), "request");
    json_decref(reply);
    json_decref(completed);
    json_decref(triggered);
    stop_job(&s, job);
}

Test(checkpoints, the_api_takes_one_and_stops_the_job)
{
    struct process *job = start_job(&s, SILENT " --checkpoint-interval off");
    struct weir_error err = {0};
    uint64_t first = 0, second = 0;
    await_running(&s);
    await_records_in(&s, "count", 100);
    cr_assert_eq(weir_checkpoint_now(s.directory, 60000, &first, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(weir_checkpoint_now(s.directory, 60000, &second, &err), WEIR_OK, "%s", err.text);
    cr_assert(first > 0 && second > first, "%" PRIu64 ", %" PRIu64, first, second);
    cr_assert_eq(weir_stop(s.directory, 60000, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(end_of(&s, job), 0, "%s", s.err);
    cr_assert_eq(weir_checkpoint_now(s.directory, 1000, &first, &err), WEIR_ENOENT);
    cr_assert_eq(weir_stop(s.directory, 1000, &err), WEIR_ENOENT);
    assert_keyed_output(100, 17);
}

Test(checkpoints, output_appears_with_its_checkpoint_and_not_before)
{
    struct process *job = start_job(&s, SILENT " --checkpoint-interval off");
    await_running(&s);
    await_records_in(&s, "count", 100);
    cr_assert_eq(output_count(s.output), 0, "nothing is visible before the first checkpoint");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_output(&s, 100); /* the sink is told after the checkpoint is complete */
    stop_job(&s, job);
    assert_keyed_output(100, 17);
}

/* What a reader does who is done with a part file. True after twelve checkpoints. */
static bool finished_files_are_removed(struct scenario *scenario, void *arg)
{
    (void)arg;
    DIR *directory = opendir(scenario->output);
    if (directory == NULL)
        return false;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        if (strncmp(entry->d_name, "part-", 5) == 0)
            cr_assert_eq(unlinkat(dirfd(directory), entry->d_name, 0), 0, "%s", entry->d_name);
    closedir(directory);
    cr_assert_eq(event_count(scenario, "checkpoint_aborted"), 0, "see the events of %s", scenario->root);
    return event_count(scenario, "checkpoint_completed") >= 12;
}

/* The third checkpoint completes while the task is held up in a batch; the barrier of the fourth comes in the same one. Its child looks at what it has to
 * persist only when the reader has been there. */
Test(checkpoints, a_reader_may_remove_what_is_finished_at_any_moment)
{
    s.kill_list = strdup("h1:3:delay=150@snapshot:count,c1:1:delay=500@count,h1:1:delay=500@snapshot:count");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 20ms --batch-time 1s");
    await(&s, finished_files_are_removed, NULL, "twelve checkpoints");
    stop_job(&s, job);
}

Test(checkpoints, a_source_that_ends_early_does_not_stop_them)
{
    struct process *job = start_job(&s, "--set shape=early " ENDLESS " --checkpoint-interval 20ms");
    await_output(&s, 300);
    size_t so_far = event_count(&s, "checkpoint_completed");
    await_events(&s, "checkpoint_completed", so_far + 5);
    stop_job(&s, job);
}

Test(checkpoints, a_task_whose_input_has_ended_is_marked_so_and_stays_ended_after_a_restore)
{
    struct process *job = start_job(&s, "--set shape=early --set count=50 --set hold=1 --checkpoint-interval 20ms");
    await_output(&s, 60);
    stop_job(&s, job);
    job = start_job(&s, "--set shape=early --set count=50 --set hold=1 --checkpoint-interval 20ms");
    await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 3);
    stop_job(&s, job);
    cr_assert_eq(output_count(s.output), 60, "the short source emits nothing again");
}

Test(checkpoints, at_least_once_loses_nothing_without_failures_nor_doubles_it)
{
    cr_assert_eq(run_job(&s, "--set shape=two-input --set count=20000 --set p=2 --guarantee at-least-once --checkpoint-interval 5ms"), 0,
                 "%s", s.err);
    cr_assert_eq(output_count(s.output), 30000);
}

Test(checkpoints, at_least_once_loses_nothing_when_tasks_are_killed)
{
    s.kill_list = strdup("t5:200@join,c2:400@join");
    cr_assert_eq(run_job(&s, "--set shape=two-input --set count=40000 --set p=2 --guarantee at-least-once --checkpoint-interval 2ms"), 0,
                 "%s", s.err);
    struct lines lines = output_lines(s.output);
    unsigned char *seen = calloc(40000, 1);
    for (size_t i = 0; i < lines.count; i++) {
        uint64_t key, count, number;
        cr_assert_eq(sscanf(lines.line[i], "%" SCNu64 "\t%" SCNu64 "\t%" SCNu64, &key, &count, &number), 3);
        if (number < 40000)
            seen[number] = 1;
    }
    for (size_t i = 0; i < 40000; i++)
        cr_assert(seen[i], "number %zu was lost", i);
    free(seen);
    lines_free(&lines);
}

Test(checkpoints, guarantee_none_takes_none_and_says_so)
{
    struct process *job = start_job(&s, SILENT " --guarantee none");
    await_running(&s);
    await_records_in(&s, "count", 100);
    cr_assert_eq(weir(&s, "checkpoint @"), 2, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "--guarantee=none");
    stop_job(&s, job);
    cr_assert_eq(event_count(&s, "checkpoint_triggered"), 0);
    cr_assert_eq(manifests_on_disk(&s), 0);
    assert_keyed_output(100, 17);
}

Test(checkpoints, guarantee_none_of_a_bounded_input_gives_all_output_at_its_end)
{
    cr_assert_eq(run_job(&s, "--set count=3000 --set p=2 --guarantee none"), 0, "%s", s.err);
    assert_keyed_output(3000, 17);
}

Test(checkpoints, much_output_between_two_checkpoints_is_written_whole)
{
    cr_assert_eq(run_job(&s, "--set count=200000 --checkpoint-interval off"), 0, "%s", s.err);
    cr_assert_eq(event_count(&s, "recovery_started"), 0, "%s", s.err);
    assert_keyed_output(200000, 17);
}

Test(checkpoints, no_temporary_file_is_left_behind)
{
    char command[3 * PATH_BYTES];
    s.kill_list = strdup("h3:1:kill,h2:2:kill,k4:1:error");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-interval 10ms");
    await_events(&s, "checkpoint_completed", 6);
    stop_job(&s, job);
    snprintf(command, sizeof command, "test -z \"$(find '%s' -name '*tmp*')\" && test $(ls '%s/snapshots' | wc -l) -eq 2", s.directory,
             s.directory);
    cr_assert_eq(system(command), 0, "there is something besides two checkpoints of one file each");
}
