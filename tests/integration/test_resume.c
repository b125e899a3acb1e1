/* test_resume.c - ending, going on where it was ended, and every reason to refuse to go on. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(resume, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define KEYS UINT64_C(17)
#define REFUSED 4
#define ENDLESS "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 20ms"

/* The counts of the numbers 0 .. count - 1. */
static void assert_keyed_output(uint64_t count)
{
    struct lines expected = {0};
    for (uint64_t i = 0; i < count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % KEYS, i / KEYS + 1, i);
    assert_same_lines(&expected, output_lines(s.output));
}

Test(resume, stopped_and_started_again_and_again_the_output_is_that_of_one_run)
{
    for (unsigned i = 1; i <= 4; i++) {
        struct process *job = start_job(&s, ENDLESS " --set p=2");
        await_output(&s, output_count(s.output) + 300);
        stop_job(&s, job);
    }
    cr_assert_eq(event_count(&s, "job_stopped"), 4);
    assert_keyed_output(output_count(s.output));
}

static void stop_by_signal(int signal_number)
{
    struct process *job = start_job(&s, ENDLESS " --set p=2");
    await_output(&s, 300);
    kill(job->pid, signal_number);
    cr_assert_eq(end_of(&s, job), 0, "%s", s.err);
    json_t *event = event_at(&s, "checkpoint_triggered", -1);
    cr_assert_str_eq(json_string_value(json_object_get(event, "trigger")), "stop");
    json_decref(event);
    size_t so_far = output_count(s.output);
    assert_keyed_output(so_far);
    job = start_job(&s, ENDLESS " --set p=2");
    await_output(&s, so_far + 300);
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output));
}

Test(resume, sigint_stops_with_a_final_checkpoint) { stop_by_signal(SIGINT); }
Test(resume, sigterm_stops_with_a_final_checkpoint) { stop_by_signal(SIGTERM); }

static bool is_stopping(struct scenario *scenario, void *arg)
{
    (void)arg;
    json_t *status = job_status(scenario);
    const char *state = json_string_value(json_object_get(status, "state"));
    bool stopping = state != NULL && strcmp(state, "stopping") == 0;
    json_decref(status);
    return stopping;
}

Test(resume, a_second_signal_ends_at_once_and_says_so_by_its_status)
{
    s.kill_list = strdup("h3:4:delay=60000@snapshot:count"); /* the final checkpoint never completes */
    struct process *job = start_job(&s, "--set count=100 --set hold=1 --checkpoint-interval off");
    for (unsigned i = 0; i < 3; i++) {
        await_running(&s);
        cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    }
    kill(job->pid, SIGINT);
    await(&s, is_stopping, NULL, "the job is stopping");
    kill(job->pid, SIGINT);
    cr_assert_eq(end_of(&s, job), 130, "%s", s.err);
    free(s.kill_list);
    s.kill_list = NULL;
    cr_assert_eq(run_job(&s, "--set count=100 --checkpoint-interval off"), 0, "%s", s.err);
    assert_keyed_output(100);
}

Test(resume, stop_now_takes_no_checkpoint_and_loses_nothing)
{
    struct process *job = start_job(&s, "--set count=100 --set hold=1 --checkpoint-interval off");
    await_running(&s);
    cr_assert_eq(weir(&s, "stop @ --now"), 0, "%s", s.err);
    cr_assert_eq(end_of(&s, job), 130, "%s", s.err);
    cr_assert_eq(event_count(&s, "checkpoint_completed"), 0);
    cr_assert_eq(output_count(s.output), 0);
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    assert_keyed_output(100);
}

