/*
 * random_updates.c - the job of figures `pause`, `recovery` and `takeover`: a source that makes bids on random auctions in its own process, the
 * keyed count, and a sink that writes down in a file shared with bench/run how far it has come. Three processes.
 *
 *     random_updates run --set probe=FILE [--set keys=N] [--set rate=N] [options of run; see run --help]
 *
 * The first `keys` bids are one for each auction, so that the state is whole after them; then auctions are drawn at random. With a rate
 * (bids per second) a bid is due at a fixed time after the job's first start: after a recovery the source catches up
 * at full speed, as one that reads a log would. `probe` is a file of PROBE_BYTES zeros: struct probe, all fields in the machine's byte order.
 */
#include "count.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROBE_ROWS 4096

/* One start or recovery of the job, by weir_generation() modulo PROBE_ROWS. Times are CLOCK_MONOTONIC. */
struct probe_row {
    uint64_t generation;
    int64_t first_ns;     /* the first record out of the sink's task */
    int64_t first_new_ns; /* the first one that never came out before */
    uint64_t replayed;    /* records before it */
};

/* The sink writes, bench/run reads, but origin_ns: the source, once. A stale read shows an old number. */
struct probe {
    _Atomic uint64_t records;      /* written by the sink since the first start, repeated ones too */
    _Atomic uint64_t sequence_end; /* behind the highest sequence number seen */
    _Atomic int64_t origin_ns;     /* when the first bid was due */
    uint64_t keys;
    /* The longest time between two batches at the sink since bench/run last wrote a 0 here. */
    _Atomic int64_t gap_ns_max;
    struct probe_row rows[PROBE_ROWS];
};
#define PROBE_BYTES 262144
_Static_assert(sizeof(struct probe) <= PROBE_BYTES, "bench/run makes a file of this size");

struct random_options {
    struct probe *probe;
    uint64_t keys;
    uint64_t rate;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the source ---- */

struct random_source {
    uint64_t next;
};

static int random_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    const struct random_options *options = weir_arg(ctx);
    struct random_source *self = weir_self(ctx);
    if (position != NULL) {
        if (position_bytes != sizeof self->next)
            return weir_fail(ctx, "a position of %zu bytes", position_bytes);
        self->next = *(const uint64_t *)position;
    }
    int64_t unset = 0;
    atomic_compare_exchange_strong(&options->probe->origin_ns, &unset, monotonic_ns());
    return WEIR_OK;
}

static uint64_t bids_due(const struct random_options *options)
{
    if (options->rate == 0)
        return UINT64_MAX;
    uint64_t elapsed_us = (uint64_t)(monotonic_ns() - atomic_load(&options->probe->origin_ns)) / 1000;
    return elapsed_us * options->rate / 1000000;
}

static int random_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct random_options *options = weir_arg(ctx);
    struct random_source *self = weir_self(ctx);
    uint64_t due = bids_due(options);
    if (self->next >= due) {
        weir_wait_ms(ctx, 1);
        return WEIR_IDLE;
    }
    for (uint32_t i = 0; i < records_max && self->next < due; i++) {
        uint64_t draw = splitmix64_at(42, self->next + 1);
        uint64_t auction = self->next < options->keys ? self->next : draw % options->keys;
        struct bid bid = {auction, draw >> 32, draw % 10000, self->next};
        int status = weir_emit(ctx, 0, &bid, sizeof bid);
        if (status < 0)
            return status;
        self->next++;
    }
    return WEIR_OK;
}

static int random_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct random_source *self = weir_self(ctx);
    *(uint64_t *)buffer = self->next;
    *ret_size_bytes = sizeof self->next;
    return WEIR_OK;
}

static const struct weir_source random_source = {
    .type = "random-bids",
    .self_bytes = sizeof(struct random_source),
    .open = random_open,
    .poll = random_poll,
    .position = random_position,
};

/* ---- the sink ---- */

struct probe_sink {
    uint64_t known_end; /* sequence numbers below it came out in an earlier generation */
    uint64_t replayed;
    struct probe_row *row;
    int64_t last_ns; /* when the last batch came */
};

static int probe_open(struct weir_ctx *ctx)
{
    struct probe *probe = ((const struct random_options *)weir_arg(ctx))->probe;
    struct probe_sink *self = weir_self(ctx);
    self->known_end = atomic_load(&probe->sequence_end);
    self->row = &probe->rows[weir_generation(ctx) % PROBE_ROWS];
    *self->row = (struct probe_row){.generation = weir_generation(ctx)};
    return WEIR_OK;
}

static void note_times(struct probe_sink *self, const struct weir_record *records, size_t count)
{
    if (self->row->first_ns == 0)
        self->row->first_ns = monotonic_ns();
    const struct count_update *last = records[count - 1].data; /* one source, one key process: in order */
    if (last->sequence < self->known_end) {
        self->replayed += count;
        return;
    }
    self->row->replayed = self->replayed;
    self->row->first_new_ns = monotonic_ns();
}

static void note_gap(struct probe *probe, struct probe_sink *self)
{
    int64_t now_ns = monotonic_ns();
    int64_t gap_ns = self->last_ns != 0 ? now_ns - self->last_ns : 0;
    self->last_ns = now_ns;
    if (gap_ns > atomic_load_explicit(&probe->gap_ns_max, memory_order_relaxed))
        atomic_store_explicit(&probe->gap_ns_max, gap_ns, memory_order_relaxed);
}

static int probe_write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct probe *probe = ((const struct random_options *)weir_arg(ctx))->probe;
    struct probe_sink *self = weir_self(ctx);
    if (self->row->first_new_ns == 0)
        note_times(self, records, count);
    note_gap(probe, self);
    uint64_t end = ((const struct count_update *)records[count - 1].data)->sequence + 1;
    if (end > atomic_load_explicit(&probe->sequence_end, memory_order_relaxed))
        atomic_store_explicit(&probe->sequence_end, end, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&probe->records, memory_order_relaxed);
    atomic_store_explicit(&probe->records, written + count, memory_order_relaxed);
    return WEIR_OK;
}

static const struct weir_sink probe_sink = {
    .type = "probe",
    .self_bytes = sizeof(struct probe_sink),
    .open = probe_open,
    .write_batch = probe_write_batch,
};

/* ---- the graph ---- */

/* Mapped before the tasks are forked, so that all of them share it. */
static struct probe *map_probe(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *address = lseek(fd, 0, SEEK_END) >= PROBE_BYTES ? mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    return address == MAP_FAILED ? NULL : address;
}

static int build(struct weir_job *job)
{
    struct random_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return WEIR_ENOMEM;
    const char *path = weir_param(job, "probe", "", "File of 256 KiB zeros that the sink notes its progress in");
    options->keys = weir_param_u64(job, "keys", 1000, "Number of auctions");
    options->rate = weir_param_u64(job, "rate", 0, "Bids per second; 0: as fast as it goes");
    options->probe = *path != 0 ? map_probe(path) : NULL;
    if (options->probe == NULL || options->keys == 0)
        return weir_job_fail(job, "it takes --set probe=FILE, a file of %d bytes, and at least one key", PROBE_BYTES);
    options->probe->keys = options->keys;
    struct weir_stream *bids = weir_add_source(job, "source", &random_source, options);
    struct weir_stream *keyed = weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t));
    struct weir_stream *counts = weir_process(keyed, "count", &count_operator, NULL);
    weir_add_sink(weir_rebalance(counts), "sink", &probe_sink, options);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "random-updates", build); }
