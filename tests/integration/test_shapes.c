/*
 * test_shapes.c - every way of joining operators, with parallelism 1 to 4, chained and with a process per operator. What must
 * come out is computed here, without any code of the engine; output is compared as a sorted list of lines.
 */
#include "scenario.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT UINT64_C(2000)
#define KEYS UINT64_C(17)

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(shapes, .init = begin, .fini = end, .timeout = TIMEOUT_S);

static void add_row(struct lines *lines, uint64_t a, uint64_t b, uint64_t c)
{
    lines_add(lines, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, a, b, c);
}

/* The i-th number of the union's two sources. */
static uint64_t union_number(uint64_t i) { return i < COUNT ? i : 1000000 + i - COUNT; }

static void expect_union(struct lines *lines)
{
    for (uint64_t i = 0; i < COUNT + COUNT / 2; i++)
        if (union_number(i) % 3 != 0)
            add_row(lines, union_number(i) % KEYS, union_number(i), 2 * union_number(i));
}

static void expect_two_input(struct lines *lines)
{
    for (uint64_t i = 0; i < COUNT; i++) /* the n-th number of a key is key + n * KEYS */
        add_row(lines, i % KEYS, i / KEYS + 1, i);
    uint64_t seen[KEYS] = {0};
    for (uint64_t i = 1000000; i < 1000000 + COUNT / 2; i++)
        add_row(lines, i % KEYS, 1000 + ++seen[i % KEYS], i);
}

static void expect_keyed(struct lines *lines)
{
    for (uint64_t i = 0; i < COUNT; i++)
        add_row(lines, i % KEYS, i / KEYS + 1, i);
}

static void expect_broadcast(struct lines *lines, unsigned p)
{
    for (uint64_t i = 0; i < COUNT; i++)
        for (unsigned subtask = 0; subtask < p; subtask++)
            add_row(lines, i % KEYS, i, subtask);
}

static void run_shape(const char *shape, unsigned p, const char *chaining)
{
    scenario_end(&s);
    begin();
    int status = run_job(&s, "--set shape=%s --set p=%u --set count=%" PRIu64 " --set keys=%" PRIu64 " %s", shape, p, COUNT, KEYS,
                         chaining);
    cr_assert_eq(status, 0, "%s, parallelism %u %s: %d\n%s", shape, p, chaining, status, s.err);
}

#define FOR_EACH_PLAN(p, chaining)                                                                                     \
    for (unsigned p = 1; p <= 4; p++)                                                                                  \
        for (const char *chaining = ""; chaining != NULL; chaining = *chaining == 0 ? "--no-chain" : NULL)

Test(shapes, a_union_filtered_and_mapped_gives_each_wanted_record_once)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines expected = {0};
        run_shape("union", p, chaining);
        expect_union(&expected);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

Test(shapes, two_inputs_are_told_apart_and_share_the_state_of_a_key)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines expected = {0};
        run_shape("two-input", p, chaining);
        expect_two_input(&expected);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

Test(shapes, records_of_one_key_are_counted_in_their_order)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines expected = {0};
        run_shape("keyed", p, chaining);
        expect_keyed(&expected);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

Test(shapes, a_side_output_takes_its_own_records_only)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines even = {0}, odd = {0};
        char odd_directory[2 * PATH_BYTES];
        run_shape("side", p, chaining);
        for (uint64_t i = 0; i < COUNT; i++)
            add_row(i % 2 == 0 ? &even : &odd, i % KEYS, i, i % 2 == 0 ? 0 : 2 * i);
        snprintf(odd_directory, sizeof odd_directory, "%s-odd", s.output);
        assert_same_lines(&even, output_lines(s.output));
        assert_same_lines(&odd, output_lines(odd_directory));
    }
}

Test(shapes, a_broadcast_gives_every_instance_every_record)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines expected = {0};
        run_shape("broadcast", p, chaining);
        expect_broadcast(&expected, p);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

/* Takes a line "a\tb\tc" apart. */
static void parse_row(const char *line, uint64_t row[3])
{
    cr_assert_eq(sscanf(line, "%" SCNu64 "\t%" SCNu64 "\t%" SCNu64, &row[0], &row[1], &row[2]), 3, "'%s'", line);
}

