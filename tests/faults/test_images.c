/*
 * test_images.c - FAULTS F21, F22: a sequence of checkpoints is recorded on a disk in memory (disk_model.h); then every disk
 * that a power cut between any two of its operations may leave is built, and recovered from with the engine's own code. The
 * newest checkpoint that was reported complete, or a newer one, must be found, whole; nothing that is only half there may look
 * like a checkpoint; the answer must stay the same.
 */
#include "faults/disk_model.h"
#include "faults/random.h"
#include "support/snapshot_fixture.h"

#include "base/bytes.h"

#include <errno.h>

#define BITS_MAX 8u /* up to so many open questions every combination of answers is tried */
#define PATH "/disk"
#define MARKS_MAX 64

TestSuite(F22_images, .timeout = 900);

/* ---- the recorded sequence ---- */

struct mark {
    size_t op_count; /* from here on ... */
    uint64_t id;     /* ... this one has been reported complete */
};

struct trace {
    struct disk *disk;
    struct checkpoint_dir dir;
    struct mark marks[MARKS_MAX];
    size_t mark_count;
    uint64_t begun; /* the newest id in use */
    uint32_t blocks;
};

enum phase { IN_OPEN, IN_CHECKPOINT, IN_RETAIN, IN_FIND };
struct omission {
    enum phase phase;
    enum disk_lie lie; /* the sync that is left out in this phase */
    const char *what;
};
static const struct omission nothing = {.lie = LIE_NONE};

static void enter(struct disk *disk, const struct omission *omission, enum phase phase)
{
    disk->lie = omission->phase == phase ? omission->lie : LIE_NONE;
}

static struct trace trace_begin(const struct omission *omission, uint32_t blocks)
{
    struct trace t = {.disk = disk_new(), .blocks = blocks};
    enter(t.disk, omission, IN_OPEN);
    t.dir = fixture_open(&t.disk->io, PATH);
    return t;
}

static void trace_end(struct trace *t)
{
    checkpoint_dir_close(&t->dir);
    disk_free(t->disk);
}

static bool checkpoint(struct trace *t, const struct omission *omission)
{
    struct weir_error err = {0};
    enter(t->disk, omission, IN_CHECKPOINT);
    int code = fixture_checkpoint(&t->dir, ++t->begun, t->blocks, &err);
    if (code == WEIR_OK)
        t->marks[t->mark_count++] = (struct mark){t->disk->op_count, t->begun};
    return code == WEIR_OK;
}

static int retain(struct trace *t, uint32_t keep_count, const struct omission *omission)
{
    struct weir_error err = {0};
    enter(t->disk, omission, IN_RETAIN);
    return checkpoint_retain(&t->dir, keep_count, t->begun + 1, NULL, &err);
}

/* A snapshot of words/1 while that of words/0 is being written, and old files deleted meanwhile: what a job does. */
struct nested {
    struct fixture_source outer;
    struct trace *trace;
    struct snapshot_result inner_result;
};

static int nested_next(void *self, uint32_t *ret_id, const void **ret_block)
{
    struct nested *nested = self;
    if (nested->outer.given == 0) {
        struct trace *t = nested->trace;
        struct snapshot_identity identity = fixture_identity(t->begun, "words", 1);
        cr_assert_eq(checkpoint_retain(&t->dir, 1, t->begun, NULL, NULL), WEIR_OK);
        cr_assert_eq(fixture_write_with(&t->dir, &identity, &(struct snapshot_options){0}, t->blocks, t->begun + 1000,
                                        &nested->inner_result, NULL), WEIR_OK);
    }
    return fixture_next(&nested->outer, ret_id, ret_block);
}

