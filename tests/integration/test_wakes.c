/*
 * test_wakes.c - a sleeping reader is woken: at once where its writer has nothing more to do, and soon where it has. A reader
 * that nobody wakes looks for itself twice a second: far too seldom for the number of steps that these tests wait for.
 */
#include "scenario.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STEPS 1200 /* of half a second each they would take ten times the deadline */

static struct scenario s;
static char note[2 * PATH_BYTES];
static void begin(void)
{
    scenario_begin(&s, criterion_current_test->name);
    snprintf(note, sizeof note, "%s/note", s.root);
}
static void end(void) { scenario_end(&s); }
TestSuite(wakes, .init = begin, .fini = end, .timeout = TIMEOUT_S);

static bool note_has(struct scenario *scenario, void *arg)
{
    struct stat found = {0};
    (void)scenario;
    return stat(note, &found) == 0 && found.st_size >= *(off_t *)arg;
}

static void answers(const char *how, const char *options)
{
    off_t steps = STEPS;
    struct process *job = start_job(&s, "--set shape=answers --set how=%s --set count=%d --set note=%s --no-chain "
                                    "--checkpoint-interval off %s", how, STEPS, note, options);
    await(&s, note_has, &steps, "each record is seen before the next is emitted");
    cr_assert_eq(weir(&s, "stop @ --now"), 0, "%s", s.err);
    end_of(&s, job);
}

Test(wakes, a_record_that_nothing_follows_is_seen) { answers("idle", ""); }
Test(wakes, a_record_of_a_source_that_never_rests_is_seen) { answers("busy", ""); }

/* It has nothing to do but to look again, and nobody who would ring. */
Test(wakes, a_source_that_rests_is_asked_again_by_a_task_that_never_sleeps) { answers("idle", "--busy-poll"); }

/* Killed between its commit and the publication, and there is no next record that would publish it along. */
Test(wakes, what_a_dead_writer_had_committed_is_seen)
{
    s.kill_list = strdup("t5:40@pass");
    answers("idle", "");
    cr_assert_eq(event_count(&s, "takeover"), 1);
}

/* An operator that works on a record for as long as the sink has not seen the one before: every second one, at least, would take half a
 * second where wakes are put off behind the next batch. */
Test(wakes, a_slow_operator_does_not_keep_back_what_it_has_emitted)
{
    off_t steps = STEPS;
    cr_assert_eq(run_job(&s, "--set shape=steps --set count=%d --set keys=1 --set note=%s --batch-records 1 --checkpoint-interval off",
                         STEPS, note), 0, "%s", s.err);
    cr_assert(note_has(&s, &steps));
}
