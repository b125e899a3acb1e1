/* A user's whole program, built against an installed Weir: as C, as C++, and as a shared object for `weir run`. */
#include <weir.h>

#include <stdio.h>

static int64_t square(const struct weir_record *record, void *out, const void *arg)
{
    uint64_t number = *(const uint64_t *)record->data;
    (void)arg;
    *(uint64_t *)out = number * number;
    return (int64_t)sizeof number;
}

/* Not static: in a shared object it is found by this name. */
int weir_job_build(struct weir_job *job);
int weir_job_build(struct weir_job *job)
{
    struct weir_sequence_source_options *numbers =
        (struct weir_sequence_source_options *)weir_job_alloc(job, sizeof *numbers);
    static const struct weir_file_sink_options files = {"out", WEIR_RAW, 0, ".bin"};
    if (numbers == NULL)
        return weir_job_fail(job, "out of memory");
    numbers->count = weir_param_u64(job, "count", 1000, "how many numbers");
    struct weir_stream *stream = weir_add_source(job, "numbers", &weir_sequence_source, numbers);
    stream = weir_map(stream, "square", square, sizeof(uint64_t), NULL);
    weir_add_sink(stream, "files", &weir_file_sink, &files);
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    fprintf(stderr, "Weir %s\n", weir_version());
    return weir_main(argc, argv, "squares", weir_job_build);
}
