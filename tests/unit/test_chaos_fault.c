/* test_chaos_fault.c - chaos/fault.c: the choice of random faults follows from the seed, and covers what there is to choose
 * from. */
#include "chaos/fault.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#define FAULTS 20000

static struct fault_places places;
static struct chaos_options options;

static void begin(void)
{
    chaos_options_init(&options);
    options.seed = 7;
    options.kinds = 1u << FAULT_KILL | 1u << FAULT_STOP;
    options.interval_ns = 1000000;
    options.hold_ns = 500;
    cr_assert_eq(fault_places_add(&places, 3, "count/0", NULL), WEIR_OK);
    cr_assert_eq(fault_places_add(&places, 1, "coordinator", NULL), WEIR_OK);
}
static void end(void) { fault_places_free(&places); }
TestSuite(chaos_fault, .init = begin, .fini = end, .timeout = 240);

Test(chaos_fault, the_same_seed_and_number_choose_the_same)
{
    unsigned differing = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        struct fault first = fault_choose(&options, &places, i), again = fault_choose(&options, &places, i);
        cr_assert(first.kind == again.kind && first.place == again.place && first.wait_ns == again.wait_ns &&
                  first.hold_ns == again.hold_ns);
        options.seed++;
        struct fault other = fault_choose(&options, &places, i);
        options.seed--;
        differing += other.wait_ns != first.wait_ns;
    }
    cr_assert_gt(differing, 990u, "another seed chooses otherwise");
}

Test(chaos_fault, choices_are_spread_as_asked_for)
{
    unsigned kinds[FAULT_KIND_COUNT] = {0}, coordinator = 0;
    double wait_ns = 0;
    for (uint64_t i = 1; i <= FAULTS; i++) {
        struct fault fault = fault_choose(&options, &places, i);
        kinds[fault.kind]++;
        coordinator += strcmp(fault.place, "coordinator") == 0;
        wait_ns += (double)fault.wait_ns;
        cr_assert(fault.wait_ns >= 0 && fault.hold_ns >= 0 && fault.hold_ns <= options.hold_ns);
    }
    cr_assert_eq(kinds[FAULT_KILL] + kinds[FAULT_STOP], FAULTS, "only the kinds that were asked for");
    cr_assert(kinds[FAULT_KILL] > FAULTS * 45 / 100 && kinds[FAULT_STOP] > FAULTS * 45 / 100);
    cr_assert(coordinator > FAULTS * 22 / 100 && coordinator < FAULTS * 28 / 100, "%u", coordinator);
    cr_assert(wait_ns / FAULTS > 0.95e6 && wait_ns / FAULTS < 1.05e6, "mean %f", wait_ns / FAULTS);
}

Test(chaos_fault, weights_of_one_place_add_up)
{
    cr_assert_eq(fault_places_add(&places, 4, "coordinator", NULL), WEIR_OK);
    cr_assert_eq(places.count, 2);
    cr_assert_eq(places.weight, 8);
    cr_assert_eq(places.items[1].weight, 5);
}

Test(chaos_fault, kinds_are_known_by_name)
{
    enum fault_kind kind;
    for (unsigned i = 0; i < FAULT_KIND_COUNT; i++) {
        cr_assert_eq(fault_kind_parse(fault_kind_name(i), &kind, NULL), WEIR_OK);
        cr_assert_eq((unsigned)kind, i);
    }
    cr_assert_eq(fault_kind_signal(FAULT_STOP), SIGSTOP);
    cr_assert_eq(fault_kind_parse("flood", &kind, NULL), WEIR_EINVAL);
}
