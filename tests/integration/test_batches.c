/*
 * test_batches.c - operators that take and emit whole batches (weir_values(), weir_emit_batch()) give what they give record by
 * record, over every way of joining operators, and when not all of a batch has room. What must come out is computed here.
 */
#include "scenario.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT UINT64_C(700)
#define EACH UINT64_C(3)
#define KEYS UINT64_C(17)
#define BYTES 29 /* no multiple of 8: the next record of a batch is not aligned where it lies */

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(batches, .init = begin, .fini = end, .timeout = TIMEOUT_S);

static void add_row(struct lines *lines, uint64_t a, uint64_t b, uint64_t c)
{
    lines_add(lines, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, a, b, c);
}

/* The n-th number of a key is key + (n - 1) * KEYS. */
static void expect_sums(struct lines *lines, uint64_t numbers)
{
    for (uint64_t v = 0; v < numbers; v++) {
        uint64_t key = v % KEYS, n = v / KEYS + 1;
        add_row(lines, key, n, n * key + KEYS * (n * (n - 1) / 2));
    }
}

/* Each number once, whichever instance had it. */
static void expect_numbers(struct lines *lines, uint64_t numbers)
{
    for (uint64_t v = 0; v < numbers; v++)
        lines_add(lines, "%" PRIu64 "\t%" PRIu64, v % KEYS, v);
}

/* Without the last column, which says what instance had the record. */
static struct lines output_without_instances(void)
{
    struct lines lines = output_lines(s.output);
    for (size_t i = 0; i < lines.count; i++)
        *strrchr(lines.line[i], '\t') = 0;
    lines_sort(&lines);
    return lines;
}

static void run_how(const char *how, unsigned p, const char *plan)
{
    scenario_end(&s);
    begin();
    int status = run_job(&s, "--set shape=batches --set how=%s --set p=%u --set count=%" PRIu64 " --set keys=%" PRIu64
                         " --set each=%" PRIu64 " --set bytes=%d --restart none %s", how, p, COUNT, KEYS, EACH, BYTES, plan);
    cr_assert_eq(status, 0, "%s, parallelism %u %s: %d\n%s", how, p, plan, status, s.err);
}

static const char *const plans[] = {"", "--no-chain", "--chain-keyed", "--set plain=1", "--no-chain --set plain=1", "--chain-keyed --set plain=1",
                                    "--set spans=1", "--no-chain --set spans=1", "--no-chain --set spans=1 --set plain=1"};
#define PLANS (sizeof plans / sizeof plans[0])
#define FOR_EACH_PLAN(p, plan)                                                                                         \
    for (unsigned p = 1; p <= 4; p++)                                                                                  \
        for (unsigned plan = 0; plan < PLANS; plan++)

static void part_directory(const char *part, char *directory, size_t capacity)
{
    snprintf(directory, capacity, "%s-%s", s.output, part);
}

Test(batches, to_the_instances_by_key)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines expected = {0};
        run_how("hash", p, plans[plan]);
        expect_sums(&expected, COUNT * EACH);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

static void assert_sums_of_sized(unsigned bytes, const char *plan)
{
    struct lines expected = {0};
    scenario_end(&s);
    begin();
    int status = run_job(&s, "--set shape=batches --set how=hash --set count=%" PRIu64 " --set keys=%" PRIu64 " --set each=%" PRIu64
                         " --set bytes=%u --restart none %s", COUNT, KEYS, EACH, bytes, plan);
    cr_assert_eq(status, 0, "%s: %d\n%s", plan, status, s.err);
    expect_sums(&expected, COUNT * EACH);
    assert_same_lines(&expected, output_lines(s.output));
}

/* In one process these are handed on as a whole. */
Test(batches, of_aligned_records_by_key)
{
    for (unsigned plan = 0; plan < PLANS; plan++)
        assert_sums_of_sized(40, plans[plan]);
}

/* Single records are gathered for a chained keyed operator: a few of these fill the buffer, and none of those fits into it. */
Test(batches, of_large_single_records_by_key)
{
    assert_sums_of_sized(3001, "--chain-keyed --set plain=1");
    assert_sums_of_sized(20000, "--chain-keyed --set plain=1");
}

