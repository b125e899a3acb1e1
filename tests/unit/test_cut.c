/*
 * test_cut.c - cuts that are kept, how much memory they may hold, and going back to them: single facts, and random operations beside a
 * plain model with cuts, completions and rollbacks in between. WEIR_SEED=n repeats a run; WEIR_STEPS=n makes it longer.
 */
#include "unit/chunk_places.h"
#include "unit/state_run.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT (CHUNK_LIMIT_BYTES_MIN * 8)
#define LIMIT_CHUNKS (LIMIT / CHUNK_BYTES)

/* `count` chunks; chunk i filled with byte i + 1. Frozen chunks may hold `memory` chunks. */
static struct chunk_region make_region(uint32_t count, uint64_t memory)
{
    struct chunk_region region;
    struct weir_error err = {0};
    cr_assert_eq(chunk_region_create(&region, "test", LIMIT, 10000, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(chunk_undo_create(&region, "test", 1 << 20, &err), WEIR_OK, "%s", err.text);
    chunk_region_reset(&region);
    cut_set_memory(&region, memory * CHUNK_BYTES);
    chunk_batch_begin(&region, 1);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(chunk_reserve(&region, 1, &err), WEIR_OK, "%s", err.text);
        memset(state_touch(&region, state_pos(chunk_alloc(&region), 0), CHUNK_BYTES), (int)(i + 1), CHUNK_BYTES);
    }
    chunk_batch_end(&region);
    chunk_batch_begin(&region, 2);
    return region;
}

static void end_batch(struct chunk_region *region)
{
    chunk_batch_end(region);
    chunk_batch_begin(region, 3);
}

static void set_bytes(struct chunk_region *region, uint32_t first, uint32_t end, unsigned char value)
{
    for (uint32_t i = first; i < end; i++) {
        cr_assert_eq(chunk_reserve(region, 1, NULL), WEIR_OK);
        *(unsigned char *)state_touch(region, state_pos(i, 5), 1) = value;
    }
    end_batch(region);
}

static void expect_filled(const struct chunk_region *region, uint32_t count)
{
    cr_assert_eq(region->header->marks.logical_count, count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t at = 0; at < CHUNK_BYTES; at++)
            cr_assert_eq(((const unsigned char *)chunk_read(region, i))[at], (unsigned char)(i + 1), "chunk %u, byte %u", i, at);
}

static uint64_t sum_of(void *self, uint32_t logical, const void *bytes)
{
    (void)self;
    return XXH3_64bits(bytes, CHUNK_BYTES) ^ key_hash_8(&(uint64_t){logical});
}

/* What the snapshot child does. */
static void seal(struct chunk_region *region)
{
    struct chunk_frozen chunk;
    cut_seal_begin(region);
    for (uint32_t next = 0; chunk_cut_next(region, &next, &chunk);)
        cut_sum(region, chunk.logical, sum_of(NULL, chunk.logical, chunk.bytes));
    cut_seal(region);
    chunk_cut_gathered(region, chunk_cut_live(region)->logical_mark);
}

static void complete_cut(struct chunk_region *region, uint64_t number)
{
    chunk_cut(region, number);
    seal(region);
    cut_keep(region);
}

static uint64_t frozen_chunks(const struct chunk_region *region)
{
    struct chunk_usage usage;
    chunk_usage(region, &usage);
    return usage.frozen_bytes / CHUNK_BYTES;
}

/* ---- keeping ---- */

Test(cut, a_kept_cut_keeps_its_bytes_although_all_was_gathered)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    cr_assert_eq(frozen_chunks(&region), 10);
    check_physical(&region);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    expect_filled(&region, 20);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, the_newest_one_takes_the_place_of_the_one_before)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    chunk_cut(&region, 2);
    cr_assert(cut_is_there(&region, 1) && cut_is_there(&region, 2));
    seal(&region);
    set_bytes(&region, 5, 15, 201);
    cr_assert_eq(frozen_chunks(&region), 20, "ten for each of them");
    cut_keep(&region);
    cr_assert(!cut_is_there(&region, 1) && cut_kept(&region)->number == 2);
    cr_assert_eq(frozen_chunks(&region), 10);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, one_that_was_given_up_leaves_the_kept_one_whole)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    chunk_cut(&region, 2);
    set_bytes(&region, 5, 15, 201);
    chunk_cut_release(&region);
    set_bytes(&region, 0, 20, 202);
    check_physical(&region);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    expect_filled(&region, 20);
    chunk_region_destroy(&region);
}

