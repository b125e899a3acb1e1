/*
 * idle_job.c - the job of figure `idle`: lines from standard input, the keyed count with empty state in `tasks` processes, a sink that drops
 * what comes. Nothing ever comes: bench/run holds the other end of the pipe.
 *
 *     idle_job run [--set tasks=N] [options of run; see run --help]
 */
#include "count.h"

static int build(struct weir_job *job)
{
    static const struct weir_line_source_options input = {.address = "-"};
    unsigned tasks = (unsigned)weir_param_u64(job, "tasks", 1, "Parallelism of the keyed operator");
    struct weir_stream *lines = weir_add_source(job, "source", &weir_line_source, &input);
    struct weir_stream *keyed = weir_key_by(lines, 0, 8);
    struct weir_stream *counts = weir_parallelism(weir_process(keyed, "count", &count_operator, NULL), tasks);
    weir_add_sink(weir_rebalance(counts), "sink", &weir_null_sink, NULL);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "idle", build); }
