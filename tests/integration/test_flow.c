/* test_flow.c - floods, full rings, several inputs, silence. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct scenario s;
static void begin(void) { scenario_begin(&s, criterion_current_test->name); }
static void end(void) { scenario_end(&s); }
TestSuite(flow, .init = begin, .fini = end, .timeout = TIMEOUT_S);

Test(flow, one_record_may_emit_fifty_megabytes_through_the_smallest_ring)
{
    struct lines expected = {0};
    cr_assert_eq(run_job(&s, "--set shape=burst --set count=2 --set bytes=50M --ring-size 64KiB --checkpoint-interval 50ms"), 0, "%s",
                 s.err);
    lines_add(&expected, "0\t50000\t0");
    lines_add(&expected, "1\t50000\t0");
    assert_same_lines(&expected, output_lines(s.output));
}

static void flood_with_kills(const char *options, const char *event)
{
    struct lines expected = {0};
    s.kill_list = strdup("t5:20@numbers,t4:30@check,t6:40@numbers,c2:100@check");
    cr_assert_eq(run_job(&s, "--set shape=burst --set count=6 --set bytes=5M --ring-size 64KiB --checkpoint-interval 5ms %s", options), 0,
                 "%s", s.err);
    for (unsigned i = 0; i < 6; i++)
        lines_add(&expected, "%u\t5000\t0", i);
    assert_same_lines(&expected, output_lines(s.output));
    cr_assert_geq(event_count(&s, event), 1, "%s", s.err);
}

Test(flow, such_a_flood_survives_kills_of_both_sides) { flood_with_kills("", "takeover"); }
Test(flow, such_a_flood_survives_going_back) { flood_with_kills("--takeover off", "recovery_finished"); }

Test(flow, output_beyond_the_overflow_limit_fails_the_job_with_words)
{
    int status = run_job(&s, "--set shape=burst --set count=1 --set bytes=50M --ring-size 64KiB --overflow-limit 4MiB --restart none");
    cr_assert_neq(status, 0);
    ASSERT_ERR_SAYS(&s, "operator 'burst'", "overflow queue", "--overflow-limit");
    cr_assert_eq(output_count(s.output), 0);
}

Test(flow, an_endless_input_does_not_starve_the_other)
{
    struct lines expected = {0};
    struct process *job = start_job(&s, "--set shape=starve --set count=5000 --set keys=1 --checkpoint-interval 20ms --no-chain");
    await_output(&s, 5000);
    stop_job(&s, job);
    for (unsigned i = 0; i < 5000; i++)
        lines_add(&expected, "0\t%u\t0", i);
    assert_same_lines(&expected, output_lines(s.output));
}

/* The ring to the slow sink is more than half full, and its producer has been kept waiting. */
static bool pressure_shows(struct scenario *scenario, void *arg)
{
    json_t *status = job_status(scenario);
    json_t *edge = json_array_get(json_object_get(status, "edges"), 0);
    json_t *source = json_array_get(json_object_get(status, "tasks"), 0);
    bool shows = json_number_value(json_object_get(edge, "fill_pct")) > 50 &&
                 json_integer_value(json_object_get(edge, "blocked_ms")) > *(json_int_t *)arg &&
                 json_integer_value(json_object_get(source, "blocked_ms")) > *(json_int_t *)arg;
    json_decref(status);
    return shows;
}

Test(flow, a_slow_sink_is_visible_as_a_full_ring_and_a_blocked_source)
{
    json_int_t blocked_ms = 0;
    struct process *job = start_job(&s, "--set shape=slow --set count=0 --set delay=1 --ring-size 64KiB --checkpoint-interval off");
    await(&s, pressure_shows, &blocked_ms, "the ring is full and the source blocked");
    blocked_ms = 300;
    await(&s, pressure_shows, &blocked_ms, "the time blocked grows");
    cr_assert_eq(weir(&s, "stop @ --now"), 0, "%s", s.err);
    cr_assert_eq(end_of(&s, job), 130, "%s", s.err);
}

Test(flow, checkpoints_complete_under_pressure)
{
    struct process *job = start_job(&s, "--set shape=slow --set count=0 --set delay=1 --ring-size 64KiB --batch-records 16 "
                                    "--checkpoint-interval 20ms");
    await_events(&s, "checkpoint_completed", 2); /* a barrier travels behind what is in the ring: some 2,000 records */
    cr_assert_eq(weir(&s, "stop @ --now"), 0, "%s", s.err);
    end_of(&s, job);
}

Test(flow, a_record_beyond_a_quarter_of_the_ring_fails_with_words)
{
    cr_assert_neq(run_job(&s, "--set shape=big-record --set bytes=20000 --set count=10 --ring-size 64KiB --restart none"), 0);
    ASSERT_ERR_SAYS(&s, "operator 'swell'", "20000", "--ring-size");
    cr_assert_eq(run_job(&s, "--set shape=big-record --set bytes=20000 --set count=10 --ring-size 128KiB --from-scratch"), 0, "%s", s.err);
    cr_assert_eq(output_count(s.output), 10);
}

/* ---- silence ---- */

/* Processor time of these processes so far, in clock ticks. */
static unsigned long long ticks_of(const pid_t *pids, unsigned count)
{
    unsigned long long sum = 0;
    for (unsigned i = 0; i < count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pids[i]);
        char *text = read_file(path), *at = strrchr(text, ')');
        unsigned long long user, kernel;
        cr_assert(at != NULL && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &kernel) == 2,
                  "%s: '%s'", path, text);
        sum += user + kernel;
        free(text);
    }
    return sum;
}

Test(flow, an_idle_job_uses_next_to_no_processor_time)
{
    pid_t pids[32];
    struct process *job = start_job(&s, "--set count=100 --set hold=1 --set p=3 --no-chain --checkpoint-interval off");
    await_running(&s);
    await_records_in(&s, "count", 100);
    cr_assert_eq(weir(&s, "checkpoint @"), 0, "%s", s.err);
    await_output(&s, 100);
    unsigned count = job_pids(&s, pids, 32);
    cr_assert_eq(count, 7, "launcher, coordinator, source, three counters, sink; not %u", count);
    unsigned long long allowed = (unsigned long long)sysconf(_SC_CLK_TCK) * 2 / 20; /* 5 % of one processor */
    unsigned long long spent = allowed + 1;
    for (unsigned span = 0; span < 10 && spent > allowed; span++) { /* standbys may have to be made ready first */
        unsigned long long before = ticks_of(pids, count);
        poll(NULL, 0, 2000); /* the span over which is measured */
        spent = ticks_of(pids, count) - before;
    }
    cr_assert_leq(spent, allowed, "%llu clock ticks in two idle seconds", spent);
    stop_job(&s, job);
}