Test(cut, without_memory_for_it_none_is_kept)
{
    struct chunk_region region = make_region(20, 0);
    complete_cut(&region, 1);
    cr_assert_null(cut_kept(&region));
    set_bytes(&region, 0, 10, 200);
    cr_assert_eq(frozen_chunks(&region), 0);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_ENOENT);
    chunk_region_destroy(&region);
}

Test(cut, over_the_bound_the_kept_one_goes_first_and_then_the_newest_is_copied_sparingly)
{
    struct chunk_region region = make_region(60, 30);
    complete_cut(&region, 1);
    chunk_cut(&region, 2);
    seal(&region);
    set_bytes(&region, 0, 30, 200);
    cr_assert_not_null(cut_kept(&region), "30 are not too many");
    set_bytes(&region, 30, 31, 200);
    cr_assert_null(cut_kept(&region));
    cr_assert_eq(chunk_cut_live(&region)->keep, 1);
    set_bytes(&region, 31, 32, 200);
    cr_assert_eq(chunk_cut_live(&region)->keep, 0, "what it holds is still too much");
    uint64_t copied = region.header->counters.copied;
    set_bytes(&region, 32, 60, 200);
    cr_assert_eq(region.header->counters.copied, copied, "gathered chunks are not copied any more");
    cr_assert_eq(region.header->counters.given_up, 2);
    cut_keep(&region);
    cr_assert(!cut_is_there(&region, 2));
    cr_assert_eq(frozen_chunks(&region), 0);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, after_one_was_given_up_a_few_are_not_kept)
{
    struct chunk_region region = make_region(60, 10);
    unsigned kept = 0;
    for (uint64_t number = 1; number <= 40; number++) {
        complete_cut(&region, number);
        kept += cut_is_there(&region, number);
        set_bytes(&region, 0, 60, (unsigned char)number);
        cr_assert_null(cut_kept(&region));
    }
    cr_assert_eq(kept, 5, "1, 3, 7, 15, 31 and not %u", kept);
    cr_assert_eq(region.header->keep_skip, 31);
    chunk_region_destroy(&region);
}

Test(cut, state_that_needs_the_memory_takes_it_within_a_batch)
{
    uint32_t half = (uint32_t)(LIMIT_CHUNKS / 2);
    struct chunk_region region = make_region(half, LIMIT_CHUNKS);
    complete_cut(&region, 1);
    struct weir_error err = {0};
    struct chunk_marks marks = region.header->marks;
    uint32_t changed = 0;
    for (; changed < half && cut_kept(&region) != NULL; changed++) { /* one batch */
        cr_assert_eq(chunk_reserve(&region, 1, &err), WEIR_OK, "%s", err.text);
        *(unsigned char *)state_touch(&region, state_pos(changed, 5), 1) = 99;
    }
    cr_assert_lt(changed, half, "it was given up on the way");
    cr_assert_eq(region.header->marks.release_pos, region.header->marks.free_head, "what this batch retired may be needed to undo it");
    for (; changed < half; changed++) {
        cr_assert_eq(chunk_reserve(&region, 1, &err), WEIR_OK, "%s", err.text);
        *(unsigned char *)state_touch(&region, state_pos(changed, 5), 1) = 99;
    }
    uint64_t undone_bytes;
    cr_assert_eq(chunk_batch_undo(&region, &marks, 1, &undone_bytes, &err), WEIR_OK, "%s", err.text);
    expect_filled(&region, half);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, near_the_limit_none_is_kept)
{
    struct chunk_region region = make_region((uint32_t)(LIMIT_CHUNKS * 9 / 10), LIMIT_CHUNKS);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 2, 200);
    cr_assert_null(cut_kept(&region));
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, removing_at_the_limit_gives_the_kept_one_up)
{
    struct chunk_region region = make_region(10, LIMIT_CHUNKS);
    complete_cut(&region, 1);
    while (chunk_reserve(&region, 1, NULL) == WEIR_OK) {
        chunk_alloc(&region);
        cr_assert(cut_kept(&region) != NULL || region.header->marks.logical_count > 10);
    }
    cr_assert_null(cut_kept(&region));
    cr_assert_eq(chunk_reserve_writes(&region, 1, NULL), WEIR_OK);
    chunk_region_destroy(&region);
}

