/*
 * crash_job.c - the job that is killed: every kind of input, operator, state and edge in one graph, and an output that is a function
 * of its parameters alone, however the records of its inputs interleave (tests/crash/oracle.py computes it without any of this).
 *
 *   file(2) -> tag(2) ----key---> track(2) --key------------------------------> union -> sink(P)
 *              |                    |  ^       `-side-> burst(2) --key--------^
 *              |       `-----key-> tally(1) -> tally_sink(1)
 *   sequence(2) -> make(2) --key----+
 *
 * A key comes from one instance of each source only, and what `track` remembers of its two inputs it keeps apart: so the
 * state that a record finds is the same in every run.
 */
#include <weir.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KIND_TRACK = 1, KIND_SIDE = 2, KIND_BURST = 3, KIND_TIMER = 4, KIND_TALLY = 5, KIND_TOTAL = 6 };

#define BURST_COUNT 200
#define TIMER_DELAY_MS 3

/* A record of the input file, and what `make` makes of a number. */
struct event {
    uint64_t source;
    uint64_t sequence;
    uint64_t key;
    uint64_t hash;
};

struct row {
    uint64_t kind, source, sequence, key, count, sum, extra, last;
};
static const struct weir_field row_fields[] = {
    {"kind", WEIR_U64, 0, 0},   {"source", WEIR_U64, 8, 0}, {"sequence", WEIR_U64, 16, 0}, {"key", WEIR_U64, 24, 0},
    {"count", WEIR_U64, 32, 0}, {"sum", WEIR_U64, 40, 0},   {"extra", WEIR_U64, 48, 0},    {"last", WEIR_U64, 56, 0},
};
static const struct weir_layout row_layout = {.name = "row", .fields = row_fields, .field_count = 8};

enum fault { FAULT_NONE, FAULT_SEGV, FAULT_ABORT, FAULT_FAIL, FAULT_SPIN };

struct settings {
    uint64_t keys;
    uint64_t seed;
    uint64_t per_second; /* of `tag`, over both instances; 0: no limit */
    bool timers;
    uint64_t far_timer_ms; /* of timers that are cancelled before their time */
    enum fault fault;
    bool fault_in_tally;
    uint64_t fault_at;
    const char *fault_once; /* a file that is made at the first fault, and keeps others from happening; "": every time */
};

static uint64_t mix(uint64_t x) /* splitmix64's finalizer */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* ---- faults ---- */

static bool fault_is_due(const struct settings *settings, uint64_t sequence)
{
    if (settings->fault == FAULT_NONE || sequence != settings->fault_at)
        return false;
    if (settings->fault_once[0] == 0)
        return true;
    int fd = open(settings->fault_once, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static int do_fault(struct weir_ctx *ctx, const struct settings *settings)
{
    static volatile int *const nowhere = NULL;
    switch (settings->fault) {
    case FAULT_SEGV:
        *nowhere = 1;
        break;
    case FAULT_ABORT:
        abort();
    case FAULT_SPIN:
        for (;;)
            pause();
    case FAULT_FAIL:
        return weir_fail(ctx, "record %llu is not to my taste", (unsigned long long)settings->fault_at);
    case FAULT_NONE:
        break;
    }
    return WEIR_OK;
}

/* ---- tag: a stateless map that keeps the pace of its file ---- */

static void keep_pace(const struct settings *settings, uint64_t sequence)
{
    if (settings->per_second == 0 || sequence % 32 != 0)
        return;
    uint64_t pause_ns = UINT64_C(32) * 2 * 1000000000 / settings->per_second;
    struct timespec pause = {(time_t)(pause_ns / 1000000000), (long)(pause_ns % 1000000000)};
    nanosleep(&pause, NULL);
}

static int64_t tag(const struct weir_record *record, void *out, const void *arg)
{
    const struct event *in = record->data;
    struct event *event = out;
    *event = *in;
    event->hash = mix(in->hash);
    keep_pace(arg, in->sequence);
    return sizeof *event;
}

/* ---- make: numbers to events ---- */

static int make(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct settings *settings = weir_arg(ctx);
    uint64_t sequence;
    memcpy(&sequence, record->data, sizeof sequence);
    uint64_t hash = mix(settings->seed ^ mix(sequence));
    if (hash % 16 == 3) /* a flat-map may drop */
        return WEIR_OK;
    struct event *event = weir_reserve(ctx, 0, sizeof *event);
    if (event == NULL)
        return weir_ctx_error(ctx)->code;
    *event = (struct event){1, sequence, hash % settings->keys * 2 + sequence % 2, hash};
    return weir_emit_reserved(ctx, sizeof *event);
}

/* ---- track: two inputs, all kinds of keyed state, a side output, timers ---- */

enum { TRACK_TOTALS, TRACK_RECENT, TRACK_CLASSES, TRACK_LAST, TRACK_TIMERS };
struct totals {
    uint64_t count[2];
    uint64_t sum[2];
};
static const struct weir_state track_states[] = {
    {.name = "totals", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct totals)},
    {.name = "recent", .kind = WEIR_LIST, .scope = WEIR_PER_KEY},
    {.name = "classes", .kind = WEIR_MAP, .scope = WEIR_PER_KEY},
    {.name = "last", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY},
    {.name = "timers", .kind = WEIR_MAP, .scope = WEIR_PER_OPERATOR},
};

struct timer_name {
    uint64_t key;
    uint64_t id;
};

static uint64_t fold(uint64_t so_far, const void *data, size_t size_bytes)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size_bytes; i++)
        so_far = so_far * 31 + bytes[i];
    return so_far;
}

