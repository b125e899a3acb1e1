/*
 * test_resources.c - a machine that refuses: processes, descriptors, space. What a test cannot arrange here (it must be root for the
 * small disks and the other user) it says, and is skipped.
 */
#include "scenario.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(resources, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define ENDLESS "--set count=0 --set step=100 --set delay=20 --checkpoint-interval 20ms"
/* Nobody's user, and another one for each test: its processes are that test's alone. */
static uid_t test_uid(void) { return 40000 + (uid_t)getpid() % 20000; }

/* A test that is skipped does not come to its end. */
static void skip(const char *why)
{
    char reason[256];
    snprintf(reason, sizeof reason, "%s\n", why);
    scenario_end(&s);
    cr_skip("%s", reason);
}

static void assert_keyed_output(void)
{
    struct lines expected = {0}, got = output_lines(s.output);
    for (uint64_t i = 0; i < got.count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % 17, i / 17 + 1, i);
    assert_same_lines(&expected, got);
}

/* ---- processes ---- */

/* From now on jobs run as another user, who may have so many processes. */
static void become_limited(rlim_t processes)
{
    char path[2 * PATH_BYTES];
    if (geteuid() != 0)
        skip("only root can become another user, whose number of processes is limited");
    s.uid = test_uid();
    s.limit = processes == RLIM_INFINITY ? -1 : RLIMIT_NPROC;
    s.limit_value = processes;
    snprintf(path, sizeof path, "%s/run", s.root);
    cr_assert_eq(chown(s.root, s.uid, s.uid), 0);
    cr_assert_eq(chown(path, s.uid, s.uid), 0);
    struct process *probe = start_job(&s, "--help");
    s.process_count--;
    if (end_of(&s, probe) != 0)
        skip("another user cannot reach the build directory");
    s.process_count = 0;
}

Test(resources, too_few_processes_to_start_is_said_and_nothing_stays)
{
    become_limited(3); /* launcher and two tasks; no coordinator */
    int status = run_job(&s, ENDLESS);
    cr_assert_eq(status, 1, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, "fork of", "limit on processes");
    s.limit = -1;
    struct process *job = start_job(&s, ENDLESS);
    await_output(&s, 100);
    cr_assert_eq(program(&s, "stop --directory @"), 0, "%s", s.err);
    cr_assert_eq(end_of(&s, job), 0, "%s", s.err);
}

/* A process of the other user that does nothing but count. */
static pid_t start_placeholder(void)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setuid(s.uid) != 0)
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* setuid clears it */
        for (;;)
            pause();
    }
    return pid;
}

Test(resources, no_process_left_for_a_snapshot_aborts_the_checkpoint_and_the_data_flows_on)
{
    become_limited(6); /* launcher, coordinator, two tasks, and: */
    pid_t placeholders[] = {start_placeholder(), start_placeholder()};
    struct process *job = start_job(&s, ENDLESS " --checkpoint-tolerated-failures unlimited");
    await_events(&s, "checkpoint_aborted", 3);
    json_t *event = event_at(&s, "checkpoint_aborted", 1);
    const char *reason = json_string_value(json_object_get(event, "reason"));
    cr_assert(reason != NULL && strstr(reason, "fork of the snapshot child") != NULL, "reason: %s", reason);
    json_decref(event);
    cr_assert_eq(event_count(&s, "recovery_started"), 0, "that is no reason to go back");
    for (unsigned i = 0; i < 2; i++) {
        kill(placeholders[i], SIGKILL);
        waitpid(placeholders[i], NULL, 0);
    }
    await_events(&s, "checkpoint_completed", 3);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
    s.limit = -1; /* the command that asks is not held back */
    cr_assert_eq(program(&s, "stop --directory @"), 0, "%s", s.err);
    cr_assert_eq(end_of(&s, job), 0, "%s", s.err);
    assert_keyed_output();
}

/* ---- descriptors ---- */

