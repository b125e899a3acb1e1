#include "state/chunk.h"

#include "shm/region.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT (CHUNK_LIMIT_BYTES_MIN * 8)

static struct chunk_region make_region_of(uint64_t limit_bytes)
{
    struct chunk_region region;
    struct weir_error err = {0};
    cr_assert_eq(chunk_region_create(&region, "test", limit_bytes, 10000, &err), WEIR_OK, "%s", err.text);
    return region;
}

static struct chunk_region make_region(void) { return make_region_of(LIMIT); }

/* Chunks up to `end`; chunk i filled with byte i + 1. */
static void fill_from(struct chunk_region *region, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        cr_assert_eq(chunk_reserve(region, 1, NULL), WEIR_OK);
        uint32_t logical = chunk_alloc(region);
        cr_assert_eq(logical, i);
        memset(state_touch(region, state_pos(logical, 0), CHUNK_BYTES), (int)(i + 1), CHUNK_BYTES);
    }
}

static void fill(struct chunk_region *region, uint32_t count) { fill_from(region, 0, count); }

static void set_byte(struct chunk_region *region, uint32_t logical, unsigned char value)
{
    cr_assert_eq(chunk_reserve(region, 1, NULL), WEIR_OK);
    *(unsigned char *)state_touch(region, state_pos(logical, 5), 1) = value;
}

static unsigned char get_byte(const struct chunk_region *region, uint32_t logical)
{
    return *(const unsigned char *)state_read(region, state_pos(logical, 5));
}

static unsigned char frozen_byte(const struct chunk_region *region, uint32_t logical)
{
    struct chunk_frozen chunk;
    cr_assert(chunk_cut_next(region, &logical, &chunk));
    return ((const unsigned char *)chunk.bytes)[5];
}

Test(chunk, a_new_region_is_sealed_and_its_engine_area_is_zero)
{
    struct chunk_region region = make_region();
    uint64_t size_bytes = 0;
    const unsigned char *area = chunk_engine_area(&region, &size_bytes);
    cr_assert_geq(size_bytes, 10000);
    for (uint64_t i = 0; i < size_bytes; i++)
        cr_assert_eq(area[i], 0);
    cr_assert_lt(ftruncate(region.fd, 4096), 0);
    cr_assert_lt(ftruncate(region.fd, 1 << 30), 0);
    chunk_region_destroy(&region);
}

Test(chunk, limits_that_cannot_be_are_refused_by_name)
{
    struct chunk_region region;
    struct weir_error err = {0};
    cr_assert_eq(chunk_region_create(&region, "test", 100, 0, &err), WEIR_EINVAL);
    cr_assert(strstr(err.text, "--state-limit") != NULL);
    cr_assert_eq(chunk_region_create(&region, "test", UINT64_MAX, 0, &err), WEIR_EINVAL);
    chunk_region_destroy(&region);
}

Test(chunk, an_empty_region_takes_little_memory)
{
    struct chunk_region region = make_region();
    struct stat status;
    cr_assert_eq(fstat(region.fd, &status), 0);
    cr_assert_lt(status.st_blocks * 512, 64 * 1024);
    chunk_region_destroy(&region);
}

Test(chunk, allocated_chunks_are_zero_also_when_used_before)
{
    struct chunk_region region = make_region();
    fill(&region, 3);
    chunk_free(&region, 2);
    cr_assert_eq(chunk_reserve(&region, 2, NULL), WEIR_OK);
    uint32_t logical = chunk_alloc(&region);
    cr_assert_eq(logical, 2);
    for (uint32_t i = 0; i < CHUNK_BYTES; i++)
        cr_assert_eq(((const unsigned char *)chunk_read(&region, logical))[i], 0);
    chunk_region_destroy(&region);
}

