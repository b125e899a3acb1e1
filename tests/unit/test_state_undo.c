/*
 * test_state_undo.c - a process changes state in batches and is killed: at random moments, so at any store, and at the kill points of
 * the state layer. Whoever maps its region undoes the open batch, and has what the last commit had, bit for bit.
 *
 * The test's own process makes the same steps, up to the last commit, on a region of its own and on the plain model. WEIR_SEED=n
 * repeats the steps, not the moment of the kill; WEIR_ROUNDS=n makes it longer.
 */
#include "unit/chunk_places.h"
#include "unit/state_run.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_BYTES (UINT64_C(128) << 20)

/* In the engine's area, as the commit record will be. */
struct commits {
    _Atomic uint32_t current;
    struct {
        uint64_t batch;
        struct chunk_marks marks;
    } slots[2];
};

static struct memory_image lazy; /* of the region whose process is killed; none: it was not restored lazily */

static struct commits *commits_of(const struct chunk_region *region) { return chunk_engine_area(region, NULL); }
static uint64_t committed(const struct chunk_region *region)
{
    const struct commits *commits = commits_of(region);
    return commits->slots[commits->current].batch;
}

static void commit(struct chunk_region *region, uint64_t batch)
{
    struct commits *commits = commits_of(region);
    uint32_t next = 1 - commits->current;
    chunk_batch_end(region);
    commits->slots[next].batch = batch;
    commits->slots[next].marks = region->header->marks;
    atomic_store(&commits->current, next);
    chunk_batch_begin(region, batch + 1);
}

/* Between two batches a cut may begin, be copied out, or be released. What is copied out is compared by others (test_state_model). */
static void change_cut(struct run *run)
{
    uint64_t dice = below(run, 12);
    if (!run->cutting && dice == 0) {
        chunk_cut(run->region, ++run->cuts);
        run->cutting = true;
        run->gathered = 0;
    } else if (run->cutting && dice < 4) {
        struct chunk_frozen chunk;
        for (uint64_t count = below(run, 100); count > 0 && chunk_cut_next(run->region, &run->gathered, &chunk); count--)
            continue;
        chunk_cut_gathered(run->region, run->gathered);
    } else if (run->cutting && (dice == 4 || dice == 5)) {
        if (dice == 4)
            chunk_cut_release(run->region);
        else
            cut_keep(run->region);
        run->cutting = false;
    }
}

static void do_batch(struct run *run, uint64_t batch)
{
    for (uint64_t steps = 1 + below(run, 20); steps > 0; steps--)
        step(run);
    commit(run->region, batch);
    if (run->region == lazy.region)
        memory_image_go_on(&lazy, 2);
    change_cut(run);
}

/* ---- what must be the same ---- */

static void check_chunks(const struct chunk_region *mended, const struct chunk_region *wanted)
{
    const struct chunk_marks *marks = &mended->header->marks, *expected = &wanted->header->marks;
    cr_assert_eq(marks->logical_mark, expected->logical_mark);
    cr_assert_eq(marks->logical_free, expected->logical_free);
    cr_assert_eq(marks->logical_count, expected->logical_count);
    for (uint32_t i = 0; i < marks->logical_mark; i++) {
        cr_assert_eq(mended->table[i] & CHUNK_UNUSED, wanted->table[i] & CHUNK_UNUSED, "chunk %u", i);
        if ((mended->table[i] & CHUNK_UNUSED) != 0)
            cr_assert_eq(mended->table[i], wanted->table[i], "free chunk %u", i);
        else
            cr_assert_eq(memcmp(peek(mended, &lazy, i), chunk_read(wanted, i), CHUNK_BYTES), 0, "chunk %u", i);
    }
}

static void check_frozen(const struct chunk_region *mended, const struct chunk_cut *a_cut, const struct chunk_region *wanted,
                         const struct chunk_cut *b_cut, uint32_t gathered)
{
    cr_assert_eq(a_cut->number, b_cut->number);
    cr_assert_eq(a_cut->chunk_count, b_cut->chunk_count);
    struct chunk_frozen a, b;
    uint32_t next_a = gathered, next_b = gathered;
    while (cut_next(mended, a_cut, &next_a, &a)) {
        cr_assert(cut_next(wanted, b_cut, &next_b, &b));
        cr_assert(a.logical == b.logical && memcmp(peek_frozen(&a, &lazy), b.bytes, CHUNK_BYTES) == 0, "frozen chunk %u", a.logical);
        cr_assert(a.bytes != NULL || chunk_is_on_disk(mended, a.logical), "chunk %u is on disk in the cut alone", a.logical);
    }
    cr_assert_not(cut_next(wanted, b_cut, &next_b, &b));
}

/* What the snapshot child has not copied out yet is as it was at the cut. */
static void check_cut(const struct chunk_region *mended, const struct chunk_region *wanted, uint32_t gathered)
{
    check_frozen(mended, chunk_cut_live(mended), wanted, chunk_cut_live(wanted), gathered);
}

