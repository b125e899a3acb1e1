/*
 * test_chunk_load.c - chunks that were promised and are loaded later: in any order, beside a cut, up to the limit, and by a process that is
 * looked at behind every single one of its instructions (ptrace). tests/unit/test_state_model.c and test_state_undo.c have random
 * operations of every kind on such state, with kills.
 */
#include "state/chunk.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_BYTES (UINT64_C(4) << 20)
#define STEPS_MAX 1000000u

static struct chunk_region region;
static unsigned needed;
static struct weir_error err;

/* Block n of the image is chunk 3 * n, full of n + 1. */
static uint32_t id_of(uint32_t index) { return 3 * index; }

static const void *block_of(uint32_t index)
{
    static unsigned char block[CHUNK_BYTES];
    memset(block, (int)index + 1, sizeof block);
    return block;
}

static void load(uint32_t index)
{
    cr_assert_eq(chunk_load_reserve(&region, index, 1, &err), WEIR_OK, "%s", err.text);
    chunk_load(&region, id_of(index), block_of(index));
}

static void need(struct chunk_image *image, uint32_t logical)
{
    (void)image;
    needed++;
    load(chunk_image_index(&region, logical));
}

static struct chunk_image image = {need};

static void promise(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(chunk_promise(&region, id_of(i), &err), WEIR_OK, "%s", err.text);
    chunk_restore_finish(&region, false);
    region.image = &image;
}

static void begin(void)
{
    needed = 0;
    cr_assert_eq(chunk_region_create(&region, "load", LIMIT_BYTES, 0, &err), WEIR_OK, "%s", err.text);
}

static void end(void) { chunk_region_destroy(&region); }

TestSuite(chunk_load, .init = begin, .fini = end, .timeout = 480);

static bool is_block(const void *bytes, uint32_t index) { return memcmp(bytes, block_of(index), CHUNK_BYTES) == 0; }

Test(chunk_load, what_is_read_or_written_is_loaded_once_and_nothing_else_is)
{
    promise(10);
    cr_assert_eq(needed, 0);
    cr_assert(is_block(chunk_read(&region, id_of(4)), 4));
    cr_assert(is_block(chunk_read(&region, id_of(4)), 4));
    cr_assert_eq(needed, 1);
    cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
    unsigned char *bytes = state_touch(&region, state_pos(id_of(7), 0), 1);
    cr_assert(is_block(bytes, 7));
    *bytes = 99;
    cr_assert_eq(*(const unsigned char *)chunk_read(&region, id_of(7)), 99);
    cr_assert_eq(needed, 2);
    for (uint32_t i = 0; i < 10; i++)
        cr_assert_eq(chunk_is_on_disk(&region, id_of(i)), i != 4 && i != 7);
}

Test(chunk_load, the_rest_is_found_in_the_order_of_the_image_and_ends)
{
    uint32_t logical = 0, index = 0;
    promise(10);
    (void)chunk_read(&region, id_of(3));
    for (; chunk_next_on_disk(&region, &logical); index++) {
        index += index == 3;
        cr_assert_eq(logical, id_of(index));
        cr_assert_eq(chunk_image_index(&region, logical), index);
        load(index);
    }
    cr_assert_eq(index, 10);
    chunk_load_finish(&region);
    for (uint32_t i = 0; i < 10; i++)
        cr_assert(is_block(chunk_read(&region, id_of(i)), i));
}

Test(chunk_load, new_chunks_take_none_that_was_promised)
{
    promise(10);
    cr_assert_eq(chunk_reserve(&region, 100, &err), WEIR_OK, "%s", err.text);
    for (int i = 0; i < 100; i++)
        memset(state_touch(&region, state_pos(chunk_alloc(&region), 0), CHUNK_BYTES), 0xee, CHUNK_BYTES);
    for (uint32_t i = 0; i < 10; i++)
        cr_assert(is_block(chunk_read(&region, id_of(i)), i));
}

