/* test_undo.c - the log by itself: what it puts back, when it is void, what it refuses. */
#include "state/undo.h"

#include <criterion/criterion.h>
#include <string.h>

#define LOG_BYTES (UINT64_C(1) << 20)

static struct undo_log *make_log(uint64_t bytes_max)
{
    struct undo_log *log = NULL;
    struct weir_error err = {0};
    cr_assert_eq(undo_create("test", bytes_max, &log, &err), WEIR_OK, "%s", err.text);
    return log;
}

static void change(struct undo_log *log, unsigned char *memory, size_t offset, size_t size_bytes, int value)
{
    undo_note(log, offset, memory + offset, size_bytes);
    memset(memory + offset, value, size_bytes);
}

static int apply(struct undo_log *log, unsigned char *memory, size_t size_bytes, uint64_t committed, struct weir_error *err)
{
    uint64_t undone_bytes = 0;
    return undo_apply(log, memory, size_bytes, committed, &undone_bytes, err);
}

Test(undo, bytes_of_any_size_and_place_come_back_whatever_changed_over_them)
{
    struct undo_log *log = make_log(LOG_BYTES);
    static unsigned char memory[20000], before[20000];
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = before[i] = (unsigned char)(i * 7);
    undo_begin(log, 5);
    for (size_t i = 1; i < 100; i++)
        change(log, memory, i * 13 % 97, i, (int)i);
    change(log, memory, 3, 16000, 1);
    cr_assert_eq(apply(log, memory, sizeof memory, 4, NULL), WEIR_OK);
    cr_assert_arr_eq(memory, before, sizeof memory);
    change(log, memory, 0, 8, 9); /* a second time, as after a death in the middle: all of it, and what came behind it */
    cr_assert_eq(apply(log, memory, sizeof memory, 4, NULL), WEIR_OK);
    cr_assert_arr_eq(memory, before, sizeof memory);
    undo_unmap(log);
}

Test(undo, a_batch_that_is_committed_is_not_undone)
{
    struct undo_log *log = make_log(LOG_BYTES);
    unsigned char memory[64] = {0};
    undo_begin(log, 5);
    change(log, memory, 8, 8, 1);
    cr_assert_eq(apply(log, memory, sizeof memory, 5, NULL), WEIR_OK);
    cr_assert_eq(memory[8], 1);
    undo_begin(log, 6);
    change(log, memory, 8, 8, 2);
    cr_assert_eq(apply(log, memory, sizeof memory, 5, NULL), WEIR_OK);
    cr_assert_eq(memory[8], 1, "back to batch 5's");
    undo_unmap(log);
}

Test(undo, a_log_of_another_batch_is_refused)
{
    struct undo_log *log = make_log(LOG_BYTES);
    struct weir_error err = {0};
    unsigned char memory[64] = {0};
    undo_begin(log, 7);
    change(log, memory, 8, 8, 1);
    cr_assert_eq(apply(log, memory, sizeof memory, 5, &err), WEIR_ECORRUPT);
    cr_assert(strstr(err.text, "batch 7") != NULL && strstr(err.text, "batch 5") != NULL, "%s", err.text);
    cr_assert_eq(memory[8], 1);
    undo_unmap(log);
}

Test(undo, a_damaged_log_is_refused_before_anything_is_put_back)
{
    struct undo_log *log = make_log(LOG_BYTES);
    unsigned char memory[64] = {0};
    for (uint64_t used_bytes = 8; used_bytes <= 72; used_bytes += 8)
        for (unsigned bit = 0; bit < 64; bit++) {
            undo_begin(log, 1);
            for (int i = 0; i < 3; i++)
                change(log, memory, 8, 16, 1);
            uint64_t word;
            memcpy(&word, log->entries + used_bytes - 8, 8);
            word ^= UINT64_C(1) << bit;
            memcpy(log->entries + used_bytes - 8, &word, 8);
            struct weir_error err = {0};
            int code = apply(log, memory, sizeof memory, 0, &err);
            cr_assert(code == WEIR_OK || code == WEIR_ECORRUPT); /* a flipped bit of the bytes themselves is not seen */
            if (code == WEIR_ECORRUPT)
                cr_assert_eq(memory[8], 1);
            memset(memory, 0, sizeof memory);
        }
    undo_begin(log, 1);
    change(log, memory, 48, 16, 1);
    cr_assert_eq(apply(log, memory, 63, 0, NULL), WEIR_ECORRUPT, "a place outside");
    atomic_store(&log->used_bytes, log->backed_bytes + 8);
    cr_assert_eq(apply(log, memory, sizeof memory, 0, NULL), WEIR_ECORRUPT);
    undo_unmap(log);
}

Test(undo, a_batch_too_long_for_the_log_goes_on_and_cannot_be_undone_and_the_next_one_can)
{
    struct undo_log *log = make_log(LOG_BYTES);
    struct weir_error err = {0};
    static unsigned char memory[4096];
    undo_begin(log, 1);
    cr_assert_not(undo_is_long(log));
    for (int i = 0; i < 300; i++)
        change(log, memory, 0, sizeof memory, i);
    cr_assert_eq(memory[0], (unsigned char)299);
    cr_assert_eq(apply(log, memory, sizeof memory, 0, &err), WEIR_ELIMIT);
    cr_assert(strstr(err.text, "can be undone") != NULL, "%s", err.text);
    undo_begin(log, 2);
    change(log, memory, 0, 8, 0);
    cr_assert_eq(apply(log, memory, sizeof memory, 1, NULL), WEIR_OK);
    cr_assert_eq(memory[0], (unsigned char)299);
    undo_unmap(log);
}
