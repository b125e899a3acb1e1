/* test_embed.c - weir_run() from a C program: a job inside the caller's own process tree. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

static struct scenario s;
static char directory_option[2 * PATH_BYTES];
static void begin(void)
{
    scenario_begin(&s, criterion_current_test->name);
    snprintf(directory_option, sizeof directory_option, "directory=%s", s.directory);
}
static void end(void) { scenario_end(&s); }
TestSuite(embed, .init = begin, .fini = end, .timeout = TIMEOUT_S);

static int64_t twice(const struct weir_record *record, void *out, const void *arg)
{
    uint64_t value;
    (void)arg;
    memcpy(&value, record->data, sizeof value);
    value *= 2;
    memcpy(out, &value, sizeof value);
    return sizeof value;
}

static const struct weir_field value_field = {"value", WEIR_U64, 0, 0};
static const struct weir_layout value_layout = {.name = "value", .fields = &value_field, .field_count = 1};

static int build(struct weir_job *job)
{
    struct weir_sequence_source_options *numbers = weir_job_alloc(job, sizeof *numbers);
    struct weir_file_sink_options *files = weir_job_alloc(job, sizeof *files);
    if (numbers == NULL || files == NULL)
        return WEIR_ENOMEM;
    numbers->count = weir_param_u64(job, "count", 10, "how many numbers");
    files->directory = weir_param(job, "output", "", "where");
    struct weir_stream *doubled = weir_map(weir_add_source(job, "numbers", &weir_sequence_source, numbers), "twice", twice, 8, NULL);
    weir_add_sink(weir_set_layout(doubled, &value_layout), "write", &weir_file_sink, files);
    return WEIR_OK;
}

static int build_nothing(struct weir_job *job)
{
    (void)job;
    return WEIR_OK;
}

static int build_in_vain(struct weir_job *job) { return weir_job_fail(job, "the moon is in the wrong phase"); }

Test(embed, a_job_runs_to_its_end_and_the_caller_goes_on)
{
    char output[2 * PATH_BYTES];
    struct weir_error err = {0};
    struct lines expected = {0};
    snprintf(output, sizeof output, "set.output=%s", s.output);
    const char *const options[] = {directory_option, output, "set.count=1k", "checkpoint-interval=5ms", "quiet=true"};
    cr_assert_eq(weir_run("embedded", build, options, 5, &err), WEIR_OK, "%s", err.text);
    for (unsigned i = 0; i < 1000; i++)
        lines_add(&expected, "%u", 2 * i);
    assert_same_lines(&expected, output_lines(s.output));
    cr_assert_eq(weir_run("embedded", build, options, 5, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(output_count(s.output), 1000, "it had finished");
}

Test(embed, a_wrong_option_is_refused_by_name)
{
    struct weir_error err = {0};
    const char *const options[] = {directory_option, "ring-size=3"};
    cr_assert_eq(weir_run("embedded", build, options, 2, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "ring-size"), "%s", err.text);
    const char *const misspelt[] = {directory_option, "ringsize=1MiB"};
    cr_assert_eq(weir_run("embedded", build, misspelt, 2, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "ring-size"), "%s", err.text);
    const char *const parameter[] = {directory_option, "set.cuont=3"};
    cr_assert_eq(weir_run("embedded", build, parameter, 2, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "cuont"), "%s", err.text);
}

Test(embed, a_graph_that_is_empty_or_fails_to_build_says_so)
{
    struct weir_error err = {0};
    const char *const options[] = {directory_option};
    cr_assert_eq(weir_run("embedded", build_nothing, options, 1, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "no operators"), "%s", err.text);
    cr_assert_eq(weir_run("embedded", build_in_vain, options, 1, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "wrong phase"), "%s", err.text);
    cr_assert_eq(weir_run("no name", build, options, 1, &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "no name"), "%s", err.text);
    cr_assert_eq(weir_run("embedded", build, options, 1, NULL), WEIR_EINVAL, "an output that is missing; and no place for the words");
}

static int write_returns(struct weir_ctx *ctx, const struct weir_record *record) { return (void)ctx, (void)record, 7; }

static int build_with_a_wrong_sink(struct weir_job *job)
{
    static const struct weir_sequence_source_options numbers = {.count = 10};
    static const struct weir_sink sink = {.type = "returns", .write = write_returns};
    weir_add_sink(weir_add_source(job, "numbers", &weir_sequence_source, &numbers), "write", &sink, NULL);
    return WEIR_OK;
}

Test(embed, a_sinks_write_that_returns_a_positive_code_fails_the_job_and_is_named)
{
    struct weir_error err = {0};
    const char *const options[] = {directory_option, "restart=none", "quiet=true"};
    cr_assert_lt(weir_run("embedded", build_with_a_wrong_sink, options, 3, &err), 0);
    cr_assert_not_null(strstr(err.text, "callback write returned 7"), "%s", err.text);
}