Test(shapes, a_rebalance_gives_each_record_to_one_instance_and_all_the_same_number)
{
    FOR_EACH_PLAN(p, chaining)
    {
        run_shape("rebalance", p, chaining);
        struct lines lines = output_lines(s.output);
        unsigned char seen[COUNT] = {0};
        uint64_t per_instance[4] = {0}, row[3];
        for (size_t i = 0; i < lines.count; i++) {
            parse_row(lines.line[i], row);
            cr_assert(row[1] < COUNT && row[0] == row[1] % KEYS && row[2] < p && seen[row[1]]++ == 0, "'%s'", lines.line[i]);
            per_instance[row[2]]++;
        }
        cr_assert_eq(lines.count, COUNT);
        for (unsigned i = 0; i < p; i++)
            cr_assert(per_instance[i] + 1 >= COUNT / p && per_instance[i] <= COUNT / p + 1, "instance %u of %u got %" PRIu64, i, p,
                      per_instance[i]);
        lines_free(&lines);
    }
}

Test(shapes, forward_keeps_records_on_the_instance_of_the_same_index)
{
    FOR_EACH_PLAN(p, chaining)
    {
        run_shape("forward", p, chaining);
        struct lines lines = output_lines(s.output);
        unsigned char seen[COUNT] = {0};
        uint64_t row[3];
        for (size_t i = 0; i < lines.count; i++) {
            parse_row(lines.line[i], row);
            cr_assert(row[0] == row[2] && row[2] < p && row[1] < COUNT && seen[row[1]]++ == 0, "'%s'", lines.line[i]);
        }
        cr_assert_eq(lines.count, COUNT);
        lines_free(&lines);
    }
}

/* ---- word count ---- */

#define WORDS 3000
#define VOCABULARY 60

/* A small generator of its own, so that the words do not depend on the C library. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Two files of lines of words; every occurrence of a word gives the line (word, how many so far). */
static void write_words(struct lines *expected)
{
    uint64_t random = 0x9e3779b97f4a7c15u;
    unsigned seen[VOCABULARY] = {0};
    char path[2 * PATH_BYTES];
    for (unsigned f = 0; f < 2; f++) {
        snprintf(path, sizeof path, "%s/words-%u.txt", s.root, f);
        FILE *file = fopen(path, "we");
        cr_assert_not_null(file);
        for (unsigned i = 0; i < WORDS / 2; i++) {
            unsigned word = (unsigned)(next_random(&random) % VOCABULARY);
            word = word * word / VOCABULARY; /* some more often than others */
            fprintf(file, "word%u%s", word, next_random(&random) % 7 == 0 ? "\n" : next_random(&random) % 5 == 0 ? ",  " : " ");
            lines_add(expected, "word%u\t%u", word, ++seen[word]);
        }
        fclose(file);
    }
}

Test(shapes, word_count_over_several_files_counts_every_word)
{
    FOR_EACH_PLAN(p, chaining)
    {
        struct lines expected = {0};
        scenario_end(&s);
        begin();
        write_words(&expected);
        int status = run_job(&s, "--set shape=wordcount --set p=%u --set input=%s/words-*.txt %s", p, s.root, chaining);
        cr_assert_eq(status, 0, "parallelism %u %s: %d\n%s", p, chaining, status, s.err);
        assert_same_lines(&expected, output_lines(s.output));
    }
}

Test(shapes, small_batches_and_the_smallest_rings_change_nothing)
{
    struct lines expected = {0};
    int status = run_job(&s, "--set shape=two-input --set p=3 --set count=%" PRIu64 " --set keys=%" PRIu64 " --no-chain --batch-records 1 "
                         "--ring-size 64KiB --checkpoint-interval 2ms", COUNT, KEYS);
    cr_assert_eq(status, 0, "%d\n%s", status, s.err);
    expect_two_input(&expected);
    assert_same_lines(&expected, output_lines(s.output));
}

Test(shapes, snapshots_by_pwrite_give_the_same)
{
    struct lines expected = {0};
    int status = run_job(&s, "--set shape=keyed --set p=2 --set count=%" PRIu64 " --set keys=%" PRIu64 " --io=pwrite", COUNT, KEYS);
    cr_assert_eq(status, 0, "%d\n%s", status, s.err);
    expect_keyed(&expected);
    assert_same_lines(&expected, output_lines(s.output));
}
