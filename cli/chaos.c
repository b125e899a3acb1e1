/* `chaos`: takes the options, shows what goes on, prints what came out. The work is that of chaos/. */
#include "base/clock.h"
#include "chaos/chaos.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "engine/option_value.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBER_BYTES 32

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = interrupt};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
}

/* ---- while it runs ---- */

static void show_progress(void *self, const struct chaos_progress *now)
{
    char elapsed[NUMBER_BYTES], line[256];
    (void)self;
    int used = snprintf(line, sizeof line, "\rchaos: %s, %llu runs done, %llu faults%s, %llu recoveries, %s\033[K", now->run,
                        (unsigned long long)now->runs, (unsigned long long)now->faults, now->faults_wanted > 0 ? "" : " so far",
                        (unsigned long long)now->recoveries, human_duration(now->elapsed_ns, elapsed, sizeof elapsed));
    if (used > 0 && write(STDERR_FILENO, line, (size_t)used < sizeof line ? (size_t)used : sizeof line - 1) < 0)
        return; /* the terminal has gone: the work goes on */
}

static void end_progress(const struct chaos *chaos)
{
    if (chaos->observer.on_progress != NULL)
        fputs("\r\033[K", stderr);
}

/* ---- the report ---- */

/* A line for each kind and place. */
static void print_faults(const struct chaos_report *report)
{
    static const char *const headers[] = {"FAULT", "PLACE", ">TOOK EFFECT", ">NOT THERE"};
    struct table table;
    table_begin(&table, headers, 4);
    for (size_t i = 0; i < report->fault_count; i++) {
        const struct fault_record *fault = &report->faults[i];
        uint64_t hits = 0, misses = 0;
        bool first = true;
        for (size_t j = 0; j < report->fault_count; j++) {
            const struct fault_record *other = &report->faults[j];
            if (strcmp(other->kind, fault->kind) != 0 || strcmp(other->place, fault->place) != 0)
                continue;
            first &= j >= i;
            hits += other->hit;
            misses += !other->hit;
        }
        if (!first)
            continue;
        table_cell(&table, "%s", fault->kind);
        table_cell(&table, "%s", fault->place);
        table_cell(&table, "%llu", (unsigned long long)hits);
        table_cell(&table, "%llu", (unsigned long long)misses);
    }
    table_end(&table);
}

static void time_cell(struct table *table, bool measured, int64_t ns)
{
    char text[NUMBER_BYTES];
    table_cell(table, "%s", measured ? human_duration(ns, text, sizeof text) : "-");
}

static void print_recoveries(struct chaos_report *report)
{
    static const char *const headers[] = {"RECOVERY", ">COUNT", ">P50", ">P99", ">MAX"};
    struct table table;
    table_begin(&table, headers, 5);
    for (unsigned i = 0; i < RECOVERY_PATH_COUNT; i++) {
        struct recoveries *recoveries = &report->recoveries[i];
        struct recovery_times times = recoveries_times(recoveries);
        table_cell(&table, "%s", recovery_path_text(i));
        table_cell(&table, "%llu", (unsigned long long)recoveries->count);
        time_cell(&table, recoveries->time_count > 0, times.p50_ns);
        time_cell(&table, recoveries->time_count > 0, times.p99_ns);
        time_cell(&table, recoveries->time_count > 0, times.max_ns);
    }
    table_end(&table);
}

static void print_bad_runs(const struct chaos_report *report)
{
    for (size_t i = 0; i < report->case_count; i++) {
        const struct run_case *run = &report->cases[i];
        if (run->state != CASE_DIFFERS && run->state != CASE_FAILED)
            continue;
        printf("\n%s: %s: %s\n", run->name, case_state_name(run->state), run->text);
        for (unsigned j = 0; j < run->difference.sample_count; j++)
            printf("  %s: %s\n", run->difference.samples[j].how, run->difference.samples[j].text);
        printf("  kept: %s\n", run->directory);
    }
}