Test(chunk, a_cut_keeps_its_bytes_while_the_live_side_changes)
{
    struct chunk_region region = make_region();
    fill(&region, 10);
    chunk_cut(&region, 7);
    cr_assert_eq(chunk_cut_live(&region)->number, 7);
    cr_assert_eq(chunk_cut_live(&region)->chunk_count, 10);
    for (uint32_t i = 0; i < 10; i += 2)
        set_byte(&region, i, 200);
    chunk_free(&region, 9);
    cr_assert_eq(chunk_reserve(&region, 4, NULL), WEIR_OK);
    cr_assert_eq(chunk_alloc(&region), 9);
    cr_assert_eq(chunk_alloc(&region), 10);
    for (uint32_t i = 0; i < 10; i++)
        cr_assert_eq(frozen_byte(&region, i), i + 1);
    for (uint32_t i = 0; i < 9; i++)
        cr_assert_eq(get_byte(&region, i), i % 2 == 0 ? 200 : i + 1);
    cr_assert_eq(get_byte(&region, 9), 0);
    uint32_t behind = 10;
    struct chunk_frozen chunk;
    cr_assert_not(chunk_cut_next(&region, &behind, &chunk), "what came after the cut is not in it");
    chunk_region_destroy(&region);
}

Test(chunk, only_the_first_write_after_a_cut_copies)
{
    struct chunk_region region = make_region();
    struct chunk_usage usage;
    fill(&region, 4);
    set_byte(&region, 1, 9);
    chunk_cut(&region, 1);
    for (int i = 0; i < 5; i++)
        set_byte(&region, 1, (unsigned char)i);
    chunk_usage(&region, &usage);
    cr_assert_eq(usage.copied_chunks, 1);
    cr_assert_eq(usage.frozen_bytes, CHUNK_BYTES);
    chunk_cut_release(&region);
    chunk_usage(&region, &usage);
    cr_assert_eq(usage.frozen_bytes, 0);
    set_byte(&region, 2, 5);
    chunk_usage(&region, &usage);
    cr_assert_eq(usage.copied_chunks, 1, "without a live cut nothing is copied");
    chunk_region_destroy(&region);
}

Test(chunk, a_cut_tells_which_chunks_were_written_since_the_one_before)
{
    struct chunk_region region = make_region();
    struct chunk_frozen chunk;
    fill(&region, 6);
    chunk_cut(&region, 1);
    cr_assert_eq(chunk_cut_live(&region)->written_count, 6);
    chunk_cut_release(&region);
    set_byte(&region, 3, 1);
    chunk_cut(&region, 2);
    cr_assert_eq(chunk_cut_live(&region)->written_count, 1);
    for (uint32_t next = 0; chunk_cut_next(&region, &next, &chunk);)
        cr_assert_eq(chunk.written, chunk.logical == 3);
    chunk_region_destroy(&region);
}

Test(chunk, what_the_reader_has_gathered_is_not_copied)
{
    struct chunk_region region = make_region();
    struct chunk_usage usage;
    fill(&region, 6);
    chunk_cut(&region, 1);
    chunk_cut_gathered(&region, 3);
    for (uint32_t i = 0; i < 6; i++)
        set_byte(&region, i, 100);
    chunk_usage(&region, &usage);
    cr_assert_eq(usage.copied_chunks, 3);
    for (uint32_t i = 3; i < 6; i++)
        cr_assert_eq(frozen_byte(&region, i), i + 1);
    chunk_region_destroy(&region);
}

Test(chunk, released_chunks_are_used_again_so_the_region_stops_growing)
{
    struct chunk_region region = make_region();
    fill(&region, 50);
    uint32_t mark = 0;
    for (uint64_t cut = 1; cut <= 3 * (LIMIT / CHUNK_BYTES) / 50; cut++) { /* the FIFO goes round more than once */
        chunk_cut(&region, cut);
        for (uint32_t i = 0; i < 50; i++)
            set_byte(&region, i, (unsigned char)cut);
        chunk_cut_release(&region);
        if (cut == 2)
            mark = region.header->marks.physical_mark;
    }
    cr_assert_eq(region.header->marks.physical_mark, mark);
    chunk_region_destroy(&region);
}

Test(chunk, the_limit_is_an_error_that_says_what_to_do_and_passes_when_the_cut_does)
{
    struct chunk_region region = make_region();
    struct weir_error err = {0};
    uint32_t count = 0;
    while (chunk_reserve(&region, 1, &err) == WEIR_OK) {
        (void)chunk_alloc(&region);
        count++;
    }
    cr_assert_eq(err.code, WEIR_ELIMIT);
    cr_assert(strstr(err.text, "--state-limit") != NULL, "%s", err.text);
    cr_assert_eq(count, LIMIT / CHUNK_BYTES - CHUNK_SPARE);
    cr_assert_eq(chunk_reserve_writes(&region, 100, NULL), WEIR_OK, "changing takes no chunk without a cut");
    chunk_cut(&region, 1);
    cr_assert_eq(chunk_reserve_writes(&region, 100, NULL), WEIR_ELIMIT);
    for (uint32_t i = 1; i < 200; i++)
        chunk_free(&region, i);
    cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_ELIMIT, "the cut holds them");
    chunk_cut_release(&region);
    cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
    chunk_region_destroy(&region);
}

