#include "support/io_fault.h"
#include "support/snapshot_fixture.h"

#include <errno.h>
#include <xxhash.h>

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

TestSuite(checkpoint, .init = set_up, .fini = tear_down);

static void make(uint64_t id) { cr_assert_eq(fixture_checkpoint(&dir, id, 4, &err), WEIR_OK, "%s", err.text); }

/* Changes one byte of a file of the directory. */
static void flip(const char *name, off_t at)
{
    int fd = openat(dir.fd, name, O_RDWR);
    cr_assert_geq(fd, 0, "%s", name);
    unsigned char byte;
    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

struct skips {
    unsigned count;
    uint64_t ids[8];
    struct weir_error last;
};

static void note_skip(void *self, uint64_t checkpoint_id, const struct weir_error *reason)
{
    struct skips *skips = self;
    skips->ids[skips->count++] = checkpoint_id;
    skips->last = *reason;
}

static int newest(uint64_t below_id, struct skips *skips, uint64_t *ret_id)
{
    struct manifest *m = NULL;
    memset(skips, 0, sizeof *skips);
    int code = checkpoint_find_newest(&dir, below_id, note_skip, skips, &m, &err);
    if (code == WEIR_OK)
        *ret_id = m->checkpoint_id;
    manifest_free(m);
    return code;
}

Test(checkpoint, an_empty_directory_has_none)
{
    struct skips skips;
    uint64_t id;
    struct checkpoint_list list;
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_END);
    cr_assert_eq(checkpoint_list(&dir, &list, &err), WEIR_OK);
    cr_expect_eq(list.count, 0);
    checkpoint_list_free(&list);
    cr_expect_eq(checkpoint_id_max(&dir, &id, &err), WEIR_OK);
    cr_expect_eq(id, 0);
}

Test(checkpoint, the_list_is_sorted_and_says_what_is_damaged)
{
    for (uint64_t id = 12; id >= 8; id--)
        make(id);
    flip("manifest-00000000000000000009", 50);
    cr_assert_eq(unlinkat(dir.fd, "snapshots/00000000000000000011-words-1-g3-a1.snap", 0), 0);
    struct checkpoint_list list;
    cr_assert_eq(checkpoint_list(&dir, &list, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(list.count, 5);
    for (uint64_t i = 0; i < 5; i++) {
        cr_expect_eq(list.checkpoints[i].id, 8 + i);
        cr_expect_eq(list.checkpoints[i].complete, i != 1 && i != 3);
    }
    cr_expect_eq(list.checkpoints[0].total_bytes, 2 * (4 + 3) * 4096);
    cr_expect_eq(list.checkpoints[0].created_ms, 1700000000000);
    cr_expect_eq(list.checkpoints[1].reason.code, WEIR_ECORRUPT);
    cr_expect_not_null(strstr(list.checkpoints[1].reason.text, "manifest-00000000000000000009"), "%s",
                       list.checkpoints[1].reason.text);
    cr_expect_eq(list.checkpoints[3].reason.code, WEIR_ENOENT);
    cr_expect_not_null(strstr(list.checkpoints[3].reason.text, "00000000000000000011-words-1"), "%s",
                       list.checkpoints[3].reason.text);
    checkpoint_list_free(&list);
}

Test(checkpoint, the_newest_complete_one_is_found_and_the_damaged_are_told)
{
    for (uint64_t id = 1; id <= 4; id++)
        make(id);
    struct skips skips;
    uint64_t id = 0;
    cr_assert_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK);
    cr_expect_eq(id, 4);
    cr_expect_eq(skips.count, 0);
    flip("manifest-00000000000000000004", 3);
    cr_assert_eq(
        truncate(strcat(strcpy((char[SCRATCH_PATH_BYTES + 128]){0}, path), "/snapshots/00000000000000000003-words-0-g3-a1.snap"), 4096), 0);
    cr_assert_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK);
    cr_expect_eq(id, 2);
    cr_expect_eq(skips.count, 2);
    cr_expect_eq(skips.ids[0], 4);
    cr_expect_eq(skips.ids[1], 3);
    cr_expect_not_null(strstr(skips.last.text, "expected 28672 bytes, found 4096"), "%s", skips.last.text);
    cr_assert_eq(newest(2, &skips, &id), WEIR_OK);
    cr_expect_eq(id, 1);
    cr_expect_eq(newest(1, &skips, &id), WEIR_END);
}

Test(checkpoint, only_damaged_ones_is_an_error_and_not_an_empty_directory)
{
    make(1);
    make(2);
    flip("manifest-00000000000000000001", 100);
    flip("manifest-00000000000000000002", 100);
    struct skips skips;
    uint64_t id;
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_ECORRUPT);
    cr_expect_eq(skips.count, 2);
    cr_expect_not_null(strstr(err.text, "none of its 2 checkpoints"), "%s", err.text);
}

