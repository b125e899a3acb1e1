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

#define STEPS 300 /* of half a second each they would take ten times the deadline */

static struct scenario s;
static char note[2 * PATH_BYTES];
static void begin(void)
{
    scenario_begin(&s, criterion_current_test->name);
    snprintf(note, sizeof note, "%s/note", s.root);
}
static void end(void) { scenario_end(&s); }
TestSuite(wakes, .init = begin, .fini = end, .timeout = 120);

static bool note_has(struct scenario *scenario, void *arg)
{
    struct stat found = {0};
    (void)scenario;
    return stat(note, &found) == 0 && found.st_size >= *(off_t *)arg;
}

static void answers(const char *how)
{
    off_t steps = STEPS;
    struct process *job = start_job(&s, "--set shape=answers --set how=%s --set count=%d --set note=%s --no-chain "
                                    "--checkpoint-interval off", how, STEPS, note);
    await(&s, note_has, &steps, "each record is seen before the next is emitted");
    cr_assert_eq(weir(&s, "stop @ --now"), 0, "%s", s.err);
    end_of(&s, job);
}

Test(wakes, a_record_that_nothing_follows_is_seen) { answers("idle"); }
Test(wakes, a_record_of_a_source_that_never_rests_is_seen) { answers("busy"); }

/* Killed between its commit and the publication, and there is no next record that would publish it along. */
Test(wakes, what_a_dead_writer_had_committed_is_seen)
{
    s.kill_list = strdup("t5:40@pass");
    answers("idle");
    cr_assert_eq(event_count(&s, "takeover"), 1);
}

/* The note has a line "done N" where the operator is done with record N, and "seen N" where the sink has it. How many were seen
 * before the operator was done with the next one. */
static unsigned seen_before_the_next(unsigned count)
{
    char *text = read_file(note);
    unsigned in_time = 0;
    for (unsigned n = 0; n + 1 < count; n++) {
        char seen[32], next[32];
        snprintf(seen, sizeof seen, "seen %u\n", n);
        snprintf(next, sizeof next, "done %u\n", n + 1);
        const char *seen_at = strstr(text, seen), *next_at = strstr(text, next);
        cr_assert(seen_at != NULL && next_at != NULL, "no record %u in the note", n);
        in_time += seen_at < next_at;
    }
    free(text);
    return in_time;
}

/* While an operator takes its time over a record, the sink has that time to see the one before. Every second one would be late
 * where wakes are put off behind the next batch, however long it takes. */
Test(wakes, a_slow_operator_does_not_keep_back_what_it_has_emitted)
{
    const unsigned count = 60;
    cr_assert_eq(run_job(&s, "--set shape=steps --set count=%u --set keys=1 --set delay=20 --set note=%s --batch-records 1 "
                         "--checkpoint-interval off", count, note), 0, "%s", s.err);
    unsigned in_time = seen_before_the_next(count);
    cr_assert_gt(in_time, count * 3 / 4, "%u of %u were seen before the operator was done with the next", in_time, count);
}