/* One by one and together: each key's come in the order in which they were emitted, those of on_end last. */
Test(batches, in_turns_with_single_records)
{
    for (unsigned plan = 0; plan < PLANS; plan++) {
        struct lines expected = {0};
        int status = run_job(&s, "--set shape=batches --set how=mixed --set count=%" PRIu64 " --set keys=%" PRIu64 " --restart none %s",
                             COUNT * EACH, KEYS, plans[plan]);
        cr_assert_eq(status, 0, "%s: %d\n%s", plans[plan], status, s.err);
        expect_sums(&expected, COUNT * EACH + KEYS);
        assert_same_lines(&expected, output_lines(s.output));
        scenario_end(&s);
        begin();
    }
}

Test(batches, to_the_instances_by_a_key_that_a_function_makes)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines expected = {0};
        run_how("hash-fn", p, plans[plan]);
        expect_sums(&expected, COUNT * EACH);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

/* Both sizes are multiples of 8, so that chained operators get whole batches. */
Test(batches, of_two_sizes_in_turns)
{
    for (unsigned plan = 0; plan < PLANS; plan++) {
        struct lines expected = {0};
        int status = run_job(&s, "--set shape=batches --set how=sizes --set count=%" PRIu64 " --set keys=%" PRIu64 " --set each=%" PRIu64
                             " --set bytes=40 --restart none %s", COUNT, KEYS, EACH, plans[plan]);
        cr_assert_eq(status, 0, "%s: %d\n%s", plans[plan], status, s.err);
        for (uint64_t v = 0; v < COUNT * EACH; v++)
            add_row(&expected, v % KEYS, v, 0);
        assert_same_lines(&expected, output_lines(s.output));
        scenario_end(&s);
        begin();
    }
}

Test(batches, to_every_instance)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines expected = {0};
        run_how("broadcast", p, plans[plan]);
        for (uint64_t v = 0; v < COUNT * EACH; v++)
            for (unsigned subtask = 0; subtask < p; subtask++)
                add_row(&expected, v % KEYS, v, subtask);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

/* Numbers go round the instances from the first one that got a record. */
Test(batches, to_the_instances_by_turns)
{
    FOR_EACH_PLAN(p, plan)
    {
        run_how("rebalance", p, plans[plan]);
        struct lines lines = output_lines(s.output);
        unsigned of_number[COUNT * EACH];
        memset(of_number, 0xff, sizeof of_number);
        for (size_t i = 0; i < lines.count; i++) {
            uint64_t a, v, subtask;
            cr_assert_eq(sscanf(lines.line[i], "%" SCNu64 "\t%" SCNu64 "\t%" SCNu64, &a, &v, &subtask), 3);
            cr_assert(v < COUNT * EACH && a == v % KEYS && subtask < p && of_number[v] == UINT32_MAX, "'%s'", lines.line[i]);
            of_number[v] = (unsigned)subtask;
        }
        cr_assert_eq(lines.count, COUNT * EACH);
        for (uint64_t v = 1; v < COUNT * EACH; v++)
            cr_assert_eq(of_number[v], (of_number[v - 1] + 1) % p, "parallelism %u, number %" PRIu64, p, v);
        lines_free(&lines);
    }
}

/* The b-th record of the source comes from its subtask b % p. */
static uint64_t subtask_of(uint64_t v, unsigned p) { return v / EACH % p; }

Test(batches, to_the_instance_of_the_same_index)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines expected = {0};
        run_how("forward", p, plans[plan]);
        for (uint64_t v = 0; v < COUNT * EACH; v++)
            add_row(&expected, v % KEYS, v, subtask_of(v, p));
        assert_same_lines(&expected, output_lines(s.output));
    }
}

Test(batches, of_two_outputs_each_takes_its_own)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines even = {0}, odd = {0};
        char odd_directory[2 * PATH_BYTES];
        run_how("side", p, plans[plan]);
        for (uint64_t v = 0; v < COUNT * EACH; v++)
            add_row(v % 2 == 0 ? &even : &odd, v % KEYS, v, subtask_of(v, p));
        part_directory("odd", odd_directory, sizeof odd_directory);
        assert_same_lines(&even, output_lines(s.output));
        assert_same_lines(&odd, output_lines(odd_directory));
    }
}

