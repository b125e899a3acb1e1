#include "chaos/report.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const path_keys[] = {
#define PATH_KEY(id, key, text) key,
    RECOVERY_PATH_TABLE(PATH_KEY)
#undef PATH_KEY
};
static const char *const path_texts[] = {
#define PATH_TEXT(id, key, text) text,
    RECOVERY_PATH_TABLE(PATH_TEXT)
#undef PATH_TEXT
};
static const char *const state_names[] = {
    [CASE_PASSED] = "passed", [CASE_DIFFERS] = "differs", [CASE_FAILED] = "failed", [CASE_NOT_REACHED] = "not reached"};

const char *recovery_path_key(unsigned path) { return path_keys[path]; }
const char *recovery_path_text(unsigned path) { return path_texts[path]; }
const char *case_state_name(enum case_state state) { return state_names[state]; }

/* Room for one more; false when out of memory. */
static bool grow(void **items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
    void *larger = realloc(*items, wanted * item_bytes);
    if (larger == NULL)
        return false;
    *items = larger;
    *capacity = wanted;
    return true;
}

void recoveries_add(struct recoveries *recoveries, int64_t time_ns)
{
    void *times = recoveries->times_ns;
    recoveries->count++;
    if (time_ns < 0 || !grow(&times, recoveries->time_count, &recoveries->time_capacity, sizeof *recoveries->times_ns))
        return;
    recoveries->times_ns = times;
    recoveries->times_ns[recoveries->time_count++] = time_ns;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The smallest time that is not exceeded by so many in a hundred: nearest rank. */
static int64_t percentile(const struct recoveries *recoveries, size_t percent)
{
    return recoveries->times_ns[(recoveries->time_count * percent + 99) / 100 - 1];
}

struct recovery_times recoveries_times(struct recoveries *recoveries)
{
    if (recoveries->time_count == 0)
        return (struct recovery_times){0};
    qsort(recoveries->times_ns, recoveries->time_count, sizeof *recoveries->times_ns, compare_times);
    return (struct recovery_times){percentile(recoveries, 50), percentile(recoveries, 99), percentile(recoveries, 100)};
}

void report_add_fault(struct chaos_report *report, const struct fault_record *fault)
{
    void *faults = report->faults;
    if (!grow(&faults, report->fault_count, &report->fault_capacity, sizeof *report->faults)) {
        report->out_of_memory = true;
        return;
    }
    report->faults = faults;
    report->faults[report->fault_count++] = *fault;
}

struct run_case *report_add_case(struct chaos_report *report)
{
    void *cases = report->cases;
    if (!grow(&cases, report->case_count, &report->case_capacity, sizeof *report->cases)) {
        report->out_of_memory = true;
        return NULL;
    }
    report->cases = cases;
    struct run_case *added = &report->cases[report->case_count++];
    memset(added, 0, sizeof *added);
    return added;
}

static void add_times(struct recoveries *all, const struct recoveries *some)
{
    for (size_t i = 0; i < some->time_count; i++)
        recoveries_add(all, some->times_ns[i]);
}

static void sum_cases(const struct chaos_report *report, struct chaos_totals *totals)
{
    for (size_t i = 0; i < report->case_count; i++) {
        const struct run_case *run = &report->cases[i];
        totals->runs++;
        totals->passed += run->state == CASE_PASSED;
        totals->differing += run->state == CASE_DIFFERS;
        totals->failed += run->state == CASE_FAILED;
        totals->not_reached += run->state == CASE_NOT_REACHED;
        totals->compared += run->difference.compared;
        totals->lost += run->difference.lost;
        totals->doubled += run->difference.doubled;
        totals->wrong += run->difference.wrong;
    }
}

struct chaos_totals report_totals(struct chaos_report *report)
{
    struct chaos_totals totals = {0};
    struct recoveries all = {0};
    sum_cases(report, &totals);
    for (size_t i = 0; i < report->fault_count; i++) {
        const struct fault_record *fault = &report->faults[i];
        totals.hits += fault->hit;
        totals.misses += !fault->hit;
        totals.random_chosen += fault->number != 0;
        totals.random_hits += fault->number != 0 && fault->hit;
    }
    for (unsigned i = 0; i < RECOVERY_PATH_COUNT; i++) {
        totals.recoveries += report->recoveries[i].count;
        add_times(&all, &report->recoveries[i]);
    }
    totals.times = recoveries_times(&all);
    free(all.times_ns);
    return totals;
}

void report_free(struct chaos_report *report)
{
    for (unsigned i = 0; i < RECOVERY_PATH_COUNT; i++)
        free(report->recoveries[i].times_ns);
    free(report->faults);
    free(report->cases);
    *report = (struct chaos_report){0};
}

/* ---- JSON ---- */

static json_t *time_json(const struct recoveries *recoveries, int64_t ns)
{
    return recoveries->time_count > 0 ? json_real((double)ns / 1e6) : json_null();
}

static json_t *recoveries_json(struct chaos_report *report)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < RECOVERY_PATH_COUNT; i++) {
        struct recoveries *recoveries = &report->recoveries[i];
        struct recovery_times times = recoveries_times(recoveries);
        json_object_set_new(all, path_keys[i],
                            json_pack("{s:I, s:I, s:o, s:o, s:o}", "count", (json_int_t)recoveries->count, "measured",
                                      (json_int_t)recoveries->time_count, "p50_ms", time_json(recoveries, times.p50_ns), "p99_ms",
                                      time_json(recoveries, times.p99_ns), "max_ms", time_json(recoveries, times.max_ns)));
    }
    return all;
}

