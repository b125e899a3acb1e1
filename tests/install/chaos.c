/* A test of a user's, built against an installed Weir: the job of job.c under faults, and a job that must not pass. C11 and C++17. */
#include <weir_chaos.h>

#include <stdio.h>
#include <string.h>

static int64_t square(const struct weir_record *record, void *out, const void *arg)
{
    uint64_t number = *(const uint64_t *)record->data;
    (void)arg;
    *(uint64_t *)out = number * number;
    return (int64_t)sizeof number;
}

/* Numbers what it has seen by a count that it did not declare: a process that takes its place begins at 0 again. */
static uint64_t private_count;
static int64_t number_in_private(const struct weir_record *record, void *out, const void *arg)
{
    (void)record;
    (void)arg;
    *(uint64_t *)out = private_count++;
    return (int64_t)sizeof private_count;
}

static int build_with(struct weir_job *job, weir_map_fn fn)
{
    struct weir_sequence_source_options *numbers =
        (struct weir_sequence_source_options *)weir_job_alloc(job, sizeof *numbers);
    static const struct weir_file_sink_options files = {"chaos-must-not-write-here", WEIR_RAW, 0, ".bin"};
    if (numbers == NULL)
        return weir_job_fail(job, "out of memory");
    numbers->count = weir_param_u64(job, "count", 20000, "how many numbers");
    numbers->per_second = 20000;
    struct weir_stream *stream = weir_add_source(job, "numbers", &weir_sequence_source, numbers);
    stream = weir_no_chain(weir_map(stream, "square", fn, sizeof(uint64_t), NULL));
    weir_add_sink(stream, "files", &weir_file_sink, &files);
    return WEIR_OK;
}

static int build_right(struct weir_job *job) { return build_with(job, square); }
static int build_wrong(struct weir_job *job) { return build_with(job, number_in_private); }

static int failed(const char *what, const struct weir_chaos_result *result, const struct weir_error *error)
{
    fprintf(stderr, "FAILED: %s: %s; seed %llu, %llu faults, %llu compared, %llu lost, %llu doubled, %llu wrong\n", what, error->text,
            (unsigned long long)result->seed, (unsigned long long)result->faults, (unsigned long long)result->records_compared,
            (unsigned long long)result->records_lost, (unsigned long long)result->records_doubled,
            (unsigned long long)result->records_wrong);
    return 1;
}

int main(void)
{
    static const char *const options[] = {"kills=10", "record-bytes=8", "target=square", "target=coordinator"};
    static const char *const wrong[] = {"kills=3", "kils=3"};
    struct weir_chaos_result result;
    struct weir_error error = {0, ""};
    if (weir_chaos("squares", build_right, options, 4, &result, &error) != WEIR_OK)
        return failed("a right job", &result, &error);
    if (result.faults == 0 || result.records_compared != 20000 * result.runs || result.records_lost != 0 || result.kept[0] != 0)
        return failed("the numbers of a right job", &result, &error);
    if (result.in_place_count + result.rollback_count + result.disk_count + result.coordinator_count == 0)
        return failed("no recovery was seen", &result, &error);
    error.code = 0;
    if (weir_chaos("private", build_wrong, options, 3, &result, &error) != WEIR_ECORRUPT)
        return failed("a job with state of its own passed", &result, &error);
    if (result.records_lost == 0 || result.kept[0] == 0)
        return failed("the numbers of a wrong job", &result, &error);
    printf("%s\n", result.kept); /* to be deleted */
    if (weir_chaos("squares", build_right, wrong, 2, &result, &error) != WEIR_EINVAL || strstr(error.text, "kills") == NULL)
        return failed("an option that does not exist", &result, &error);
    return 0;
}
