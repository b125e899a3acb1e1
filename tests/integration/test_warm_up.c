/* test_warm_up.c - what an operator does long before it may have to take over. */
#include "scenario.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct scenario s;
static char note[PATH_BYTES]; /* a line for each process that has warmed up: its pid */
static void begin(void)
{
    scenario_begin(&s, criterion_current_test->name);
    snprintf(note, sizeof note, "%s/note", s.root);
}
static void end(void) { scenario_end(&s); }
TestSuite(warm_up, .init = begin, .fini = end, .timeout = TIMEOUT_S);

enum { USAGE = 2 }; /* what a wrong use of the API ends with */

#define WARM "--set shape=warm --set count=0 --set step=100 --set delay=20 --set keys=17 --checkpoint-interval 20ms --set note=%s"

static unsigned warm_count(void)
{
    char *text = read_file(note);
    unsigned count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    free(text);
    return count;
}

static int warm_pid(unsigned index)
{
    char *text = read_file(note);
    int pid = (int)strtol(text + (size_t)11 * index, NULL, 10);
    free(text);
    return pid;
}

static bool as_many_are_warm(struct scenario *scenario, void *arg)
{
    (void)scenario;
    return warm_count() >= *(unsigned *)arg;
}

static void await_warm(unsigned count) { await(&s, as_many_are_warm, &count, "processes warm up"); }

static bool was_warm(unsigned count, json_int_t pid)
{
    bool was = false;
    for (unsigned i = 0; i < count; i++)
        was |= warm_pid(i) == pid;
    return was;
}

/* The task's standby of now has warmed up. */
static bool standby_is_warm(struct scenario *scenario, void *arg)
{
    (void)arg;
    json_t *task, *status = job_status(scenario);
    json_int_t pid = 0;
    size_t i;
    json_array_foreach(json_object_get(status, "tasks"), i, task)
        if (strcmp(json_string_value(json_object_get(task, "name")), "count") == 0)
            pid = json_integer_value(json_object_get(task, "standby_pid"));
    json_decref(status);
    return pid > 0 && was_warm(warm_count(), pid);
}

static void check_output(void)
{
    struct lines expected = {0}, got = output_lines(s.output);
    for (uint64_t i = 0; i < got.count; i++)
        lines_add(&expected, "%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, i % 17, i / 17 + 1, i);
    assert_same_lines(&expected, got);
}

/* Kills the task when its standby is warm. Whether that one took over: where both are late on the processor, the launcher may be the first to
 * see that the task is dead. */
static bool standby_takes_over(size_t round)
{
    await(&s, standby_is_warm, NULL, "a warm standby");
    unsigned warm_before = warm_count();
    cr_assert_eq(weir(&s, "kill @ count"), 0, "%s", s.err);
    await_events(&s, "takeover", round + 1);
    json_t *event = event_at(&s, "takeover", (int)round);
    bool by_standby = strcmp(json_string_value(json_object_get(event, "by")), "standby") == 0;
    bool was = was_warm(warm_before, json_integer_value(json_object_get(event, "pid")));
    json_decref(event);
    cr_assert_eq(was, by_standby, "a standby that takes over was warm before, and nobody else was");
    await_output(&s, output_count(s.output) + 100);
    return by_standby;
}

static bool goes_with_the_others(struct scenario *scenario, void *arg)
{
    (void)scenario;
    return (sched_getscheduler(*(pid_t *)arg) & ~SCHED_RESET_ON_FORK) == SCHED_OTHER;
}

Test(warm_up, a_standby_is_warm_before_it_is_needed_and_takes_over)
{
    struct process *job = start_job(&s, WARM, note);
    await_output(&s, 100);
    unsigned by_standby = 0;
    for (size_t round = 0; by_standby < 3; round++)
        by_standby += standby_takes_over(round);
    json_t *event = event_at(&s, "takeover", (int)event_count(&s, "takeover") - 1);
    pid_t pid = (pid_t)json_integer_value(json_object_get(event, "pid"));
    json_decref(event);
    await(&s, goes_with_the_others, &pid, "it goes before other processes no longer than it has to");
    stop_job(&s, job);
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
    check_output();
}

Test(warm_up, where_a_standby_cannot_the_launcher_takes_over)
{
    struct process *job = start_job(&s, WARM " --set how=slips", note);
    await_output(&s, 100);
    await_warm(2);
    cr_assert_eq(weir(&s, "kill @ count"), 0, "%s", s.err);
    await_events(&s, "takeover", 1);
    json_t *event = event_at(&s, "takeover", 0);
    cr_assert_str_eq(json_string_value(json_object_get(event, "by")), "launcher");
    json_decref(event);
    await_output(&s, output_count(s.output) + 100);
    stop_job(&s, job);
    ASSERT_ERR_SAYS(&s, "this standby cannot take over", "the model is being replaced");
    cr_assert_eq(event_count(&s, "recovery_started"), 0);
    check_output();
}

static void refused(const char *how, const char *why)
{
    cr_assert_eq(run_job(&s, WARM " --restart none --set how=%s", note, how), USAGE, "%s", s.err);
    ASSERT_ERR_SAYS(&s, "operator 'count'", why);
}

Test(warm_up, has_no_state) { refused("state", "warm_up: here is no state, no key and no timer"); }
Test(warm_up, has_no_key) { refused("key", "warm_up: here is no state, no key and no timer"); }
Test(warm_up, emits_nothing) { refused("emits", "warm_up() emitted a record"); }
