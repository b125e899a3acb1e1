#include "chaos/chaos.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/kill_point.h"
#include "chaos/random.h"
#include "chaos/run.h"
#include "chaos/scratch.h"
#include "engine/option_value.h"
#include "snapshot/io_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAD_RUNS_MAX 5 /* after so many that went wrong, more of them say nothing new */
#define LATER_MIN 3    /* "some later time": the 3rd to the 20th */
#define LATER_COUNT 18
#define DELAY_MS 50    /* of a slow disk operation */

void chaos_init(struct chaos *chaos, const char *name, weir_build_fn build)
{
    memset(chaos, 0, sizeof *chaos);
    chaos_options_init(&chaos->options);
    chaos->job.name = name;
    chaos->job.build = build;
    chaos->job.options = &chaos->options;
}

static int unknown_option(const char *name, struct weir_error *err)
{
    const char *names[OPTION_ROWS_MAX + CHAOS_OPTIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; chaos_options_name(i) != NULL && count < COUNT_OF(names); i++)
        names[count++] = chaos_options_name(i);
    for (size_t i = 0; option_at(i) != NULL && count < COUNT_OF(names); i++)
        names[count++] = option_at(i)->name;
    const char *nearest = nearest_word(name, names, count);
    error_set(err, WEIR_EINVAL, "chaos: no option '%s'", name);
    if (nearest != NULL)
        return error_append(err, ": did you mean '%s'?", nearest);
    return error_append(err, ": 'weir chaos --help' lists them");
}

int chaos_set(struct chaos *chaos, const char *name, const char *value, struct weir_error *err)
{
    if (chaos_options_has(name))
        return chaos_options_set(&chaos->options, name, value, err);
    if (option_find(name) == NULL && strncmp(name, "set.", 4) != 0)
        return unknown_option(name, err);
    return chaos_job_option(&chaos->job, name, value, err);
}

/* Calls fn for each name of a list ("all": of the table) by its index there. */
static int for_each_name(struct chaos *chaos, const char *option, const char *list, const char *(*name_at)(unsigned),
                         int (*fn)(struct chaos *, unsigned, struct weir_error *), struct weir_error *err)
{
    bool all = strcmp(list, "all") == 0;
    int code = WEIR_OK;
    for (unsigned i = 0; all && name_at(i) != NULL && code == WEIR_OK; i++)
        code = fn(chaos, i, err);
    for (const char *at = list; !all && code == WEIR_OK && *at != 0;) {
        size_t name_bytes = strcspn(at, ",");
        unsigned i = 0;
        while (name_at(i) != NULL && (strlen(name_at(i)) != name_bytes || memcmp(name_at(i), at, name_bytes) != 0))
            i++;
        if (name_at(i) == NULL)
            return error_set(err, WEIR_EINVAL, "--%s: there is no '%.*s'", option, (int)name_bytes, at);
        code = fn(chaos, i, err);
        at += name_bytes + (at[name_bytes] == ',');
    }
    return code;
}

/* Does nothing: to walk over a list only. */
static int pass(struct chaos *chaos, unsigned index, struct weir_error *err)
{
    (void)chaos;
    (void)index;
    (void)err;
    return WEIR_OK;
}

static int check_inputs(struct chaos *chaos, struct weir_error *err)
{
    const struct chaos_options *options = &chaos->options;
    int code = WEIR_OK;
    if (options->kill_points != NULL)
        code = for_each_name(chaos, "kill-points", options->kill_points, kill_point_name, pass, err);
    if (code == WEIR_OK && options->io_faults != NULL && strcmp(options->io_faults, "all") != 0)
        code = io_fault_check(options->io_faults, err);
    if (code == WEIR_OK && options->expect != NULL && access(options->expect, R_OK) != 0)
        return error_set(err, WEIR_ENOENT, "--expect: cannot read '%s'", options->expect);
    return code;
}

int chaos_prepare(struct chaos *chaos, struct weir_error *err)
{
    int code = chaos_options_finish(&chaos->options, err);
    if (code == WEIR_OK)
        code = check_inputs(chaos, err);
    if (code == WEIR_OK)
        code = chaos_job_prepare(&chaos->job, err);
    snprintf(chaos->report.job, sizeof chaos->report.job, "%s", chaos->job.name);
    chaos->report.seed = chaos->options.seed;
    chaos->report.faults_wanted = chaos->options.kills;
    return code;
}

/* ---- what is expected ---- */