Test(resume, a_launcher_that_was_killed_leaves_a_directory_that_goes_on)
{
    struct process *job = start_job(&s, ENDLESS " --set p=2");
    pid_t pids[16];
    struct pollfd ends[16]; /* of these processes, whoever reaps them and has their numbers then */
    await_output(&s, 300);
    unsigned count = job_pids(&s, pids, 16);
    for (unsigned i = 0; i < count; i++) {
        ends[i] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, pids[i], 0), .events = POLLIN};
        cr_assert_geq(ends[i].fd, 0, "process %d", (int)pids[i]);
    }
    kill(job->pid, SIGKILL);
    end_of(&s, job);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(poll(&ends[i], 1, DEADLINE_S * 1000), 1, "process %d outlives its launcher", (int)pids[i]);
        close(ends[i].fd);
    }
    job = start_job(&s, ENDLESS " --set p=2");
    await_output(&s, output_count(s.output) + 300);
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output));
}

Test(resume, a_bounded_job_that_has_finished_ends_at_once_without_new_output)
{
    cr_assert_eq(run_job(&s, "--set count=3000 --set p=3"), 0, "%s", s.err);
    assert_keyed_output(3000);
    json_t *last = event_at(&s, "checkpoint_triggered", -1);
    cr_assert_str_eq(json_string_value(json_object_get(last, "trigger")), "final");
    json_decref(last);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(run_job(&s, "--set count=3000 --set p=3"), 0, "%s", s.err);
        assert_keyed_output(3000);
    }
    cr_assert_eq(event_count(&s, "job_finished"), 3);
}

Test(resume, timers_fire_once_across_restarts)
{
    struct lines expected = {0};
    for (unsigned key = 0; key < 200; key++)
        lines_add(&expected, "%u\t7\t1", key);
    for (unsigned i = 0; i < 3; i++) { /* two stops before, or while, they fire */
        struct process *job = start_job(&s, "--set shape=timer --set count=1000 --set keys=200 --set hold=1 --set at=700 --set p=2 "
                                        "--checkpoint-interval 20ms");
        await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 5);
        if (i == 2)
            await_output(&s, expected.count);
        stop_job(&s, job);
    }
    assert_same_lines(&expected, output_lines(s.output));
}

/* `event`: what a kill leads to, with these options. */
static void fire_and_kill(const char *options, const char *event)
{
    struct lines expected = {0};
    for (unsigned key = 0; key < 200; key++)
        lines_add(&expected, "%u\t7\t1", key);
    struct process *job = start_job(&s, "--set shape=timer --set count=1000 --set keys=200 --set hold=1 --set at=300 --checkpoint-interval 20ms %s",
                                    options);
    await_events(&s, "checkpoint_completed", 3);
    cr_assert_eq(weir(&s, "kill @ timer"), 0, "%s", s.err);
    await_events(&s, event, 1);
    await_output(&s, expected.count);
    cr_assert_eq(weir(&s, "kill @ timer"), 0, "%s", s.err);
    await_events(&s, event, 2);
    await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 2);
    stop_job(&s, job);
    assert_same_lines(&expected, output_lines(s.output));
}

Test(resume, timers_fire_once_though_their_task_is_killed) { fire_and_kill("", "takeover"); }
Test(resume, timers_fire_once_though_the_job_goes_back) { fire_and_kill("--takeover off", "recovery_finished"); }

/* ---- refusals ---- */

Test(resume, a_second_instance_on_the_directory_is_refused)
{
    struct process *job = start_job(&s, ENDLESS);
    await_running(&s);
    cr_assert_eq(run_job(&s, ENDLESS), REFUSED, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "another instance", s.directory, "weir stop");
    cr_assert_eq(weir(&s, "status @"), 0, "the first one goes on: %s", s.err);
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output));
}

/* Whether the process has the lock open and waits for it, or has ended. */
static bool has_come_to_the_lock(struct scenario *scenario, void *arg)
{
    const struct process *job = arg;
    char lock[2 * PATH_BYTES], folder[64], path[64 + 256], target[2 * PATH_BYTES];
    snprintf(lock, sizeof lock, "%s/LOCK", scenario->directory);
    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)job->pid);
    bool is_open = false;
    DIR *descriptors = opendir(folder);
    for (struct dirent *entry; descriptors != NULL && (entry = readdir(descriptors)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        ssize_t size_bytes = readlink(path, target, sizeof target - 1);
        target[size_bytes > 0 ? size_bytes : 0] = 0;
        is_open |= strcmp(target, lock) == 0;
    }
    if (descriptors != NULL)
        closedir(descriptors);
    return process_state(job->pid) == 'Z' || (is_open && process_state(job->pid) == 'S');
}