Test(chunk, a_snapshot_child_reads_the_cut_while_the_parent_writes)
{
    struct chunk_region region = make_region();
    fill(&region, 200);
    chunk_cut(&region, 1);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct chunk_frozen chunk;
        for (uint32_t next = 0; chunk_cut_next(&region, &next, &chunk); chunk_cut_gathered(&region, next))
            for (uint32_t i = 0; i < CHUNK_BYTES; i++)
                if (((const unsigned char *)chunk.bytes)[i] != (unsigned char)(chunk.logical + 1))
                    _exit(1);
        _exit(0);
    }
    int status = 0;
    uint32_t round = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        uint32_t logical = round++ * 7 % 200;
        cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
        memset(state_touch(&region, state_pos(logical, 0), CHUNK_BYTES), 0xee, CHUNK_BYTES);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child saw a byte that changed after the cut");
    chunk_region_destroy(&region);
}

Test(chunk, an_image_with_gaps_can_be_loaded_in_any_order_and_goes_on)
{
    struct chunk_region region = make_region();
    unsigned char bytes[CHUNK_BYTES];
    const uint32_t ids[] = {9, 0, 4};
    for (int i = 0; i < 3; i++) {
        memset(bytes, (int)ids[i] + 1, sizeof bytes);
        cr_assert_eq(chunk_restore(&region, ids[i], bytes, NULL), WEIR_OK);
    }
    cr_assert_eq(chunk_restore(&region, 4, bytes, NULL), WEIR_ECORRUPT);
    cr_assert_eq(chunk_restore(&region, UINT32_MAX, bytes, NULL), WEIR_ECORRUPT);
    cr_assert_eq(chunk_restore(&region, 1u << 28, bytes, NULL), WEIR_ELIMIT);
    chunk_restore_finish(&region, false);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(get_byte(&region, ids[i]), ids[i] + 1);
    bool seen[16] = {[0] = true, [4] = true, [9] = true};
    for (int i = 0; i < 8; i++) { /* seven gaps, then a new one */
        cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
        uint32_t logical = chunk_alloc(&region);
        cr_assert(logical < 16 && !seen[logical]);
        seen[logical] = true;
    }
    cr_assert(seen[10]);
    chunk_cut(&region, 1);
    cr_assert_eq(chunk_cut_live(&region)->chunk_count, 11);
    cr_assert_eq(chunk_cut_live(&region)->written_count, 8, "loaded chunks belong to the checkpoint before");
    chunk_region_destroy(&region);
}

Test(chunk, reset_empties_a_region_and_keeps_its_memory)
{
    struct chunk_region region = make_region();
    struct chunk_usage before, after;
    fill(&region, 100);
    chunk_cut(&region, 1);
    chunk_usage(&region, &before);
    chunk_region_reset(&region);
    chunk_usage(&region, &after);
    cr_assert_eq(after.live_bytes, 0);
    cr_assert_eq(after.backed_bytes, before.backed_bytes);
    cr_assert_null(chunk_cut_live(&region));
    fill(&region, 100);
    cr_assert_eq(get_byte(&region, 99), 100);
    chunk_region_destroy(&region);
}

/* ---- batches that can be undone: tests/unit/test_state_undo.c has the rest ---- */

static struct chunk_region make_undoable_region(uint32_t chunks)
{
    struct chunk_region region = make_region();
    cr_assert_eq(chunk_undo_create(&region, "test", 1 << 20, NULL), WEIR_OK);
    chunk_region_reset(&region);
    chunk_batch_begin(&region, 1);
    fill(&region, chunks);
    chunk_batch_end(&region);
    chunk_batch_begin(&region, 2);
    return region;
}