static int read_expected(struct chaos *chaos, struct weir_error *err)
{
    uint64_t records = 0;
    int code = WEIR_OK;
    for (size_t i = 0; i < chaos->job.output_count && code == WEIR_OK; i++) {
        code = output_read(chaos->expected_paths[i], chaos->job.outputs[i].record_bytes, &chaos->expected[i], err);
        records += chaos->expected[i].count;
    }
    if (code == WEIR_OK && records == 0)
        return error_set(err, WEIR_EINVAL, "chaos: %s: there is nothing to compare",
                         chaos->options.expect != NULL ? "--expect names no record" : "the run without faults put out no record");
    return code;
}

static int set_expected_path(struct chaos *chaos, size_t output, const char *directory, const char *name, struct weir_error *err)
{
    int used = name != NULL ? snprintf(chaos->expected_paths[output], PATH_MAX, "%s/%s", directory, name)
                            : snprintf(chaos->expected_paths[output], PATH_MAX, "%s", directory);
    return used < PATH_MAX ? WEIR_OK : error_set(err, WEIR_EINVAL, "chaos: '%s': the path is too long", directory);
}

static int expect_given(struct chaos *chaos, struct weir_error *err)
{
    bool several = chaos->job.output_count > 1;
    int code = WEIR_OK;
    for (size_t i = 0; i < chaos->job.output_count && code == WEIR_OK; i++)
        code = set_expected_path(chaos, i, chaos->options.expect, several ? chaos->job.outputs[i].name : NULL, err);
    return code == WEIR_OK ? read_expected(chaos, err) : code;
}

static int run_reference(struct chaos *chaos, struct weir_error *err)
{
    char directory[PATH_MAX], output[PATH_MAX];
    struct run_plan plan = {.name = "without faults"};
    struct run_result result = {0};
    int code = scratch_make_run(chaos->scratch, "reference", directory, err);
    if (code == WEIR_OK)
        code = run_supervise(chaos, &plan, directory, &result, err);
    if (code != WEIR_OK)
        return error_context(err, "chaos: the run without faults");
    snprintf(output, sizeof output, "%.*s/" CHAOS_OUTPUT, PATH_MAX - 16, directory);
    for (size_t i = 0; i < chaos->job.output_count && code == WEIR_OK; i++)
        code = set_expected_path(chaos, i, output, chaos->job.outputs[i].name, err);
    return code == WEIR_OK ? read_expected(chaos, err) : code;
}

/* ---- one run, compared ---- */

static void add_difference(struct difference *sum, const struct difference *one)
{
    sum->compared += one->compared;
    sum->lost += one->lost;
    sum->doubled += one->doubled;
    sum->wrong += one->wrong;
    for (unsigned i = 0; i < one->sample_count && sum->sample_count < COUNT_OF(sum->samples); i++)
        sum->samples[sum->sample_count++] = one->samples[i];
}

static int compare_run(struct chaos *chaos, const char *directory, struct difference *ret_sum, struct weir_error *err)
{
    struct difference sum = {0}, one;
    int code = WEIR_OK;
    for (size_t i = 0; i < chaos->job.output_count && code == WEIR_OK; i++) {
        const struct chaos_output *output = &chaos->job.outputs[i];
        char path[PATH_MAX];
        struct output found = {0};
        if (snprintf(path, sizeof path, "%s/" CHAOS_OUTPUT "/%s", directory, output->name) >= (int)sizeof path)
            return error_set(err, WEIR_EINVAL, "chaos: '%s': the path is too long", directory);
        code = output_read(path, output->record_bytes, &found, err);
        if (code != WEIR_OK)
            break;
        output_compare(&chaos->expected[i], &found, &one);
        output_find_samples(chaos->expected_paths[i], path, output->record_bytes, &one);
        add_difference(&sum, &one);
        output_free(&found);
    }
    *ret_sum = sum;
    return code;
}

/* Fills the case from what the run did, and deletes its directory where nobody will want to look at it. */
static int judge(struct chaos *chaos, const struct run_plan *plan, int code, const struct run_result *result,
                 const char *directory,
                 struct weir_error *err)
{
    struct run_case *run = report_add_case(&chaos->report);
    struct weir_error why = *err;
    if (run == NULL)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    snprintf(run->name, sizeof run->name, "%s", plan->name);
    run->duration_ns = result->duration_ns;
    run->faults = result->hits;
    run->launches = result->launches;
    if (code == WEIR_OK)
        code = compare_run(chaos, directory, &run->difference, &why);
    const struct difference *d = &run->difference;
    if (code != WEIR_OK) {
        run->state = CASE_FAILED;
        snprintf(run->text, sizeof run->text, "%s", why.text);
    } else if (d->lost + d->doubled + d->wrong > 0) {
        run->state = CASE_DIFFERS;
        snprintf(run->text, sizeof run->text, "%llu of %llu records lost, %llu doubled, %llu that should not be there",
                 (unsigned long long)d->lost, (unsigned long long)d->compared, (unsigned long long)d->doubled,
                 (unsigned long long)d->wrong);
    } else if ((plan->kill != NULL || plan->io_fault != NULL) && !result->reached) {
        run->state = CASE_NOT_REACHED;
    }
    *err = (struct weir_error){0};
    bool bad = run->state == CASE_FAILED || run->state == CASE_DIFFERS;
    if (bad || chaos->options.keep)
        snprintf(run->directory, sizeof run->directory, "%s", directory);
    else
        scratch_remove(directory);
    return WEIR_OK;
}

