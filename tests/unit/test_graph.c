/* test_graph.c - building a graph with the functions of weir.h, and every graph that must be refused, in words. */
#include "engine/cli_api.h"
#include "engine/graph.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static int on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    (void)ctx, (void)record;
    return WEIR_OK;
}
static const struct weir_operator plain = {.type = "plain", .on_record = on_record};

static struct weir_job *job;
static struct job_options options;
static void begin(void)
{
    job = job_new("test", NULL);
    job_options_init(&options);
}
static void end(void)
{
    job_free(job);
    job_options_free(&options);
}
TestSuite(graph, .init = begin, .fini = end, .timeout = 240);

static struct weir_stream *source(const char *name) { return weir_add_source(job, name, &weir_sequence_source, NULL); }
static struct weir_stream *sink(struct weir_stream *in, const char *name) { return weir_add_sink(in, name, &weir_null_sink, NULL); }

static void assert_refused(int code, const char *const *words)
{
    struct weir_error err = {0};
    cr_assert_eq(graph_check(job, &err), code, "%s", err.text);
    for (; *words != NULL; words++)
        cr_assert_not_null(strstr(err.text, *words), "no '%s' in: %s", *words, err.text);
}
#define ASSERT_REFUSED(code, ...) assert_refused(code, (const char *const[]){__VA_ARGS__, NULL})

static void assert_accepted(void)
{
    struct weir_error err = {0};
    cr_assert_eq(graph_check(job, &err), WEIR_OK, "%s", err.text);
}

Test(graph, a_source_and_a_sink_make_a_job)
{
    sink(source("in"), "out");
    assert_accepted();
    cr_assert_eq(job->node_count, 2u);
    cr_assert_eq(job->edge_count, 1u);
    cr_assert_str_eq(job->nodes[1].name, "out");
    cr_assert_eq(job->nodes[0].parallelism, 1u);
}

Test(graph, nothing_is_no_job) { ASSERT_REFUSED(WEIR_EINVAL, "no operators"); }

Test(graph, an_operator_that_nobody_reads_is_refused)
{
    struct weir_stream *in = source("in");
    sink(in, "out");
    weir_process(in, "alone", &plain, NULL);
    ASSERT_REFUSED(WEIR_EINVAL, "'alone'", "nobody reads its output");
}

static void begin_again(void)
{
    end();
    begin();
}

Test(graph, an_operator_that_reads_from_a_sink_is_refused)
{
    sink(weir_process(sink(source("in"), "first"), "middle", &plain, NULL), "second");
    ASSERT_REFUSED(WEIR_EINVAL, "'middle'", "'first'", "is a sink and has no output");
    begin_again();
    sink(weir_key_by(sink(source("in"), "first"), 0, 8), "second");
    ASSERT_REFUSED(WEIR_EINVAL, "'second' reads from 'first'");
}