Test(batches, two_readers_of_one_output_get_all_of_it_both)
{
    FOR_EACH_PLAN(p, plan)
    {
        struct lines tagged = {0}, sums = {0};
        char sums_directory[2 * PATH_BYTES];
        run_how("twice", p, plans[plan]);
        expect_numbers(&tagged, COUNT * EACH); /* by turns, or in the chain */
        expect_sums(&sums, COUNT * EACH);
        part_directory("sums", sums_directory, sizeof sums_directory);
        assert_same_lines(&tagged, output_without_instances());
        assert_same_lines(&sums, output_lines(sums_directory));
    }
}

/* Aligned, they come to a sink many at once, from its chain and from a ring, with and without a hash in front of each; not aligned, or
 * emitted one by one, they come as well. */
Test(batches, to_a_sink_that_takes_records_in_a_row)
{
    static const struct {
        const char *how;
        unsigned bytes;
    } kinds[] = {{"tally", 24}, {"tally", 29}, {"tally", 40}, {"tally-keyed", 24}, {"tally-keyed", 29}, {"tally-keyed", 40}, {"tally-empty", 0}};
    const unsigned kind_count = sizeof kinds / sizeof kinds[0];
    for (unsigned variant = 0; variant < kind_count * PLANS; variant++) {
        const char *how = kinds[variant % kind_count].how, *plan = plans[variant / kind_count];
        unsigned bytes = kinds[variant % kind_count].bytes, p = 1 + variant % kind_count % 2;
        char note[PATH_BYTES + 8];
        uint64_t count, sum, largest, counts = 0, sums = 0, largest_of_all = 0;
        scenario_end(&s);
        begin();
        snprintf(note, sizeof note, "%s/tally", s.root);
        int status = run_job(&s, "--set shape=batches --set how=%s --set p=%u --set count=%" PRIu64 " --set keys=%" PRIu64 " --set each=%" PRIu64
                             " --set bytes=%u --set note=%s --restart none %s", how, p, COUNT, KEYS, EACH, bytes, note, plan);
        cr_assert_eq(status, 0, "%s, %u bytes, %s: %d\n%s", how, bytes, plan, status, s.err);
        FILE *file = fopen(note, "r");
        cr_assert_not_null(file, "%s", s.err);
        while (fscanf(file, "%" SCNu64 " %" SCNu64 " %" SCNu64, &count, &sum, &largest) == 3) {
            counts += count;
            sums += sum;
            largest_of_all = largest > largest_of_all ? largest : largest_of_all;
        }
        fclose(file);
        cr_expect_eq(counts, COUNT * EACH, "%s, %u bytes, %s", how, bytes, plan);
        cr_expect_eq(sums, bytes > 0 ? COUNT * EACH * (COUNT * EACH - 1) / 2 : 0, "%s, %u bytes, %s", how, bytes, plan);
        if (p == 1 && bytes > 0 && bytes % 8 == 0 && strstr(plan, "plain") == NULL)
            cr_expect_gt(largest_of_all, 1u, "%s, %u bytes, %s", how, bytes, plan);
    }
}

/* ---- not all of it has room ---- */

#define FLOOD "--set shape=batches --set keys=17 --set count=6 --set each=5000 --set bytes=1000 --ring-size 64KiB "

/* Whether a full ring is slept at or looked at again and again. */
Test(batches, a_batch_may_be_hundreds_of_rings_large)
{
    static const char *const hows[] = {"hash", "hash-fn", "rebalance", "forward"};
    for (size_t i = 0; i < 2 * sizeof hows / sizeof hows[0]; i++)
        for (unsigned p = 1; p <= 2; p++) {
            const char *how = hows[i / 2], *waits = i % 2 == 0 ? "" : "--busy-poll";
            struct lines expected = {0};
            bool sums = strncmp(how, "hash", 4) == 0;
            scenario_end(&s);
            begin();
            int status = run_job(&s, FLOOD "--set how=%s --set p=%u --no-chain --checkpoint-interval 20ms --set spans=%u %s", how, p, p - 1, waits);
            cr_assert_eq(status, 0, "%s %s, parallelism %u: %d\n%s", how, waits, p, status, s.err);
            if (sums) {
                expect_sums(&expected, 30000);
                assert_same_lines(&expected, output_lines(s.output));
            } else {
                expect_numbers(&expected, 30000);
                assert_same_lines(&expected, output_without_instances());
            }
        }
}

