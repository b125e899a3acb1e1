/*
 * keyed_count.c - the job of figure `keyed`: a binary file of bids (make_bids), count and highest price per auction, one update out per
 * record, a sink that drops them. Three processes: key-by and rebalance keep the operators apart.
 *
 *     keyed_count run --set input=FILE [options of run; see run --help]
 *
 * input may be a directory: its files are read one after another.
 */
#include "count.h"

static int build(struct weir_job *job)
{
    struct weir_file_source_options *source = weir_job_alloc(job, sizeof *source);
    if (source == NULL)
        return WEIR_ENOMEM;
    source->path = weir_param(job, "input", "bids.bin", "File or directory of 32-byte bids");
    source->format = WEIR_BINARY;
    source->record_bytes = sizeof(struct bid);
    struct weir_stream *bids = weir_add_source(job, "source", &weir_file_source, source);
    struct weir_stream *keyed = weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t));
    struct weir_stream *counts = weir_process(keyed, "count", &count_operator, NULL);
    weir_add_sink(weir_rebalance(counts), "sink", &weir_null_sink, NULL);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "keyed-count", build); }