static void overlapping_checkpoint(struct trace *t)
{
    unsigned char block[BLOCK_BYTES_DEFAULT];
    struct nested nested = {.trace = t};
    struct snapshot_identity identity = fixture_identity(++t->begun, "words", 0);
    struct manifest *m = fixture_manifest(t->begun);
    struct snapshot_result result;
    nested.outer = (struct fixture_source){
        .count = t->blocks, .stride = 3, .block_bytes = sizeof block, .seed = t->begun, .block = block};
    struct block_source source = {nested_next, NULL, &nested, 0, NULL};
    cr_assert_eq(snapshot_write(&t->dir, &identity, &(struct snapshot_options){0}, &source, &result, NULL), WEIR_OK);
    fixture_add_file(m, 1, &result.file);
    fixture_add_file(m, 2, &nested.inner_result.file);
    cr_assert_eq(manifest_write(&t->dir, m, 1, NULL), WEIR_OK);
    manifest_free(m);
    t->marks[t->mark_count++] = (struct mark){t->disk->op_count, t->begun};
}

static uint64_t reported(const struct trace *t, size_t op_count)
{
    uint64_t id = 0;
    for (size_t i = 0; i < t->mark_count; i++)
        if (t->marks[i].op_count <= op_count)
            id = t->marks[i].id;
    return id;
}

/* ---- the judge ---- */

struct tally {
    uint64_t images;
    uint64_t recoveries;
    uint64_t violations;
    unsigned cuts;
    unsigned cuts_exhausted;        /* every image of them was judged */
    unsigned small_cuts_not_exhausted; /* up to three operations pending, and yet not */
    char first[1280];
};

static void violation(struct tally *tally, size_t op_count, const char *what, uint64_t id, uint64_t wanted, const char *text)
{
    if (tally->violations++ == 0)
        snprintf(tally->first, sizeof tally->first, "cut after operation %zu: %s: checkpoint %llu, reported %llu: %s", op_count,
                 what, (unsigned long long)id, (unsigned long long)wanted, text);
}

/* NULL, or what is wrong. *ret_id: what was found, 0: none. */
static const char *find(const struct checkpoint_dir *dir, uint64_t *ret_id, struct weir_error *err)
{
    struct manifest *m = NULL;
    *ret_id = 0;
    int code = checkpoint_find_newest(dir, UINT64_MAX, NULL, NULL, &m, err);
    if (code == WEIR_END)
        return NULL;
    if (code != WEIR_OK)
        return "none is found";
    *ret_id = m->checkpoint_id;
    manifest_free(m);
    if (checkpoint_verify(dir, *ret_id, IO_AUTO, err) != WEIR_OK)
        return "what is found fails its verification";
    return fixture_load(dir, *ret_id, err) == WEIR_OK ? NULL : "what is found does not load";
}

/* Stricter than recovery, which would skip it: nobody ever sees a checkpoint that is not whole. */
static const char *all_are_whole(const struct checkpoint_dir *dir, struct weir_error *err)
{
    struct checkpoint_list list;
    bool whole = true;
    if (checkpoint_list(dir, &list, err) != WEIR_OK)
        return "the directory cannot be listed";
    for (size_t i = 0; whole && i < list.count; i++) {
        whole = list.checkpoints[i].complete;
        *err = list.checkpoints[i].reason;
    }
    checkpoint_list_free(&list);
    return whole ? NULL : "a manifest is there and its checkpoint is not whole";
}

static size_t count_names(const struct disk *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < disk->now.entry_count; i++)
        count += disk->now.entries[i].inode >= 0 && !disk->now.inodes[disk->now.entries[i].inode].is_dir;
    return count;
}

/* A recovery as a job does it: find, delete what is left of others, and find the same again. */
static const char *recover(struct disk *disk, const struct omission *omission, uint64_t *ret_id, size_t *ret_found_at,
                           struct weir_error *err)
{
    uint64_t again;
    uint64_t id_max;
    struct checkpoint_dir dir;
    enter(disk, omission, IN_OPEN);
    if (checkpoint_dir_open(&disk->io, PATH, false, &dir, NULL) != WEIR_OK) /* making it syncs it: only where there is none */
        dir = fixture_open(&disk->io, PATH);
    const char *wrong = all_are_whole(&dir, err);
    enter(disk, omission, IN_FIND);
    if (wrong == NULL)
        wrong = find(&dir, ret_id, err);
    *ret_found_at = disk->op_count;
    enter(disk, &nothing, IN_RETAIN);
    if (wrong == NULL && (checkpoint_id_max(&dir, &id_max, err) != WEIR_OK ||
                          checkpoint_retain(&dir, 1, id_max + 1, NULL, err) != WEIR_OK))
        wrong = "it cannot be cleaned up";
    if (wrong == NULL && count_names(disk) != (*ret_id == 0 ? 0 : 3)) /* manifest, words/0, words/1 */
        wrong = "something is left behind";
    if (wrong == NULL)
        wrong = find(&dir, &again, err);
    if (wrong == NULL && again != *ret_id)
        wrong = "another one is found after the clean-up";
    checkpoint_dir_close(&dir);
    return wrong == NULL && disk->open_fds != 0 ? "a descriptor is left open" : wrong;
}