/* All of a kept cut is. A process that is killed while it keeps another one may leave none. */
static unsigned check_kept(const struct chunk_region *mended, const struct chunk_region *wanted)
{
    const struct chunk_cut *a = cut_kept(mended), *b = cut_kept(wanted);
    if (a == NULL || b == NULL || a->number != b->number)
        return 0;
    check_frozen(mended, a, wanted, b, 0);
    return 1;
}

/* ---- killing ---- */

static void arm(struct run *run)
{
    static const char *const points[] = {"t1", "t8", "t9", "l1", "l2"};
    char list[32];
    snprintf(list, sizeof list, "%s:%llu", points[below(run, lazy.chunks != NULL ? 5 : 3)], (unsigned long long)below(run, 60) + 1);
    cr_assert_eq(kill_point_arm(list, NULL), WEIR_OK);
}

/* Does batches until it is killed: by a kill point, by its parent, or in the end by itself, within a batch. */
static void child(struct run *run, uint64_t first_batch, bool with_point, uint64_t arm_seed)
{
    struct run chooser = {.random = arm_seed};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive a test that fails */
    if (with_point)
        arm(&chooser);
    for (uint64_t batch = first_batch; batch < first_batch + 200; batch++)
        do_batch(run, batch);
    step(run);
    kill(getpid(), SIGKILL);
}

static void kill_child(pid_t pid, struct run *chooser, bool with_point)
{
    if (!with_point) {
        usleep((useconds_t)below(chooser, 4000)); /* the chance of this test, not a wait for anything */
        kill(pid, SIGKILL);
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
}

/* Undoes; sometimes after another process was killed while it did. */
static void mend(struct chunk_region *region, struct run *chooser)
{
    struct commits *commits = commits_of(region);
    struct chunk_marks *marks = &commits->slots[commits->current].marks;
    uint64_t batch = committed(region), undone_bytes = 0;
    struct weir_error err = {0};
    for (uint64_t times = below(chooser, 3); times > 0; times--) {
        bool with_point = below(chooser, 2) == 0;
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (with_point)
                kill_point_arm("u2:1", NULL);
            for (;;) /* until it is killed; with nothing to undo the point is not reached */
                if (chunk_batch_undo(region, marks, batch, &undone_bytes, NULL) != WEIR_OK || with_point)
                    kill(getpid(), SIGKILL);
        }
        kill_child(pid, chooser, with_point);
    }
    cr_assert_eq(chunk_batch_undo(region, marks, batch, &undone_bytes, &err), WEIR_OK, "%s", err.text);
    chunk_batch_begin(region, batch + 1);
}

/* ---- the test ---- */

static struct op_state *open_state(const struct run *run, struct chunk_region *region)
{
    struct weir_error err = {0};
    struct op_state_config config = config_of(run);
    struct op_state *op = NULL;
    cr_assert_eq(op_state_open(&op, region, &config, &err), WEIR_OK, "%s", err.text);
    return op;
}

static void make_region(struct chunk_region *region, bool with_undo)
{
    struct weir_error err = {0};
    cr_assert_eq(chunk_region_create(region, "undo", LIMIT_BYTES, sizeof(struct commits), &err), WEIR_OK, "%s", err.text);
    if (with_undo)
        cr_assert_eq(chunk_undo_create(region, "undo", UNDO_BYTES_MAX, &err), WEIR_OK, "%s", err.text);
    chunk_region_reset(region);
    cut_set_memory(region, LIMIT_BYTES / 4);
}

/* The twin makes the batches that the killed process had committed, from the same numbers. */
static void follow(struct run *run, uint64_t batch)
{
    for (uint64_t next = committed(run->region) + 1; next <= batch; next++)
        do_batch(run, next);
}

/* After the last commit the killed process may have begun, copied out or released a cut: so does the twin. */
static void follow_cut(struct run *run, const struct chunk_region *mended)
{
    bool live = chunk_cut_live(mended) != NULL;
    uint32_t gathered = live ? atomic_load(&mended->header->cut_gathered) : 0;
    if (live != run->cutting || gathered != run->gathered) {
        if (live && !run->cutting)
            chunk_cut(run->region, ++run->cuts);
        if (!live && run->cutting && cut_kept(mended) != NULL && cut_kept(mended)->number == run->cuts)
            cut_keep(run->region);
        else if (!live && run->cutting)
            chunk_cut_release(run->region);
        if (live && gathered > atomic_load(&run->region->header->cut_gathered))
            chunk_cut_gathered(run->region, gathered);
    }
    run->cutting = live;
    run->gathered = gathered;
}