static int run_case(struct chaos *chaos, const struct run_plan *plan, struct weir_error *err)
{
    char name[64], directory[PATH_MAX];
    struct run_result result = {0};
    snprintf(name, sizeof name, "run-%zu", chaos->report.case_count + 1);
    int code = scratch_make_run(chaos->scratch, name, directory, err);
    if (code != WEIR_OK)
        return code;
    code = run_supervise(chaos, plan, directory, &result, err);
    return code == WEIR_ECANCELLED ? code : judge(chaos, plan, code, &result, directory, err);
}

static bool has_seen_enough(const struct chaos *chaos)
{
    unsigned bad = 0;
    for (size_t i = 0; i < chaos->report.case_count; i++)
        bad += chaos->report.cases[i].state == CASE_FAILED || chaos->report.cases[i].state == CASE_DIFFERS;
    return bad >= BAD_RUNS_MAX;
}

/* ---- random faults ---- */

static int run_random(struct chaos *chaos, struct weir_error *err)
{
    int code = WEIR_OK;
    for (uint64_t i = 1; code == WEIR_OK && chaos->faults_done < chaos->options.kills && i <= chaos->options.runs_max; i++) {
        char name[64];
        snprintf(name, sizeof name, "random faults, run %llu", (unsigned long long)i);
        struct run_plan plan = {.name = name, .random = true};
        code = run_case(chaos, &plan, err);
        if (has_seen_enough(chaos))
            break;
    }
    return code;
}

/* ---- kill points, disk faults: a run each ---- */

/* Which times are tried of place number `index`: the first, the second, a later one. */
static void choose_times(const struct chaos *chaos, unsigned stream, unsigned index, unsigned times[3])
{
    struct random random = random_of(chaos->options.seed ^ stream, index);
    times[0] = 1;
    times[1] = 2;
    times[2] = LATER_MIN + (unsigned)random_below(&random, LATER_COUNT);
}

/* Points that are reached on the way back only: somebody has to die first. Of its own fault for those of the way back to a
 * checkpoint (v, k10); by SIGKILL for those of another process that takes over (u), where there are any. */
static bool needs_first_fault(const char *point, enum fault_kind *ret_kind)
{
    *ret_kind = point[0] == 'u' ? FAULT_KILL : FAULT_SEGV;
    return point[0] == 'u' || point[0] == 'v' || strcmp(point, "k10") == 0;
}

static int run_kill_point(struct chaos *chaos, unsigned point, struct weir_error *err)
{
    const char *name = kill_point_name(point);
    unsigned times[3];
    int code = WEIR_OK;
    choose_times(chaos, 1, point, times);
    for (unsigned i = 0; i < 3 && code == WEIR_OK && !has_seen_enough(chaos); i++) {
        char title[96], row[64];
        snprintf(title, sizeof title, "kill point %s:%u", name, times[i]);
        snprintf(row, sizeof row, "%s:%u", name, times[i]);
        struct run_plan plan = {.name = title, .kill = row, .place = row};
        plan.first_fault = needs_first_fault(name, &plan.first_kind);
        code = run_case(chaos, &plan, err);
    }
    return code;
}

static int run_disk_fault(struct chaos *chaos, const char *row, struct weir_error *err)
{
    char title[128];
    snprintf(title, sizeof title, "disk fault %s", row);
    struct run_plan plan = {.name = title, .io_fault = row, .place = row};
    return run_case(chaos, &plan, err);
}

static int run_disk_operation(struct chaos *chaos, unsigned operation, struct weir_error *err)
{
    static const char *const actions[] = {"error=EIO", "error=ENOSPC", "delay="};
    unsigned times[3];
    int code = WEIR_OK;
    choose_times(chaos, 2, operation, times);
    for (unsigned i = 0; i < 3 * COUNT_OF(actions) && code == WEIR_OK && !has_seen_enough(chaos); i++) {
        const char *action = actions[i % COUNT_OF(actions)];
        char row[64];
        int used = snprintf(row, sizeof row, "%s:%u:%s", io_fault_operation(operation), times[i / COUNT_OF(actions)], action);
        if (action[strlen(action) - 1] == '=')
            snprintf(row + used, sizeof row - (size_t)used, "%d", DELAY_MS);
        code = run_disk_fault(chaos, row, err);
    }
    return code;
}

