#include "state/key.h"

#include <criterion/criterion.h>

Test(key, the_hash_is_xxh3_with_and_without_the_fast_path)
{
    unsigned char bytes[64];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    for (size_t size_bytes = 0; size_bytes <= sizeof bytes; size_bytes++)
        cr_assert_eq(key_hash(bytes, size_bytes), XXH3_64bits(bytes, size_bytes));
    cr_assert_eq(key_hash("", 0), UINT64_C(0x2d06800538d394c2)); /* the published value for an empty input */
}

/* Each position belongs to the group, and each group to the subtask, that both ways of asking say. */
static void check_split(uint32_t parallelism, uint32_t groups)
{
    uint64_t next = 0;
    for (uint32_t subtask = 0; subtask < parallelism; subtask++) {
        struct key_range range = key_subtask_range(subtask, parallelism, groups);
        cr_assert_eq(range.first, next, "subtask %u of %u begins at %u", subtask, parallelism, range.first);
        cr_assert(range.count > 0);
        uint64_t edges[2] = {range.first, (uint64_t)range.first + range.count - 1};
        for (int i = 0; i < 2; i++)
            cr_assert_eq(key_subtask(edges[i] << 32 | 12345, parallelism, groups), subtask);
        next += range.count;
    }
    cr_assert_eq(next, UINT64_C(1) << 32);
}

Test(key, the_ranges_of_subtasks_cover_all_positions_once)
{
    for (uint32_t parallelism = 1; parallelism <= 64; parallelism++) {
        check_split(parallelism, 128);
        check_split(parallelism, 64);
        check_split(parallelism, 1000);
    }
}

Test(key, a_group_begins_where_the_one_before_it_ends)
{
    for (uint32_t groups = 1; groups < 300; groups += 7)
        for (uint32_t group = 0; group < groups; group++) {
            uint64_t first = key_group_first_position(group, groups);
            cr_assert_eq(key_group(first << 32, groups), group);
            cr_assert(group == 0 || key_group((first - 1) << 32 | UINT32_MAX, groups) == group - 1);
        }
}
