/*
 * due_count.c - the job of figures `latency`, `visible` and `checkpoints`: bids at a fixed rate, each bearing the time at which
 * it was due; the keyed count; and a sink that adds the time from due to now to a histogram, or the file sink.
 *
 *     due_count run --set probe=FILE --set rate=N [--set keys=N] [--set spin=1] [--set output=DIRECTORY]
 *                   [options of run; see run --help]
 *
 * The first `keys` bids are one for each auction, as fast as they go, so that the state is whole; from then on bid n is due at
 * start + n / rate, whatever became of the ones before it: a source that was held up sends what is overdue at once, with the
 * times at which it was due. Between bids the source is idle for 1 ms (with --busy-poll: for no time), or (spin=1) says that
 * there is more at once. `probe` is a file of DUE_PROBE_BYTES zeros.
 */
#include "count.h"
#include "due.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct due_options {
    struct weir_file_sink_options file; /* first: the file sink sees these options */
    struct due_probe *probe;
    uint64_t keys;
    uint64_t rate;
    bool spin;
};

struct due_bid {
    struct bid bid;
    int64_t due_ns;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the source ---- */

struct due_source {
    uint64_t next;
};

static int due_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct due_source *self = weir_self(ctx);
    if (position != NULL && position_bytes == sizeof self->next)
        self->next = *(const uint64_t *)position;
    return WEIR_OK;
}

/* When bid `number`, counted from 0 behind the first `keys`, is due. */
static int64_t due_ns_of(const struct due_options *options, int64_t origin_ns, uint64_t number)
{
    return origin_ns + (int64_t)((unsigned __int128)number * 1000000000 / options->rate);
}

static struct due_bid make_bid(const struct due_options *options, uint64_t number, int64_t due_ns)
{
    uint64_t draw = splitmix64_at(42, number + 1);
    uint64_t auction = number < options->keys ? number : draw % options->keys;
    return (struct due_bid){{auction, draw >> 32, draw % 10000, number}, due_ns};
}

/* One bid for each auction; due_ns 0: not measured. */
static size_t fill_state(const struct due_options *options, uint64_t next, struct due_bid *ret_bids, size_t max)
{
    size_t count = 0;
    for (; count < max && next + count < options->keys; count++)
        ret_bids[count] = make_bid(options, next + count, 0);
    return count;
}

/* All that is due by now. */
static size_t take_due(const struct due_options *options, uint64_t next, int64_t origin_ns, int64_t now_ns, struct due_bid *ret_bids, size_t max)
{
    size_t count = 0;
    for (; count < max; count++) {
        int64_t due_ns = due_ns_of(options, origin_ns, next + count - options->keys);
        if (due_ns > now_ns)
            break;
        ret_bids[count] = make_bid(options, next + count, due_ns);
    }
    return count;
}

static int due_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct due_options *options = weir_arg(ctx);
    struct due_source *self = weir_self(ctx);
    struct due_bid bids[WEIR_BATCH_RECORDS_MAX];
    size_t max = records_max < WEIR_BATCH_RECORDS_MAX ? records_max : WEIR_BATCH_RECORDS_MAX, count;
    if (self->next < options->keys) {
        count = fill_state(options, self->next, bids, max);
    } else {
        int64_t unset = 0, now_ns = monotonic_ns();
        if (atomic_compare_exchange_strong(&options->probe->origin_ns, &unset, now_ns + 1000000))
            return WEIR_OK;
        count = take_due(options, self->next, atomic_load(&options->probe->origin_ns), now_ns, bids, max);
    }
    if (count > 0) {
        self->next += count;
        return weir_emit_batch(ctx, 0, bids, sizeof bids[0], count);
    }
    if (options->spin)
        return WEIR_OK;
    weir_wait_ms(ctx, 1);
    return WEIR_IDLE;
}

static int due_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct due_source *self = weir_self(ctx);
    *(uint64_t *)buffer = self->next;
    *ret_size_bytes = sizeof self->next;
    return WEIR_OK;
}