Test(resources, too_few_descriptors_to_start_is_said)
{
    s.limit = RLIMIT_NOFILE;
    s.limit_value = 24;
    int status = run_job(&s, "--set count=100 --set p=4 --no-chain");
    cr_assert_neq(status, 0);
    ASSERT_ERR_SAYS(&s, "Too many open files");
    s.limit = -1;
    cr_assert_eq(run_job(&s, "--set count=100 --set p=4 --no-chain"), 0, "%s", s.err);
    assert_keyed_output();
}

/* At every number of descriptors the job either runs or says why not; it never hangs, nor crashes. */
Test(resources, any_number_of_descriptors_runs_or_is_refused_in_words)
{
    bool has_run = false;
    s.limit = RLIMIT_NOFILE;
    for (s.limit_value = 4; s.limit_value <= 64 && !has_run; s.limit_value += 3) {
        int status = run_job(&s, "--set count=100 --restart none");
        cr_assert(status == 0 || strstr(s.err, "Too many open files") != NULL || s.limit_value < 8, "%llu descriptors: %d: %s",
                  (unsigned long long)s.limit_value, status, s.err);
        cr_assert_lt(status, 128, "%llu descriptors: killed by a signal: %s", (unsigned long long)s.limit_value, s.err);
        has_run = status == 0;
    }
    cr_assert(has_run, "64 descriptors suffice");
    s.limit = -1;
    assert_keyed_output();
}

/* ---- locked memory ---- */

/* io_uring takes some on older kernels, and registered buffers anywhere: without any the job must run all the same. */
Test(resources, a_job_that_may_lock_no_memory_runs_or_says_why_not)
{
    static const char *const modes[] = {"auto", "uring", "pwrite"};
    become_limited(RLIM_INFINITY);
    s.limit = RLIMIT_MEMLOCK;
    s.limit_value = 0;
    for (unsigned i = 0; i < 3; i++) {
        int status = run_job(&s, "--set count=2000 --checkpoint-records 500 --io %s --restart none --from-scratch", modes[i]);
        bool may_refuse = strcmp(modes[i], "uring") == 0;
        cr_assert(status == 0 || (may_refuse && status == 1 && strstr(s.err, "io_uring") != NULL), "--io %s: %d: %s", modes[i], status, s.err);
        if (status == 0)
            assert_keyed_output();
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof path, "rm -rf '%s'", s.output);
        cr_assert_eq(system(path), 0);
    }
}

/* ---- space ---- */

static void fill_up(const char *directory, const char *name)
{
    char path[2 * PATH_BYTES], block[4096] = {0};
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    while (write(fd, block, sizeof block) > 0)
        continue;
    cr_assert_eq(errno, ENOSPC);
    close(fd);
}

static void make_room(const char *directory, const char *name)
{
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cr_assert_eq(unlink(path), 0);
}

Test(resources, a_full_checkpoint_disk_aborts_checkpoints_until_there_is_room_again)
{
    if (!mount_small_disk(s.directory, 8 << 20))
        skip("needs to mount a small disk, as root");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-tolerated-failures unlimited");
    await_events(&s, "checkpoint_completed", 3);
    fill_up(s.directory, "ballast");
    pid_t pids[8];
    unsigned count = job_pids(&s, pids, 8);
    for (json_int_t failed = 0; failed < 3;) { /* the event log is on the full disk as well: the status must tell */
        json_t *status = job_status(&s);
        failed = json_integer_value(json_object_get(json_object_get(status, "checkpoints"), "failed"));
        json_decref(status);
    }
    make_room(s.directory, "ballast");
    await_output(&s, output_count(s.output) + 200);
    pid_t after[8];
    cr_assert_eq(job_pids(&s, after, 8), count);
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(after[i], pids[i], "no process had to be replaced");
    json_t *event = event_at(&s, "checkpoint_aborted", -1);
    const char *reason = json_string_value(json_object_get(event, "reason"));
    cr_assert(reason == NULL || strstr(reason, "No space left") != NULL, "reason: %s", reason);
    json_decref(event);
    stop_job(&s, job);
    assert_keyed_output();
}

