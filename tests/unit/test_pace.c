#include "connectors/pace.h"

#include <criterion/criterion.h>
#include <string.h>

#define NS_PER_S INT64_C(1000000000)
#define START_NS INT64_C(5000000000)

static struct pace started(uint64_t end, uint64_t per_second, unsigned index, unsigned count)
{
    struct pace pace = {.end = end, .per_second = per_second};
    cr_assert_eq(pace_start(&pace, index, count, NULL, 0, START_NS), WEIR_OK);
    return pace;
}

/* Makes all that may be made, and returns how many that was. */
static uint64_t make_due(struct pace *pace, int64_t now_ns)
{
    uint64_t made = 0;
    for (uint64_t limit = pace_limit(pace, now_ns); pace->next < limit; pace->next += pace->step)
        made++;
    return made;
}

Test(pace, without_a_rate_all_numbers_are_due_at_once)
{
    struct pace pace = started(1000, 0, 0, 1);
    cr_assert_eq(make_due(&pace, START_NS), 1000);
}

Test(pace, instances_share_all_numbers_and_make_each_once)
{
    unsigned char made[100] = {0};
    for (unsigned index = 0; index < 3; index++) {
        struct pace pace = started(100, 0, index, 3);
        for (; pace.next < pace_limit(&pace, START_NS); pace.next += pace.step)
            made[pace.next]++;
    }
    for (unsigned i = 0; i < 100; i++)
        cr_expect_eq(made[i], 1, "number %u was made %u times", i, made[i]);
}

Test(pace, instances_keep_the_rate_together)
{
    uint64_t made = 0;
    for (unsigned index = 0; index < 4; index++) {
        struct pace pace = started(UINT64_MAX, 1000, index, 4);
        cr_expect_eq(make_due(&pace, START_NS), 1, "the first is due at once");
        made += 1 + make_due(&pace, START_NS + 10 * NS_PER_S);
    }
    cr_assert(made >= 10000 && made <= 10004, "%lu made in 10 s at 1,000 a second", (unsigned long)made);
}

Test(pace, what_was_missed_is_made_up_for)
{
    struct pace pace = started(UINT64_MAX, 100, 0, 1);
    make_due(&pace, START_NS + NS_PER_S);
    cr_assert_eq(make_due(&pace, START_NS + 60 * NS_PER_S), 5900);
}

Test(pace, the_wait_ends_when_the_next_number_is_due)
{
    struct pace pace = started(UINT64_MAX, 10, 0, 1);
    int64_t now_ns = START_NS;
    for (unsigned i = 0; i < 50; i++) {
        cr_assert_eq(make_due(&pace, now_ns), 1, "after %u waits", i);
        uint32_t wait_ms = pace_wait_ms(&pace, now_ns);
        cr_assert(wait_ms >= 99 && wait_ms <= 101, "%u ms", wait_ms);
        now_ns += wait_ms * INT64_C(1000000);
        cr_assert_lt(pace.next, pace_limit(&pace, now_ns));
    }
}

Test(pace, a_long_wait_is_cut_and_an_overdue_one_is_short)
{
    struct pace pace = started(UINT64_MAX, 1, 0, 60);
    make_due(&pace, START_NS);
    cr_expect_eq(pace_wait_ms(&pace, START_NS), PACE_WAIT_MS_MAX);
    cr_expect_eq(pace_wait_ms(&pace, START_NS + 100 * NS_PER_S), 1);
}

Test(pace, the_largest_rates_and_times_do_not_overflow)
{
    struct pace pace = started(UINT64_MAX, UINT64_MAX, 0, 1);
    cr_expect_eq(pace_limit(&pace, INT64_MAX), UINT64_MAX);
    pace = started(500, UINT64_MAX, 0, 1);
    cr_expect_eq(pace_limit(&pace, START_NS + 1), 500);
}

Test(pace, it_goes_on_at_its_position)
{
    struct pace before = started(100, 0, 1, 2);
    before.next = 31;
    unsigned char position[WEIR_POSITION_BYTES_MAX];
    size_t size;
    cr_assert_eq(pace_position(&before, position, &size), WEIR_OK);

    struct pace after = {.end = 100, .per_second = 10};
    cr_assert_eq(pace_start(&after, 1, 2, position, size, START_NS), WEIR_OK);
    cr_expect_eq(after.next, 31);
    cr_expect_eq(make_due(&after, START_NS), 1, "the rate begins anew at the position");
    cr_expect_eq(after.next, 33);
}

Test(pace, a_position_of_another_instance_or_parallelism_is_refused)
{
    struct pace before = started(100, 0, 1, 2);
    struct pace after = {.end = 100};
    unsigned char position[WEIR_POSITION_BYTES_MAX];
    size_t size;
    cr_assert_eq(pace_position(&before, position, &size), WEIR_OK);
    cr_expect_eq(pace_start(&after, 0, 2, position, size, START_NS), WEIR_EMISMATCH);
    cr_expect_eq(pace_start(&after, 1, 3, position, size, START_NS), WEIR_EMISMATCH);
    cr_expect_eq(pace_start(&after, 1, 2, position, size - 1, START_NS), WEIR_EMISMATCH);
    cr_expect_eq(pace_start(&after, 1, 2, position, size, START_NS), WEIR_OK);
}

Test(pace, a_finished_instance_that_is_restored_makes_nothing_more)
{
    struct pace before = started(100, 0, 1, 2);
    make_due(&before, START_NS);
    cr_assert_eq(before.next, 101);
    unsigned char position[WEIR_POSITION_BYTES_MAX];
    size_t size;
    pace_position(&before, position, &size);
    struct pace after = {.end = 100, .per_second = 1000};
    cr_assert_eq(pace_start(&after, 1, 2, position, size, START_NS), WEIR_OK);
    cr_expect_eq(make_due(&after, START_NS + NS_PER_S), 0);
}