static const struct weir_source due_source = {
    .type = "due-bids",
    .self_bytes = sizeof(struct due_source),
    .open = due_open,
    .poll = due_poll,
    .position = due_position,
};

/* ---- the keyed count: of count.c, the time handed on ---- */

static int due_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct count_update updates[WEIR_BATCH_RECORDS_MAX];
    struct due_update due_updates[WEIR_BATCH_RECORDS_MAX];
    int code = count_batch(ctx, records, count, updates);
    for (size_t i = 0; code == WEIR_OK && i < count; i++)
        due_updates[i] = (struct due_update){updates[i], ((const struct due_bid *)records[i].data)->due_ns};
    return code == WEIR_OK ? weir_emit_batch(ctx, 0, due_updates, sizeof due_updates[0], count) : code;
}

static const struct weir_operator due_count_operator = {
    .type = "due-count",
    .states = count_states,
    .state_count = 1,
    .on_batch = due_on_batch,
};

/* ---- the sink ---- */

/* The clock is read once for all that came at once: later than each of them came. */
static int due_write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct due_probe *probe = ((const struct due_options *)weir_arg(ctx))->probe;
    int64_t from_ns = atomic_load_explicit(&probe->from_ns, memory_order_relaxed);
    int64_t until_ns = atomic_load_explicit(&probe->until_ns, memory_order_relaxed);
    int64_t now_ns = monotonic_ns(), last_due_ns = 0;
    for (size_t i = 0; i < count; i++) {
        last_due_ns = ((const struct due_update *)records[i].data)->due_ns;
        if (last_due_ns >= from_ns && last_due_ns < until_ns)
            histogram_add(&probe->latency, (uint64_t)(now_ns - last_due_ns));
    }
    atomic_store_explicit(&probe->due_ns, last_due_ns, memory_order_release);
    uint64_t before = atomic_load_explicit(&probe->records, memory_order_relaxed);
    atomic_store_explicit(&probe->records, before + count, memory_order_relaxed);
    return WEIR_OK;
}

/* Nothing is kept outside the probe: whoever takes over goes on. */
static int due_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    (void)ctx;
    (void)position;
    (void)position_bytes;
    return WEIR_OK;
}

static const struct weir_sink due_sink = {.type = "due", .write_batch = due_write_batch, .resume = due_resume};

/* ---- the graph ---- */

/* Mapped before the tasks are forked, so that all of them share it. */
static struct due_probe *map_probe(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *address = MAP_FAILED;
    if (lseek(fd, 0, SEEK_END) >= DUE_PROBE_BYTES)
        address = mmap(NULL, DUE_PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return address == MAP_FAILED ? NULL : address;
}

static int build(struct weir_job *job)
{
    struct due_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return WEIR_ENOMEM;
    const char *path = weir_param(job, "probe", "", "File of zeros that source and sink share with bench/run");
    const char *output = weir_param(job, "output", "", "Directory of committed files; none: a histogram");
    options->file = (struct weir_file_sink_options){.directory = output, .format = WEIR_RAW};
    options->keys = weir_param_u64(job, "keys", 1000, "Number of auctions");
    options->rate = weir_param_u64(job, "rate", 100000, "Bids per second");
    options->spin = weir_param_u64(job, "spin", 0, "1: the source says that there is more at once, all the time") != 0;
    options->probe = *path != 0 ? map_probe(path) : NULL;
    if (options->probe == NULL || options->keys == 0 || options->rate == 0)
        return weir_job_fail(job, "it takes --set probe=FILE, a file of %d bytes, at least one key, and a rate", DUE_PROBE_BYTES);
    struct weir_stream *bids = weir_add_source(job, "source", &due_source, options);
    struct weir_stream *keyed = weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t));
    struct weir_stream *counts = weir_process(keyed, "count", &due_count_operator, NULL);
    weir_add_sink(counts, "sink", *options->file.directory != 0 ? &weir_file_sink : &due_sink, options);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "due-count", build); }