Test(resources, a_full_checkpoint_disk_fails_the_job_where_failures_are_not_tolerated)
{
    if (!mount_small_disk(s.directory, 8 << 20))
        skip("needs to mount a small disk, as root");
    struct process *job = start_job(&s, ENDLESS " --checkpoint-tolerated-failures 2");
    await_events(&s, "checkpoint_completed", 3);
    fill_up(s.directory, "ballast");
    cr_assert_eq(end_of(&s, job), 1, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "No space left", "3 checkpoints in a row failed");
    make_room(s.directory, "ballast");
    size_t before = output_count(s.output);
    job = start_job(&s, ENDLESS);
    await_output(&s, before + 200);
    stop_job(&s, job);
    assert_keyed_output();
}

Test(resources, a_start_on_a_full_checkpoint_disk_is_refused_in_words_and_loses_nothing)
{
    if (!mount_small_disk(s.directory, 8 << 20))
        skip("needs to mount a small disk, as root");
    struct process *job = start_job(&s, ENDLESS);
    await_output(&s, 200);
    stop_job(&s, job);
    size_t before = output_count(s.output);
    fill_up(s.directory, "ballast");
    int status = run_job(&s, ENDLESS " --checkpoint-tolerated-failures 0 --restart none");
    cr_assert_eq(status, 1, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, "No space left");
    cr_assert_eq(output_count(s.output), before, "nothing is visible that no checkpoint holds");
    make_room(s.directory, "ballast");
    job = start_job(&s, ENDLESS);
    await_output(&s, before + 200);
    stop_job(&s, job);
    assert_keyed_output();
}

Test(resources, a_full_output_disk_stalls_or_fails_the_job_but_shows_no_partial_output)
{
    if (!mount_small_disk(s.output, 32 << 20))
        skip("needs to mount a small disk, as root");
    struct process *job = start_job(&s, ENDLESS " --restart fixed-delay --restart-attempts 1000 --restart-delay 20ms");
    await_output(&s, 100);
    fill_up(s.output, ".ballast");
    await_events(&s, "recovery_started", 2);
    assert_keyed_output();
    json_t *event = event_at(&s, "recovery_started", 0);
    const char *cause = json_string_value(json_object_get(event, "cause"));
    cr_assert(cause != NULL && strstr(cause, "No space left") != NULL && strstr(cause, "operator 'write'") != NULL, "cause: %s", cause);
    json_decref(event);
    make_room(s.output, ".ballast");
    await_output(&s, output_count(s.output) + 300);
    stop_job(&s, job);
    assert_keyed_output();
}

Test(resources, a_state_that_reaches_its_limit_fails_with_words)
{
    int status = run_job(&s, "--set count=1000000 --set keys=1000000 --state-limit 1MiB --restart none");
    cr_assert_eq(status, 1, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, "operator 'count'", "--state-limit");
}

Test(resources, an_input_file_that_may_not_be_read_is_refused_with_its_name)
{
    char path[2 * PATH_BYTES];
    become_limited(RLIM_INFINITY);
    snprintf(path, sizeof path, "%s/secret.txt", s.root);
    write_file(path, "a word\n");
    cr_assert_eq(chmod(path, 0600), 0); /* root's */
    int status = run_job(&s, "--set shape=wordcount --set input=%s", path);
    cr_assert_neq(status, 0);
    ASSERT_ERR_SAYS(&s, "operator 'read'", path, "Permission denied");
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

Test(resources, a_directory_that_may_not_be_written_is_refused)
{
    become_limited(RLIM_INFINITY);
    cr_assert_eq(mkdir(s.directory, 0755), 0); /* root's */
    int status = run_job(&s, "--set count=10");
    cr_assert_eq(status, 4, "%d: %s", status, s.err);
    ASSERT_ERR_SAYS(&s, s.directory, "Permission denied");
}
