/* test_recovery.c - operators that fail: how often the job tries again, what it says, and what comes out in the end. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scenario s;
static char note[PATH_BYTES]; /* a byte for each time that the operator came upon the bad record */
static void begin(void)
{
    scenario_begin(&s, criterion_current_test->name);
    snprintf(note, sizeof note, "%s/note", s.root);
}
static void end(void) { scenario_end(&s); }
TestSuite(recovery, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define FAILED 1

static unsigned attempts(void)
{
    struct stat stat_of_note = {0};
    stat(note, &stat_of_note);
    return (unsigned)stat_of_note.st_size;
}

/* Numbers 0 .. count - 1 but `without`. */
static void assert_numbers(uint64_t count, uint64_t without)
{
    struct lines expected = {0};
    for (uint64_t i = 0; i < count; i++)
        if (i != without)
            lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t0", i % 17, i);
    assert_same_lines(&expected, output_lines(s.output));
}

#define FAIL "--set shape=fail --set count=2000 --set at=1000 --checkpoint-interval 5ms"

Test(recovery, restart_none_fails_at_the_first_failure)
{
    cr_assert_eq(run_job(&s, FAIL " --set note=%s --restart none", note), FAILED, "%s", s.err);
    cr_assert_eq(attempts(), 1);
    ASSERT_ERR_SAYS(&s, "operator 'digest'", "cannot digest 1000", "--restart none");
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

Test(recovery, restart_none_fails_at_a_kill_too)
{
    struct process *job = start_job(&s, "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 20ms --restart none "
                                    "--takeover off");
    await_output(&s, 100);
    cr_assert_eq(weir(&s, "kill @ count"), 0, "%s", s.err);
    cr_assert_eq(end_of(&s, job), FAILED, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "count/0", "--restart none");
}

Test(recovery, fixed_delay_gives_up_after_so_many_attempts)
{
    cr_assert_eq(run_job(&s, FAIL " --set note=%s --restart fixed-delay --restart-attempts 4 --restart-delay 1ms --poison-attempts 1000",
                         note), FAILED, "%s", s.err);
    cr_assert_eq(attempts(), 5, "once, and four times again; not %u", attempts());
    ASSERT_ERR_SAYS(&s, "cannot digest 1000", "--restart-attempts");
    cr_assert_eq(event_count(&s, "recovery_started"), 4);
}

Test(recovery, fixed_delay_recovers_from_a_failure_that_passes)
{
    cr_assert_eq(run_job(&s, FAIL " --set times=3 --set note=%s --restart fixed-delay --restart-attempts 4 --restart-delay 1ms "
                         "--poison-attempts 1000", note), 0, "%s", s.err);
    cr_assert_eq(event_count(&s, "recovery_finished"), 3);
    assert_numbers(2000, UINT64_MAX);
}

Test(recovery, exponential_delay_waits_longer_each_time)
{
    cr_assert_eq(run_job(&s, FAIL " --set times=4 --set note=%s --restart exponential-delay --restart-delay 20ms --restart-delay-max 50ms "
                         "--poison-attempts 1000", note), 0, "%s", s.err);
    assert_numbers(2000, UINT64_MAX);
    int64_t least_ns[] = {20000000, 40000000, 50000000, 50000000}; /* the delays; a recovery takes them and more */
    for (int i = 0; i < 4; i++) {
        json_t *event = event_at(&s, "recovery_finished", i);
        cr_assert_not_null(event);
        json_int_t took_ns = json_integer_value(json_object_get(event, "duration_ns"));
        cr_assert_geq(took_ns, least_ns[i], "recovery %d after %lld ns", i, (long long)took_ns);
        json_decref(event);
    }
}

Test(recovery, failure_rate_gives_up_when_failures_come_too_fast)
{
    cr_assert_eq(run_job(&s, FAIL " --set note=%s --restart failure-rate --restart-attempts 3 --restart-window 10min --restart-delay 1ms "
                         "--poison-attempts 1000", note), FAILED, "%s", s.err);
    cr_assert_eq(attempts(), 4);
    ASSERT_ERR_SAYS(&s, "3 failures within --restart-window");
}

Test(recovery, an_operator_that_aborts_is_recovered_from)
{
    cr_assert_eq(run_job(&s, FAIL " --set how=abort --set times=1 --set note=%s --restart-delay 1ms", note), 0, "%s", s.err);
    json_t *event = event_at(&s, "process_died", 0);
    cr_assert_eq(json_integer_value(json_object_get(event, "signal")), SIGABRT);
    cr_assert_gt(json_integer_value(json_object_get(event, "pid")), 0, "the event says which process it was");
    json_decref(event);
    assert_numbers(2000, UINT64_MAX);
}

Test(recovery, an_operator_that_hangs_is_killed_and_recovered_from)
{
    cr_assert_eq(run_job(&s, FAIL " --set how=hang --set times=1 --set note=%s --restart-delay 1ms --heartbeat-timeout 1s", note), 0,
                 "%s", s.err);
    cr_assert_geq(event_count(&s, "task_hung"), 1);
    assert_numbers(2000, UINT64_MAX);
}

Test(recovery, a_code_without_words_is_reported_with_the_operators_name)
{
    cr_assert_eq(run_job(&s, FAIL " --set how=wordless --set note=%s --restart none", note), FAILED, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "operator 'digest'", "WEIR_EIO");
}

Test(recovery, what_no_restart_can_mend_ends_the_job_at_once)
{
    for (unsigned way = 0; way < 2; way++) {
        const char *options = way == 0 ? "" : "--restart fixed-delay --restart-attempts 9 --on-poison dead-letter";
        cr_assert_eq(run_job(&s, FAIL " --set how=final --set note=%s --restart-delay 1ms %s", note, options), FAILED, "%s", s.err);
        ASSERT_ERR_SAYS(&s, "operator 'digest'", "no use at all");
        cr_assert_eq(attempts(), 1);
        cr_assert_eq(event_count(&s, "recovery_started"), 0);
        end();
        begin();
    }
}

Test(recovery, a_record_that_fails_every_time_is_found_out_and_fails_the_job)
{
    cr_assert_eq(run_job(&s, FAIL " --no-chain --set note=%s --restart-delay 1ms", note), FAILED, "%s", s.err);
    json_t *event = event_at(&s, "poison_record", 0);
    cr_assert_not_null(event, "%s", s.err);
    const char *bytes = json_string_value(json_object_get(event, "bytes"));
    cr_assert(bytes != NULL && strstr(bytes, "e803000000000000") != NULL, "1000 in little endian is among its bytes: %s", bytes);
    cr_assert(json_is_number(json_object_get(event, "position")));
    json_decref(event);
}

Test(recovery, or_it_goes_to_the_dead_letter_file_and_all_others_come_out)
{
    char path[2 * PATH_BYTES];
    cr_assert_eq(run_job(&s, FAIL " --no-chain --set note=%s --restart-delay 1ms --on-poison dead-letter", note), 0, "%s", s.err);
    assert_numbers(2000, 1000);
    snprintf(path, sizeof path, "%s/dead-letter.jsonl", s.directory);
    char *text = read_file(path);
    cr_assert_not_null(strstr(text, "e803000000000000"), "it holds the record: '%s'", text);
    json_t *line = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(json_is_object(line), "'%s'", text);
    json_decref(line);
    free(text);
}

/* In one process with the source that emits them, and behind a ring. */
static const char *const chained_or_not[] = {"", "--no-chain"};
static const char *const plans[] = {"", "--set spans=1 --set together=1", "--no-chain", "--no-chain --set spans=1"};
static const char *const ways_to_fail[] = {"fail", "abort", "kill"};

Test(recovery, it_is_found_out_however_it_makes_its_operator_fail_and_wherever_that_runs)
{
    for (unsigned plan = 0; plan < 4; plan++)
        for (unsigned way = 0; way < 3; way++) {
            cr_assert_eq(run_job(&s, FAIL " %s --set how=%s --set note=%s --restart-delay 1ms --on-poison dead-letter", plans[plan],
                                 ways_to_fail[way], note), 0, "%s %s: %s", plans[plan], ways_to_fail[way], s.err);
            assert_numbers(2000, 1000);
            json_t *event = event_at(&s, "poison_record", 0);
            cr_assert_not_null(event, "%s", s.err);
            const char *bytes = json_string_value(json_object_get(event, "bytes"));
            cr_assert(bytes != NULL && strstr(bytes, "e803000000000000") != NULL, "%s", bytes);
            if (plan < 2)
                cr_assert_eq(json_integer_value(json_object_get(event, "position")), 1001, "the number from its source, counted from 1");
            json_decref(event);
            cr_assert_eq(event_count(&s, "poison_record"), 1, "and no other");
            end();
            begin();
        }
}

/* A source that waits before each record: there is time for a checkpoint, and to have nothing to do, before it comes again. */
Test(recovery, it_is_found_out_though_checkpoints_are_completed_before_it_comes_again)
{
    static const char *const ways[] = {"kill", "kill --takeover off", "abort"};
    for (unsigned plan = 0; plan < 2; plan++)
        for (unsigned way = 0; way < 3; way++) {
            cr_assert_eq(run_job(&s, "--set shape=fail --set count=12 --set at=10 --set step=1 --set delay=6 --checkpoint-interval 2ms %s "
                                 "--set how=%s --set note=%s --restart-delay 1ms --on-poison dead-letter", chained_or_not[plan], ways[way],
                                 note), 0, "%s %s: %s", chained_or_not[plan], ways[way], s.err);
            assert_numbers(12, 10);
            cr_assert_eq(event_count(&s, "poison_record"), 1, "and no other");
            end();
            begin();
        }
}

Test(recovery, in_a_chain_with_its_source_it_fails_the_job_whether_it_is_emitted_by_itself_or_with_others)
{
    for (unsigned together = 0; together < 2; together++) {
        cr_assert_eq(run_job(&s, FAIL " --set together=%u --set note=%s --restart-delay 1ms", together, note), FAILED, "%s", s.err);
        ASSERT_ERR_SAYS(&s, "cannot digest 1000", "number from its source 1001,", "e803000000000000", "--on-poison");
        cr_assert_eq(event_count(&s, "poison_record"), 1);
        end();
        begin();
    }
}

Test(recovery, a_record_without_a_key_is_put_aside_as_well)
{
    for (unsigned plan = 0; plan < 2; plan++) {
        cr_assert_eq(run_job(&s, "--set shape=bad-key --set count=10 --restart-delay 1ms --on-poison dead-letter %s", chained_or_not[plan]), 0,
                     "%s", s.err);
        cr_assert_eq(output_count(s.output), 9);
        cr_assert_eq(event_count(&s, "poison_record"), 1);
        end();
        begin();
    }
}

/* What fails behind the last record, or for many records at once, is no record's fault: the restart strategy decides. */
Test(recovery, no_record_is_blamed_for_the_end_of_the_input_or_for_what_a_sink_cannot_hand_over)
{
    static const char *const ways[] = {"end", "flush"};
    for (unsigned plan = 0; plan < 2; plan++)
        for (unsigned way = 0; way < 2; way++) {
            cr_assert_eq(run_job(&s, FAIL " %s --set how=%s --set times=7 --set note=%s --restart-delay 1ms --on-poison dead-letter",
                                 chained_or_not[plan], ways[way], note), 0, "%s %s: %s", chained_or_not[plan], ways[way], s.err);
            assert_numbers(2000, UINT64_MAX);
            cr_assert_eq(event_count(&s, "recovery_finished"), 7);
            cr_assert_eq(event_count(&s, "poison_record"), 0);
            end();
            begin();
        }
}

Test(recovery, a_dead_letter_file_that_cannot_be_written_is_refused_before_anything_runs)
{
    cr_assert_neq(run_job(&s, "--set count=10 --on-poison dead-letter --dead-letter /nonexistent/letters"), 0);
    ASSERT_ERR_SAYS(&s, "/nonexistent/letters", "--dead-letter");
    cr_assert_eq(output_count(s.output), 0);
}

Test(recovery, a_key_function_that_yields_nothing_fails_with_words)
{
    cr_assert_eq(run_job(&s, "--set shape=bad-key --set count=10 --restart none"), FAILED, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "key");
    cr_assert(strstr(s.err, "operator 'count'") != NULL || strstr(s.err, "operator 'numbers'") != NULL, "%s", s.err);
    cr_assert_eq(output_count(s.output), 0);
}

/* `event`: what the kill of a task leads to, with these options. */
static void kill_each(const char *options, const char *event)
{
    static const char *const names[] = {"numbers", "count/0", "count/1", "write", "coordinator", "count"};
    struct process *job = start_job(&s, "--set count=0 --set step=100 --set delay=20 --set p=2 --no-chain --checkpoint-interval 10ms %s",
                                    options);
    await_output(&s, 100);
    for (unsigned i = 0; i < 6; i++) {
        size_t before = event_count(&s, event);
        cr_assert_eq(weir(&s, "kill @ %s", names[i]), 0, "%s: %s", names[i], s.err);
        if (strcmp(names[i], "coordinator") == 0)
            await_events(&s, "coordinator_started", 2);
        else
            await_events(&s, event, before + 1);
        await_output(&s, output_count(s.output) + 100);
    }
    stop_job(&s, job);
    struct lines expected = {0}, got = output_lines(s.output);
    for (uint64_t i = 0; i < got.count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % 17, i / 17 + 1, i);
    assert_same_lines(&expected, got);
}

Test(recovery, each_task_may_be_killed_by_the_command_and_the_output_is_exact)
{
    kill_each("", "takeover");
    cr_assert_eq(event_count(&s, "recovery_started"), 0, "no task had to go back");
    cr_assert_eq(event_count(&s, "checkpoint_aborted"), 0, "checkpoints in progress go on");
}

Test(recovery, so_it_is_where_the_job_goes_back_to_its_checkpoint)
{
    kill_each("--takeover off", "recovery_finished");
    cr_assert_eq(event_count(&s, "takeover"), 0);
}

Test(recovery, a_takeover_is_no_restart)
{
    struct process *job = start_job(&s, "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 20ms --restart none");
    await_output(&s, 100);
    for (unsigned i = 1; i <= 6; i++) {
        cr_assert_eq(weir(&s, "kill @ count"), 0, "%s", s.err);
        await_events(&s, "takeover", i);
    }
    json_t *status = job_status(&s);
    cr_assert_eq(json_integer_value(json_object_get(status, "restarts")), 0);
    json_t *task, *tasks = json_object_get(status, "tasks");
    size_t index, takeovers = 0;
    json_array_foreach(tasks, index, task) takeovers += (size_t)json_integer_value(json_object_get(task, "takeovers"));
    json_decref(status);
    cr_assert_eq(takeovers, 6);
    stop_job(&s, job);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

Test(recovery, a_takeover_behind_the_last_checkpoint_is_told_as_well)
{
    s.kill_list = strdup("p4:1@write");
    cr_assert_eq(run_job(&s, "--set count=100 --no-chain --checkpoint-interval off"), 0, "%s", s.err);
    cr_assert_eq(event_count(&s, "takeover"), 1);
    cr_assert_eq(event_count(&s, "process_died"), 1);
    cr_assert_eq(event_count(&s, "job_finished"), 1);
    cr_assert_eq(output_count(s.output), 100);
}

Test(recovery, a_sink_without_resume_sends_the_job_back)
{
    struct process *job = start_job(&s, "--set shape=slow --set count=0 --ring-size 64KiB --checkpoint-interval 10ms");
    await_events(&s, "checkpoint_completed", 1);
    cr_assert_eq(weir(&s, "kill @ slow"), 0, "%s", s.err);
    await_events(&s, "recovery_finished", 1);
    cr_assert_eq(event_count(&s, "takeover"), 0);
    cr_assert_eq(weir(&s, "kill @ numbers"), 0, "%s", s.err);
    await_events(&s, "takeover", 1);
    stop_job(&s, job);
}

Test(recovery, a_coordinator_that_is_killed_does_not_stop_the_data)
{
    struct process *job = start_job(&s, "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 10ms");
    await_output(&s, 100);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert_eq(weir(&s, "kill @ coordinator"), 0, "%s", s.err);
        await_events(&s, "coordinator_started", 1 + i);
        await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 2);
    }
    cr_assert_eq(event_count(&s, "recovery_started"), 0, "no task had to go back");
    stop_job(&s, job);
}

/* How often the process has gone to sleep. */
static unsigned long sleeps_of(pid_t pid)
{
    char path[64];
    unsigned long sleeps = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    char *text = read_file(path), *at = strstr(text, "\nvoluntary_ctxt_switches:");
    cr_assert(at != NULL && sscanf(at, " voluntary_ctxt_switches: %lu", &sleeps) == 1, "%s: '%s'", path, text);
    free(text);
    return sleeps;
}

struct sleeper {
    pid_t pid;
    unsigned long sleeps;
};

static bool has_slept_again(struct scenario *scenario, void *arg)
{
    const struct sleeper *sleeper = arg;
    (void)scenario;
    return sleeps_of(sleeper->pid) > sleeper->sleeps;
}

static bool answers(struct scenario *scenario, void *arg)
{
    (void)arg;
    json_t *status = job_status(scenario);
    json_decref(status);
    return status != NULL;
}

/* As on a virtual machine that was paused: those who judge the others' silence wake up first. */
Test(recovery, a_job_that_stood_still_as_a_whole_is_not_taken_for_hung)
{
    pid_t pids[8];
    struct process *job = start_job(&s, "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 20ms --heartbeat-timeout 4s");
    await_output(&s, 100);
    unsigned count = job_pids(&s, pids, 8);
    for (unsigned i = 1; i < count; i++)
        kill(pids[i], SIGSTOP);
    struct sleeper launcher = {pids[0], sleeps_of(pids[0]) + 1};
    await(&s, has_slept_again, &launcher, "the launcher has seen the coordinator's last sign of life");
    kill(pids[0], SIGSTOP);
    poll(NULL, 0, 9500); /* the span for which it stands still: more than launcher and coordinator have patience for */
    launcher.sleeps = sleeps_of(pids[0]);
    kill(pids[0], SIGCONT);
    await(&s, has_slept_again, &launcher, "the launcher has had a turn");
    kill(pids[1], SIGCONT);
    await(&s, answers, NULL, "the coordinator has had a turn");
    for (unsigned i = 2; i < count; i++)
        kill(pids[i], SIGCONT);
    await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 3);
    cr_assert_eq(event_count(&s, "task_hung"), 0);
    cr_assert_eq(event_count(&s, "coordinator_started"), 1);
    stop_job(&s, job);
}

