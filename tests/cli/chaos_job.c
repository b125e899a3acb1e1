/*
 * chaos_job.c - a job that is right, or wrong in one of the ways that `weir chaos` must find out. Its source gives numbers at
 * a rate, so that it lives long enough to be hit.
 *
 *     broken=nothing   counts in declared state, file sink
 *     broken=private   counts in memory that it did not declare: a process that takes its place begins at 0 again
 *     broken=twice     a sink of its own that writes at once and never takes anything back
 */
#include <weir.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEEN };
static const struct weir_state states[] = {[SEEN] = {"seen", WEIR_VALUE, WEIR_PER_KEY, sizeof(uint64_t), 0}};

struct counted {
    uint64_t key, seen;
};
static const struct weir_field fields[] = {{"key", WEIR_U64, offsetof(struct counted, key), 0},
                                           {"seen", WEIR_U64, offsetof(struct counted, seen), 0}};
static const struct weir_layout layout = {.name = "counted", .fields = fields, .field_count = 2};

#define KEYS 16

static uint64_t key_of(const struct weir_record *record)
{
    uint64_t number;
    memcpy(&number, record->data, sizeof number);
    return number % KEYS;
}

static int key(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    uint64_t value = key_of(record);
    memcpy(scratch, &value, sizeof value);
    *ret_key = (struct weir_bytes){scratch, sizeof value};
    return WEIR_OK;
}

static int count_declared(struct weir_ctx *ctx, const struct weir_record *record)
{
    uint64_t *seen = weir_value(ctx, SEEN);
    if (seen == NULL)
        return weir_ctx_error(ctx)->code;
    struct counted counted = {key_of(record), ++*seen};
    return weir_emit(ctx, 0, &counted, sizeof counted);
}

static uint64_t private_seen[KEYS];
static int count_private(struct weir_ctx *ctx, const struct weir_record *record)
{
    struct counted counted = {key_of(record), ++private_seen[key_of(record)]};
    return weir_emit(ctx, 0, &counted, sizeof counted);
}

static const struct weir_operator right = {
    .type = "count", .states = states, .state_count = 1, .output_layout = &layout, .on_record = count_declared};
static const struct weir_operator wrong = {.type = "count_private", .output_layout = &layout, .on_record = count_private};

/* ---- a sink that writes at once ---- */

struct hasty {
    int fd;
};

static int hasty_open(struct weir_ctx *ctx)
{
    struct hasty *hasty = weir_self(ctx);
    const char *directory = weir_arg(ctx);
    char path[4096];
    for (size_t i = 1; directory[i - 1] != 0; i++) /* mkdir -p */
        if (directory[i] == '/' || directory[i] == 0) {
            snprintf(path, sizeof path, "%.*s", (int)i, directory);
            if (mkdir(path, 0700) != 0 && errno != EEXIST)
                return weir_fail(ctx, "cannot make %s", path);
        }
    snprintf(path, sizeof path, "%s/lines", directory);
    hasty->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return hasty->fd >= 0 ? WEIR_OK : weir_fail(ctx, "cannot open %s", path);
}

static int hasty_write(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct hasty *hasty = weir_self(ctx);
    char line[64];
    size_t size_bytes = weir_format_text(&layout, record->data, record->size_bytes, line, sizeof line - 1);
    line[size_bytes++] = '\n';
    return write(hasty->fd, line, size_bytes) == (ssize_t)size_bytes ? WEIR_OK : weir_fail(ctx, "write");
}

static const struct weir_sink hasty_sink = {
    .type = "hasty", .self_bytes = sizeof(struct hasty), .open = hasty_open, .write = hasty_write};

/* ---- the job ---- */

static int build(struct weir_job *job)
{
    const char *broken = weir_param(job, "broken", "nothing", "nothing, private or twice");
    const char *output = weir_param(job, "output", "out", "a directory");
    struct weir_sequence_source_options *numbers = weir_job_alloc(job, sizeof *numbers);
    struct weir_file_sink_options *files = weir_job_alloc(job, sizeof *files);
    if (numbers == NULL || files == NULL)
        return WEIR_ENOMEM;
    numbers->count = weir_param_u64(job, "count", 10000, "how many numbers");
    numbers->per_second = weir_param_u64(job, "rate", 20000, "numbers a second");
    files->directory = output;
    struct weir_stream *in = weir_key_by_fn(weir_add_source(job, "numbers", &weir_sequence_source, numbers), key);
    struct weir_stream *counted = weir_process(in, "count", strcmp(broken, "private") == 0 ? &wrong : &right, NULL);
    if (strcmp(broken, "twice") == 0)
        weir_no_chain(weir_add_sink(counted, "sink", &hasty_sink, output));
    else
        weir_add_sink(counted, "sink", &weir_file_sink, files);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "chaos_job", build); }
