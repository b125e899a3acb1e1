/*
 * test_lazy.c - a job whose state is read from its checkpoint while it runs: records before the last chunk, kills and checkpoints
 * meanwhile, damage that is found late. The state is 2.5 MiB, which is read in some ten parts.
 */
#include "scenario.h"

#include "snapshot/checkpoint.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void)
{
    unsetenv("WEIR_IO_FAULT");
    scenario_end(&s);
}
TestSuite(lazy, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define KEYS UINT64_C(100000)
#define JOB "--set shape=keyed --set keys=100000 --checkpoint-interval off "

/* The counts of the numbers 0 .. count - 1. */
static void assert_counts(uint64_t count)
{
    struct lines expected = {0};
    for (uint64_t i = 0; i < count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % KEYS, i / KEYS + 1, i);
    assert_same_lines(&expected, output_lines(s.output));
}

/* One record of each key, and a checkpoint of that. */
static void make_state(void)
{
    struct process *job = start_job(&s, "--set shape=keyed --set keys=100000 --checkpoint-interval 50ms --set count=100000 --set hold=1");
    await_output(&s, KEYS);
    stop_job(&s, job);
}

static int64_t number_of(const char *event_name, const char *field, int n)
{
    json_t *event = event_at(&s, event_name, n);
    cr_assert_not_null(event, "no event %s", event_name);
    int64_t value = json_integer_value(json_object_get(event, field));
    json_decref(event);
    return value;
}

/* The event of the keyed task that was restored last: others have less state. NULL: none. */
static json_t *loaded_event(void)
{
    json_t *found = NULL;
    for (size_t i = 0; i < event_count(&s, "restore_loaded"); i++) {
        json_t *event = event_at(&s, "restore_loaded", (int)i);
        if (strncmp(json_string_value(json_object_get(event, "task")), "count", 5) == 0) {
            json_decref(found);
            found = event;
        } else {
            json_decref(event);
        }
    }
    return found;
}

static bool is_loaded(struct scenario *scenario, void *arg)
{
    (void)scenario, (void)arg;
    json_t *event = loaded_event();
    json_decref(event);
    return event != NULL;
}

static void assert_loaded(const char *mode, bool records_before)
{
    json_t *event = loaded_event();
    cr_assert_not_null(event);
    cr_assert_str_eq(json_string_value(json_object_get(event, "mode")), mode);
    cr_assert_geq(json_integer_value(json_object_get(event, "bytes")), 2 << 20);
    cr_assert_eq(json_integer_value(json_object_get(event, "records_before")) > 0, records_before, "%lld",
                 (long long)json_integer_value(json_object_get(event, "records_before")));
    json_decref(event);
}

static void set_kills(const char *list)
{
    free(s.kill_list);
    s.kill_list = list != NULL ? strdup(list) : NULL;
}

Test(lazy, the_first_record_is_processed_before_the_last_chunk_is_read)
{
    make_state();
    setenv("WEIR_IO_FAULT", "pread:1*1000000:delay=150", 1);
    struct process *job = start_job(&s, JOB "--set count=100010 --set hold=1");
    await(&s, is_loaded, NULL, "all is loaded");
    assert_loaded("lazy", true);
    stop_job(&s, job);
    assert_counts(100010);
}

Test(lazy, eager_reads_all_first)
{
    make_state();
    setenv("WEIR_IO_FAULT", "pread:1*1000000:delay=5", 1);
    cr_assert_eq(run_job(&s, JOB "--set count=200000 --restore=eager"), 0, "%s", s.err);
    assert_loaded("eager", false);
    assert_counts(200000);
}

/* The task stands still with half of it loaded; then its barrier has come. */
Test(lazy, a_checkpoint_meanwhile_has_all_of_the_state)
{
    make_state();
    size_t before = event_count(&s, "checkpoint_completed");
    set_kills("v2:1:delay=1500@count");
    struct process *job = start_job(&s, "--set shape=keyed --set keys=100000 --checkpoint-interval 20ms --set count=100010 --set hold=1");
    await_events(&s, "checkpoint_completed", before + 1);
    kill(job->pid, SIGKILL);
    end_of(&s, job);
    cr_assert_not_null(strstr(s.err, "kill point v2 reached"), "%s", s.err);
    set_kills(NULL);
    cr_assert_eq(run_job(&s, JOB "--set count=200000 --restore=eager"), 0, "%s", s.err);
    cr_assert_gt(number_of("job_started", "restored_checkpoint", -1), number_of("job_started", "restored_checkpoint", -2));
    assert_counts(200000);
}

/* Taken over in place, by whoever finds half of the state on disk still. */
static void kill_meanwhile(const char *kills, const char *options)
{
    make_state();
    set_kills(kills);
    cr_assert_eq(run_job(&s, JOB "--set count=200000 %s", options), 0, "%s", s.err);
    cr_assert_not_null(strstr(s.err, "for the 1th time: fires"), "%s", s.err);
    set_kills(NULL);
    assert_counts(200000);
}

Test(lazy, killed_with_half_of_it_loaded_it_goes_on_in_place)
{
    kill_meanwhile("v2:1@count", "--takeover on");
    cr_assert_eq(event_count(&s, "takeover"), 1);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

Test(lazy, killed_within_a_chunk_it_goes_on_in_place_again_and_again)
{
    kill_meanwhile("l1:400@count,l1:40@count,l2:1@count", "--takeover cold");
    cr_assert_eq(event_count(&s, "takeover"), 3);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
}

Test(lazy, killed_with_half_of_it_loaded_without_takeover_it_begins_again)
{
    kill_meanwhile("v2:1@count", "--takeover off");
    cr_assert_eq(event_count(&s, "recovery_finished"), 1);
}

/* Whoever takes over opens the file anew: so it is still there, although one checkpoint is to be kept, and a newer one is complete. */
Test(lazy, the_restored_checkpoint_is_kept_as_long_as_it_is_read)
{
    make_state();
    size_t before = event_count(&s, "checkpoint_completed");
    set_kills("v2:1:delay=2000@count,l1:250:delay=600000@count");
    struct process *job = start_job(&s, "--set shape=keyed --set keys=100000 --checkpoint-interval 20ms --checkpoints-retained 1 "
                                    "--set count=100001 --set hold=1 --heartbeat-timeout off");
    await_events(&s, "checkpoint_completed", before + 1);
    for (unsigned i = 0; i < 2; i++) /* the coordinator answers between two turns: it has deleted what it wants to */
        json_decref(job_status(&s));
    cr_assert(!is_loaded(&s, NULL));
    cr_assert_eq(weir(&s, "kill @ count"), 0, "%s", s.err);
    await(&s, is_loaded, NULL, "all is loaded");
    await_events(&s, "takeover", 1);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
    await_events(&s, "checkpoint_completed", before + 3);
    stop_job(&s, job);
    cr_assert_eq(manifests_on_disk(&s), 1);
    set_kills(NULL);
    cr_assert_eq(run_job(&s, JOB "--set count=200000"), 0, "%s", s.err);
    assert_counts(200000);
}

/* ---- damage ---- */

/* The newest checkpoint is complete, and no sink knows; the one before is that of make_state(). */
static void make_untold_checkpoint(void)
{
    make_state();
    size_t before = event_count(&s, "checkpoint_completed");
    set_kills("k7:1:stop@coordinator");
    struct process *job = start_job(&s, "--set shape=keyed --set keys=100000 --checkpoint-interval 300ms --set count=150000 --set hold=1");
    await_events(&s, "checkpoint_completed", before + 1);
    kill(job->pid, SIGKILL);
    end_of(&s, job);
    set_kills(NULL);
    cr_assert_eq(output_count(s.output), KEYS, "no sink was told");
}

/* A byte of the last block of the keyed task's file. */
static void damage_newest(void)
{
    struct checkpoint_dir dir;
    struct weir_error err = {0};
    struct manifest *m = NULL;
    char path[2 * PATH_BYTES] = "";
    cr_assert_eq(checkpoint_dir_open(io_system(), s.directory, false, &dir, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err), WEIR_OK, "%s", err.text);
    const struct manifest_task *part = manifest_find_task(m, "count", 0);
    snprintf(path, sizeof path, "%s/snapshots/%s", s.directory, part->files[0].name);
    off_t at = (off_t)(4096 * part->files[0].block_count + 99);
    manifest_free(m);
    checkpoint_dir_close(&dir);
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

Test(lazy, damage_that_is_found_late_goes_back_to_the_checkpoint_before)
{
    make_untold_checkpoint();
    damage_newest();
    cr_assert_eq(run_job(&s, JOB "--set count=200000"), 0, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "is damaged and is skipped", "as it is read lazily", "fails its checksum", "count-0", "byte");
    cr_assert_eq(event_count(&s, "checkpoint_skipped_damaged"), 1);
    assert_counts(200000);
}

/* The output of the damaged one stays invisible until all of it has been read, and a checkpoint of its state fails. */
Test(lazy, nothing_of_a_damaged_checkpoint_is_committed_meanwhile)
{
    make_untold_checkpoint();
    damage_newest();
    set_kills("v2:1:delay=1000@count,k10:1:stop@coordinator");
    struct process *job = start_job(&s, "--set shape=keyed --set keys=100000 --set count=200000 --set hold=1 --checkpoint-interval 10ms");
    await_events(&s, "process_died", 1);
    cr_assert_eq(output_count(s.output), KEYS, "what the damaged checkpoint, or one on top of it, had prepared is visible");
    kill(job->pid, SIGKILL);
    end_of(&s, job);
    set_kills(NULL);
    cr_assert_eq(run_job(&s, JOB "--set count=200000"), 0, "%s", s.err);
    assert_counts(200000);
}

/* How many reads there are is a matter of time: the state is read in parts, or as records need it. */
static void read_fails_at(unsigned nth)
{
    char fault[64];
    make_state();
    snprintf(fault, sizeof fault, "pread:%u:error=EIO", nth);
    setenv("WEIR_IO_FAULT", fault, 1);
    cr_assert_eq(run_job(&s, JOB "--set count=200000 --restart-delay 1ms"), 0, "%s", s.err);
}

/* The disk's mood is no damage: the same checkpoint is tried again. */
Test(lazy, a_read_that_fails_is_tried_again_from_the_same_checkpoint)
{
    read_fails_at(25);
    for (unsigned nth = 24; strstr(s.err, "as it is read lazily") == NULL; nth--) {
        cr_assert_gt(nth, 3, "no read was one of a task that runs");
        end();
        begin();
        read_fails_at(nth);
    }
    ASSERT_ERR_SAYS(&s, "read the blocks");
    cr_assert_eq(event_count(&s, "checkpoint_skipped_damaged"), 0);
    cr_assert_eq(event_count(&s, "recovery_finished"), 1);
    assert_counts(200000);
}