Test(checkpoint, the_directory_is_synced_before_a_manifest_is_relied_on)
{
    make(1);
    struct skips skips;
    uint64_t id;
    fault.syncs = 0;
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK);
    cr_expect_eq(fault.syncs, 1);
    fault.only = "fsync";
    io_fault_arm(&fault, 1, EIO);
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_EIO, "no checkpoint is given out when that fails");
}

/* Falling back may undo what was made visible: not because this process is short of something. */
Test(checkpoint, a_process_without_descriptors_does_not_fall_back)
{
    make(1);
    make(2);
    struct skips skips;
    uint64_t id;
    fault.only = "openat";
    io_fault_arm(&fault, 2, EMFILE);
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_ELIMIT);
    io_fault_arm(&fault, 2, EIO);
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK);
    cr_expect_eq(id, 1);
    cr_expect_eq(skips.count, 1, "a disk that fails is damage, and is told");
}

Test(checkpoint, a_directory_full_of_junk_disturbs_nothing)
{
    make(3);
    const char *junk[] = {"manifest-3",
                          "manifest-0000000000000000000",
                          "MANIFEST-00000000000000000009",
                          "manifest-00000000000000000009.bak",
                          ".hidden",
                          "core",
                          "a b\tc",
                          "-rf",
                          "manifest-18446744073709551616"};
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++)
        fixture_spit(path, junk[i], "junk", 4);
    cr_assert_eq(mkdirat(dir.fd, "manifest-00000000000000000007", 0700), 0);
    cr_assert_eq(symlinkat("manifest-00000000000000000003", dir.fd, "manifest-00000000000000000008"), 0);
    cr_assert_eq(mkfifoat(dir.fd, "manifest-00000000000000000009", 0600), 0);
    fixture_spit(path, "manifest-00000000000000000010", "", 0);
    struct skips skips;
    uint64_t id = 0;
    cr_assert_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK, "%s", err.text);
    cr_expect_eq(id, 3);
    cr_expect_eq(skips.count, 4);
}

/* Its version, and a checksum that vouches for it or does not. */
static void set_version(const char *name, unsigned char version, bool vouched)
{
    size_t size_bytes;
    unsigned char *bytes = fixture_slurp(path, name, &size_bytes);
    bytes[8] = version;
    XXH64_hash_t hash = XXH3_64bits(bytes, size_bytes - 8);
    if (vouched)
        memcpy(bytes + size_bytes - 8, &hash, 8);
    fixture_spit(path, name, bytes, size_bytes);
    free(bytes);
}

