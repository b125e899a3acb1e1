/*
 * test_power_cut.c - FAULTS F22: a real ext4 on a loop device loses its power before any one call of the file operations of
 * checkpoints and of their retention; then it is mounted again and recovered from. WEIR_TEST_SIZE=long: more rounds.
 */
#include "faults/random.h"
#include "support/io_fault.h"
#include "support/power_disk.h"
#include "support/snapshot_fixture.h"

#include "base/bytes.h"

/* How the snapshots of a round are written. */
struct way {
    const char *name;
    uint32_t blocks;
    bool uring;
    enum power_cut cut;
};

static const struct way ways[] = {
    {"small", 2, false, CUT_LOG_LOST},
    {"several writes, io_uring", 300, true, CUT_LOG_LOST},
    {"small, log flushed", 2, false, CUT_LOG_FLUSHED},
    {"several writes, pwrite", 300, false, CUT_LOG_LOST},
};

struct scene {
    char path[SCRATCH_PATH_BYTES];
    struct power_disk disk;
    struct io_fault fault;
    const struct way *way;
    uint64_t reported; /* the newest checkpoint that was called complete */
    uint64_t begun;
    bool cut_failed;
    struct weir_error err;
};

static struct scene scene;

/* Skips where there is no such disk; a skipped test's fini does not run. */
static void set_up_disk(void)
{
    scratch_make("power", scene.path);
    if (power_disk_make(&scene.disk, scene.path, 48))
        return;
    scratch_remove(scene.path);
    cr_skip_test("no ext4 on a loop device can be mounted here (needs root, loop devices and mkfs.ext4)");
}

static void tear_down(void)
{
    umount2(scene.disk.path, MNT_DETACH); /* after a failed assertion only */
    scratch_remove(scene.path);
}

TestSuite(F22_power_cut, .timeout = 1800, .fini = tear_down);

static void cut(void *arg)
{
    const struct way *way = arg;
    scene.cut_failed = !power_disk_cut(&scene.disk, way->cut);
}

/* Two checkpoints and the deletion of the older ones, the power cut before the call-th call. False: there is no such call. */
static bool run_round(unsigned call)
{
    struct weir_error err = {0};
    struct checkpoint_dir dir = fixture_open(io_system(), scene.disk.path);
    cr_assert_eq(checkpoint_id_max(&dir, &scene.begun, &err), WEIR_OK, "%s", err.text);
    checkpoint_dir_close(&dir);
    io_fault_init(&scene.fault);
    scene.fault.refuse_uring = !scene.way->uring;
    scene.fault.at_call = cut;
    scene.fault.at_call_arg = (void *)scene.way;
    io_fault_arm(&scene.fault, call, EIO);
    int opened = checkpoint_dir_open(&scene.fault.io, scene.disk.path, true, &dir, &err);
    for (unsigned i = 0; opened == WEIR_OK && i < 2; i++) {
        if (fixture_checkpoint(&dir, ++scene.begun, scene.way->blocks, &err) == WEIR_OK)
            scene.reported = scene.begun;
        checkpoint_retain(&dir, 1, scene.begun + 1, NULL, &err);
    }
    if (opened == WEIR_OK)
        checkpoint_dir_close(&dir);
    return scene.fault.failed;
}

/* NULL, or what is wrong; *ret_id: what was found. */
static const char *recover(uint64_t *ret_id)
{
    struct weir_error *err = &scene.err;
    struct manifest *m = NULL;
    struct checkpoint_list list;
    const char *wrong = NULL;
    struct checkpoint_dir dir = fixture_open(io_system(), scene.disk.path);
    *ret_id = 0;
    if (checkpoint_list(&dir, &list, err) != WEIR_OK)
        wrong = "the directory cannot be listed";
    for (size_t i = 0; wrong == NULL && i < list.count; i++)
        if (!list.checkpoints[i].complete) {
            *err = list.checkpoints[i].reason;
            wrong = "a manifest is there and its checkpoint is not whole";
        }
    checkpoint_list_free(&list);
    if (wrong == NULL && checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, err) != WEIR_OK)
        wrong = "none is found";
    if (wrong == NULL)
        *ret_id = m->checkpoint_id;
    manifest_free(m);
    if (wrong == NULL && fixture_load(&dir, *ret_id, err) != WEIR_OK)
        wrong = "what is found does not load";
    if (wrong == NULL && (*ret_id < scene.reported || *ret_id > scene.begun))
        wrong = "an older one is found than was reported";
    if (wrong == NULL && checkpoint_retain(&dir, 1, scene.begun + 1, NULL, err) != WEIR_OK)
        wrong = "it cannot be cleaned up";
    if (wrong == NULL && (fixture_count_files(scene.disk.path, "snapshots", "") != 2 ||
                          fixture_count_files(scene.disk.path, ".", "manifest") != 1))
        wrong = "something is left behind";
    checkpoint_dir_close(&dir);
    return wrong;
}