/* A list of elements of varying size; folded and begun anew at every 50th. */
static int keep_recent(struct weir_ctx *ctx, const struct event *event, uint64_t *ret_fold)
{
    unsigned char element[64];
    size_t size_bytes = 8 + event->hash % 40;
    memset(element, (int)(event->hash & 0xff), sizeof element);
    memcpy(element, &event->sequence, 8);
    int code = weir_list_append(ctx, TRACK_RECENT, element, size_bytes);
    if (code < 0)
        return code;
    *ret_fold = weir_count(ctx, TRACK_RECENT);
    if (*ret_fold < 50)
        return WEIR_OK;
    struct weir_iterator iterator = {0};
    struct weir_bytes got;
    while ((code = weir_list_next(ctx, TRACK_RECENT, &iterator, &got)) == WEIR_OK)
        *ret_fold = fold(*ret_fold, got.data, got.size_bytes);
    return code < 0 ? code : weir_clear(ctx, TRACK_RECENT);
}

/* A varying value: the previous record's is folded, this one's put in its place. */
static int keep_last(struct weir_ctx *ctx, const struct event *event, uint64_t *ret_fold)
{
    size_t size_bytes = 0;
    const void *last = weir_value_get(ctx, TRACK_LAST, &size_bytes);
    *ret_fold = last != NULL ? fold(size_bytes, last, size_bytes) : 0;
    unsigned char bytes[300];
    memset(bytes, (int)(event->hash >> 8 & 0xff), sizeof bytes);
    return weir_value_set(ctx, TRACK_LAST, bytes, event->hash % 300);
}

/* A map of seven classes: an entry goes at its fifth record, all of them at every 64th. */
static int keep_classes(struct weir_ctx *ctx, const struct event *event, uint64_t count, uint64_t *ret_class, uint64_t *ret_total)
{
    uint64_t class = event->hash % 7;
    uint64_t *seen = weir_map_value(ctx, TRACK_CLASSES, &class, sizeof class, sizeof *seen);
    if (seen == NULL)
        return weir_ctx_error(ctx)->code;
    *ret_class = ++*seen;
    *ret_total = 0;
    if (*ret_class == 5)
        return weir_map_remove(ctx, TRACK_CLASSES, &class, sizeof class);
    if (count % 64 != 0)
        return WEIR_OK;
    struct weir_iterator iterator = {0};
    struct weir_bytes key, value;
    int code;
    while ((code = weir_map_next(ctx, TRACK_CLASSES, &iterator, &key, &value)) == WEIR_OK) {
        uint64_t one;
        memcpy(&one, value.data, sizeof one);
        *ret_total += one;
    }
    return code < 0 ? code : weir_clear(ctx, TRACK_CLASSES);
}