static bool *random_bits(size_t count, uint64_t *random)
{
    bool *bits = malloc(count + 1);
    uint64_t density = random_next(random) % 9;
    cr_assert_not_null(bits);
    for (size_t i = 0; i < count; i++)
        bits[i] = random_next(random) % 8 < density;
    return bits;
}

/* Power is cut again, somewhere in the recovery behind `from`: what was found there must be found again. */
static const char *cut_again(const struct disk *disk, size_t from, uint64_t id, uint64_t *random, struct tally *tally,
                             struct weir_error *err)
{
    size_t op_count = from + random_next(random) % (disk->op_count - from + 1);
    struct disk_pending pending = disk_pending(disk, op_count, DISK_SECTOR_BYTES);
    bool *bits = random_bits(pending.bit_count, random);
    struct disk *left = disk_cut(disk, &pending, bits, false);
    uint64_t again = 0;
    size_t found_at;
    const char *wrong = recover(left, &nothing, &again, &found_at, err);
    if (wrong == NULL && again != id)
        wrong = "another one is found after a second cut";
    tally->images++;
    tally->recoveries++;
    disk_free(left);
    disk_pending_free(&pending);
    free(bits);
    return wrong;
}

static void judge(const struct trace *t, const struct disk_pending *pending, const bool *bits, uint64_t *random,
                  struct tally *tally)
{
    struct weir_error err = {0};
    uint64_t wanted = reported(t, pending->op_count);
    uint64_t id = 0;
    size_t found_at;
    struct disk *left = disk_cut(t->disk, pending, bits, random_next(random) % 4 == 0);
    const char *wrong = recover(left, &nothing, &id, &found_at, &err);
    if (wrong == NULL && (id < wanted || id > t->begun))
        wrong = "an older one is found than was reported";
    if (wrong == NULL && random_next(random) % 4 == 0)
        wrong = cut_again(left, found_at, id, random, tally, &err);
    if (wrong != NULL)
        violation(tally, pending->op_count, wrong, id, wanted, err.text);
    tally->images++;
    tally->recoveries++;
    disk_free(left);
}

static void judge_all_subsets(const struct trace *t, const struct disk_pending *pending, uint64_t *random, struct tally *tally)
{
    bool bits[BITS_MAX + 1];
    for (uint64_t mask = 0; mask < UINT64_C(1) << pending->bit_count; mask++) {
        for (size_t i = 0; i < pending->bit_count; i++)
            bits[i] = (mask >> i & 1) != 0;
        judge(t, pending, bits, random, tally);
    }
}

static void judge_samples(const struct trace *t, const struct disk_pending *pending, unsigned count, uint64_t *random,
                          struct tally *tally)
{
    for (unsigned i = 0; i < count; i++) {
        bool *bits = random_bits(pending->bit_count, random);
        judge(t, pending, bits, random, tally);
        free(bits);
    }
}

/* All images by sectors; where they are too many, samples of them, and all images by blocks of 4 KiB, or samples of these too. */
static void judge_cut(const struct trace *t, size_t op_count, unsigned bits_max, unsigned samples, uint64_t *random,
                      struct tally *tally)
{
    bool exhausted = false;
    size_t pending_count = 0;
    static const unsigned units[] = {DISK_SECTOR_BYTES, BLOCK_BYTES_DEFAULT};
    for (size_t i = 0; !exhausted && i < COUNT_OF(units); i++) {
        struct disk_pending pending = disk_pending(t->disk, op_count, units[i]);
        exhausted = pending.bit_count <= bits_max;
        pending_count = pending.count;
        if (exhausted)
            judge_all_subsets(t, &pending, random, tally);
        else
            judge_samples(t, &pending, samples, random, tally);
        disk_pending_free(&pending);
    }
    tally->cuts++;
    tally->cuts_exhausted += exhausted;
    tally->small_cuts_not_exhausted += !exhausted && pending_count <= 3;
}

