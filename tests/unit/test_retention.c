#include "support/io_fault.h"
#include "support/snapshot_fixture.h"

static char path[SCRATCH_PATH_BYTES];
static struct io_fault fault;
static struct checkpoint_dir dir;
static struct weir_error err;

static void set_up(void)
{
    scratch_make("snapshot", path);
    io_fault_init(&fault);
    dir = fixture_open(&fault.io, path);
}

static void tear_down(void)
{
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

TestSuite(retention, .init = set_up, .fini = tear_down);

static void make(uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++)
        cr_assert_eq(fixture_checkpoint(&dir, id, 2, &err), WEIR_OK, "%s", err.text);
}

static bool there(const char *name)
{
    struct stat info;
    return fstatat(dir.fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

Test(retention, the_newest_are_kept_whole_and_the_older_go)
{
    make(1, 5);
    struct retain_result result;
    cr_assert_eq(checkpoint_retain(&dir, 2, 6, &result, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(result.checkpoints_deleted, 3);
    cr_expect_eq(result.files_deleted, 6);
    cr_expect_eq(fixture_count_files(path, ".", "manifest"), 2);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 4);
    cr_expect_eq(fixture_load(&dir, 4, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(fixture_load(&dir, 5, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(checkpoint_retain(&dir, 2, 6, &result, &err), WEIR_OK);
    cr_expect_eq(result.checkpoints_deleted + result.files_deleted, 0);
}

Test(retention, what_is_in_progress_stays_and_what_was_given_up_goes)
{
    make(1, 1);
    fixture_spit(path, "snapshots/00000000000000000002-words-0-g3-a1.snap", "x", 1);
    fixture_spit(path, "snapshots/00000000000000000003-words-0-g3-a1.snap", "x", 1);
    fixture_spit(path, ".manifest-00000000000000000002-g3-a1.tmp", "x", 1);
    fixture_spit(path, ".manifest-00000000000000000003-g3-a1.tmp", "x", 1);
    cr_assert_eq(checkpoint_retain(&dir, 1, 3, NULL, &err), WEIR_OK, "%s", err.text);
    cr_expect_not(there("snapshots/00000000000000000002-words-0-g3-a1.snap"));
    cr_expect(there("snapshots/00000000000000000003-words-0-g3-a1.snap"));
    cr_expect_not(there(".manifest-00000000000000000002-g3-a1.tmp"));
    cr_expect(there(".manifest-00000000000000000003-g3-a1.tmp"));
    cr_expect_eq(fixture_load(&dir, 1, &err), WEIR_OK);
}

Test(retention, files_that_a_newer_manifest_refers_to_stay)
{
    make(1, 1);
    struct manifest *old = NULL;
    cr_assert_eq(manifest_read(&dir, 1, &old, &err), WEIR_OK);
    struct manifest *m = fixture_manifest(2); /* as an incremental one will: files of an earlier checkpoint */
    fixture_add_file(m, 1, &old->tasks[1].files[0]);
    cr_assert_eq(manifest_write(&dir, m, 1, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(checkpoint_retain(&dir, 1, 3, NULL, &err), WEIR_OK, "%s", err.text);
    cr_expect_not(there("manifest-00000000000000000001"));
    cr_expect(there("snapshots/00000000000000000001-words-0-g3-a1.snap"));
    cr_expect_not(there("snapshots/00000000000000000001-words-1-g3-a1.snap"));
    manifest_free(old);
    manifest_free(m);
}

Test(retention, an_unreadable_manifest_and_all_it_may_refer_to_stay)
{
    make(1, 6);
    fixture_spit(path, "manifest-00000000000000000003", "damaged", 7);
    struct retain_result result;
    cr_assert_eq(checkpoint_retain(&dir, 1, 7, &result, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(result.manifests_unreadable, 1);
    cr_expect_eq(result.files_kept_in_doubt, 6);
    cr_expect_not_null(strstr(result.doubt.text, "manifest-00000000000000000003"), "%s", result.doubt.text);
    cr_expect(there("manifest-00000000000000000003"));
    for (int id = 1; id <= 6; id++) {
        char name[96];
        snprintf(name, sizeof name, "snapshots/%020d-words-0-g3-a1.snap", id);
        cr_expect_eq(there(name), id <= 3 || id == 6, "%s", name);
    }
}

/* A damaged one does not count as one of those kept: the last one that can be used is never deleted. */
Test(retention, the_last_usable_checkpoint_is_never_deleted)
{
    make(1, 3);
    cr_assert_eq(unlinkat(dir.fd, "snapshots/00000000000000000003-words-1-g3-a1.snap", 0), 0);
    fixture_spit(path, "manifest-00000000000000000002", "", 0);
    cr_assert_eq(checkpoint_retain(&dir, 1, 4, NULL, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(fixture_load(&dir, 1, &err), WEIR_OK, "%s", err.text);
    cr_expect(there("manifest-00000000000000000003"));
}

Test(retention, savepoints_and_foreign_names_stay)
{
    struct manifest *m = fixture_manifest(1);
    m->kind = MANIFEST_SAVEPOINT;
    cr_assert_eq(manifest_write(&dir, m, 1, &err), WEIR_OK);
    manifest_free(m);
    make(2, 4);
    const char *foreign[] = {"notes.txt", "snapshots/00000000000000000001.snap", "snapshots/readme",
                             "snapshots/1-words-0-g3-a1.snap", "LOCK"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        fixture_spit(path, foreign[i], "mine", 4);
    cr_assert_eq(checkpoint_retain(&dir, 1, 5, NULL, &err), WEIR_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        cr_expect(there(foreign[i]), "%s", foreign[i]);
    cr_expect(there("manifest-00000000000000000001"));
    cr_expect_not(there("manifest-00000000000000000002"));
}

Test(retention, links_and_fifos_of_our_names_are_left_alone_and_told)
{
    make(2, 2);
    fixture_spit(path, "precious", "x", 1);
    cr_assert_eq(symlinkat("../precious", dir.fd, "snapshots/00000000000000000001-words-0-g3-a1.snap"), 0);
    cr_assert_eq(mkfifoat(dir.fd, ".manifest-00000000000000000001-g3-a1.tmp", 0600), 0);
    cr_expect_eq(checkpoint_retain(&dir, 1, 3, NULL, &err), WEIR_ECORRUPT);
    cr_expect(there("snapshots/00000000000000000001-words-0-g3-a1.snap"));
    cr_expect(there(".manifest-00000000000000000001-g3-a1.tmp"));
    cr_expect(there("precious"));
    cr_expect_eq(fixture_load(&dir, 2, &err), WEIR_OK);
}

/* The order that a power cut needs: manifests, the directory synced, then snapshots. */
Test(retention, without_the_directory_synced_no_snapshot_goes)
{
    make(1, 3);
    fault.only = "fsync";
    io_fault_arm(&fault, 1, EIO);
    cr_expect_eq(checkpoint_retain(&dir, 1, 4, NULL, &err), WEIR_EIO);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 6);
    cr_expect_eq(checkpoint_retain(&dir, 1, 4, NULL, &err), WEIR_OK);
    cr_expect_eq(fault.calls, 2, "and synced again before the rest goes, though this call deleted no manifest");
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 2);
}

Test(retention, a_failure_of_any_call_harms_no_kept_checkpoint_and_is_mended_by_the_next)
{
    uint64_t id = 4;
    for (unsigned call = 1;; call++, id += 2) {
        io_fault_arm(&fault, 0, 0);
        make(id, id + 1);
        fixture_spit(path, "snapshots/00000000000000000001-words-0-g3-a1.snap", "x", 1);
        fixture_spit(path, ".manifest-00000000000000000001-g3-a1.tmp", "x", 1);
        unsigned fds = fixture_open_fds();
        io_fault_arm(&fault, call, EIO);
        int code = checkpoint_retain(&dir, 1, id + 2, NULL, &err);
        bool done = !fault.failed;
        io_fault_arm(&fault, 0, 0);
        cr_assert_eq(fixture_open_fds(), fds, "call %u", call);
        cr_assert(!done || code == WEIR_OK);
        struct manifest *m = NULL;
        cr_assert_eq(checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(m->checkpoint_id, id + 1, "call %u (%s)", call, fault.failed_name);
        manifest_free(m);
        cr_assert_eq(fixture_load(&dir, id + 1, &err), WEIR_OK, "call %u: %s", call, err.text);
        cr_assert_eq(checkpoint_retain(&dir, 1, id + 2, NULL, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_count_files(path, ".", "manifest"), 1, "call %u", call);
        cr_assert_eq(fixture_count_files(path, "snapshots", ""), 2, "call %u", call);
        if (done)
            break;
    }
}