Test(checkpoint, one_of_a_newer_version_is_refused_and_not_passed_over)
{
    for (uint64_t id = 1; id <= 3; id++)
        make(id);
    set_version("manifest-00000000000000000002", 9, true);
    struct skips skips;
    uint64_t id = 0;
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK, "it is in nobody's way below one that can be used");
    cr_expect_eq(id, 3);
    flip("manifest-00000000000000000003", 60);
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_EVERSION);
    cr_expect_eq(skips.count, 1, "only the damaged one");
    static const char *const words[] = {"checkpoint 2 is of a newer version", "manifest-00000000000000000002", "format version 9",
                                        "reads version 1", "another checkpoint directory"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        cr_expect_not_null(strstr(err.text, words[i]), "no '%s' in: %s", words[i], err.text);
    struct manifest *m = NULL;
    cr_expect_eq(checkpoint_find_between(&dir, 2, UINT64_MAX, NULL, NULL, &m, &err), WEIR_ECORRUPT, "those that are not to be read");
    struct checkpoint_list list;
    cr_assert_eq(checkpoint_list(&dir, &list, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(list.checkpoints[1].reason.code, WEIR_EVERSION);
    cr_expect_eq(list.checkpoints[2].reason.code, WEIR_ECORRUPT);
    checkpoint_list_free(&list);
}

Test(checkpoint, a_version_that_its_checksum_does_not_vouch_for_is_damage)
{
    make(1);
    make(2);
    set_version("manifest-00000000000000000002", 9, false);
    struct skips skips;
    uint64_t id = 0;
    cr_expect_eq(newest(UINT64_MAX, &skips, &id), WEIR_OK, "%s", err.text);
    cr_expect_eq(id, 1);
    cr_expect_eq(skips.last.code, WEIR_ECORRUPT);
    cr_expect_not_null(strstr(skips.last.text, "its checksum fails"), "%s", skips.last.text);
}

Test(checkpoint, verify_reads_every_byte)
{
    make(1);
    cr_expect_eq(checkpoint_verify(&dir, 1, IO_AUTO, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(checkpoint_verify(&dir, 2, IO_AUTO, &err), WEIR_ENOENT);
    flip("snapshots/00000000000000000001-words-1-g3-a1.snap", 3 * 4096 + 17);
    cr_expect_eq(checkpoint_verify(&dir, 1, IO_AUTO, &err), WEIR_ECORRUPT);
    cr_expect_not_null(strstr(err.text, "byte 12288: block 6 fails its checksum"), "%s", err.text);
}

Test(checkpoint, new_ids_start_above_everything_that_was_ever_begun)
{
    make(5);
    uint64_t id = 0;
    cr_assert_eq(checkpoint_id_max(&dir, &id, &err), WEIR_OK);
    cr_expect_eq(id, 5);
    fixture_spit(path, "snapshots/00000000000000000007-words-0-g1-a1.snap", "", 0);
    cr_assert_eq(checkpoint_id_max(&dir, &id, &err), WEIR_OK);
    cr_expect_eq(id, 7);
    fixture_spit(path, ".manifest-00000000000000000009-g1-a1.tmp", "", 0);
    fixture_spit(path, "manifest-99", "", 0);
    cr_assert_eq(checkpoint_id_max(&dir, &id, &err), WEIR_OK);
    cr_expect_eq(id, 9);
}

Test(checkpoint, a_failure_of_any_call_leaks_nothing)
{
    make(1);
    make(2);
    for (unsigned call = 1;; call++) {
        unsigned fds = fixture_open_fds();
        struct skips skips;
        struct checkpoint_list list = {0};
        uint64_t id;
        io_fault_arm(&fault, call, EIO);
        if (checkpoint_list(&dir, &list, &err) == WEIR_OK)
            checkpoint_list_free(&list);
        newest(UINT64_MAX, &skips, &id);
        checkpoint_id_max(&dir, &id, &err);
        checkpoint_verify(&dir, 2, IO_AUTO, &err);
        cr_assert_eq(fixture_open_fds(), fds, "call %u", call);
        if (!fault.failed)
            break;
    }
}

/* F31: short of something is no damage: the newest one is found, or nothing is. */
Test(checkpoint, F31_no_shortage_at_any_call_leads_to_an_older_checkpoint)
{
    const int shortages[] = {EMFILE, ENFILE, ENOMEM, EACCES};
    make(1);
    make(2);
    for (size_t i = 0; i < sizeof shortages / sizeof shortages[0]; i++)
        for (unsigned call = 1;; call++) {
            unsigned fds = fixture_open_fds();
            struct skips skips;
            uint64_t id = 0;
            memset(&err, 0, sizeof err);
            io_fault_arm(&fault, call, shortages[i]);
            int code = newest(UINT64_MAX, &skips, &id);
            cr_assert_eq(fixture_open_fds(), fds, "call %u", call);
            cr_assert(code == WEIR_OK ? id == 2 : code < 0 && err.text[0] != 0, "%s at call %u (%s): %d, checkpoint %llu",
                      strerror(shortages[i]), call, fault.failed_name, code, (unsigned long long)id);
            cr_assert(code == WEIR_OK || fault.failed);
            if (!fault.failed)
                break;
        }
}

/* Restoring as a job does it: the newest, and where it cannot be read the one before, which is told. */
static int restore(struct skips *skips, uint64_t *ret_id)
{
    uint64_t below_id = UINT64_MAX;
    for (;;) {
        int code = newest(below_id, skips, ret_id);
        if (code != WEIR_OK)
            return code;
        memset(&err, 0, sizeof err);
        if (checkpoint_verify(&dir, *ret_id, IO_AUTO, &err) == WEIR_OK && fixture_load(&dir, *ret_id, &err) == WEIR_OK)
            return WEIR_OK;
        cr_assert_neq(err.text[0], 0, "the failure is told");
        below_id = *ret_id;
    }
}

/* F15: any one call of finding and reading fails with EIO: the newest is restored, or the one before, or neither, in words. */
Test(checkpoint, F15_a_disk_error_at_any_call_of_a_restore_falls_back_by_one_and_says_so)
{
    make(1);
    make(2);
    make(3);
    unsigned fallen_back = 0, failed = 0;
    for (unsigned call = 1;; call++) {
        unsigned fds = fixture_open_fds();
        struct skips skips;
        uint64_t id = 0;
        memset(&err, 0, sizeof err);
        io_fault_arm(&fault, call, EIO);
        int code = restore(&skips, &id);
        bool done = !fault.failed;
        cr_assert_eq(fixture_open_fds(), fds, "call %u (%s)", call, fault.failed_name);
        cr_assert(code == WEIR_OK ? id >= 2 : err.text[0] != 0, "call %u (%s): %d, checkpoint %llu", call, fault.failed_name,
                  code, (unsigned long long)id);
        cr_assert(!done || (code == WEIR_OK && id == 3));
        fallen_back += code == WEIR_OK && id == 2;
        failed += code != WEIR_OK;
        if (done)
            break;
    }
    cr_expect_gt(fallen_back, 5);
    cr_expect_gt(failed, 0, "the directory itself cannot be read");
}