/* How many kept cuts were compared. */
static unsigned round_of(struct run *twin, struct chunk_region *region, struct run *chooser)
{
    bool with_point = below(chooser, 2) == 0;
    uint64_t arm_seed = model_random(&chooser->random);
    twin->random = model_random(&chooser->random);
    twin->op = open_state(twin, twin->region); /* as the child's: versions of lists and maps begin anew */
    uint64_t first = committed(region) + 1;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        twin->region = region;
        twin->op = open_state(twin, region);
        child(twin, first, with_point, arm_seed);
    }
    kill_child(pid, chooser, with_point);
    mend(region, chooser);
    cr_assert_geq(committed(region) + 1, first);
    /* The last change of the cut lies behind its commit, in time: it may have been cut short. */
    uint64_t last = committed(region);
    if (last >= first) {
        follow(twin, last - 1);
        for (uint64_t steps = 1 + below(twin, 20); steps > 0; steps--)
            step(twin);
        commit(twin->region, last);
    }
    follow_cut(twin, region);
    check_chunks(region, twin->region);
    check_physical(region);
    check_physical(twin->region);
    if (twin->cutting)
        check_cut(region, twin->region, twin->gathered);
    op_state_close(twin->op);
    return check_kept(region, twin->region);
}

/* The killed region begins anew: it has been promised what its twin has, and nothing is loaded. */
static void restore_lazily(struct run *twin, struct chunk_region *region)
{
    uint64_t batch = committed(region);
    if (twin->cutting)
        chunk_cut_release(twin->region);
    twin->cutting = false;
    const struct chunk_marks *marks = &twin->region->header->marks;
    struct image_chunk *chunks = malloc((marks->logical_count + 1) * sizeof *chunks);
    size_t count = 0;
    for (uint32_t i = 0; i < marks->logical_mark; i++)
        if ((twin->region->table[i] & CHUNK_UNUSED) == 0) {
            chunks[count].logical = i;
            memcpy(chunks[count++].bytes, chunk_read(twin->region, i), CHUNK_BYTES);
        }
    free(lazy.chunks);
    chunk_region_reset(region);
    memory_image_promise(&lazy, region, chunks, count);
    commit(region, batch);
    chunk_region_reset(twin->region); /* its free ids come in the same order */
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(chunk_restore(twin->region, chunks[i].logical, chunks[i].bytes, NULL), WEIR_OK);
    chunk_restore_finish(twin->region, false);
    commit(twin->region, batch);
}

static void run_rounds(uint32_t key_bytes, uint32_t key_count, bool lazily)
{
    uint64_t seed = number_from_env("WEIR_SEED", (uint64_t)time(NULL) * 1000 + key_bytes);
    uint64_t rounds = number_from_env("WEIR_ROUNDS", 120);
    fprintf(stderr, "WEIR_SEED=%llu\n", (unsigned long long)seed);
    struct run chooser = {.random = seed * 2 + 1};
    struct chunk_region regions[2];
    make_region(&regions[0], false);
    make_region(&regions[1], true);
    struct run twin = {.key_bytes = key_bytes, .limit_bytes = LIMIT_BYTES, .clear_share = 60, .region = &regions[0],
                       .model = model_make(key_count)};
    for (int i = 0; i < 2; i++) {
        op_state_close(open_state(&twin, &regions[i]));
        commit(&regions[i], 1);
    }
    unsigned kept = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        if (lazily && i % 4 == 3)
            restore_lazily(&twin, &regions[1]);
        kept += round_of(&twin, &regions[1], &chooser);
        if ((!lazily && i % 16 == 0) || i + 1 == rounds) {
            struct op_state *op = open_state(&twin, &regions[1]);
            check_all(op, &twin, &twin.model);
            op_state_close(op);
        }
    }
    cr_assert_gt(committed(&regions[1]), rounds, "most rounds commit several batches");
    cr_assert(lazily || kept > rounds / 8, "cuts are kept in some rounds");
    struct op_state *op = open_state(&twin, &regions[1]);
    check_timers(op, &twin, &twin.model);
    op_state_close(op);
    for (int i = 0; i < 2; i++)
        chunk_region_destroy(&regions[i]);
    model_free(&twin.model);
    free(lazy.chunks);
    lazy = (struct memory_image){0};
}

Test(state_undo, keys_of_8_bytes, .timeout = 1200) { run_rounds(8, 300, false); }
Test(state_undo, keys_that_vary, .timeout = 1200) { run_rounds(0, 300, false); }
Test(state_undo, many_keys, .timeout = 1200) { run_rounds(4, 3000, false); }
Test(state_undo, restored_lazily_keys_of_8_bytes, .timeout = 1200) { run_rounds(8, 300, true); }
Test(state_undo, restored_lazily_keys_that_vary, .timeout = 1200) { run_rounds(0, 300, true); }
Test(state_undo, restored_lazily_many_keys, .timeout = 1200) { run_rounds(4, 3000, true); }
