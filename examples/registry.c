/* registry.c - the list of examples, and what they share. */
#include "examples.h"

#include <string.h>

const struct weir_example weir_examples[] = {
    {"wordcount", "lines of text to a count per word", wordcount_build},
    {"weblog", "a web server's log to hits, bytes and errors per path and status", weblog_build},
    {"nexmark_q0", "Nexmark query 0: every event, unchanged", nexmark_q0_build},
    {"nexmark_q1", "Nexmark query 1: the price of every bid, in euros", nexmark_q1_build},
    {"nexmark_q2", "Nexmark query 2: the bids for every 123rd auction", nexmark_q2_build},
    {"nexmark_bids", "Nexmark bids to their number and the highest price per auction", nexmark_bids_build},
};
const size_t weir_example_count = sizeof(weir_examples) / sizeof(weir_examples[0]);

static bool example_yes_no(struct weir_job *job, const char *name, const char *help)
{
    const char *value = weir_param(job, name, "no", help);
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        weir_job_fail(job, "%s=%s is neither yes nor no", name, value);
    return strcmp(value, "yes") == 0;
}

static struct weir_stream *add_file_source(struct weir_job *job, const char *name, const char *path, bool follow)
{
    struct weir_file_source_options *options = weir_job_alloc(job, sizeof(*options));
    if (options == NULL)
        return NULL;
    options->path = path;
    options->follow = follow;
    return weir_add_source(job, name, &weir_file_source, options);
}

static struct weir_stream *add_line_source(struct weir_job *job, const char *name, const char *address, bool journal)
{
    struct weir_line_source_options *options = weir_job_alloc(job, sizeof(*options));
    if (options == NULL)
        return NULL;
    options->address = address;
    options->journal = journal;
    return weir_add_source(job, name, &weir_line_source, options);
}

struct weir_stream *example_add_lines(struct weir_job *job, const char *name)
{
    const char *input = weir_param(job, "input", NULL,
                                   "a text file, a directory or a glob; - is standard input, tcp:HOST:PORT or unix:PATH a socket");
    bool follow = example_yes_no(job, "follow", "yes: goes on with what is appended to the files, until it is stopped");
    bool journal = example_yes_no(job, "journal", "yes: lines of standard input or of a socket are made durable first; without it "
                                                  "a failure loses those in flight");
    if (input == NULL) {
        weir_job_fail(job, "nothing to read: give --set input=PATH");
        return NULL;
    }
    bool is_stream = strcmp(input, "-") == 0 || strncmp(input, "tcp:", 4) == 0 || strncmp(input, "unix:", 5) == 0;
    if (is_stream ? follow : journal)
        weir_job_fail(job, is_stream ? "follow=yes is for files: input=%s ends when it is closed" : "journal=yes: input=%s is a file, which is read again "
                           "after a failure, without a journal", input);
    return is_stream ? add_line_source(job, name, input, journal) : add_file_source(job, name, input, follow);
}

/* `text`, or -1 where the job's parameter `format` is neither. */
static int example_format(struct weir_job *job)
{
    const char *format = weir_param(job, "format", "text", "form of the results: text (tabs between fields) or json");
    if (strcmp(format, "json") == 0)
        return WEIR_JSON_LINES;
    if (strcmp(format, "text") == 0)
        return WEIR_TEXT_LINES;
    weir_job_fail(job, "format=%s is neither text nor json", format);
    return -1;
}

static struct weir_stream *add_file_sink(struct weir_job *job, struct weir_stream *in, const char *name,
                                         const char *directory, enum weir_output_format format)
{
    struct weir_file_sink_options *options = weir_job_alloc(job, sizeof(*options));
    if (options == NULL)
        return NULL;
    options->directory = directory;
    options->format = format;
    options->suffix = format == WEIR_JSON_LINES ? ".json" : ".txt";
    return weir_add_sink(in, name, &weir_file_sink, options);
}

static struct weir_stream *add_stdout_sink(struct weir_job *job, struct weir_stream *in, const char *name,
                                           enum weir_output_format format)
{
    struct weir_stdout_sink_options *options = weir_job_alloc(job, sizeof(*options));
    if (options == NULL)
        return NULL;
    options->format = format;
    return weir_add_sink(in, name, &weir_stdout_sink, options);
}

struct weir_stream *example_add_sink(struct weir_job *job, struct weir_stream *in, const char *name,
                                     const char *directory)
{
    int format = example_format(job);
    if (format < 0)
        return NULL;
    if (directory[0] == 0)
        return weir_add_sink(in, name, &weir_null_sink, NULL);
    if (strcmp(directory, "-") == 0)
        return add_stdout_sink(job, in, name, (enum weir_output_format)format);
    return add_file_sink(job, in, name, directory, (enum weir_output_format)format);
}

unsigned example_parallelism(struct weir_job *job)
{
    uint64_t parallelism = weir_param_u64(job, "parallelism", 1, "instances of the keyed operator and of the sink");
    if (parallelism < 1 || parallelism > WEIR_PARALLELISM_MAX) {
        weir_job_fail(job, "parallelism must be 1 to %d", WEIR_PARALLELISM_MAX);
        return 1;
    }
    return (unsigned)parallelism;
}
