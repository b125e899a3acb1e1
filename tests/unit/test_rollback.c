/* test_rollback.c - the record of a cut that a rollback goes by. integration/test_rollback.c and crash/rollbacks.py have the rest. */
#include "engine/task.h"

#include <criterion/criterion.h>

static struct cut_record make_record(uint32_t committables)
{
    struct cut_record cut = {.checkpoint_id = 7, .records_in = 5, .position_bytes = 3, .position = "abc", .has_file = 1};
    cut.committable_count = committables;
    for (uint32_t i = 0; i < committables; i++)
        cut.committables[i] = (struct pending_committable){.checkpoint_id = 7, .node = i, .size_bytes = 1};
    rollback_seal_record(&cut);
    return cut;
}

Test(rollback, a_record_is_whole_as_it_was_sealed_and_no_other)
{
    struct cut_record cut = make_record(2);
    cr_assert(rollback_record_is_whole(&cut, 7));
    cr_assert_not(rollback_record_is_whole(&cut, 8));
    struct cut_record empty = {0};
    cr_assert_not(rollback_record_is_whole(&empty, 7));
}

Test(rollback, a_record_with_any_byte_changed_is_not_whole)
{
    struct cut_record cut = make_record(2);
    unsigned char *bytes = (unsigned char *)&cut;
    size_t size_bytes = offsetof(struct cut_record, committables) + 2 * sizeof cut.committables[0];
    for (size_t i = 0; i < size_bytes; i++) {
        bytes[i] ^= 0x80;
        cr_assert_not(rollback_record_is_whole(&cut, 7), "byte %zu", i);
        bytes[i] ^= 0x80;
    }
    cr_assert(rollback_record_is_whole(&cut, 7));
}

Test(rollback, a_record_that_counts_more_than_there_may_be_is_not_read)
{
    struct cut_record cut = make_record(0);
    cut.committable_count = UINT32_MAX;
    cr_assert_not(rollback_record_is_whole(&cut, 7));
    cut = make_record(0);
    cut.position_bytes = UINT32_MAX;
    cr_assert_not(rollback_record_is_whole(&cut, 7));
}
