/* test_chaos_output.c - chaos/output.c: what counts as lost, doubled and wrong. */
#include "chaos/output.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "chaos-output-XXXXXX";
static char paths[8][128];
static unsigned path_count;

static void begin(void) { cr_assert_not_null(mkdtemp(directory)); }
static void end(void)
{
    while (path_count > 0)
        unlink(paths[--path_count]);
    rmdir(directory);
}
TestSuite(chaos_output, .init = begin, .fini = end, .timeout = 240);

static const char *put(const char *name, const char *text)
{
    char *path = paths[path_count++];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
    return path;
}

static struct difference compare(const char *expected, const char *found, uint64_t record_bytes)
{
    struct output a = {0}, b = {0};
    struct difference difference;
    struct weir_error err = {0};
    cr_assert_eq(output_read(expected, record_bytes, &a, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(output_read(found, record_bytes, &b, &err), WEIR_OK, "%s", err.text);
    output_compare(&a, &b, &difference);
    output_find_samples(expected, found, record_bytes, &difference);
    output_free(&a);
    output_free(&b);
    return difference;
}

#define ASSERT_DIFFERENCE(d, compared_, lost_, doubled_, wrong_)                                                       \
    cr_assert((d).compared == (compared_) && (d).lost == (lost_) && (d).doubled == (doubled_) && (d).wrong == (wrong_),  \
              "%lu compared, %lu lost, %lu doubled, %lu wrong", (d).compared, (d).lost, (d).doubled, (d).wrong)

Test(chaos_output, the_order_of_lines_does_not_matter)
{
    struct difference d = compare(put("a", "x\ny\nx\n"), put("b", "x\nx\ny\n"), 0);
    ASSERT_DIFFERENCE(d, 3, 0, 0, 0);
    cr_assert_eq(d.sample_count, 0);
}

Test(chaos_output, lost_doubled_and_wrong_are_told_apart)
{
    struct difference d = compare(put("a", "one\ntwo\ntwo\nthree\n"), put("b", "two\nthree\nthree\nthree\nfour\n"), 0);
    ASSERT_DIFFERENCE(d, 4, 2, 2, 1); /* one and a two; two threes; four */
    for (unsigned i = 0; i < d.sample_count; i++)
        if (strcmp(d.samples[i].how, "wrong") == 0)
            cr_assert_str_eq(d.samples[i].text, "four");
        else if (strcmp(d.samples[i].how, "doubled") == 0)
            cr_assert_str_eq(d.samples[i].text, "three");
    cr_assert_eq(d.sample_count, 4);
}

Test(chaos_output, nothing_at_all_is_all_lost)
{
    struct difference d = compare(put("a", "1\n2\n3\n4\n5\n"), "no-such-directory", 0);
    ASSERT_DIFFERENCE(d, 5, 5, 0, 0);
    cr_assert_eq(d.sample_count, OUTPUT_SAMPLES_MAX);
}

Test(chaos_output, a_line_that_is_cut_off_is_another_one)
{
    struct difference d = compare(put("a", "first\nsecond\n"), put("b", "first\nseco"), 0);
    ASSERT_DIFFERENCE(d, 2, 1, 0, 1);
}

Test(chaos_output, records_of_fixed_size_are_compared_as_such)
{
    struct difference d = compare(put("a", "aaaabbbbcccc"), put("b", "ccccaaaabb"), 4);
    ASSERT_DIFFERENCE(d, 3, 1, 0, 1); /* bbbb; its half */
}

Test(chaos_output, a_directory_is_the_sum_of_its_files_without_hidden_ones)
{
    put("part-0-0", "x\n");
    put("part-1-0", "y\n");
    put(".part-1-1", "z\n");
    struct output all;
    cr_assert_eq(output_read(directory, 0, &all, NULL), WEIR_OK);
    cr_assert_eq(all.count, 2);
    output_free(&all);
}