Test(chunk, what_a_batch_frees_is_not_used_again_before_it_is_committed)
{
    struct chunk_region region = make_undoable_region(60);
    struct chunk_marks marks = region.header->marks;
    uint64_t undone_bytes = 0;
    for (uint32_t i = 50; i < 60; i++)
        chunk_free(&region, i);
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(chunk_reserve(&region, 1, NULL), WEIR_OK);
        uint32_t logical = chunk_alloc(&region);
        cr_assert_geq(logical, 50, "ids are used again at once");
        memset(state_touch(&region, state_pos(logical, 0), CHUNK_BYTES), 0xee, CHUNK_BYTES);
    }
    cr_assert_eq(chunk_batch_undo(&region, &marks, 1, &undone_bytes, NULL), WEIR_OK);
    cr_assert_gt(undone_bytes, 0);
    for (uint32_t i = 0; i < 60; i++)
        cr_assert_eq(get_byte(&region, i), i + 1, "chunk %u", i);
    for (uint32_t i = 50; i < 60; i++)
        chunk_free(&region, i);
    uint64_t available = chunk_available(&region);
    chunk_batch_end(&region);
    cr_assert_eq(chunk_available(&region), available + 10);
    chunk_region_destroy(&region);
}

Test(chunk, after_half_a_cut_all_chunks_count_as_written)
{
    struct chunk_region region = make_undoable_region(10);
    struct chunk_marks marks = region.header->marks;
    uint64_t undone_bytes = 0;
    region.header->cutting = 1; /* as a task leaves it that is killed in chunk_cut() */
    for (uint32_t i = 0; i < 5; i++)
        region.table[i] &= ~CHUNK_WRITTEN;
    cr_assert_eq(chunk_batch_undo(&region, &marks, 1, &undone_bytes, NULL), WEIR_OK);
    cr_assert_null(chunk_cut_live(&region));
    chunk_cut(&region, 1);
    cr_assert_eq(chunk_cut_live(&region)->written_count, 10);
    chunk_region_destroy(&region);
}

Test(chunk, marks_that_contradict_the_region_are_refused)
{
    struct chunk_region region = make_undoable_region(10);
    struct chunk_marks good = region.header->marks;
    uint64_t undone_bytes = 0;
    struct chunk_marks bad[] = {good, good, good, good};
    bad[0].free_head = good.release_pos + 1;
    bad[1].physical_mark = region.header->physical_backed + 1;
    bad[2].logical_mark = region.header->logical_backed + 1;
    bad[3].retire_tail = good.retire_tail + region.header->fifo_mask + 1;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(chunk_batch_undo(&region, &bad[i], 1, &undone_bytes, NULL), WEIR_ECORRUPT, "%d", i);
    chunk_region_destroy(&region);
}

Test(chunk, a_second_mapping_sees_the_same_state_elsewhere)
{
    struct chunk_region region = make_region();
    struct chunk_region other;
    struct weir_error err = {0};
    fill(&region, 5);
    cr_assert_eq(chunk_region_map(&other, dup(region.fd), &err), WEIR_OK, "%s", err.text);
    cr_assert_neq((void *)other.header, (void *)region.header);
    for (uint32_t i = 0; i < 5; i++)
        cr_assert_eq(get_byte(&other, i), i + 1);
    chunk_region_destroy(&other);
    chunk_region_destroy(&region);
}

Test(chunk, a_file_that_is_no_region_is_refused)
{
    struct chunk_region region;
    struct weir_error err = {0};
    int fd = memfd_create("other", 0);
    cr_assert_eq(chunk_region_map(&region, fd, &err), WEIR_ECORRUPT);
    cr_assert_eq(ftruncate(fd, 1 << 20), 0);
    cr_assert_eq(chunk_region_map(&region, fd, &err), WEIR_ECORRUPT);
    struct chunk_region good = make_region();
    good.header->chunk_shift++;
    cr_assert_eq(chunk_region_map(&region, good.fd, &err), WEIR_EVERSION);
    good.header->chunk_shift--;
    good.header->pool_offset += CHUNK_BYTES;
    cr_assert_eq(chunk_region_map(&region, good.fd, &err), WEIR_ECORRUPT);
    chunk_region_destroy(&good);
    close(fd);
}

