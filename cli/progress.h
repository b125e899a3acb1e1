/*
 * progress.h - the line that `run` keeps on a terminal while the job runs, and the one that it leaves behind. Nothing at all where
 * standard error is no terminal.
 */
#ifndef WEIR_CLI_PROGRESS_H
#define WEIR_CLI_PROGRESS_H

#include "engine/cli_api.h"

struct progress {
    const char *job_name; /* borrowed */
    bool shown;           /* standard error is a terminal, and the user did not turn it off */
    struct run_observer observer; /* for job_run() */
};

/* Plain data; `progress` must stay where it is while the job runs. */
void progress_init(struct progress *progress, const char *job_name, const struct job_options *options);
/* The line's text for a width of `columns`, without line end; pure. Returns buffer. */
const char *progress_format(const char *job_name, const struct job_progress *now, unsigned columns, char *buffer, size_t capacity);

#endif