/* Every 16th record sets a timer that must fire exactly once, every 8th between one that is cancelled before its time. */
static int keep_timers(struct weir_ctx *ctx, const struct settings *settings, const struct event *event, uint64_t count)
{
    struct timer_name name = {event->key, count};
    if (count % 16 == 8)
        return weir_timer_set(ctx, UINT64_MAX, weir_now_ms(ctx) + (int64_t)settings->far_timer_ms);
    if (count % 16 == 12)
        return weir_timer_cancel(ctx, UINT64_MAX);
    if (count % 16 != 0)
        return WEIR_OK;
    int code = weir_map_put(ctx, TRACK_TIMERS, &name, sizeof name, "", 1);
    return code < 0 ? code : weir_timer_set(ctx, count, weir_now_ms(ctx) + TIMER_DELAY_MS);
}

static int emit_timer(struct weir_ctx *ctx, const struct timer_name *name)
{
    struct row row = {.kind = KIND_TIMER, .key = name->key, .count = name->id};
    return weir_emit(ctx, 0, &row, sizeof row);
}

static int track_timer(struct weir_ctx *ctx, uint64_t id, int64_t at_ms)
{
    (void)at_ms;
    size_t size_bytes;
    struct timer_name name = {.id = id};
    memcpy(&name.key, weir_key(ctx, &size_bytes), sizeof name.key);
    if (id == UINT64_MAX)
        return weir_fail(ctx, "a cancelled timer fired");
    if (weir_map_remove(ctx, TRACK_TIMERS, &name, sizeof name) != WEIR_OK)
        return weir_fail(ctx, "timer %llu fired twice", (unsigned long long)id);
    return emit_timer(ctx, &name);
}

/* Those whose time had not come. */
static int track_end(struct weir_ctx *ctx)
{
    struct weir_iterator iterator = {0};
    struct weir_bytes key, value;
    struct timer_name *names = calloc(weir_count(ctx, TRACK_TIMERS) + 1, sizeof *names);
    if (names == NULL)
        return weir_fail(ctx, "out of memory");
    size_t count = 0;
    int code;
    while ((code = weir_map_next(ctx, TRACK_TIMERS, &iterator, &key, &value)) == WEIR_OK)
        memcpy(&names[count++], key.data, sizeof *names);
    for (size_t i = 0; code >= 0 && i < count; i++)
        code = emit_timer(ctx, &names[i]);
    if (code >= 0)
        code = weir_clear(ctx, TRACK_TIMERS);
    free(names);
    return code;
}

static int track(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct settings *settings = weir_arg(ctx);
    struct event event;
    memcpy(&event, record->data, sizeof event);
    unsigned input = record->input;
    struct totals *totals = weir_value(ctx, TRACK_TOTALS);
    if (totals == NULL)
        return weir_ctx_error(ctx)->code;
    struct row row = {.kind = KIND_TRACK, .source = event.source, .sequence = event.sequence, .key = event.key};
    row.count = ++totals->count[input];
    row.sum = totals->sum[input] = totals->sum[input] * 31 + event.hash;
    if (input == 0 && !settings->fault_in_tally && fault_is_due(settings, event.sequence)) {
        int code = do_fault(ctx, settings); /* the state above is changed already: none of that may be kept */
        if (code < 0)
            return code;
    }
    int code = input == 0 ? keep_recent(ctx, &event, &row.extra) : keep_classes(ctx, &event, row.count, &row.extra, &row.last);
    if (code >= 0 && input == 0)
        code = keep_last(ctx, &event, &row.last);
    if (code >= 0 && input == 0 && settings->timers)
        code = keep_timers(ctx, settings, &event, row.count);
    if (code >= 0)
        code = weir_emit(ctx, 0, &row, sizeof row);
    if (code >= 0 && event.hash % 10 == 0) {
        row.kind = KIND_SIDE;
        code = weir_emit(ctx, 1, &row, sizeof row);
    }
    return code;
}