static void report(const char *what, const struct trace *t, const struct tally *tally)
{
    fprintf(stderr, "%s: %zu operations, %u cuts (all images of %u), %llu images, %llu recoveries, %llu violations\n", what,
            t->disk->op_count, tally->cuts, tally->cuts_exhausted, (unsigned long long)tally->images,
            (unsigned long long)tally->recoveries, (unsigned long long)tally->violations);
}

/* ---- the tests ---- */

/* Completed ones, one whose snapshot and one whose manifest fails, overlapping ones, one and two kept. */
static struct trace whole_sequence(const struct omission *omission)
{
    struct trace t = trace_begin(omission, 1);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(checkpoint(&t, omission));
        retain(&t, 1, omission);
    }
    disk_arm(t.disk, 12, EIO); /* fdatasync of its second snapshot */
    cr_assert(!checkpoint(&t, omission) || omission->lie != LIE_NONE);
    disk_arm(t.disk, 0, 0);
    retain(&t, 1, omission);
    disk_arm(t.disk, 21, EIO); /* the directory's fsync after the rename of its manifest */
    cr_assert(!checkpoint(&t, omission) || omission->lie != LIE_NONE);
    disk_arm(t.disk, 0, 0);
    cr_assert(checkpoint(&t, omission));
    retain(&t, 2, omission);
    cr_assert(checkpoint(&t, omission));
    retain(&t, 1, omission);
    if (omission->lie == LIE_NONE) {
        overlapping_checkpoint(&t);
        overlapping_checkpoint(&t);
    }
    return t;
}

Test(F22_images, every_image_of_a_cut_between_any_two_operations_has_what_was_reported)
{
    uint64_t random = random_seed();
    struct trace t = whole_sequence(&nothing);
    struct tally tally = {0};
    for (size_t op_count = 0; op_count <= t.disk->op_count; op_count++)
        judge_cut(&t, op_count, BITS_MAX, 100, &random, &tally);
    report("a whole sequence", &t, &tally);
    cr_expect_eq(tally.violations, 0, "%s", tally.first);
    cr_expect_eq(tally.small_cuts_not_exhausted, 0, "of up to three pending operations every image is tried");
    cr_expect_gt(tally.images, 3000);
    trace_end(&t);
}

/* F15 and F22: any call of a checkpoint and its clean-up fails, the job goes on, and then comes the cut. */
Test(F22_images, a_cut_after_any_failed_call_has_what_was_reported)
{
    uint64_t random = random_seed();
    struct tally total = {0};
    const int errors[] = {EIO, ENOSPC};
    for (unsigned call = 1;; call++) {
        struct trace t = trace_begin(&nothing, 1);
        cr_assert(checkpoint(&t, &nothing));
        size_t from = t.disk->op_count;
        disk_arm(t.disk, call, errors[call % 2]);
        checkpoint(&t, &nothing);
        retain(&t, 1, &nothing);
        bool done = !t.disk->failed;
        disk_arm(t.disk, 0, 0);
        cr_assert(checkpoint(&t, &nothing), "after call %u failed", call);
        cr_assert_eq(retain(&t, 1, &nothing), WEIR_OK);
        struct tally tally = {0};
        for (size_t op_count = from; op_count <= t.disk->op_count; op_count++)
            judge_cut(&t, op_count, 4, 8, &random, &tally);
        cr_assert_eq(tally.violations, 0, "call %u failed: %s", call, tally.first);
        total.images += tally.images;
        total.recoveries += tally.recoveries;
        total.cuts += tally.cuts;
        total.cuts_exhausted += tally.cuts_exhausted;
        if (done)
            report("with each call failed once", &t, &total);
        trace_end(&t);
        if (done)
            break;
    }
}