Test(graph, a_descriptor_that_is_missing_is_refused)
{
    cr_assert_null(weir_add_source(job, "in", NULL, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'in'", "struct weir_source is NULL");
    begin_again();
    cr_assert_null(weir_process(source("in"), "middle", NULL, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'middle'", "struct weir_operator is NULL");
    begin_again();
    cr_assert_null(weir_add_sink(source("in"), "out", NULL, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'out'", "struct weir_sink is NULL");
}

Test(graph, an_operator_of_a_function_that_is_missing_is_refused)
{
    cr_assert_null(weir_filter(source("in"), "f", NULL, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'f'", "weir_filter() without a function");
    begin_again();
    cr_assert_null(weir_map(source("in"), "m", NULL, 8, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'m'", "weir_map() without a function");
    begin_again();
    cr_assert_null(weir_flat_map(source("in"), "fm", NULL, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'fm'", "weir_flat_map() without a function");
}

static int64_t map(const struct weir_record *record, void *out, const void *arg) { return (void)record, (void)out, (void)arg, 0; }

Test(graph, a_map_that_may_write_nothing_or_too_much_is_refused)
{
    cr_assert_null(weir_map(source("in"), "m", map, 0, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'m'", "out_bytes_max", "1 to 1048576");
    begin_again();
    cr_assert_null(weir_map(source("in"), "m", map, WEIR_RECORD_BYTES_MAX + 1, NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'m'", "1048577", "1 to 1048576");
    begin_again();
    sink(weir_map(source("in"), "m", map, WEIR_RECORD_BYTES_MAX, NULL), "out");
    assert_accepted();
}

Test(graph, a_key_function_that_is_missing_is_refused)
{
    cr_assert_null(weir_key_by_fn(source("in"), NULL));
    ASSERT_REFUSED(WEIR_EINVAL, "'in'", "weir_key_by_fn()", "NULL");
}

Test(graph, two_operators_of_one_name_are_refused)
{
    sink(weir_process(source("in"), "in", &plain, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "two operators are named 'in'");
}

Test(graph, names_that_could_be_no_file_names_are_refused)
{
    static const char *const wrong[] = {"", "-x", "a b", "a/b", "..", "a.b", "\xc3\xa4", NULL,
                                        "x123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        end();
        begin();
        cr_assert_null(source(wrong[i]));
        ASSERT_REFUSED(WEIR_EINVAL, "no operator name");
    }
    cr_assert_null(job_new("../up", NULL));
}

Test(graph, a_parallelism_of_zero_or_too_much_is_refused)
{
    cr_assert_null(weir_parallelism(source("in"), 0));
    ASSERT_REFUSED(WEIR_EINVAL, "'in'", "parallelism of 0", "64");
    end();
    begin();
    cr_assert_null(weir_parallelism(source("in"), WEIR_PARALLELISM_MAX + 1));
    ASSERT_REFUSED(WEIR_EINVAL, "65");
}

Test(graph, a_cycle_cannot_be_built_and_a_damaged_graph_with_one_is_refused)
{
    sink(weir_process(source("in"), "middle", &plain, NULL), "out");
    for (unsigned i = 0; i < job->edge_count; i++)
        cr_assert_lt(job->edges[i].from_node, job->edges[i].to_node, "an operator exists only behind its inputs");
    job->edges[0].from_node = 2;
    ASSERT_REFUSED(WEIR_EINVAL, "cycle");
}

Test(graph, a_failure_is_kept_and_later_steps_do_nothing)
{
    struct weir_stream *none = weir_parallelism(source("in"), 0);
    cr_assert_null(sink(weir_key_by(weir_process(weir_rebalance(none), "x", &plain, NULL), 0, 8), "out"));
    cr_assert_null(weir_union(&none, 1));
    cr_assert_null(weir_side_output(none, 1));
    cr_assert_null(weir_set_layout(none, NULL));
    cr_assert_null(weir_no_chain(none));
    weir_job_fail(job, "a later one");
    ASSERT_REFUSED(WEIR_EINVAL, "parallelism of 0");
    cr_assert_eq(job->node_count, 1u);
}

Test(graph, forward_needs_the_same_parallelism)
{
    sink(weir_forward(weir_parallelism(source("in"), 2)), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'in' to 'out'", "weir_forward()", "2 and 1");
}

Test(graph, inputs_are_all_keyed_or_none_is)
{
    struct weir_stream *both[] = {weir_key_by(source("a"), 0, 8), source("b")};
    sink(weir_process_n(both, 2, "join", &plain, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'join'", "keyed");
}

Test(graph, inputs_have_keys_of_one_size)
{
    struct weir_stream *both[] = {weir_key_by(source("a"), 0, 8), weir_key_by(source("b"), 0, 4)};
    sink(weir_process_n(both, 2, "join", &plain, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'join'", "8 and 4");
}

Test(graph, a_union_has_one_key)
{
    struct weir_stream *both[] = {weir_key_by(source("a"), 0, 8), weir_key_by(source("b"), 8, 8)};
    sink(weir_process(weir_union(both, 2), "count", &plain, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'count'", "union");
}

Test(graph, what_is_said_of_a_union_holds_for_its_members)
{
    struct weir_stream *both[] = {source("a"), source("b")};
    sink(weir_process(weir_key_by(weir_union(both, 2), 4, 4), "count", &plain, NULL), "out");
    assert_accepted();
    cr_assert_eq(job->edge_count, 3u);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(job->edges[i].partition, PARTITION_HASH);
        cr_assert_eq(job->edges[i].to_input, 0);
        cr_assert(job->edges[i].key.offset == 4 && job->edges[i].key.size_bytes == 4);
    }
    cr_assert(graph_node_keyed(job, 2) && !graph_node_keyed(job, 3));
}

Test(graph, keys_of_no_bytes_or_too_many_are_refused)
{
    cr_assert_null(weir_key_by(source("in"), 0, 0));
    ASSERT_REFUSED(WEIR_EINVAL, "'in'", "a key of 0 bytes");
    end();
    begin();
    cr_assert_null(weir_key_by(source("in"), 0, WEIR_KEY_BYTES_MAX + 1));
    ASSERT_REFUSED(WEIR_EINVAL, "1025");
}

Test(graph, a_side_output_that_is_not_declared_is_refused)
{
    struct weir_stream *in = source("in");
    cr_assert_null(weir_side_output(in, 1));
    ASSERT_REFUSED(WEIR_EINVAL, "'in'", "no side output 1");
}

static int on_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    (void)ctx;
    (void)span;
    return WEIR_OK;
}

Test(graph, spans_are_not_for_keyed_operators)
{
    static const struct weir_operator spans = {.type = "spans", .on_span = on_span};
    static const struct weir_sink sink_of_spans = {.type = "spans", .write_span = on_span};
    weir_add_sink(weir_key_by(weir_process(source("in"), "rows", &spans, NULL), 0, 8), "out", &sink_of_spans, NULL);
    struct weir_error err = {0};
    cr_assert_eq(graph_check(job, &err), WEIR_OK, "%s", err.text);
    end();
    begin();
    sink(weir_process(weir_key_by(source("in"), 0, 8), "rows", &spans, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'rows'", "on_span", "on_batch");
}

Test(graph, descriptors_without_their_callbacks_are_refused)
{
    static const struct weir_operator nothing = {.type = "nothing"};
    static const struct weir_sink half = {.type = "half", .write = on_record,
                                          .prepare = (int (*)(struct weir_ctx *, uint64_t, void *, size_t *))(void (*)(void))on_record};
    sink(weir_process(source("in"), "idle", &nothing, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'idle'", "on_record, on_batch or on_span");
    end();
    begin();
    weir_add_sink(source("in"), "out", &half, NULL);
    ASSERT_REFUSED(WEIR_EINVAL, "'out'", "commit");
}

/* A keyed operator with these states. */
static void with_states(const struct weir_state *states, uint32_t count)
{
    static struct weir_operator op;
    end();
    begin();
    op = (struct weir_operator){.type = "op", .states = states, .state_count = count, .on_record = on_record};
    sink(weir_process(weir_key_by(source("in"), 0, 8), "keep", &op, NULL), "out");
}

Test(graph, state_declarations_are_checked_one_by_one)
{
    static const struct weir_state twice[] = {{"a", WEIR_VALUE, WEIR_PER_KEY, 8, 0}, {"a", WEIR_LIST, WEIR_PER_KEY, 0, 0}};
    static const struct weir_state nameless[] = {{NULL, WEIR_VALUE, WEIR_PER_KEY, 8, 0}};
    static const struct weir_state misnamed[] = {{"a b", WEIR_VALUE, WEIR_PER_KEY, 8, 0}};
    static const struct weir_state sized_list[] = {{"a", WEIR_LIST, WEIR_PER_KEY, 8, 0}};
    static const struct weir_state sized_map[] = {{"a", WEIR_MAP, WEIR_PER_KEY, 8, 0}};
    static const struct weir_state large[] = {{"a", WEIR_VALUE, WEIR_PER_KEY, WEIR_VALUE_BYTES_MAX + 1, 0}};
    static const struct weir_state unknown[] = {{"a", (enum weir_state_kind)7, WEIR_PER_KEY, 0, 0}};
    static struct weir_state many[WEIR_STATES_MAX + 1];
    with_states(twice, 2);
    ASSERT_REFUSED(WEIR_EINVAL, "'keep'", "two states are named 'a'");
    with_states(nameless, 1);
    ASSERT_REFUSED(WEIR_EINVAL, "'keep'", "is no name");
    with_states(misnamed, 1);
    ASSERT_REFUSED(WEIR_EINVAL, "'a b'");
    with_states(sized_list, 1);
    ASSERT_REFUSED(WEIR_EINVAL, "has no size_bytes");
    with_states(sized_map, 1);
    ASSERT_REFUSED(WEIR_EINVAL, "has no size_bytes");
    with_states(large, 1);
    ASSERT_REFUSED(WEIR_ELIMIT, "1025", "1024");
    with_states(unknown, 1);
    ASSERT_REFUSED(WEIR_EINVAL, "unknown kind");
    with_states(many, WEIR_STATES_MAX + 1);
    ASSERT_REFUSED(WEIR_ELIMIT, "33", "32");
}

Test(graph, state_per_key_needs_a_key)
{
    static const struct weir_state states[] = {{"a", WEIR_VALUE, WEIR_PER_KEY, 8, 0}};
    static const struct weir_operator op = {.type = "op", .states = states, .state_count = 1, .on_record = on_record};
    sink(weir_process(source("in"), "keep", &op, NULL), "out");
    ASSERT_REFUSED(WEIR_EINVAL, "'keep'", "'a'", "weir_key_by()");
}

Test(graph, too_many_operators_are_refused_and_the_rest_is_whole)
{
    char name[16];
    struct weir_stream *stream = source("in");
    for (unsigned i = 0; i < GRAPH_NODES_MAX; i++) {
        snprintf(name, sizeof name, "op%u", i);
        stream = weir_process(stream, name, &plain, NULL);
    }
    cr_assert_null(stream);
    ASSERT_REFUSED(WEIR_ELIMIT, "at most 64");
}

Test(graph, too_many_inputs_are_refused)
{
    struct weir_stream *in[WEIR_INPUTS_MAX + 1];
    char name[16];
    for (unsigned i = 0; i <= WEIR_INPUTS_MAX; i++) {
        snprintf(name, sizeof name, "in%u", i);
        in[i] = source(name);
    }
    cr_assert_null(weir_process_n(in, WEIR_INPUTS_MAX + 1, "join", &plain, NULL));
    ASSERT_REFUSED(WEIR_ELIMIT, "'join'", "17 inputs");
}

/* ---- parameters ---- */

static uint64_t seen_number;
static const char *seen_text;
static int build(struct weir_job *built)
{
    seen_number = weir_param_u64(built, "count", 5, "how many");
    seen_text = weir_param(built, "path", NULL, "where");
    weir_default(built, "checkpoint-interval", "70ms");
    weir_add_sink(weir_add_source(built, "in", &weir_sequence_source, NULL), "out", &weir_null_sink, NULL);
    return WEIR_OK;
}

static int build_with(const char *name, const char *value, struct weir_error *err)
{
    end();
    begin();
    *err = (struct weir_error){0};
    if (name != NULL)
        cr_assert_eq(job_options_set(&options, name, value, OPTION_FROM_USER, err), WEIR_OK, "%s", err->text);
    return job_build(job, build, &options, err);
}

Test(graph, parameters_have_defaults_and_are_listed)
{
    struct weir_error err;
    cr_assert_eq(build_with(NULL, NULL, &err), WEIR_OK, "%s", err.text);
    cr_assert(seen_number == 5 && seen_text == NULL);
    cr_assert_eq(job_param_count(job), 2u);
    cr_assert_str_eq(job_param_at(job, 0).name, "count");
    cr_assert_str_eq(job_param_at(job, 0).fallback, "5");
    cr_assert_str_eq(job_param_at(job, 1).help, "where");
    cr_assert_eq(options.checkpoint_interval_ns, INT64_C(70000000), "the job's own default");
}

Test(graph, numbers_take_suffixes_and_nothing_else)
{
    static const struct {
        const char *text;
        uint64_t value;
    } right[] = {{"0", 0}, {"17", 17}, {"3k", 3000}, {"2M", 2000000}, {"1G", 1000000000}, {"4Ki", 4096}, {"1Mi", 1048576},
                 {"1Gi", 1073741824}, {"18446744073709551615", UINT64_MAX}};
    static const char *const wrong[] = {"", "k", "-1", "1.5", "1 k", "1kk", "0x10", " 1", "18446744073709551616", "18446744073709551615k"};
    struct weir_error err;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        cr_assert_eq(build_with("set.count", right[i].text, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(seen_number, right[i].value, "%s", right[i].text);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_eq(build_with("set.count", wrong[i], &err), WEIR_EINVAL, "'%s'", wrong[i]);
        cr_assert_not_null(strstr(err.text, "--set count="), "%s", err.text);
    }
}

Test(graph, what_the_user_says_is_stronger_than_the_jobs_default)
{
    struct weir_error err;
    cr_assert_eq(build_with("checkpoint-interval", "3s", &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(options.checkpoint_interval_ns, INT64_C(3000000000));
}

Test(graph, a_parameter_that_nobody_asks_for_is_refused)
{
    struct weir_error err;
    cr_assert_eq(build_with("set.cuont", "5", &err), WEIR_EINVAL);
    cr_assert_not_null(strstr(err.text, "cuont"), "%s", err.text);
}