/* After the cut: recovery, another cut during what it left unsynced, and the same answer. */
static const char *judge_round(void)
{
    uint64_t id;
    uint64_t again;
    if (scene.cut_failed)
        return "the power could not be cut";
    if (!power_disk_restart(&scene.disk))
        return "it cannot be mounted again";
    const char *wrong = recover(&id);
    if (wrong != NULL)
        return wrong;
    scene.reported = id;
    if (!power_disk_cut(&scene.disk, CUT_LOG_LOST) || !power_disk_restart(&scene.disk))
        return "the second cut failed";
    wrong = recover(&again);
    return wrong == NULL && again != id ? "another one is found after a second cut" : wrong;
}

/* Every call of one way, every stride-th. Returns the number of cuts. */
static unsigned run_way(const struct way *way, unsigned first, unsigned stride)
{
    unsigned cuts = 0;
    scene.way = way;
    for (unsigned call = first; run_round(call); call += stride) {
        const char *wrong = judge_round();
        cr_assert_null(wrong, "%s, power cut before call %u (%s): %s: %s", way->name, call, scene.fault.failed_name, wrong,
                       scene.err.text);
        cuts += 2;
    }
    return cuts;
}

/* The method itself, M3: what was synced is there, what was not is not, and a rename is undone. */
Test(F22_power_cut, a_cut_takes_what_was_not_synced_and_nothing_else)
{
    set_up_disk();
    int dir_fd = open(scene.disk.path, O_RDONLY | O_DIRECTORY);
    int synced_fd = openat(dir_fd, "synced", O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(synced_fd, "x", 1), 1);
    cr_assert_eq(fsync(synced_fd), 0);
    cr_assert_eq(fsync(dir_fd), 0);
    int gone_fd = openat(dir_fd, "gone", O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(gone_fd, "x", 1), 1);
    cr_assert_eq(renameat(dir_fd, "synced", dir_fd, "renamed"), 0);
    close(gone_fd);
    close(synced_fd);
    close(dir_fd);
    cr_assert(power_disk_cut(&scene.disk, CUT_LOG_LOST));
    cr_assert(power_disk_restart(&scene.disk));
    cr_expect_eq(fixture_count_files(scene.disk.path, ".", "synced"), 1);
    cr_expect_eq(fixture_count_files(scene.disk.path, ".", "renamed"), 0);
    cr_expect_eq(fixture_count_files(scene.disk.path, ".", "gone"), 0);
    cr_expect(power_disk_unmount(&scene.disk));
}

Test(F22_power_cut, a_real_file_system_that_loses_its_power_before_any_call_has_what_was_reported)
{
    set_up_disk();
    const char *size = getenv("WEIR_TEST_SIZE");
    bool is_long = size != NULL && strcmp(size, "long") == 0;
    uint64_t random = random_seed();
    unsigned cuts = 0;
    int64_t begun_ns = clock_monotonic_ns();
    struct checkpoint_dir dir = fixture_open(io_system(), scene.disk.path);
    cr_assert_eq(fixture_checkpoint(&dir, 1, 2, &scene.err), WEIR_OK, "%s", scene.err.text);
    scene.reported = 1;
    checkpoint_dir_close(&dir);
    for (unsigned round = 0; round < (is_long ? 12u : 1u); round++)
        for (size_t i = 0; i < COUNT_OF(ways); i++) {
            unsigned stride = is_long || i == 0 ? 1 : 10;
            cuts += run_way(&ways[i], 1 + (unsigned)(random_next(&random) % stride), stride);
        }
    fprintf(stderr, "%u cuts in %lld ms\n", cuts, (long long)((clock_monotonic_ns() - begun_ns) / NS_PER_MS));
    cr_expect(power_disk_unmount(&scene.disk));
    cr_expect_geq(cuts, 200);
}