/* F6 and F22: the processes are killed, a recovery decides, and the cut comes during or after it. */
static void kill_recover_cut(const struct omission *omission, struct tally *tally)
{
    uint64_t random = random_seed();
    struct trace t = whole_sequence(omission);
    for (size_t op_count = 0; op_count <= t.disk->op_count; op_count++) {
        struct weir_error err = {0};
        struct disk *after = disk_after(t.disk, op_count);
        uint64_t id = 0;
        size_t found_at;
        uint64_t wanted = reported(&t, op_count);
        const char *wrong = recover(after, omission, &id, &found_at, &err);
        if (wrong == NULL && id < wanted)
            wrong = "an older one is found than was reported";
        for (unsigned i = 0; wrong == NULL && i < 24; i++)
            wrong = cut_again(after, found_at, id, &random, tally, &err);
        if (wrong != NULL)
            violation(tally, op_count, wrong, id, wanted, err.text);
        tally->recoveries++;
        disk_free(after);
    }
    report(omission->lie == LIE_NONE ? "killed, recovered, cut" : omission->what, &t, tally);
    trace_end(&t);
}

Test(F22_images, F06_what_a_recovery_has_decided_stands_after_a_cut)
{
    struct tally tally = {0};
    kill_recover_cut(&nothing, &tally);
    cr_expect_eq(tally.violations, 0, "%s", tally.first);
}

/* Whether these tests can fail: without any one of the syncs that the engine makes, they do. */
Test(F22_images, each_sync_is_missed_when_it_is_left_out)
{
    static const struct omission omissions[] = {
        {IN_OPEN, LIE_FSYNC_PARENT, "fsync of the parent when the directory is made"},
        {IN_CHECKPOINT, LIE_FDATASYNC, "fdatasync of snapshots"},
        {IN_CHECKPOINT, LIE_FSYNC_SNAPSHOTS, "fsync of the directory of snapshots"},
        {IN_CHECKPOINT, LIE_FSYNC_FILE, "fsync of the manifest before its rename"},
        {IN_CHECKPOINT, LIE_FSYNC_TOP, "fsync of the directory after the rename"},
        {IN_RETAIN, LIE_FSYNC_TOP, "fsync of the directory between manifests and snapshots deleted"},
    };
    uint64_t random = random_seed();
    for (size_t i = 0; i < COUNT_OF(omissions); i++) {
        struct trace t = whole_sequence(&omissions[i]);
        struct tally tally = {0};
        for (size_t op_count = 0; op_count <= t.disk->op_count; op_count++)
            judge_cut(&t, op_count, 7, 20, &random, &tally);
        report(omissions[i].what, &t, &tally);
        cr_expect_gt(tally.violations, 0, "%s was left out, and no image shows it", omissions[i].what);
        trace_end(&t);
    }
    struct omission in_find = {IN_FIND, LIE_FSYNC_TOP, "fsync of the directory before a found manifest is used"};
    struct tally tally = {0};
    kill_recover_cut(&in_find, &tally);
    cr_expect_gt(tally.violations, 0, "%s was left out, and no image shows it", in_find.what);
}

/* F21: files of several writes of 1 MiB, given their size beforehand: some sectors of the writes, zeros or junk in the rest. */
Test(F22_images, F21_torn_writes_of_large_files_are_never_taken_for_a_checkpoint)
{
    uint64_t random = random_seed();
    struct trace t = {.disk = disk_new(), .blocks = 1};
    struct tally tally = {0};
    t.disk->allow_direct = true;
    t.dir = fixture_open(&t.disk->io, PATH);
    cr_assert(checkpoint(&t, &nothing));
    size_t from = t.disk->op_count;
    t.blocks = 1100;
    cr_assert(checkpoint(&t, &nothing));
    for (size_t op_count = from; op_count <= t.disk->op_count; op_count++) {
        struct disk_pending pending = disk_pending(t.disk, op_count, DISK_SECTOR_BYTES);
        judge_samples(&t, &pending, 4, &random, &tally);
        disk_pending_free(&pending);
    }
    report("large files", &t, &tally);
    cr_expect_eq(tally.violations, 0, "%s", tally.first);
    trace_end(&t);
}