static long page_faults(void)
{
    struct rusage usage;
    cr_assert_eq(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_minflt;
}

/* Stores alone: around a load the kernel maps neighbours, too; and a sanitizer would touch memory of its own. */
__attribute__((no_sanitize("address", "undefined"))) static void store_to_each_page(unsigned char *first, unsigned char *end)
{
    for (unsigned char *at = first; at < end; at += 4096)
        *(volatile unsigned char *)at = 1;
}

/* The page faults of a new mapping that stores to each 4 KiB of the pool from one byte to another: one of each small page, and of each
 * huge one. */
static long faults_between(const struct chunk_region *region, uint64_t first_bytes, uint64_t end_bytes)
{
    struct chunk_region other;
    cr_assert_eq(chunk_region_map(&other, dup(region->fd), NULL), WEIR_OK);
    long before = page_faults();
    store_to_each_page(other.pool + first_bytes, other.pool + end_bytes);
    long faults = page_faults() - before;
    chunk_region_destroy(&other);
    return faults;
}

/* More than a huge page of state, with huge pages and, in a process that may have none, without. */
static void use_five_mib(bool huge)
{
    struct chunk_region region = make_region();
    struct stat info;
    fill(&region, (5 << 20) / CHUNK_BYTES);
    uint64_t backed_bytes = (uint64_t)region.header->physical_backed * CHUNK_BYTES;
    cr_assert_eq(fstat(region.fd, &info), 0);
    cr_assert_geq((uint64_t)info.st_blocks * 512, backed_bytes, "there is no memory for all that is said to have some");
    cr_assert_geq(backed_bytes, 5 << 20);
    cr_assert_eq(backed_bytes % (2 << 20), 0, "whole huge pages");
    long faults = faults_between(&region, 2 << 20, 6 << 20);
    cr_assert(huge ? faults < 100 : faults > 900, "%ld faults", faults);
    chunk_region_destroy(&region);
}

Test(chunk, grows_with_huge_pages)
{
    if (!region_huge_pages_work())
        cr_skip_test("there are no huge pages here");
    use_five_mib(true);
}

Test(chunk, grows_without_huge_pages)
{
    cr_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    use_five_mib(false);
}

/* The first 2 MiB are small pages: little state takes little memory. */
Test(chunk, a_little_state_takes_no_huge_page)
{
    struct chunk_region region = make_region();
    struct stat info;
    fill(&region, 10);
    cr_assert_eq(fstat(region.fd, &info), 0);
    cr_assert_lt((uint64_t)info.st_blocks * 512, 1 << 20);
    chunk_region_destroy(&region);
}

Test(chunk, where_there_were_no_huge_pages_they_are_tried_again)
{
    if (!region_huge_pages_work())
        cr_skip_test("there are no huge pages here");
    const uint32_t per_block = (2 << 20) / CHUNK_BYTES;
    struct chunk_region region = make_region_of(UINT64_C(64) << 20);
    cr_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    fill(&region, 6 * per_block);
    cr_assert_eq(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
    fill_from(&region, 6 * per_block, 20 * per_block);
    cr_assert_gt(faults_between(&region, 2 << 20, 10 << 20), 1900, "these were small");
    cr_assert_lt(faults_between(&region, 34 << 20, 40 << 20), 100, "these are huge");
    chunk_region_destroy(&region);
}

/* A mapping of its own has page tables of its own, as those of a process that was forked. */
Test(chunk, a_populated_mapping_is_touched_without_page_faults)
{
    enum { CHUNKS = 1500 };
    struct chunk_region region = make_region(), other;
    cr_assert_eq(chunk_region_map(&other, region.fd, NULL), WEIR_OK);
    uint64_t done_bytes = 0;
    fill(&region, CHUNKS / 2);
    while (chunk_region_populate(&other, &done_bytes))
        continue;
    cr_assert_eq(chunk_reserve(&region, CHUNKS / 2, NULL), WEIR_OK); /* it grows since */
    while (chunk_region_populate(&other, &done_bytes))
        continue;
    cr_assert_not(chunk_region_populate(&other, &done_bytes), "nothing is left to do");
    long before = page_faults();
    for (uint32_t i = 1; i < other.header->physical_backed; i++)
        other.pool[(size_t)i * CHUNK_BYTES] ^= 1;
    /* The address sanitizer's own memory takes one for eight pages. */
    cr_assert_lt(page_faults() - before, CHUNKS / 4, "%ld faults for %u chunks", page_faults() - before, other.header->physical_backed);
    chunk_region_unmap(&other);
    chunk_region_destroy(&region);
}