static const struct weir_operator track_operator = {
    .type = "track",
    .states = track_states,
    .state_count = 5,
    .output_count = 2,
    .output_layout = &row_layout,
    .on_record = track,
    .on_timer = track_timer,
    .on_end = track_end,
};

/* ---- burst: more output for one record than a ring may have room for ---- */

static int burst(struct weir_ctx *ctx, const struct weir_record *record)
{
    struct row row;
    memcpy(&row, record->data, sizeof row);
    int code = weir_emit(ctx, 0, &row, sizeof row);
    if (row.sum % 97 != 0)
        return code;
    row.kind = KIND_BURST;
    for (uint64_t i = 0; code >= 0 && i < BURST_COUNT; i++) {
        row.extra = i;
        code = weir_emit(ctx, 0, &row, sizeof row);
    }
    return code;
}

/* ---- tally: whole batches at once, by key, and state of the operator ---- */

struct tally_sum {
    uint64_t count;
    uint64_t sum;
};
enum { TALLY_TOTAL, TALLY_KEYS };
static const struct weir_state tally_states[] = {
    {.name = "total", .kind = WEIR_VALUE, .scope = WEIR_PER_OPERATOR, .size_bytes = sizeof(struct tally_sum)},
    {.name = "keys", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct tally_sum)},
};

/* Counts and sums the records of each key; fills in the rows. */
static int tally_keys(struct weir_ctx *ctx, const struct weir_record *records, size_t count, struct row *rows)
{
    void *keys[WEIR_BATCH_RECORDS_MAX];
    int code = weir_values(ctx, TALLY_KEYS, records, count, keys);
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        struct event event;
        struct tally_sum *key = keys[i];
        memcpy(&event, records[i].data, sizeof event);
        rows[i] = (struct row){.kind = KIND_TALLY, .source = event.source, .sequence = event.sequence, .key = event.key};
        rows[i].sum = event.hash;
        rows[i].count = ++key->count;
        rows[i].extra = key->sum = key->sum * 31 + event.hash;
    }
    return code;
}

static int tally(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct settings *settings = weir_arg(ctx);
    struct row rows[WEIR_BATCH_RECORDS_MAX];
    int code = tally_keys(ctx, records, count, rows);
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        if (settings->fault_in_tally && fault_is_due(settings, rows[i].sequence))
            code = do_fault(ctx, settings); /* state is changed already, of all keys: none of that may be kept */
        struct tally_sum *total = code == WEIR_OK ? weir_value(ctx, TALLY_TOTAL) : NULL;
        if (total == NULL)
            return code == WEIR_OK ? weir_ctx_error(ctx)->code : code;
        total->count++;
        total->sum += rows[i].sum; /* the order in which two instances' records come does not matter */
    }
    return code == WEIR_OK ? weir_emit_batch(ctx, 0, rows, sizeof rows[0], count) : code;
}

static int tally_end(struct weir_ctx *ctx)
{
    const struct tally_sum *total = weir_value(ctx, TALLY_TOTAL);
    if (total == NULL)
        return weir_ctx_error(ctx)->code;
    struct row row = {.kind = KIND_TOTAL, .count = total->count, .sum = total->sum};
    return weir_emit(ctx, 0, &row, sizeof row);
}

static const struct weir_operator tally_operator = {
    .type = "tally",
    .states = tally_states,
    .state_count = 2,
    .output_layout = &row_layout,
    .on_batch = tally,
    .on_end = tally_end,
};

/* ---- the graph ---- */

static int read_fault(struct weir_job *job, struct settings *settings)
{
    static const char *const names[] = {"none", "segv", "abort", "fail", "spin"};
    const char *name = weir_param(job, "fault", "none", "what goes wrong at record fault-at: none, segv, abort, fail, spin");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) {
            settings->fault = (enum fault)i;
            return WEIR_OK;
        }
    return weir_job_fail(job, "there is no fault '%s'", name);
}

