/* test_rollback.c - a task dies of its own fault: the job goes back to its last checkpoint in memory; or on disk, where there is too little
 * memory, or what is there was written over. */
#include "scenario.h"
#include "state/cut.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
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
TestSuite(rollback, .init = begin, .fini = end, .timeout = TIMEOUT_S);

#define KEYS 20000
#define ENDLESS "--set count=0 --set keys=20000 --set step=500 --set delay=5 --no-chain --restart-delay 1ms "

static void assert_path(int n, const char *path)
{
    json_t *event = event_at(&s, "recovery_finished", n);
    cr_assert_not_null(event);
    cr_assert_gt(json_integer_value(json_object_get(event, "checkpoint")), 0, "there was something to go back to");
    cr_assert_str_eq(json_string_value(json_object_get(event, "path")), path);
    json_decref(event);
}

/* As many lines as there are, and each of them right. */
static void assert_counts(void)
{
    struct lines expected = {0}, got = output_lines(s.output);
    for (uint64_t i = 0; i < got.count; i++)
        lines_add(&expected, "%d\t%" PRIu64 "\t%" PRIu64, (int)(i % KEYS), i / KEYS + 1, i);
    assert_same_lines(&expected, got);
}

static json_t *count_task(json_t *status)
{
    size_t index;
    json_t *task;
    json_array_foreach(json_object_get(status, "tasks"), index, task) if (strcmp(json_string_value(json_object_get(task, "name")),
                                                                                   "count") == 0) return task;
    return NULL;
}

static json_int_t field(const char *name)
{
    json_t *status = job_status(&s);
    json_int_t value = status != NULL ? json_integer_value(json_object_get(count_task(status), name)) : -1;
    json_decref(status);
    return value;
}

static bool is_kept(struct scenario *scenario, void *arg)
{
    (void)scenario;
    return field("rollback_checkpoint") >= *(json_int_t *)arg;
}

static void await_kept(json_int_t checkpoint) { await(&s, is_kept, &checkpoint, "the checkpoint's chunks are kept"); }

/* Of the keyed task's own fault. */
static void die(const char *options)
{
    size_t before = event_count(&s, "recovery_finished");
    cr_assert_eq(weir(&s, "kill @ count --signal SEGV %s", options), 0, "%s", s.err);
    await_events(&s, "recovery_finished", before + 1);
}

Test(rollback, a_task_that_dies_of_its_own_fault_takes_the_job_back_in_memory)
{
    struct process *job = start_job(&s, ENDLESS "--checkpoint-interval 20ms");
    for (int i = 0; i < 5; i++) {
        await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 2);
        await_kept(1);
        die("");
        assert_path(i, "rollback");
    }
    json_t *status = job_status(&s);
    cr_assert_str_eq(json_string_value(json_object_get(status, "recovery_path_last")), "rollback");
    json_decref(status);
    await_events(&s, "checkpoint_completed", event_count(&s, "checkpoint_completed") + 2);
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, the_same_checkpoint_serves_again_and_again)
{
    struct process *job = start_job(&s, ENDLESS "--checkpoint-interval off");
    await_running(&s);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_kept(1);
    for (int i = 0; i < 4; i++) {
        die("");
        assert_path(i, "rollback");
        cr_assert_eq(field("rollback_checkpoint") | 1, 1, "no other was taken");
    }
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, manifests_and_snapshots_are_not_read)
{
    char path[2 * PATH_BYTES];
    struct process *job = start_job(&s, ENDLESS "--checkpoint-interval off");
    await_running(&s);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_kept(1);
    snprintf(path, sizeof path, "%s/snapshots", s.directory);
    cr_assert_eq(chmod(path, 0), 0);
    snprintf(path, sizeof path, "find %s -maxdepth 1 -name 'manifest-*' -exec mv {} %s/away \\;", s.directory, s.root);
    cr_assert_eq(system(path), 0);
    die("");
    assert_path(0, "rollback");
    snprintf(path, sizeof path, "%s/snapshots", s.directory);
    cr_assert_eq(chmod(path, 0700), 0);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    stop_job(&s, job);
    assert_counts();
}

static bool was_given_up(struct scenario *scenario, void *arg)
{
    (void)scenario;
    (void)arg;
    return field("rollback_given_up") > 0;
}

static bool has_all_keys(struct scenario *scenario, void *arg)
{
    (void)scenario;
    (void)arg;
    return field("records_in") > KEYS;
}

Test(rollback, over_the_bound_the_disk_serves)
{
    struct process *job = start_job(&s, ENDLESS "--checkpoint-interval off --rollback-memory 64KiB");
    await_running(&s);
    await(&s, has_all_keys, NULL, "the state is large");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await(&s, was_given_up, NULL, "too many chunks were written since");
    cr_assert_eq(field("rollback_checkpoint"), 0);
    die("");
    assert_path(0, "disk");
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, without_memory_for_it_the_disk_serves)
{
    struct process *job = start_job(&s, ENDLESS "--checkpoint-interval 20ms --rollback-memory 0");
    await_events(&s, "checkpoint_completed", 3);
    die("");
    assert_path(0, "disk");
    cr_assert_eq(field("rollback_checkpoint"), 0);
    stop_job(&s, job);
    assert_counts();
}