/* One that was stopped answers no more, and has the lock while it frees its memory. */
Test(resume, a_job_that_is_just_ending_is_waited_for)
{
    char lock[2 * PATH_BYTES];
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    snprintf(lock, sizeof lock, "%s/LOCK", s.directory);
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    struct process *job = start_job(&s, "--set count=100");
    await(&s, has_come_to_the_lock, job, "the next one waits for the lock");
    close(fd);
    cr_assert_eq(end_of(&s, job), 0, "%s", s.err);
    cr_assert_eq(event_count(&s, "job_finished"), 2);
    assert_keyed_output(100);
}

/* Ran with `first`, then refused with `then`, for this reason; nothing that was there has changed. */
static void assert_refused(const char *first, const char *then, const char *const *words)
{
    cr_assert_eq(run_job(&s, "%s", first), 0, "%s", s.err);
    struct lines before = output_lines(s.output);
    int status = run_job(&s, "%s", then);
    cr_assert_eq(status, REFUSED, "%s: %d: %s", then, status, s.err);
    assert_says(s.err, words);
    cr_assert_not_null(strstr(s.err, "--from-scratch"), "it says what to do: %s", s.err);
    assert_same_lines(&before, output_lines(s.output));
    cr_assert_eq(run_job(&s, "%s", first), 0, "what ran before still runs: %s", s.err);
}
#define ASSERT_REFUSED(first, then, ...) assert_refused(first, then, (const char *const[]){__VA_ARGS__, NULL})

Test(resume, the_directory_of_another_job_is_refused)
{
    ASSERT_REFUSED("--set count=10", "--set count=10 --name other", "shapes", "other");
}

Test(resume, a_state_of_another_size_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base", "--set shape=states --set how=sized", "state 'total'", "operator 'keep'", "8 bytes",
                   "16 bytes");
}

Test(resume, a_state_of_another_kind_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base", "--set shape=states --set how=list", "state 'total'", "value", "list");
}

Test(resume, a_state_of_another_version_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base", "--set shape=states --set how=later", "state 'total'", "version 0", "version 3");
}

Test(resume, a_state_of_another_scope_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base", "--set shape=states --set how=operator", "state 'total'", "per key",
                   "per operator");
}

Test(resume, a_removed_operator_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base", "--set shape=states --set how=removed", "operator 'keep'", "does not have it");
}

Test(resume, an_added_operator_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=removed", "--set shape=states --set how=base", "operator 'keep'");
}

Test(resume, another_parallelism_is_refused)
{
    ASSERT_REFUSED("--set shape=states --set how=base --set p=2", "--set shape=states --set how=base --set p=3", "operator 'keep'",
                   "parallelism 2", "3");
}

Test(resume, another_number_of_key_groups_is_refused)
{
    ASSERT_REFUSED("--set count=10", "--set count=10 --key-groups 64", "128", "64");
}

Test(resume, another_chaining_is_refused)
{
    ASSERT_REFUSED("--set count=10", "--set count=10 --chain-keyed", "--chain-keyed must be as");
    ASSERT_REFUSED("--set count=10", "--set count=10 --no-chain", "--no-chain and");
    cr_assert_eq(run_job(&s, "--set count=10 --no-chain --chain-keyed"), 2, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "--no-chain and --chain-keyed exclude each other");
}

/* ---- another start ---- */

/* What a user does before going back: moves the output away. */
static void remove_output(void)
{
    char command[2 * PATH_BYTES];
    snprintf(command, sizeof command, "rm -rf '%s'", s.output);
    cr_assert_eq(system(command), 0);
}

