/* test_plan.c - from graphs to tasks, rings and key groups, compared with what was worked out by hand. */
#include "engine/plan.h"

#include "engine/cli_api.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static int on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    (void)ctx, (void)record;
    return WEIR_OK;
}
static const struct weir_operator plain = {.type = "plain", .on_record = on_record};

static struct weir_job *job;
static struct plan *plan;
static void begin(void)
{
    job = job_new("test", NULL);
    plan = calloc(1, sizeof *plan);
}
static void end(void)
{
    job_free(job);
    free(plan);
}
TestSuite(plan, .init = begin, .fini = end, .timeout = 240);

static struct weir_stream *source(const char *name, unsigned p)
{
    return weir_parallelism(weir_add_source(job, name, &weir_sequence_source, NULL), p);
}
static struct weir_stream *process(struct weir_stream *in, const char *name, unsigned p)
{
    return weir_parallelism(weir_process(in, name, &plain, NULL), p);
}
static void sink(struct weir_stream *in, const char *name, unsigned p)
{
    weir_parallelism(weir_add_sink(in, name, &weir_null_sink, NULL), p);
}

static void make(enum plan_chaining chaining, unsigned key_groups)
{
    struct weir_error err = {0};
    cr_assert_eq(graph_check(job, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(plan_make(job, chaining, key_groups, plan, &err), WEIR_OK, "%s", err.text);
}

/* All tasks by name, in order, and no others. */
static void assert_tasks(const char *const *names)
{
    unsigned i = 0;
    for (; names[i] != NULL; i++) {
        cr_assert_lt(i, plan->task_count, "no task '%s'", names[i]);
        cr_assert_str_eq(plan->tasks[i].name, names[i]);
    }
    cr_assert_eq(plan->task_count, i);
}
#define ASSERT_TASKS(...) assert_tasks((const char *const[]){__VA_ARGS__, NULL})

static unsigned task(const char *name)
{
    for (unsigned i = 0; i < plan->task_count; i++)
        if (strcmp(plan->tasks[i].name, name) == 0)
            return i;
    cr_assert_fail("no task '%s'", name);
    return 0;
}

static bool ring(const char *from, const char *to) { return plan_find_ring(plan, task(from), task(to)) >= 0; }

Test(plan, neighbours_without_a_repartition_share_a_task)
{
    sink(process(process(source("in", 2), "a", 2), "b", 2), "out", 2);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0", "in/1");
    cr_assert_eq(plan->ring_count, 0u);
    cr_assert_eq(plan->chains[0].node_count, 4u);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(plan_edge_is_chained(plan, &job->edges[i]));
}

Test(plan, without_chaining_each_instance_has_a_task)
{
    sink(process(source("in", 2), "a", 2), "out", 2);
    make(PLAN_CHAIN_NONE, 128);
    ASSERT_TASKS("in/0", "in/1", "a/0", "a/1", "out/0", "out/1");
    cr_assert_eq(plan->ring_count, 4u, "forward: to the same index only");
    cr_assert(ring("in/0", "a/0") && ring("in/1", "a/1") && !ring("in/0", "a/1") && ring("a/1", "out/1"));
}

Test(plan, an_operator_may_ask_for_a_task_of_its_own)
{
    sink(weir_no_chain(process(source("in", 1), "a", 1)), "out", 1);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0", "a/0");
    cr_assert_eq(plan->chains[1].node_count, 2u, "the sink is chained to it");
    cr_assert(ring("in/0", "a/0"));
}

Test(plan, a_keyed_operator_joins_its_input_only_where_asked_and_where_nothing_is_repartitioned)
{
    struct weir_stream *in = source("in", 1);
    sink(process(weir_key_by(process(in, "map", 1), 0, 8), "count", 1), "out", 1);
    sink(process(weir_key_by(in, 0, 8), "spread", 2), "out2", 2);
    sink(process(weir_union((struct weir_stream *[]){weir_key_by(in, 0, 8), weir_key_by(source("other", 1), 0, 8)}, 2), "both", 1), "out3", 1);
    sink(weir_no_chain(process(weir_key_by(in, 0, 8), "apart", 1)), "out4", 1);
    sink(process(weir_key_by(source("two", 2), 0, 8), "gather", 1), "out5", 1);
    make(PLAN_CHAIN_KEYED, 128);
    ASSERT_TASKS("in/0", "spread/0", "spread/1", "other/0", "both/0", "apart/0", "two/0", "two/1", "gather/0");
    cr_assert_eq(plan->chains[0].node_count, 4u, "in, map, count, out");
    cr_assert(plan->chains[0].keyed && !plan->chains[2].keyed);
    cr_assert_eq(plan->tasks[task("in/0")].key_group_first, 0u);
    cr_assert_eq(plan->tasks[task("in/0")].key_group_count, 128u);
}

Test(plan, a_change_of_parallelism_is_round_robin_from_each_to_each)
{
    sink(process(source("in", 2), "a", 3), "out", 3);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0", "in/1", "a/0", "a/1", "a/2");
    cr_assert_eq(plan->ring_count, 6u);
    cr_assert_eq(plan_edge_partition(job, &job->edges[0]), PARTITION_ROUND_ROBIN);
    cr_assert_eq(plan_edge_partition(job, &job->edges[1]), PARTITION_FORWARD);
}

Test(plan, hash_rebalance_and_broadcast_join_each_to_each_and_are_not_chained)
{
    struct weir_stream *in = source("in", 2);
    sink(process(weir_key_by(in, 0, 8), "hash", 2), "out1", 2);
    sink(process(weir_rebalance(in), "even", 2), "out2", 2);
    sink(process(weir_broadcast(in), "all", 2), "out3", 2);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0", "in/1", "hash/0", "hash/1", "even/0", "even/1", "all/0", "all/1");
    cr_assert_eq(plan->ring_count, 12u);
    for (unsigned f = 0; f < 2; f++)
        for (unsigned t = 2; t < 8; t++)
            cr_assert_geq(plan_find_ring(plan, f, t), 0);
    cr_assert_eq(plan_find_ring(plan, 2, 0), -1, "rings go one way");
}

Test(plan, an_operator_with_several_inputs_heads_a_task)
{
    struct weir_stream *both[] = {source("a", 1), source("b", 1)};
    sink(weir_process_n(both, 2, "join", &plain, NULL), "out", 1);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("a/0", "b/0", "join/0");
    cr_assert_eq(plan->ring_count, 2u);
    cr_assert_eq(plan_edge_channel(job, &job->edges[0]), 0u);
    cr_assert_eq(plan_edge_channel(job, &job->edges[1]), 1u);
}

Test(plan, two_edges_between_the_same_tasks_share_a_ring_and_differ_in_channel)
{
    struct weir_stream *in = source("in", 1);
    struct weir_stream *twice[] = {in, weir_rebalance(in)};
    sink(weir_process_n(twice, 2, "join", &plain, NULL), "out", 1);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0", "join/0");
    cr_assert_eq(plan->ring_count, 1u);
    cr_assert_neq(plan_edge_channel(job, &job->edges[0]), plan_edge_channel(job, &job->edges[1]));
}

Test(plan, one_stream_may_be_read_by_two_of_the_same_chain)
{
    struct weir_stream *in = source("in", 1);
    sink(process(in, "a", 1), "out1", 1);
    sink(process(in, "b", 1), "out2", 1);
    make(PLAN_CHAIN_FORWARD, 128);
    ASSERT_TASKS("in/0");
    cr_assert_eq(plan->chains[0].node_count, 5u);
}

Test(plan, key_groups_are_shared_out_without_gap_or_overlap)
{
    for (unsigned p = 1; p <= 64; p += 9)
        for (unsigned groups = 64; groups <= 300; groups += 59) {
            end();
            begin();
            sink(process(weir_key_by(source("in", 1), 0, 8), "count", p), "out", 1);
            make(PLAN_CHAIN_FORWARD, groups);
            unsigned next = 0, least = groups, most = 0;
            for (unsigned i = 0; i < p; i++) {
                const struct plan_task *t = &plan->tasks[1 + i];
                cr_assert_eq(t->key_group_first, next, "%u groups, task %u of %u", groups, i, p);
                next += t->key_group_count;
                least = t->key_group_count < least ? t->key_group_count : least;
                most = t->key_group_count > most ? t->key_group_count : most;
            }
            cr_assert_eq(next, groups);
            cr_assert_leq(most - least, 1u, "evenly");
            cr_assert(plan->tasks[0].key_group_count == 0 && !plan->chains[0].keyed && plan->chains[1].keyed);
        }
}

static void assert_fails(int code, unsigned key_groups, const char *words)
{
    struct weir_error err = {0};
    cr_assert_eq(graph_check(job, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(plan_make(job, PLAN_CHAIN_NONE, key_groups, plan, &err), code, "%s", err.text);
    cr_assert_not_null(strstr(err.text, words), "%s", err.text);
}

Test(plan, more_instances_than_key_groups_are_refused)
{
    sink(process(weir_key_by(source("in", 1), 0, 8), "count", 9), "out", 1);
    assert_fails(WEIR_EINVAL, 8, "--key-groups");
}

Test(plan, more_tasks_than_there_can_be_are_refused)
{
    struct weir_stream *stream = source("in", 64);
    char name[8] = "a";
    for (unsigned i = 0; i < 9; i++, name[0]++)
        stream = process(stream, name, 64);
    sink(stream, "out", 64);
    assert_fails(WEIR_ELIMIT, 128, "more than 512 tasks");
}

Test(plan, more_rings_than_there_can_be_are_refused)
{
    struct weir_stream *in = source("in", 64);
    sink(process(weir_rebalance(process(weir_rebalance(process(weir_rebalance(in), "a", 64)), "b", 64)), "c", 64), "out", 64);
    assert_fails(WEIR_ELIMIT, 128, "rings");
}