/* ---- what an operator scribbles over ---- */

/* The memory of the keyed task, as a process of it sees it. */
static void map_region(struct chunk_region *region)
{
    char path[64], name[256];
    struct weir_error err = {0};
    json_int_t pid = field("pid");
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *descriptors = opendir(path);
    cr_assert_not_null(descriptors);
    bool mapped = false;
    for (struct dirent *entry; !mapped && (entry = readdir(descriptors)) != NULL;) {
        char full[sizeof path + sizeof entry->d_name + 2];
        snprintf(full, sizeof full, "%s/%s", path, entry->d_name);
        ssize_t got = readlink(full, name, sizeof name - 1);
        name[got > 0 ? got : 0] = 0;
        if (strstr(name, "memfd:") == NULL || strstr(name, "count/0") == NULL)
            continue;
        int fd = open(full, O_RDWR | O_CLOEXEC);
        mapped = fd >= 0 && chunk_region_map(region, fd, &err) == WEIR_OK;
    }
    closedir(descriptors);
    cr_assert(mapped, "%s", err.text);
}

/* One bit of a frozen chunk that the live side has no more: nobody can notice but who compares. */
static void scribble_over_a_chunk(struct chunk_region *region)
{
    const struct chunk_cut *kept = cut_kept(region);
    struct chunk_frozen chunk;
    cr_assert_not_null(kept);
    for (uint32_t next = 0; cut_next(region, kept, &next, &chunk);)
        if (chunk.logical > 0 && chunk_physical(region, region->table[chunk.logical]) != chunk.bytes) {
            ((unsigned char *)(uintptr_t)chunk.bytes)[CHUNK_BYTES - 1] ^= 1;
            return;
        }
    cr_assert_fail("no chunk was written since the checkpoint");
}

static void begin_with_a_kept_cut(struct process **ret_job, struct chunk_region *region)
{
    *ret_job = start_job(&s, ENDLESS "--checkpoint-interval off");
    await_running(&s);
    await(&s, has_all_keys, NULL, "the state is large");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_kept(1);
    uint64_t seen = output_count(s.output);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_output(&s, seen + 1);
    await_kept(2);
    map_region(region);
}

static bool has_written(struct scenario *scenario, void *arg)
{
    (void)scenario;
    const struct chunk_region *region = arg;
    return region->header->marks.retire_tail > region->header->marks.release_pos + 10;
}

Test(rollback, a_frozen_chunk_that_was_scribbled_over_is_found_before_anything_is_committed)
{
    struct process *job;
    struct chunk_region region;
    begin_with_a_kept_cut(&job, &region);
    await(&s, has_written, &region, "chunks were written since");
    scribble_over_a_chunk(&region);
    chunk_region_destroy(&region);
    die("");
    assert_path(0, "rollback");
    cr_assert_neq(weir(&s, "checkpoint @"), 0, "its child finds it");
    await_events(&s, "recovery_finished", 2);
    assert_path(1, "disk");
    cr_assert_eq(event_count(&s, "memory_damaged"), 1);
    cr_assert_eq(event_count(&s, "checkpoint_skipped_damaged"), 0, "the checkpoint itself is good");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_kept(1);
    die("");
    assert_path(2, "rollback");
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, it_is_found_as_well_where_the_task_dies_again_before_a_checkpoint)
{
    struct process *job;
    struct chunk_region region;
    begin_with_a_kept_cut(&job, &region);
    await(&s, has_written, &region, "chunks were written since");
    scribble_over_a_chunk(&region);
    chunk_region_destroy(&region);
    die("");
    assert_path(0, "rollback");
    die("");
    assert_path(1, "disk");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, a_table_that_was_scribbled_over_is_not_gone_back_to)
{
    struct process *job;
    struct chunk_region region;
    begin_with_a_kept_cut(&job, &region);
    cut_table(&region, cut_kept(&region))[1] ^= 1;
    chunk_region_destroy(&region);
    die("");
    assert_path(0, "disk");
    cr_assert_eq(event_count(&s, "checkpoint_skipped_damaged"), 0);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    stop_job(&s, job);
    assert_counts();
}

Test(rollback, a_header_that_was_scribbled_over_is_made_anew)
{
    struct process *job;
    struct chunk_region region;
    begin_with_a_kept_cut(&job, &region);
    memset(&region.header->physical_backed, 0xff, 16);
    chunk_region_destroy(&region);
    die("");
    assert_path(0, "disk");
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    stop_job(&s, job);
    assert_counts();
}