Test(resume, from_scratch_begins_anew_and_goes_on_from_there)
{
    struct process *job = start_job(&s, ENDLESS);
    await_output(&s, 300);
    stop_job(&s, job);
    remove_output();
    job = start_job(&s, ENDLESS " --from-scratch");
    await_output(&s, 200);
    stop_job(&s, job);
    job = start_job(&s, ENDLESS);
    await_output(&s, output_count(s.output) + 200);
    stop_job(&s, job);
    assert_keyed_output(output_count(s.output));
}

Test(resume, from_scratch_into_output_that_is_there_fails_at_once_with_words)
{
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    cr_assert_neq(run_job(&s, "--set count=100 --from-scratch"), 0, "it would mix two runs");
    ASSERT_ERR_SAYS(&s, "operator 'write'", s.output, "starts from nothing");
    assert_keyed_output(100);
}

Test(resume, restore_of_an_older_checkpoint_goes_back_to_it)
{
    struct process *job = start_job(&s, ENDLESS " --checkpoints-retained 10000");
    await_output(&s, 300);
    stop_job(&s, job);
    json_t *event = event_at(&s, "checkpoint_completed", -1);
    int id = (int)json_integer_value(json_object_get(event, "checkpoint"));
    size_t first_count = output_count(s.output);
    json_decref(event);
    job = start_job(&s, ENDLESS " --checkpoints-retained 10000");
    await_output(&s, first_count + 300);
    stop_job(&s, job);
    remove_output();
    job = start_job(&s, ENDLESS " --checkpoints-retained 10000 --restore %d", id);
    await_output(&s, 300);
    stop_job(&s, job);
    struct lines expected = {0}, got = output_lines(s.output);
    for (uint64_t i = first_count; i < first_count + got.count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % KEYS, i / KEYS + 1, i);
    assert_same_lines(&expected, got);
}

Test(resume, restore_of_a_checkpoint_that_is_not_there_is_refused)
{
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    cr_assert_eq(run_job(&s, "--set count=100 --restore 4711"), 3, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "4711");
    cr_assert_eq(run_job(&s, "--set count=100 --restore 1 --from-scratch"), 2, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "exclude each other");
    assert_keyed_output(100);
}

/* The newest snapshot file, one byte of it changed in place. */
static void damage_newest_snapshot(void)
{
    char command[4 * PATH_BYTES];
    snprintf(command, sizeof command,
             "f=$(ls '%s'/snapshots/*.snap | sort | tail -1) && printf '\\377' | dd of=\"$f\" bs=1 seek=5000 conv=notrunc status=none && "
             "printf 'X' | dd of=\"$f\" bs=1 seek=5001 conv=notrunc status=none", s.directory);
    cr_assert_eq(system(command), 0);
}

Test(resume, a_damaged_checkpoint_is_skipped_with_words_and_the_older_one_taken)
{
    struct process *job = start_job(&s, ENDLESS);
    await_output(&s, 500);
    stop_job(&s, job);
    damage_newest_snapshot();
    cr_assert_neq(run_job(&s, ENDLESS), 0, "going back would repeat output that is visible already");
    ASSERT_ERR_SAYS(&s, "is newer than the restored checkpoint", s.output);
    remove_output();
    job = start_job(&s, ENDLESS);
    await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 3);
    stop_job(&s, job);
    ASSERT_ERR_SAYS(&s, "damaged", ".snap");
    json_t *event = event_at(&s, "checkpoint_skipped_damaged", 0);
    const char *reason = json_string_value(json_object_get(event, "reason"));
    cr_assert(reason != NULL && strstr(reason, ".snap") != NULL && strstr(reason, "byte ") != NULL, "reason: %s", reason);
    json_decref(event);
}

Test(resume, when_every_checkpoint_is_damaged_the_job_does_not_begin_anew_by_itself)
{
    cr_assert_eq(run_job(&s, "--set count=100 --checkpoints-retained 1"), 0, "%s", s.err);
    damage_newest_snapshot();
    int status = run_job(&s, "--set count=200 --checkpoints-retained 1");
    cr_assert_eq(status, 5, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, "--from-scratch");
    assert_keyed_output(100);
    cr_assert_eq(weir(&s, "inspect @ --verify"), 5, "%s", s.err);
}