Test(chunk_load, a_cut_says_what_is_on_disk_and_gets_what_is_loaded_meanwhile)
{
    struct chunk_frozen chunk;
    uint32_t next = 0;
    promise(4);
    (void)chunk_read(&region, id_of(0));
    chunk_cut(&region, 1);
    load(2);
    cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
    memset(state_touch(&region, state_pos(id_of(2), 0), CHUNK_BYTES), 0xee, CHUNK_BYTES); /* to a copy: the cut has it */
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert(chunk_cut_next(&region, &next, &chunk));
        cr_assert_eq(chunk.logical, id_of(i));
        cr_assert_eq(chunk.bytes == NULL, i == 1 || i == 3, "block %u", i);
        cr_assert(chunk.bytes != NULL ? is_block(chunk.bytes, i) : chunk.image_index == i);
        cr_assert_not(chunk.written);
    }
    cr_assert_not(chunk_cut_next(&region, &next, &chunk));
}

Test(chunk_load, what_is_freed_is_loaded_first_for_the_cut_that_has_it)
{
    struct chunk_frozen chunk;
    uint32_t next = 0;
    promise(2);
    chunk_cut(&region, 1);
    chunk_free(&region, id_of(1));
    cr_assert_eq(needed, 1);
    while (chunk_cut_next(&region, &next, &chunk))
        cr_assert(chunk.logical == 0 ? chunk.bytes == NULL : is_block(chunk.bytes, 1));
    next = 0;
    cr_assert(chunk_next_on_disk(&region, &next) && next == 0);
}

Test(chunk_load, after_half_a_cut_what_is_on_disk_still_is)
{
    uint64_t undone_bytes = 0;
    cr_assert_eq(chunk_undo_create(&region, "load", UNDO_BYTES_MAX, &err), WEIR_OK, "%s", err.text);
    promise(3);
    (void)chunk_read(&region, id_of(1));
    const struct chunk_marks marks = region.header->marks;
    region.header->cutting = 1; /* a process died within chunk_cut() */
    cr_assert_eq(chunk_batch_undo(&region, &marks, 1, &undone_bytes, &err), WEIR_OK, "%s", err.text);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(chunk_is_written(&region, id_of(i)), i == 1);
        cr_assert(is_block(chunk_write(&region, id_of(i)), i));
    }
}

Test(chunk_load, promises_beyond_the_limit_are_refused_and_a_reset_forgets_all)
{
    uint32_t count = 0;
    uint32_t backed = region.header->physical_backed;
    while (chunk_promise(&region, count, &err) == WEIR_OK)
        count++;
    cr_assert_eq(err.code, WEIR_ELIMIT, "%s", err.text);
    cr_assert_eq(count, LIMIT_BYTES >> CHUNK_SHIFT);
    chunk_region_reset(&region);
    cr_assert_eq(region.header->physical_backed, backed, "chunks that were never loaded have no memory");
    promise(5);
    cr_assert_eq(chunk_promise(&region, 0, &err), WEIR_ECORRUPT, "twice");
    cr_assert_eq(chunk_promise(&region, UINT32_MAX, &err), WEIR_ECORRUPT);
    cr_assert(is_block(chunk_read(&region, id_of(4)), 4));
}

/* ---- behind every instruction ---- */

static _Noreturn void traced(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(2);
    const void *block = block_of(1);
    raise(SIGSTOP);
    chunk_load(&region, id_of(1), block);
    _exit(0);
}

/* Whoever takes over: what does not say that it is on disk is there, in the live table and in the cut, which never says more than that. */
static void check(uint64_t step)
{
    struct chunk_frozen chunk;
    uint32_t next = id_of(1);
    bool on_disk = chunk_is_on_disk(&region, id_of(1));
    cr_assert(on_disk || is_block(chunk_read(&region, id_of(1)), 1), "behind instruction %llu", (unsigned long long)step);
    cr_assert(chunk_cut_next(&region, &next, &chunk) && chunk.logical == id_of(1));
    cr_assert(chunk.bytes != NULL ? is_block(chunk.bytes, 1) : on_disk, "behind instruction %llu: the cut", (unsigned long long)step);
}

Test(chunk_load, behind_every_instruction_a_chunk_is_on_disk_or_loaded)
{
    promise(3);
    chunk_cut(&region, 1);
    cr_assert_eq(chunk_load_reserve(&region, 0, 3, &err), WEIR_OK);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        traced();
    int status;
    uint64_t step = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        cr_skip_test("ptrace is not permitted here");
    for (; WIFSTOPPED(status) && step < STEPS_MAX; step++) {
        check(step);
        cr_assert_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_geq(step, 50);
    cr_assert_not(chunk_is_on_disk(&region, id_of(1)));
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(is_block(chunk_read(&region, id_of(i)), i));
}
