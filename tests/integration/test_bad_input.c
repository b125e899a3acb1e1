/*
 * test_bad_input.c - input and checkpoints that are not what the job was told: a file that gets shorter while it is read, one of a later
 * version. docs/proof.md lists which test proves which case of bad input.
 */
#include "scenario.h"

#include "snapshot/file_format.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(bad_input, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define REFUSED 4

/* ---- a file that gets shorter ---- */

#define WORDS 8000u
#define LINE_BYTES 4096u
#define VOCABULARY 50u

/* A word a line, and blanks: much to read, little to do. */
static void write_words(const char *path)
{
    static char line[LINE_BYTES];
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    for (unsigned i = 0; i < WORDS; i++) {
        memset(line, ' ', sizeof line);
        int length = snprintf(line, sizeof line, "word%u", i % VOCABULARY);
        line[length] = ' ';
        line[LINE_BYTES - 1] = '\n';
        cr_assert_eq(fwrite(line, 1, sizeof line, file), sizeof line);
    }
    cr_assert_eq(fclose(file), 0);
}

static void expect_words(struct lines *expected, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        lines_add(expected, "word%u\t%u", i % VOCABULARY, i / VOCABULARY + 1);
}

/* The process of the task `name`, once it stands still at a kill point. */
struct stopped {
    const char *name;
    pid_t pid;
};

static bool has_stopped(struct scenario *scenario, void *arg)
{
    struct stopped *stopped = arg;
    size_t i;
    json_t *task, *status = job_status(scenario);
    json_array_foreach(json_object_get(status, "tasks"), i, task)
        if (strcmp(json_string_value(json_object_get(task, "name")), stopped->name) == 0)
            stopped->pid = (pid_t)json_integer_value(json_object_get(task, "pid"));
    json_decref(status);
    return process_state(stopped->pid) == 'T';
}

Test(bad_input, an_input_file_that_gets_shorter_fails_with_its_name_and_offset_and_what_came_out_stays_right)
{
#ifndef WEIR_KILL_POINTS
    scenario_end(&s);
    cr_skip_test("built without WEIR_KILL_POINTS");
#endif
    char path[2 * PATH_BYTES];
    struct stopped source = {.name = "read"};
    snprintf(path, sizeof path, "%s/words.txt", s.root);
    write_words(path);
    /* It stands still twice: until a checkpoint is asked for, whose barrier it then takes, and until that one is complete. */
    s.kill_list = strdup("s1:5:stop@read,s1:12:stop@read");
    struct process *job = start_job(&s, "--set shape=wordcount --set input=%s --batch-records 200 --checkpoint-interval 10ms --restart none "
                                    "--heartbeat-timeout off", path);
    await(&s, has_stopped, &source, "the source stops between two reads");
    await_events(&s, "checkpoint_triggered", 1);
    cr_assert_eq(kill(source.pid, SIGCONT), 0);
    await(&s, has_stopped, &source, "the source stops between two later reads");
    await_events(&s, "checkpoint_completed", 1);
    const off_t shorter = 100 * (off_t)LINE_BYTES; /* it has read more than that */
    cr_assert_eq(truncate(path, shorter), 0);
    cr_assert_eq(kill(source.pid, SIGCONT), 0);
    cr_assert_eq(end_of(&s, job), 1, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "operator 'read'", path, "was truncated while the job reads it", "it has 409600 bytes", "offset");
    /* What is visible is the output of the records up to some checkpoint. */
    struct lines expected = {0}, got = output_lines(s.output);
    cr_assert_lt(got.count, WORDS);
    expect_words(&expected, (unsigned)got.count);
    assert_same_lines(&expected, got);
    free(s.kill_list);
    s.kill_list = NULL;
    cr_assert_eq(run_job(&s, "--set shape=wordcount --set input=%s --restart none", path), 1, "as long as it is short: %s", s.err);
    ASSERT_ERR_SAYS(&s, path, "truncated");
    /* With the file back as it was, the same command goes on. */
    write_words(path);
    cr_assert_eq(run_job(&s, "--set shape=wordcount --set input=%s", path), 0, "%s", s.err);
    expected = (struct lines){0};
    expect_words(&expected, WORDS);
    assert_same_lines(&expected, output_lines(s.output));
}

/* ---- checkpoints of a later version ---- */

/* Its version counted up, and the checksum of its first sealed_bytes (0: of all but the last 8), which follows them, made right: what a
 * later Weir may leave. */