static struct settings *read_settings(struct weir_job *job)
{
    struct settings *settings = weir_job_alloc(job, sizeof *settings);
    if (settings == NULL)
        return NULL;
    settings->keys = weir_param_u64(job, "keys", 50, "keys, twice");
    settings->seed = weir_param_u64(job, "seed", 1, "of the sequence's payload");
    settings->per_second = weir_param_u64(job, "rate", 0, "records per second of each source; 0: as fast as it goes");
    settings->timers = weir_param_u64(job, "timers", 0, "1: with processing-time timers") != 0;
    settings->far_timer_ms = weir_param_u64(job, "far-timer", 3600000, "ms until a timer that is cancelled before");
    settings->fault_in_tally = strcmp(weir_param(job, "fault-in", "track", "track or tally"), "tally") == 0;
    settings->fault_at = weir_param_u64(job, "fault-at", 0, "sequence number of the file's record");
    settings->fault_once = weir_param(job, "fault-once", "", "a file: only once, while it is not there");
    return read_fault(job, settings) == WEIR_OK ? settings : NULL;
}

static struct weir_stream *add_file(struct weir_job *job, const struct settings *settings)
{
    static const struct weir_field fields[] = {
        {"source", WEIR_U64, 0, 0}, {"sequence", WEIR_U64, 8, 0}, {"key", WEIR_U64, 16, 0}, {"hash", WEIR_U64, 24, 0}};
    static const struct weir_layout layout = {.name = "event", .fields = fields, .field_count = 4};
    struct weir_file_source_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return NULL;
    options->path = weir_param(job, "input", "input.bin", "file of 32-byte events");
    options->format = WEIR_BINARY;
    options->record_bytes = sizeof(struct event);
    options->layout = &layout;
    unsigned files = (unsigned)weir_param_u64(job, "files", 2, "parallelism of the file source; with 1, tally can be chained to it");
    struct weir_stream *file = weir_parallelism(weir_add_source(job, "file", &weir_file_source, options), files);
    return weir_parallelism(weir_map(file, "tag", tag, sizeof(struct event), settings), files);
}

static struct weir_stream *add_sequence(struct weir_job *job, const struct settings *settings)
{
    struct weir_sequence_source_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return NULL;
    options->count = weir_param_u64(job, "count", 1000, "numbers of the sequence");
    options->per_second = settings->per_second;
    struct weir_stream *sequence = weir_parallelism(weir_add_source(job, "sequence", &weir_sequence_source, options), 2);
    return weir_parallelism(weir_flat_map(sequence, "make", make, settings), 2);
}

static void add_sink(struct weir_job *job, struct weir_stream *in, const char *name, const char *directory, unsigned parallelism)
{
    struct weir_file_sink_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return; /* the job has the error */
    options->directory = directory;
    options->format = WEIR_TEXT_LINES;
    options->roll_bytes = 65536;
    weir_parallelism(weir_add_sink(in, name, &weir_file_sink, options), parallelism);
}

static int build(struct weir_job *job)
{
    const uint32_t key_at = offsetof(struct event, key), row_key_at = offsetof(struct row, key);
    struct settings *settings = read_settings(job);
    if (settings == NULL)
        return WEIR_EINVAL;
    struct weir_stream *tagged = add_file(job, settings);
    struct weir_stream *inputs[] = {weir_key_by(tagged, key_at, 8), weir_key_by(add_sequence(job, settings), key_at, 8)};
    struct weir_stream *tracked = weir_parallelism(weir_process_n(inputs, 2, "track", &track_operator, settings), 2);
    struct weir_stream *bursts = weir_set_layout(
        weir_parallelism(weir_flat_map(weir_side_output(tracked, 1), "burst", burst, NULL), 2), &row_layout);
    struct weir_stream *rows[] = {weir_key_by(tracked, row_key_at, 8), weir_key_by(bursts, row_key_at, 8)};
    unsigned sinks = (unsigned)weir_param_u64(job, "sinks", 2, "parallelism of the sink");
    add_sink(job, weir_union(rows, 2), "sink", weir_param(job, "output", "output", "directory"), sinks);
    struct weir_stream *tallied = weir_process(weir_key_by(tagged, key_at, 8), "tally", &tally_operator, settings);
    add_sink(job, tallied, "tally_sink", weir_param(job, "tallies", "tallies", "directory"), 1);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "crash", build); }