Test(cut, after_half_a_cut_what_the_kept_one_has_is_not_written)
{
    struct chunk_region region = make_region(20, 100);
    uint64_t undone_bytes = 0;
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    struct chunk_marks marks = region.header->marks;
    region.header->cutting = 1; /* as a task leaves it that is killed in chunk_cut() */
    for (uint32_t i = 0; i < 5; i++)
        region.table[i] &= ~CHUNK_WRITTEN;
    cr_assert_eq(chunk_batch_undo(&region, &marks, 2, &undone_bytes, NULL), WEIR_OK);
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(chunk_is_written(&region, i), i < 10, "chunk %u", i);
    chunk_batch_begin(&region, 3);
    set_bytes(&region, 0, 20, 201);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    expect_filled(&region, 20);
    chunk_region_destroy(&region);
}

/* ---- going back ---- */

Test(cut, a_rollback_believes_nothing_but_the_cut)
{
    struct chunk_region region = make_region(20, 100);
    chunk_free(&region, 19); /* so that physical chunks below the mark are free */
    chunk_free(&region, 18);
    end_batch(&region);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    for (uint32_t i = 15; i < 18; i++)
        chunk_free(&region, i);
    memset(&region.header->marks, 0xab, sizeof region.header->marks);
    memset(region.table, 0xcd, 20 * sizeof *region.table);
    memset(region.fifo, 0xef, 4096);
    region.header->fifo_backed = UINT64_MAX;
    region.header->physical_backed = 1;
    region.header->cutting = 1;
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    expect_filled(&region, 18);
    check_physical(&region);
    chunk_batch_begin(&region, 1);
    set_bytes(&region, 0, 18, 201);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
        memset(state_touch(&region, state_pos(chunk_alloc(&region), 0), CHUNK_BYTES), 0xee, CHUNK_BYTES);
    }
    end_batch(&region);
    check_physical(&region);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK, "as often as need be");
    expect_filled(&region, 18);
    chunk_region_destroy(&region);
}

Test(cut, a_rollback_goes_to_the_newest_one_as_well)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    set_bytes(&region, 3, 4, 4); /* to what it was */
    chunk_cut(&region, 2);
    seal(&region);
    set_bytes(&region, 0, 20, 200);
    cr_assert_eq(cut_roll_back(&region, 2, NULL), WEIR_OK, "complete, but the task died before it knew");
    expect_filled(&region, 20);
    cr_assert(cut_kept(&region)->number == 2 && chunk_cut_live(&region) == NULL);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, free_ids_are_free_again_after_a_rollback)
{
    struct chunk_region region = make_region(20, 100);
    chunk_free(&region, 19);
    chunk_free(&region, 7);
    end_batch(&region);
    complete_cut(&region, 1);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    chunk_batch_begin(&region, 1);
    bool seen[32] = {0};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
        seen[chunk_alloc(&region)] = true;
    }
    cr_assert(seen[7] && seen[19] && seen[20]);
    check_physical(&region);
    chunk_region_destroy(&region);
}

/* One byte anywhere in what a rollback goes by: found before anything is changed. */
static void expect_refused(struct chunk_region *region, void *byte)
{
    struct weir_error err = {0};
    struct chunk_marks marks = region->header->marks;
    *(unsigned char *)byte ^= 0x40;
    int code = cut_roll_back(region, 1, &err);
    cr_assert(code == WEIR_ECORRUPT || code == WEIR_ENOENT, "%d", code);
    cr_assert_eq(memcmp(&marks, &region->header->marks, sizeof marks), 0);
    cr_assert_eq(cut_unverified(region), 0);
    *(unsigned char *)byte ^= 0x40;
}