static json_t *faults_json(const struct chaos_report *report)
{
    json_t *all = json_array();
    for (size_t i = 0; i < report->fault_count; i++) {
        const struct fault_record *fault = &report->faults[i];
        json_array_append_new(all, json_pack("{s:I, s:s, s:s, s:b}", "number", (json_int_t)fault->number, "kind", fault->kind,
                                             "place",
                                             fault->place, "hit", fault->hit));
    }
    return all;
}

static json_t *samples_json(const struct difference *difference)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < difference->sample_count; i++)
        json_array_append_new(all, json_pack("{s:s, s:s}", "how", difference->samples[i].how, "record",
                                             difference->samples[i].text));
    return all;
}

static json_t *cases_json(const struct chaos_report *report)
{
    json_t *all = json_array();
    for (size_t i = 0; i < report->case_count; i++) {
        const struct run_case *run = &report->cases[i];
        const struct difference *difference = &run->difference;
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:f, s:I, s:i, s:I, s:I, s:I, s:I, s:o, s:s, s:s}", "name", run->name, "state",
                           state_names[run->state], "duration_ms", (double)run->duration_ns / 1e6, "faults", (json_int_t)run->faults,
                           "launches", (int)run->launches, "compared", (json_int_t)difference->compared, "lost",
                           (json_int_t)difference->lost, "doubled", (json_int_t)difference->doubled, "wrong",
                           (json_int_t)difference->wrong, "examples", samples_json(difference), "error", run->text, "kept",
                           run->directory));
    }
    return all;
}

json_t *report_json(struct chaos_report *report)
{
    struct chaos_totals totals = report_totals(report);
    json_t *faults = json_pack("{s:I, s:I, s:I, s:o}", "wanted", (json_int_t)report->faults_wanted, "hit",
                               (json_int_t)totals.hits,
                               "missed", (json_int_t)totals.misses, "list", faults_json(report));
    json_t *records = json_pack("{s:I, s:I, s:I, s:I}", "compared", (json_int_t)totals.compared, "lost", (json_int_t)totals.lost,
                                "doubled", (json_int_t)totals.doubled, "wrong", (json_int_t)totals.wrong);
    return json_pack("{s:s, s:I, s:b, s:f, s:o, s:o, s:o, s:o}", "job", report->job, "seed", (json_int_t)report->seed, "same",
                     totals.differing + totals.failed == 0 && !report->out_of_memory, "duration_ms", (double)report->duration_ns / 1e6,
                     "faults", faults, "recoveries", recoveries_json(report), "records", records, "runs", cases_json(report));
}

/* ---- JUnit ---- */

static void put_xml(FILE *out, const char *text)
{
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '<')
            fputs("&lt;", out);
        else if (byte == '>')
            fputs("&gt;", out);
        else if (byte == '&')
            fputs("&amp;", out);
        else if (byte == '"')
            fputs("&quot;", out);
        else
            putc(byte >= ' ' && byte < 0x7f ? byte : byte == '\n' ? ' ' : '?', out); /* nothing that an encoding could refuse */
    }
}

static void put_samples(FILE *out, const struct difference *difference)
{
    for (unsigned i = 0; i < difference->sample_count; i++) {
        fprintf(out, "%s: ", difference->samples[i].how);
        put_xml(out, difference->samples[i].text);
        putc('\n', out);
    }
}

static void put_case(FILE *out, const struct chaos_report *report, const struct run_case *run)
{
    fputs("  <testcase classname=\"weir.chaos.", out);
    put_xml(out, report->job);
    fputs("\" name=\"", out);
    put_xml(out, run->name);
    fprintf(out, "\" time=\"%.3f\">\n", (double)run->duration_ns / 1e9);
    if (run->state == CASE_NOT_REACHED)
        fputs("    <skipped message=\"not reached\"/>\n", out);
    if (run->state == CASE_DIFFERS || run->state == CASE_FAILED) {
        fprintf(out, "    <%s message=\"", run->state == CASE_DIFFERS ? "failure" : "error");
        put_xml(out, run->text);
        fputs("\">", out);
        put_samples(out, &run->difference);
        fprintf(out, "</%s>\n", run->state == CASE_DIFFERS ? "failure" : "error");
    }
    fputs("  </testcase>\n", out);
}

int report_junit(struct chaos_report *report, const char *path, struct weir_error *err)
{
    struct chaos_totals totals = report_totals(report);
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return error_set_errno(err, errno, "--junit: cannot write '%s'", path);
    fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"weir chaos\" tests=\"%llu\" failures=\"%llu\" "
                 "errors=\"%llu\" "
                 "skipped=\"%llu\" time=\"%.3f\">\n", (unsigned long long)totals.runs, (unsigned long long)totals.differing,
            (unsigned long long)totals.failed, (unsigned long long)totals.not_reached, (double)report->duration_ns / 1e9);
    fprintf(out, "  <properties>\n    <property name=\"seed\" value=\"%llu\"/>\n  </properties>\n",
            (unsigned long long)report->seed);
    for (size_t i = 0; i < report->case_count; i++)
        put_case(out, report, &report->cases[i]);
    fputs("</testsuite>\n", out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return error_set_errno(err, errno, "--junit: cannot write '%s'", path);
    return WEIR_OK;
}