static void make_newer(const char *below, const char *name, size_t sealed_bytes)
{
    static unsigned char bytes[1 << 20];
    char path[3 * PATH_BYTES];
    snprintf(path, sizeof path, "%s%s/%s", s.directory, below, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t size_bytes = read(fd, bytes, sizeof bytes);
    cr_assert_gt(size_bytes, 32);
    sealed_bytes = sealed_bytes > 0 ? sealed_bytes : (size_t)size_bytes - 8;
    bytes[8]++;
    uint64_t sum = bytes_checksum(bytes, sealed_bytes);
    for (unsigned i = 0; i < 8; i++)
        bytes[sealed_bytes + i] = (unsigned char)(sum >> (8 * i));
    cr_assert_eq(pwrite(fd, bytes, (size_t)size_bytes, 0), size_bytes);
    close(fd);
}

/* The names in a folder of the checkpoint directory that begin so, sorted. */
static struct lines names_in(const char *below, const char *begin)
{
    char path[2 * PATH_BYTES];
    struct lines names = {0};
    snprintf(path, sizeof path, "%s%s", s.directory, below);
    DIR *directory = opendir(path);
    cr_assert_not_null(directory, "%s", path);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, begin, strlen(begin)) == 0)
            lines_add(&names, "%s", entry->d_name);
    closedir(directory);
    lines_sort(&names);
    cr_assert_gt(names.count, 0, "%s", path);
    return names;
}

static void expect_refused(unsigned manifests, const char *file)
{
    size_t before = output_count(s.output);
    cr_assert_eq(run_job(&s, "--set count=200 --checkpoints-retained 2"), REFUSED, "%s", s.err);
    ASSERT_ERR_SAYS(&s, file, "version 2", "reads version 1", "another checkpoint directory");
    cr_assert_null(strstr(s.err, "--from-scratch"), "it is nothing to throw away: %s", s.err);
    cr_assert_eq(manifests_on_disk(&s), manifests, "nothing is deleted");
    cr_assert_eq(output_count(s.output), before);
    cr_assert_eq(event_count(&s, "checkpoint_skipped_damaged"), 0);
}

Test(bad_input, the_directory_of_a_later_version_is_refused_and_left_as_it_is)
{
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    struct lines manifests = names_in("", "manifest-");
    for (size_t i = 0; i < manifests.count; i++)
        make_newer("", manifests.line[i], 0);
    expect_refused((unsigned)manifests.count, manifests.line[manifests.count - 1]);
    lines_free(&manifests);
}

/* What the later version made visible would be written once more. */
Test(bad_input, a_newest_checkpoint_of_a_later_version_is_not_passed_over_for_an_older_one)
{
    cr_assert_eq(run_job(&s, "--set count=100 --checkpoints-retained 2"), 0, "%s", s.err);
    cr_assert_eq(run_job(&s, "--set count=150 --checkpoints-retained 2"), 0, "%s", s.err);
    struct lines manifests = names_in("", "manifest-");
    cr_assert_eq(manifests.count, 2);
    make_newer("", manifests.line[1], 0);
    expect_refused(2, manifests.line[1]);
    cr_assert_eq(weir(&s, "checkpoints @"), 0, "%s", s.err);
    ASSERT_OUT_SAYS(&s, "newer version", "is of a newer version", "reads version 1");
    cr_assert_null(strstr(s.out, "damaged"), "%s", s.out);
    cr_assert_eq(weir(&s, "inspect @"), REFUSED, "%s", s.err);
    lines_free(&manifests);
}

Test(bad_input, a_newest_snapshot_of_a_later_version_is_not_passed_over_either)
{
    cr_assert_eq(run_job(&s, "--set count=100 --checkpoints-retained 2"), 0, "%s", s.err);
    cr_assert_eq(run_job(&s, "--set count=150 --checkpoints-retained 2"), 0, "%s", s.err);
    struct lines snapshots = names_in("/snapshots", "0");
    make_newer("/snapshots", snapshots.line[snapshots.count - 1], 4088);
    expect_refused(2, snapshots.line[snapshots.count - 1]);
    cr_assert_eq(weir(&s, "inspect @ --verify"), REFUSED, "%s", s.err);
    ASSERT_OUT_SAYS(&s, "Of a newer version");
    lines_free(&snapshots);
}

/* --from-scratch leaves it alone, also when the job has to recover before its own first checkpoint. */
Test(bad_input, a_checkpoint_of_a_later_version_is_in_nobodys_way_from_scratch)
{
    cr_assert_eq(run_job(&s, "--set count=100"), 0, "%s", s.err);
    struct lines manifests = names_in("", "manifest-");
    char aside[2 * PATH_BYTES];
    snprintf(aside, sizeof aside, "%s.aside", s.output);
    make_newer("", manifests.line[manifests.count - 1], 0);
    cr_assert_eq(rename(s.output, aside), 0, "from scratch it wants an empty one");
    s.kill_list = strdup("t2:1@count");
    cr_assert_eq(run_job(&s, "--set count=200 --from-scratch --takeover off --checkpoint-interval 1h"), 0, "%s", s.err);
    cr_assert_geq(event_count(&s, "recovery_started"), 1, "%s", s.err);
    lines_free(&manifests);
}