/* Rows as they stand in WEIR_IO_FAULT; the run checks them. */
static int run_disk_rows(struct chaos *chaos, struct weir_error *err)
{
    char *copy = strdup(chaos->options.io_faults), *rest = NULL;
    int code = copy != NULL ? WEIR_OK : error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    char *row = copy != NULL ? strtok_r(copy, ",", &rest) : NULL;
    for (; row != NULL && code == WEIR_OK; row = strtok_r(NULL, ",", &rest))
        code = run_disk_fault(chaos, row, err);
    free(copy);
    return code;
}

static int run_enumerated(struct chaos *chaos, struct weir_error *err)
{
    const struct chaos_options *options = &chaos->options;
    int code = WEIR_OK;
    if (options->kill_points != NULL)
        code = for_each_name(chaos, "kill-points", options->kill_points, kill_point_name, run_kill_point, err);
    if (code == WEIR_OK && options->io_faults != NULL && strcmp(options->io_faults, "all") == 0)
        code = for_each_name(chaos, "io-faults", "all", io_fault_operation, run_disk_operation, err);
    else if (code == WEIR_OK && options->io_faults != NULL)
        code = run_disk_rows(chaos, err);
    return code;
}

/* ---- the whole ---- */

/* Stays where there is something to look at: a run that went wrong, and what it should have put out. */
static void clean_up(struct chaos *chaos, int code)
{
    char path[PATH_MAX];
    bool kept = chaos->options.keep && code != WEIR_ECANCELLED;
    for (size_t i = 0; i < chaos->report.case_count && !kept; i++)
        kept = chaos->report.cases[i].directory[0] != 0;
    if (code != WEIR_OK && code != WEIR_ECANCELLED && chaos->report.case_count == 0)
        kept = true; /* the run without faults failed: its log is there */
    if (kept) {
        snprintf(path, sizeof path, "%.*s/runtime", PATH_MAX - 16, chaos->scratch);
        scratch_remove(path);
        return;
    }
    scratch_remove(chaos->scratch);
    chaos->scratch[0] = 0;
}

int chaos_run(struct chaos *chaos, struct weir_error *err)
{
    chaos->began_ns = clock_monotonic_ns();
    int code = scratch_make(chaos->options.scratch, chaos->scratch, err);
    if (code != WEIR_OK)
        return code;
    code = chaos->options.expect != NULL ? expect_given(chaos, err) : run_reference(chaos, err);
    if (code == WEIR_OK)
        code = run_random(chaos, err);
    if (code == WEIR_OK)
        code = run_enumerated(chaos, err);
    chaos->report.duration_ns = clock_monotonic_ns() - chaos->began_ns;
    clean_up(chaos, code);
    return code;
}

int chaos_verdict(struct chaos *chaos, struct weir_error *err)
{
    struct chaos_totals totals = report_totals(&chaos->report);
    if (totals.differing > 0)
        return error_set(err, WEIR_ECORRUPT, "the output of %llu of %llu runs is not what it should be: %llu records lost, "
                                             "%llu doubled, "
                                             "%llu that should not be there; see '%s'", (unsigned long long)totals.differing,
                         (unsigned long long)totals.runs, (unsigned long long)totals.lost, (unsigned long long)totals.doubled,
                         (unsigned long long)totals.wrong, chaos->scratch);
    for (size_t i = 0; i < chaos->report.case_count; i++)
        if (chaos->report.cases[i].state == CASE_FAILED)
            return error_set(err, WEIR_EFAILED, "%s: the job failed: %s; see '%s'", chaos->report.cases[i].name,
                             chaos->report.cases[i].text,
                             chaos->report.cases[i].directory);
    if (chaos->report.out_of_memory)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory: the report is not complete");
    if (totals.random_chosen < chaos->options.kills)
        return error_set(err, WEIR_ELIMIT, "%llu of %llu random faults were not tried, as the job ended too early in all of "
                                           "%llu runs: lengthen "
                                           "it, shorten --interval, or raise --runs",
                         (unsigned long long)(chaos->options.kills - totals.random_chosen), (unsigned long long)chaos->options.kills,
                         (unsigned long long)totals.runs);
    if (totals.hits == 0)
        return error_set(err, WEIR_ELIMIT, "no fault took effect: nothing is proved");
    return WEIR_OK;
}

void chaos_free(struct chaos *chaos)
{
    for (size_t i = 0; i < CHAOS_OUTPUTS_MAX; i++)
        output_free(&chaos->expected[i]);
    chaos_job_free(&chaos->job);
    report_free(&chaos->report);
}