/* ---- what is wrong from the start ---- */

Test(recovery, a_missing_input_file_fails_at_once_with_its_name)
{
    cr_assert_neq(run_job(&s, "--set shape=wordcount --set input=%s/nowhere.txt", s.root), 0);
    ASSERT_ERR_SAYS(&s, "operator 'read'", "nowhere.txt", "No such file");
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

static void assert_wrong_graph(const char *how, const char *const *words)
{
    cr_assert_eq(run_job(&s, "--set shape=broken --set how=%s", how), 2, "%s: %s", how, s.err);
    assert_says(s.err, words);
    cr_assert_neq(access(s.directory, F_OK), 0, "nothing was made");
}

Test(recovery, wrong_graphs_are_refused_before_anything_is_made)
{
    assert_wrong_graph("unconnected", (const char *const[]){"'alone'", "nobody reads its output", NULL});
    assert_wrong_graph("same-name", (const char *const[]){"two operators are named 'numbers'", NULL});
    assert_wrong_graph("parallelism", (const char *const[]){"'numbers'", "parallelism of 0", NULL});
}

Test(recovery, an_unknown_parameter_is_refused_with_its_name)
{
    cr_assert_eq(run_job(&s, "--set coutn=5"), 2, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "coutn");
    cr_assert_eq(run_job(&s, "--set count=many"), 2, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "count=many", "whole number");
}
