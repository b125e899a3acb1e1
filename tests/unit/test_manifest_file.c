#include "support/io_fault.h"
#include "support/power_disk.h"
#include "support/snapshot_fixture.h"

#include "base/kill_point.h"

#include <sys/wait.h>

static char path[SCRATCH_PATH_BYTES];
static struct io_fault fault;
static struct checkpoint_dir dir;
static struct weir_error err;
static struct power_disk disk;

static void set_up(void)
{
    scratch_make("snapshot", path);
    io_fault_init(&fault);
    dir = fixture_open(&fault.io, path);
}

static void tear_down(void)
{
    umount2(disk.path, MNT_DETACH); /* after a failed assertion only */
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

TestSuite(manifest_file, .init = set_up, .fini = tear_down);

static int read_code(uint64_t checkpoint_id)
{
    struct manifest *m = NULL;
    memset(&err, 0, sizeof err);
    int code = manifest_read(&dir, checkpoint_id, &m, &err);
    manifest_free(m);
    return code;
}

Test(manifest_file, a_committed_manifest_is_there_and_nothing_else)
{
    cr_assert_eq(fixture_checkpoint(&dir, 5, 10, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_code(5), WEIR_OK);
    cr_expect_eq(fixture_count_files(path, ".", "manifest"), 1);
    cr_expect_eq(fixture_load(&dir, 5, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_code(6), WEIR_ENOENT);
}

Test(manifest_file, a_commit_never_replaces_a_checkpoint)
{
    struct manifest *m = fixture_manifest(5);
    cr_assert_eq(manifest_write(&dir, m, 1, &err), WEIR_OK);
    m->generation = 99;
    cr_expect_eq(manifest_write(&dir, m, 2, &err), WEIR_EEXIST);
    manifest_free(m);
    cr_assert_eq(manifest_read(&dir, 5, &m, &err), WEIR_OK);
    cr_expect_eq(m->generation, 3);
    cr_expect_eq(fixture_count_files(path, ".", ".tmp"), 0);
    manifest_free(m);
}

/* Of a dead process, whose writes may land still. */
Test(manifest_file, a_temporary_file_that_is_there_is_never_written_to)
{
    struct manifest *m = fixture_manifest(5);
    char name[FILE_NAME_BYTES], temporary[SCRATCH_PATH_BYTES + FILE_NAME_BYTES];
    struct stat before, after;
    manifest_temp_name_format(5, m->generation, 1, name);
    snprintf(temporary, sizeof temporary, "%s/%s", path, name);
    FILE *file = fopen(temporary, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs("of a dead process", file), 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(stat(temporary, &before), 0);
    cr_expect_eq(manifest_write(&dir, m, 1, &err), WEIR_EEXIST);
    cr_assert_eq(stat(temporary, &after), 0);
    cr_expect(after.st_ino == before.st_ino && after.st_size == before.st_size);
    cr_expect_eq(read_code(5), WEIR_ENOENT);
    cr_expect_eq(manifest_write(&dir, m, 2, &err), WEIR_OK, "%s", err.text);
    manifest_free(m);
}

Test(manifest_file, the_file_is_synced_before_the_rename_and_the_directory_after_it)
{
    struct manifest *m = fixture_manifest(5);
    fault.only = "fsync";
    io_fault_arm(&fault, 1, EIO);
    cr_expect_eq(manifest_write(&dir, m, 1, &err), WEIR_EIO);
    cr_expect_eq(fault.calls, 1);
    cr_expect_not_null(strstr(err.text, ".tmp: fsync"), "%s", err.text);
    io_fault_arm(&fault, 2, EIO);
    cr_expect_eq(manifest_write(&dir, m, 1, &err), WEIR_EIO);
    cr_expect_eq(fault.calls, 2, "a failed sync is not repeated");
    cr_expect_not_null(strstr(err.text, "fsync of the directory"), "%s", err.text);
    cr_expect_eq(fixture_count_files(path, ".", "manifest"), 0);
    manifest_free(m);
}

/* F6, F15: at every call of a whole checkpoint, with a checkpoint before it. */
Test(manifest_file, a_failure_of_any_call_keeps_the_previous_checkpoint)
{
    int errnos[] = {EIO, ENOSPC};
    for (int way = 0; way < 2; way++) {
        uint64_t id = way == 0 ? 10 : 1000;
        io_fault_arm(&fault, 0, 0);
        cr_assert_eq(fixture_checkpoint(&dir, id, 10, &err), WEIR_OK, "%s", err.text);
        uint64_t newest = id;
        for (unsigned call = 1;; call++) {
            unsigned fds = fixture_open_fds();
            io_fault_arm(&fault, call, errnos[way]);
            int code = fixture_checkpoint(&dir, ++id, 10, &err);
            bool done = !fault.failed;
            io_fault_arm(&fault, 0, 0);
            cr_assert_eq(fixture_open_fds(), fds, "call %u leaks a descriptor", call);
            cr_assert_eq(read_code(id), code == WEIR_OK ? WEIR_OK : WEIR_ENOENT, "call %u: %s", call, err.text);
            if (code == WEIR_OK)
                newest = id;
            cr_assert_eq(fixture_load(&dir, newest, &err), WEIR_OK, "call %u: %s", call, err.text);
            cr_assert_eq(checkpoint_retain(&dir, 1, id + 1, NULL, &err), WEIR_OK, "%s", err.text);
            cr_assert_eq(fixture_count_files(path, ".", "manifest"), 1, "call %u", call);
            cr_assert_eq(fixture_count_files(path, "snapshots", ""), 2, "call %u", call);
            if (done)
                break;
        }
        cr_expect_gt(id, (way == 0 ? 10u : 1000u) + 20);
    }
}

/* A disk that answers everything with EIO from some call on, so that nothing can be undone either. */
Test(manifest_file, a_disk_that_dies_at_any_call_keeps_the_previous_checkpoint)
{
    cr_assert_eq(fixture_checkpoint(&dir, 1, 10, &err), WEIR_OK, "%s", err.text);
    uint64_t id = 1;
    for (unsigned call = 1;; call++) {
        io_fault_arm(&fault, call, EIO);
        fault.fail_after = true;
        int code = fixture_checkpoint(&dir, ++id, 10, &err);
        bool done = !fault.failed;
        fault.fail_after = false;
        io_fault_arm(&fault, 0, 0);
        cr_assert_eq(code == WEIR_OK, done);
        struct manifest *m = NULL;
        cr_assert_eq(checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_load(&dir, m->checkpoint_id, &err), WEIR_OK, "call %u: %s", call, err.text);
        manifest_free(m);
        cr_assert_eq(checkpoint_retain(&dir, 1, id + 1, NULL, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_count_files(path, ".", "manifest"), 1, "call %u", call);
        cr_assert_eq(fixture_count_files(path, "snapshots", ""), 2, "call %u", call);
        if (done)
            break;
    }
}

Test(manifest_file, every_truncation_in_the_directory_is_refused)
{
    cr_assert_eq(fixture_checkpoint(&dir, 5, 1, &err), WEIR_OK);
    size_t size_bytes;
    unsigned char *bytes = fixture_slurp(path, "manifest-00000000000000000005", &size_bytes);
    for (size_t length = 0; length < size_bytes; length++) {
        fixture_spit(path, "manifest-00000000000000000005", bytes, length);
        cr_assert_eq(read_code(5), WEIR_ECORRUPT, "%zu bytes", length);
        cr_assert_not_null(strstr(err.text, "manifest-00000000000000000005"), "%s", err.text);
    }
    free(bytes);
}

Test(manifest_file, a_manifest_under_another_id_is_refused)
{
    cr_assert_eq(fixture_checkpoint(&dir, 5, 1, &err), WEIR_OK);
    cr_assert_eq(renameat(dir.fd, "manifest-00000000000000000005", dir.fd, "manifest-00000000000000000006"), 0);
    cr_expect_eq(read_code(6), WEIR_ECORRUPT);
    cr_expect_not_null(strstr(err.text, "holds checkpoint 5"), "%s", err.text);
}

Test(manifest_file, links_fifos_and_directories_of_the_right_name_are_refused)
{
    cr_assert_eq(fixture_checkpoint(&dir, 5, 1, &err), WEIR_OK);
    cr_assert_eq(symlinkat("manifest-00000000000000000005", dir.fd, "manifest-00000000000000000006"), 0);
    cr_assert_eq(mkfifoat(dir.fd, "manifest-00000000000000000007", 0600), 0);
    cr_assert_eq(mkdirat(dir.fd, "manifest-00000000000000000008", 0700), 0);
    cr_expect_eq(read_code(6), WEIR_ECORRUPT);
    cr_expect_eq(read_code(7), WEIR_ECORRUPT);
    cr_expect_eq(read_code(8), WEIR_ECORRUPT);
}

Test(manifest_file, a_manifest_larger_than_allowed_is_not_read_into_memory)
{
    int fd = openat(dir.fd, "manifest-00000000000000000005", O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(ftruncate(fd, (off_t)MANIFEST_BYTES_MAX + 1), 0);
    close(fd);
    cr_expect_eq(read_code(5), WEIR_ECORRUPT);
}

/* Runs one whole checkpoint in a child that dies at a named place; returns whether it did. */
static bool die_at(const char *point, uint64_t checkpoint_id)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("WEIR_KILL", point, 1);
        struct weir_error child_err = {0};
        if (kill_point_init(&child_err) != WEIR_OK)
            _exit(2);
        fixture_checkpoint(&dir, checkpoint_id, 300, &child_err);
        KILL_POINT(k7);
        checkpoint_retain(&dir, 1, checkpoint_id, NULL, &child_err);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* F3, F6: N or N-1, and whatever is found can be loaded; the garbage is gone after one clean-up. */
Test(manifest_file, a_kill_at_every_named_place_leaves_a_checkpoint)
{
    fixture_need_kill_points(tear_down);
    const char *points[] = {"h2", "h3", "h4", "h5", "h6", "k3", "k4", "k5", "k6", "k7", "k9"};
    cr_assert_eq(fixture_checkpoint(&dir, 1, 300, &err), WEIR_OK, "%s", err.text);
    uint64_t id = 1;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        uint64_t before = id++;
        cr_assert(die_at(points[i], id), "%s was not reached", points[i]);
        struct manifest *m = NULL;
        cr_assert_eq(checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err), WEIR_OK, "%s: %s", points[i],
                     err.text);
        bool renamed = strcmp(points[i], "k6") >= 0;
        cr_assert_eq(m->checkpoint_id, renamed ? id : before, "%s", points[i]);
        id = m->checkpoint_id;
        manifest_free(m);
        cr_assert_eq(fixture_load(&dir, id, &err), WEIR_OK, "%s: %s", points[i], err.text);
        cr_assert_eq(checkpoint_retain(&dir, 1, id + 2, NULL, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_count_files(path, ".", "manifest"), 1, "%s", points[i]);
        cr_assert_eq(fixture_count_files(path, "snapshots", ""), 2, "%s", points[i]);
    }
}

/* ---- a power cut: ext4 on a loop device, shut down without writing its log, and mounted again ---- */

static bool disk_cut_power(void) { return power_disk_cut(&disk, CUT_LOG_LOST) && power_disk_restart(&disk); }

/* The kill of die_at(), the cut, then recovery. Returns the id that was found, 0 where something else is wrong. */
static uint64_t recover_after_cut(const char *point, uint64_t *ret_next_id)
{
    uint64_t next_id = 0;
    dir = fixture_open(io_system(), disk.path);
    checkpoint_id_max(&dir, &next_id, &err);
    *ret_next_id = ++next_id; /* the cut brings deleted names back: an id is never used twice */
    bool died = die_at(point, next_id);
    checkpoint_dir_close(&dir);
    if (!died || !disk_cut_power())
        return 0;
    dir = fixture_open(io_system(), disk.path);
    struct manifest *m = NULL;
    uint64_t id = 0;
    if (checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err) == WEIR_OK &&
        fixture_load(&dir, m->checkpoint_id, &err) == WEIR_OK)
        id = m->checkpoint_id;
    manifest_free(m);
    if (checkpoint_retain(&dir, 1, next_id + 1, NULL, &err) != WEIR_OK ||
        fixture_count_files(disk.path, "snapshots", "") != 2)
        id = 0;
    checkpoint_dir_close(&dir);
    return id;
}

/* F22. Directory fsynced: the new one. Not renamed: the one before. In between: either, but whole, and for good. */
Test(manifest_file, a_power_cut_at_every_named_place_leaves_a_checkpoint)
{
    fixture_need_kill_points(tear_down);
    const char *points[] = {"h2", "h3", "h4", "h5", "h6", "k3", "k4", "k5", "k6", "k7", "k9"};
    if (!power_disk_make(&disk, path, 64)) {
        tear_down();
        cr_skip_test("no ext4 on a loop device can be mounted here (needs root, loop devices and mkfs.ext4)");
    }
    checkpoint_dir_close(&dir);
    dir = fixture_open(io_system(), disk.path);
    bool made = fixture_checkpoint(&dir, 1, 300, &err) == WEIR_OK;
    checkpoint_dir_close(&dir);
    uint64_t id = 1;
    const char *wrong = made ? NULL : "the first checkpoint";
    for (size_t i = 0; wrong == NULL && i < sizeof points / sizeof points[0]; i++) {
        uint64_t next_id;
        uint64_t found = recover_after_cut(points[i], &next_id);
        bool either = strcmp(points[i], "k6") == 0;
        bool after = strcmp(points[i], "k6") > 0;
        if (found != (after ? next_id : id) && !(either && found == next_id))
            wrong = points[i];
        /* decided: the same answer after another cut */
        bool again = wrong == NULL && disk_cut_power();
        if (!again) {
            wrong = points[i];
            break;
        }
        dir = fixture_open(io_system(), disk.path);
        if (fixture_load(&dir, found, &err) != WEIR_OK)
            wrong = points[i];
        checkpoint_dir_close(&dir);
        id = found > id ? found : id;
    }
    cr_expect(power_disk_unmount(&disk));
    cr_expect_null(wrong, "%s: %s", wrong, err.text);
    dir = fixture_open(&fault.io, path);
}