/* Batches that go into the ring as one, and such as do not; the kills fall into the middle of them. */
Test(batches, no_record_of_a_batch_is_lost_or_doubled_by_a_kill)
{
    static const struct {
        const char *options;
        uint64_t records;
    } runs[] = {
        {FLOOD "--set how=hash --set p=2", 30000},
        {FLOOD "--set how=rebalance --set p=2", 30000},
        {"--set shape=batches --set keys=17 --set count=10000 --set each=3 --set bytes=29 --set how=hash", 30000},
        {"--set shape=batches --set keys=17 --set count=10000 --set each=3 --set bytes=29 --set how=forward", 30000},
        {"--set shape=batches --set keys=17 --set count=10000 --set each=3 --set bytes=29 --set how=forward --set spans=1", 30000},
        {"--set shape=batches --set keys=17 --set count=10000 --set each=3 --set bytes=29 --set how=forward --set spans=1 --batch-records 5", 30000},
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct lines expected = {0};
        scenario_end(&s);
        begin();
        s.kill_list = strdup("r2:700@fan,r3:2000@fan,t4:20@fan,c2:60@sum,t2:30@sum,c2:60@tag,t2:30@tag");
        cr_assert_eq(run_job(&s, "%s --no-chain --checkpoint-interval 5ms", runs[i].options), 0, "%s", s.err);
        cr_assert_geq(event_count(&s, "takeover") + event_count(&s, "recovery_finished"), 2u, "%s", s.err);
        if (strstr(runs[i].options, "how=hash") != NULL) {
            expect_sums(&expected, runs[i].records);
            assert_same_lines(&expected, output_lines(s.output));
        } else {
            expect_numbers(&expected, runs[i].records);
            assert_same_lines(&expected, output_without_instances());
        }
    }
}

Test(batches, a_batch_beyond_the_overflow_limit_fails_the_job_with_words)
{
    cr_assert_neq(run_job(&s, FLOOD "--set how=hash --no-chain --overflow-limit 4MiB --restart none"), 0);
    ASSERT_ERR_SAYS(&s, "operator 'fan'", "overflow queue", "--overflow-limit");
    cr_assert_eq(output_count(s.output), 0u);
}

Test(batches, more_records_than_can_be_counted_fail_the_job_with_words)
{
    cr_assert_neq(run_job(&s, "--set shape=batches --set how=countless --set count=1 --no-chain --ring-size 64KiB "
                          "--overflow-limit 4MiB --restart none"), 0);
    ASSERT_ERR_SAYS(&s, "operator 'fan'", "overflow queue", "--overflow-limit");
}

Test(batches, records_beyond_a_quarter_of_the_ring_fail_with_words)
{
    static const char *const hows[] = {"hash", "rebalance"};
    for (size_t i = 0; i < 2; i++)
        for (unsigned p = 1; p <= 2; p++) {
            scenario_end(&s);
            begin();
            cr_assert_neq(run_job(&s, "--set shape=batches --set how=%s --set p=%u --set bytes=20000 --set count=10 "
                                  "--ring-size 64KiB --restart none --no-chain", hows[i], p), 0);
            ASSERT_ERR_SAYS(&s, "operator 'fan'", "20000", "--ring-size");
            cr_assert_eq(output_count(s.output), 0u);
        }
}

Test(batches, records_that_are_too_short_for_their_key_fail_with_words)
{
    for (unsigned p = 1; p <= 2; p++) {
        scenario_end(&s);
        begin();
        cr_assert_neq(run_job(&s, "--set shape=batches --set how=bad-key --set p=%u --set count=10 --restart none", p), 0);
        ASSERT_ERR_SAYS(&s, "operator 'fan'", "24 bytes", "too short", "100 to 108");
        cr_assert_eq(output_count(s.output), 0u);
    }
}