Test(cut, a_cut_that_was_scribbled_over_is_refused)
{
    struct chunk_region region = make_region(300, 1000);
    complete_cut(&region, 1);
    struct chunk_cut *cut = &region.header->cuts[cut_kept(&region) - region.header->cuts];
    unsigned char *sums = (unsigned char *)region.header + region.header->sums_offset;
    expect_refused(&region, &cut->number);
    expect_refused(&region, &cut->logical_mark);
    expect_refused(&region, &cut->chunk_count);
    expect_refused(&region, &cut->physical_mark);
    expect_refused(&region, &cut->table_checksum);
    expect_refused(&region, &cut->sums_checksum);
    expect_refused(&region, &cut->checksum);
    expect_refused(&region, &cut_table(&region, cut)[0]);
    expect_refused(&region, &cut_table(&region, cut)[299]);
    expect_refused(&region, sums);
    expect_refused(&region, sums + 8);
    expect_refused(&region, &region.header->magic);
    expect_refused(&region, &region.header->pool_offset);
    expect_refused(&region, &region.header->chunks_max);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK, "as it was, it is good");
    chunk_region_destroy(&region);
}

Test(cut, a_reset_needs_no_sound_header)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    memset(&region.header->limit_bytes, 0xff, offsetof(struct chunk_header, marks) - offsetof(struct chunk_header, limit_bytes));
    memset(&region.header->marks, 0xff, sizeof region.header->marks);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_ECORRUPT);
    chunk_region_reset(&region);
    unsigned char bytes[CHUNK_BYTES] = {7};
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(chunk_restore(&region, i, bytes, NULL), WEIR_OK);
    chunk_restore_finish(&region, false);
    check_physical(&region);
    chunk_region_destroy(&region);
}

Test(cut, a_chunk_that_was_scribbled_over_is_found)
{
    struct chunk_region region = make_region(600, 1000);
    struct weir_error err = {0};
    complete_cut(&region, 1);
    cr_assert_eq(cut_unverified(&region), 0);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    cr_assert_eq(cut_unverified(&region), 1);
    chunk_batch_begin(&region, 1);
    set_bytes(&region, 0, 600, 200);
    cr_assert_eq(cut_verify(&region, sum_of, NULL, &err), WEIR_OK, "what came later is not compared: %s", err.text);
    cr_assert_eq(cut_unverified(&region), 0);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    unsigned char *byte = (unsigned char *)chunk_physical(&region, cut_table(&region, cut_kept(&region))[512]) + 4095;
    *byte ^= 1;
    cr_assert_eq(cut_verify(&region, sum_of, NULL, &err), WEIR_ECORRUPT);
    cr_assert(strstr(err.text, "512 to 767") != NULL, "%s", err.text);
    cr_assert_eq(cut_unverified(&region), 1);
    *byte ^= 1;
    cr_assert_eq(cut_verify(&region, sum_of, NULL, &err), WEIR_OK);
    chunk_region_destroy(&region);
}

Test(cut, what_is_not_verified_is_not_given_up_for_the_bound)
{
    struct chunk_region region = make_region(60, 30);
    struct weir_error err = {0};
    complete_cut(&region, 1);
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    chunk_batch_begin(&region, 1);
    set_bytes(&region, 0, 60, 200);
    cr_assert_not_null(cut_kept(&region));
    cr_assert(cut_give_up(&region), "but for state that needs the memory");
    cr_assert_eq(cut_verify(&region, sum_of, NULL, &err), WEIR_ECORRUPT, "then nothing can be said of it");
    chunk_region_destroy(&region);
}

Test(cut, a_rollback_that_is_killed_half_way_is_done_again)
{
    struct chunk_region region = make_region(20, 100);
    complete_cut(&region, 1);
    set_bytes(&region, 0, 10, 200);
    chunk_cut(&region, 2);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kill_point_arm("v2:1", NULL);
        (void)cut_roll_back(&region, 1, NULL);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(cut_roll_back(&region, 1, NULL), WEIR_OK);
    expect_filled(&region, 20);
    check_physical(&region);
    chunk_region_destroy(&region);
}

/* ---- beside a plain model ---- */

struct kept_model {
    bool there;
    uint64_t number;
    struct model model;
};

static void forget(struct kept_model *kept)
{
    if (kept->there)
        model_free(&kept->model);
    kept->there = false;
}

