#include "cli/progress.h"

#include "engine/option_value.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NUMBER_BYTES 32

static unsigned terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 80;
    return size.ws_col;
}

static void format_checkpoints(const struct job_progress *now, bool brief, char *text, size_t capacity)
{
    char duration[NUMBER_BYTES], bytes[NUMBER_BYTES], failed[64] = "";
    if (now->checkpoints_failed > 0)
        snprintf(failed, sizeof failed, ", %llu failed", (unsigned long long)now->checkpoints_failed);
    if (now->checkpoint_last == 0)
        snprintf(text, capacity, "checkpoints none%s", failed);
    else if (brief)
        snprintf(text, capacity, "checkpoints %llu%s", (unsigned long long)now->checkpoints_completed, failed);
    else
        snprintf(text, capacity, "checkpoints %llu (last %s, %s)%s", (unsigned long long)now->checkpoints_completed,
                 human_duration(now->checkpoint_last_duration_ns, duration, sizeof duration),
                 human_bytes(now->checkpoint_last_bytes, bytes, sizeof bytes), failed);
}

/* A brief one leaves out what came out and how the last checkpoint went. Returns its length. */
static size_t format_line(const char *job_name, const struct job_progress *now, bool brief, char *buffer, size_t capacity)
{
    char in[NUMBER_BYTES], number[NUMBER_BYTES], out[NUMBER_BYTES + 8] = "", rate[NUMBER_BYTES], lag[NUMBER_BYTES], uptime[NUMBER_BYTES];
    char checkpoints[192], restarts[64] = "";
    double seconds = (double)now->uptime_ns / 1e9;
    double in_per_s = now->ended && seconds > 0 ? (double)now->records_in / seconds : now->records_in_per_s;
    format_checkpoints(now, brief, checkpoints, sizeof checkpoints);
    if (!brief)
        snprintf(out, sizeof out, ", out %s", human_count((double)now->records_out, number, sizeof number));
    if (now->restarts > 0)
        snprintf(restarts, sizeof restarts, ", recoveries %llu", (unsigned long long)now->restarts);
    snprintf(buffer, capacity, "%s: %s %s, in %s (%s/s)%s, lag %s, %s%s", job_name, now->state,
             human_duration(now->uptime_ns, uptime, sizeof uptime), human_count((double)now->records_in, in, sizeof in),
             human_count(in_per_s, rate, sizeof rate), out, human_count((double)now->lag_records, lag, sizeof lag), checkpoints, restarts);
    return strlen(buffer);
}

const char *progress_format(const char *job_name, const struct job_progress *now, unsigned columns, char *buffer, size_t capacity)
{
    size_t columns_max = now->ended || columns <= 1 ? capacity : columns - 1;
    if (format_line(job_name, now, false, buffer, capacity) > columns_max &&
        format_line(job_name, now, true, buffer, capacity) > columns_max)
        buffer[columns_max] = 0;
    return buffer;
}

/* One write(2) a line, so that it does not mix with the log lines of other processes. */
static void show(void *self, const struct job_progress *now)
{
    const struct progress *progress = self;
    char text[512], line[sizeof text + 16];
    if (!progress->shown)
        return;
    progress_format(progress->job_name, now, terminal_columns(), text, sizeof text);
    int size_bytes = snprintf(line, sizeof line, "\r%s\033[K%s", text, now->ended ? "\n" : "");
    if (write(STDERR_FILENO, line, (size_t)size_bytes) < 0)
        return; /* the terminal has gone: the job goes on */
}

void progress_init(struct progress *progress, const char *job_name, const struct job_options *options)
{
    *progress = (struct progress){
        .job_name = job_name,
        .shown = !options->quiet && !options->no_progress && isatty(STDERR_FILENO) == 1,
        .observer = {.self = progress, .on_progress = show},
    };
}