static void print_report(struct chaos *chaos)
{
    struct chaos_report *report = &chaos->report;
    struct chaos_totals totals = report_totals(report);
    char duration[NUMBER_BYTES];
    putchar('\n');
    print_faults(report);
    if (report->fault_count > 0)
        putchar('\n');
    print_recoveries(report);
    printf("\nruns        %llu in %s: %llu the same, %llu differ, %llu failed", (unsigned long long)totals.runs,
           human_duration(report->duration_ns, duration, sizeof duration),
           (unsigned long long)(totals.passed + totals.not_reached),
           (unsigned long long)totals.differing, (unsigned long long)totals.failed);
    if (totals.not_reached > 0)
        printf(" (in %llu of them the fault was not reached)", (unsigned long long)totals.not_reached);
    printf("\nfaults      %llu took effect, %llu found nobody there\n", (unsigned long long)totals.hits,
           (unsigned long long)totals.misses);
    printf("records     %llu compared: %llu lost, %llu doubled, %llu wrong\n", (unsigned long long)totals.compared,
           (unsigned long long)totals.lost, (unsigned long long)totals.doubled, (unsigned long long)totals.wrong);
    print_bad_runs(report);
    if (chaos->scratch[0] != 0)
        printf("\nkept        %s\n", chaos->scratch);
}

/* ---- the command ---- */

static int take_options(struct chaos *chaos, const struct arguments *arguments, struct weir_error *err)
{
    int code = WEIR_OK;
    for (unsigned i = 0; i < arguments->value_count && code == WEIR_OK; i++) {
        const char *name = arguments->values[i].name;
        if (strcmp(name, "json") != 0 && strcmp(name, "junit") != 0)
            code = chaos_set(chaos, name, arguments->values[i].value, err);
    }
    return code == WEIR_OK ? chaos_prepare(chaos, err) : code;
}

/* On standard output for people; where that is a program's, it still has to be known when all hangs. */
static void print_seed(const struct cli *cli, const struct chaos *chaos, bool as_json)
{
    if (as_json)
        fprintf(stderr, "%s: chaos: seed %llu\n", cli->program, (unsigned long long)chaos->options.seed);
    else
        printf("seed        %llu\n", (unsigned long long)chaos->options.seed);
    fflush(stdout);
}

static int print_result(const struct cli *cli, const struct arguments *arguments, struct chaos *chaos)
{
    struct weir_error err = {0};
    const char *junit = arguments_value(arguments, "junit");
    int status = EXIT_DONE;
    if (arguments_has(arguments, "json")) {
        json_t *all = report_json(&chaos->report);
        status = print_json(all);
        json_decref(all);
    } else {
        print_report(chaos);
    }
    if (junit != NULL && report_junit(&chaos->report, junit, &err) != WEIR_OK)
        status = print_failure(cli, &err);
    err = (struct weir_error){0};
    int code = chaos_verdict(chaos, &err);
    if (code == WEIR_OK)
        return status;
    print_failure(cli, &err);
    return code == WEIR_ELIMIT ? EXIT_INCOMPLETE : EXIT_FAILED;
}

static int chaos_with_job(const struct cli *cli, const struct arguments *arguments, const struct weir_command_job *job)
{
    struct weir_error err = {0};
    struct chaos *chaos = malloc(sizeof *chaos);
    if (chaos == NULL) {
        error_set(&err, WEIR_ENOMEM, "chaos: out of memory");
        return print_failure(cli, &err);
    }
    chaos_init(chaos, job->name, job->build);
    int status, code = take_options(chaos, arguments, &err);
    if (code == WEIR_OK) {
        bool quiet = arguments_has(arguments, "quiet") || arguments_has(arguments, "no-progress");
        catch_interrupts();
        chaos->observer.interrupted = &interrupted;
        chaos->observer.on_progress = !quiet && isatty(STDERR_FILENO) == 1 ? show_progress : NULL;
        print_seed(cli, chaos, arguments_has(arguments, "json"));
        code = chaos_run(chaos, &err);
        end_progress(chaos);
    }
    if (code == WEIR_OK)
        status = print_result(cli, arguments, chaos);
    else {
        if (chaos->scratch[0] != 0)
            error_append(&err, "; see '%s'", chaos->scratch);
        status = print_failure(cli, &err);
    }
    chaos_free(chaos);
    free(chaos);
    return status;
}

int chaos_command(const struct cli *cli, const struct arguments *arguments)
{
    return call_with_job(cli, arguments, chaos_with_job);
}