static void go_back(struct run *run, struct kept_model *to)
{
    struct weir_error err = {0};
    struct op_state_config config = config_of(run);
    op_state_close(run->op);
    cr_assert_eq(cut_roll_back(run->region, to->number, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(op_state_open(&run->op, run->region, &config, &err), WEIR_OK, "%s", err.text);
    model_free(&run->model);
    run->model = model_copy(&to->model);
    check_physical(run->region);
    check_all(run->op, run, &run->model);
    cr_assert_eq(cut_verify(run->region, sum_of, NULL, &err), WEIR_OK, "%s", err.text);
    chunk_batch_begin(run->region, 1);
}

/* Between two batches: a cut begins, is sealed, completed or given up; or the state goes back to one. */
static void change_cut(struct run *run, struct kept_model *newest, struct kept_model *kept, unsigned *rollbacks)
{
    uint64_t dice = below(run, 12);
    if (kept->there && cut_kept(run->region) == NULL)
        forget(kept); /* too much memory */
    if (!newest->there && dice < 3) {
        chunk_cut(run->region, ++run->cuts);
        *newest = (struct kept_model){true, run->cuts, model_copy(&run->model)};
        seal(run->region);
    } else if (newest->there && dice < 4) {
        bool keeps = chunk_cut_live(run->region)->keep != 0;
        cut_keep(run->region);
        forget(kept);
        *kept = *newest;
        newest->there = false;
        if (!keeps)
            forget(kept);
    } else if (newest->there && dice == 4) {
        chunk_cut_release(run->region);
        forget(newest);
    } else if (newest->there && dice == 5 && cut_is_there(run->region, newest->number)) {
        go_back(run, newest);
        forget(kept);
        *kept = *newest;
        newest->there = false;
        ++*rollbacks;
    } else if (kept->there && dice == 6) {
        go_back(run, kept);
        forget(newest);
        ++*rollbacks;
    }
}

static void run_beside_model(uint32_t key_bytes, uint32_t key_count, uint64_t memory_bytes)
{
    struct run run = {.key_bytes = key_bytes, .limit_bytes = UINT64_C(64) << 20, .clear_share = 60, .model = model_make(key_count)};
    uint64_t seed = number_from_env("WEIR_SEED", (uint64_t)time(NULL) * 1000 + key_bytes);
    uint64_t steps = number_from_env("WEIR_STEPS", 12000);
    fprintf(stderr, "WEIR_SEED=%llu\n", (unsigned long long)seed);
    run.random = seed * 2 + 1;
    struct chunk_region region;
    struct weir_error err = {0};
    struct op_state_config config = config_of(&run);
    run.region = &region;
    cr_assert_eq(chunk_region_create(&region, "model", run.limit_bytes, 0, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(chunk_undo_create(&region, "model", UNDO_BYTES_MAX, &err), WEIR_OK, "%s", err.text);
    chunk_region_reset(&region);
    cut_set_memory(&region, memory_bytes);
    chunk_batch_begin(&region, 1);
    cr_assert_eq(op_state_open(&run.op, &region, &config, &err), WEIR_OK, "%s", err.text);
    struct kept_model newest = {0}, kept = {0};
    unsigned rollbacks = 0;
    for (uint64_t i = 0; i < steps; i++) {
        step(&run);
        if (below(&run, 20) != 0)
            continue;
        end_batch(&region);
        change_cut(&run, &newest, &kept, &rollbacks);
        if (i % 32 == 0)
            check_physical(&region);
    }
    cr_assert_gt(rollbacks, 0);
    cr_assert(memory_bytes == run.limit_bytes || region.header->counters.given_up > 0);
    check_all(run.op, &run, &run.model);
    op_state_close(run.op);
    chunk_region_destroy(&region);
    model_free(&run.model);
    forget(&newest);
    forget(&kept);
}

Test(cut, random_rollbacks_keys_of_8_bytes, .timeout = 1200) { run_beside_model(8, 300, UINT64_C(64) << 20); }
Test(cut, random_rollbacks_keys_that_vary, .timeout = 1200) { run_beside_model(0, 300, UINT64_C(64) << 20); }
Test(cut, random_rollbacks_with_little_memory, .timeout = 1200) { run_beside_model(8, 1000, UINT64_C(500) << 10); }
