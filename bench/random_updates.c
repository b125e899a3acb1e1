/*
 * random_updates.c - the job of figures `pause` and `recovery`: a source that makes bids on random auctions in its own process, the
 * keyed count, whose updates bear the pid of the process that made them, and a sink that writes down in a file shared with bench/run how
 * far it has come, when it first saw another pid, and the longest times in which nothing came. Three processes.
 *
 *     random_updates run --set probe=FILE [--set keys=N] [--set rate=N] [--set spin=1] [options of run; see run --help]
 *
 * The first `keys` bids are one for each auction, so that the state is whole after them; then auctions are drawn at random. With a rate
 * (bids per second) a bid is due at a fixed time after the job's first start: after a recovery the source catches up
 * at full speed, as one that reads a log would. Between bids it sleeps 1 ms, or (spin=1) looks at the clock all the time. `probe` is a file of PROBE_BYTES zeros: struct probe, all fields in the machine's byte order.
 */
#include "count.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROBE_ROWS 4096
#define PROBE_GAP_NS 100000 /* shorter ones are not written down */

/* The first update of a process that takes the place of another. Times are CLOCK_MONOTONIC. */
struct probe_writer {
    int64_t pid;
    int64_t first_ns;
};

/* A time in which the sink got nothing. */
struct probe_gap {
    int64_t end_ns;
    int64_t gap_ns;
};

/* The sink writes, bench/run reads, but origin_ns: the source, once. A stale read shows an old number. Rows go round: number n is in row
 * n modulo PROBE_ROWS, and counts once the count has passed it. */
struct probe {
    _Atomic uint64_t records;      /* written by the sink since the first start, repeated ones too */
    _Atomic uint64_t sequence_end; /* behind the highest sequence number seen */
    _Atomic int64_t origin_ns;     /* when the first bid was due */
    uint64_t keys;
    _Atomic uint64_t writer_count;
    _Atomic uint64_t gap_count;
    _Atomic int64_t last_ns; /* when the sink last got something; kept while there is no sink */
    _Atomic uint64_t stall_count; /* the source writes, with spin=1 */
    struct probe_writer writers[PROBE_ROWS];
    struct probe_gap gaps[PROBE_ROWS];
    struct probe_gap stalls[PROBE_ROWS]; /* times in which the source, which looks at the clock all the time, did not: no processor, or its ring full */
};
#define PROBE_BYTES 262144
_Static_assert(sizeof(struct probe) <= PROBE_BYTES, "bench/run makes a file of this size");

struct random_options {
    struct probe *probe;
    uint64_t keys;
    uint64_t rate;
    bool spin;
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
    int64_t looked_ns; /* at the clock */
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

static void note_stall(struct probe *probe, struct random_source *self, int64_t now_ns)
{
    int64_t gap_ns = now_ns - self->looked_ns;
    if (self->looked_ns != 0 && gap_ns >= PROBE_GAP_NS) {
        uint64_t number = atomic_load_explicit(&probe->stall_count, memory_order_relaxed);
        probe->stalls[number % PROBE_ROWS] = (struct probe_gap){now_ns, gap_ns};
        atomic_store_explicit(&probe->stall_count, number + 1, memory_order_release);
    }
    self->looked_ns = now_ns;
}

static uint64_t bids_due(const struct random_options *options, struct random_source *self)
{
    if (options->rate == 0)
        return UINT64_MAX;
    int64_t now_ns = monotonic_ns();
    if (options->spin)
        note_stall(options->probe, self, now_ns);
    uint64_t elapsed_us = (uint64_t)(now_ns - atomic_load(&options->probe->origin_ns)) / 1000;
    return elapsed_us * options->rate / 1000000;
}

static int random_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    const struct random_options *options = weir_arg(ctx);
    struct random_source *self = weir_self(ctx);
    uint64_t due = bids_due(options, self);
    if (self->next >= due) {
        weir_wait_ms(ctx, 1);
        return options->spin ? WEIR_OK : WEIR_IDLE;
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

/* ---- the keyed count, signed ---- */

struct signed_update {
    struct count_update update;
    int64_t writer_pid;
};

struct signer {
    int64_t pid;
};

static int signer_open(struct weir_ctx *ctx)
{
    struct signer *self = weir_self(ctx);
    self->pid = getpid();
    return WEIR_OK;
}

static int signer_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct signer *self = weir_self(ctx);
    struct count_update updates[WEIR_BATCH_RECORDS_MAX];
    struct signed_update signed_updates[WEIR_BATCH_RECORDS_MAX];
    int code = count_batch(ctx, records, count, updates);
    for (size_t i = 0; code == WEIR_OK && i < count; i++)
        signed_updates[i] = (struct signed_update){updates[i], self->pid};
    return code == WEIR_OK ? weir_emit_batch(ctx, 0, signed_updates, sizeof signed_updates[0], count) : code;
}

static const struct weir_operator signed_count_operator = {
    .type = "signed-count",
    .states = count_states,
    .state_count = 1,
    .self_bytes = sizeof(struct signer),
    .open = signer_open,
    .on_batch = signer_on_batch,
};

/* ---- the sink ---- */

struct probe_sink {
    int64_t writer_pid; /* of the last update */
};

static void note_writer(struct probe *probe, int64_t pid, int64_t now_ns)
{
    uint64_t number = atomic_load_explicit(&probe->writer_count, memory_order_relaxed);
    probe->writers[number % PROBE_ROWS] = (struct probe_writer){pid, now_ns};
    atomic_store_explicit(&probe->writer_count, number + 1, memory_order_release);
}

static void note_gap(struct probe *probe, int64_t now_ns)
{
    int64_t last_ns = atomic_exchange_explicit(&probe->last_ns, now_ns, memory_order_relaxed);
    if (last_ns == 0 || now_ns - last_ns < PROBE_GAP_NS)
        return;
    uint64_t number = atomic_load_explicit(&probe->gap_count, memory_order_relaxed);
    probe->gaps[number % PROBE_ROWS] = (struct probe_gap){now_ns, now_ns - last_ns};
    atomic_store_explicit(&probe->gap_count, number + 1, memory_order_release);
}

static int probe_write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct probe *probe = ((const struct random_options *)weir_arg(ctx))->probe;
    struct probe_sink *self = weir_self(ctx);
    int64_t now_ns = monotonic_ns();
    note_gap(probe, now_ns);
    for (size_t i = 0; i < count; i++) {
        int64_t pid = ((const struct signed_update *)records[i].data)->writer_pid;
        if (pid != self->writer_pid)
            note_writer(probe, pid, now_ns);
        self->writer_pid = pid;
    }
    uint64_t end = ((const struct signed_update *)records[count - 1].data)->update.sequence + 1;
    if (end > atomic_load_explicit(&probe->sequence_end, memory_order_relaxed))
        atomic_store_explicit(&probe->sequence_end, end, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&probe->records, memory_order_relaxed);
    atomic_store_explicit(&probe->records, written + count, memory_order_relaxed);
    return WEIR_OK;
}

/* Nothing is kept outside the probe: whoever takes over goes on. */
static int probe_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    (void)ctx;
    (void)position;
    (void)position_bytes;
    return WEIR_OK;
}

static const struct weir_sink probe_sink = {
    .type = "probe",
    .self_bytes = sizeof(struct probe_sink),
    .write_batch = probe_write_batch,
    .resume = probe_resume,
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
    options->spin = weir_param_u64(job, "spin", 0, "1: the source looks at the clock all the time between bids") != 0;
    options->probe = *path != 0 ? map_probe(path) : NULL;
    if (options->probe == NULL || options->keys == 0)
        return weir_job_fail(job, "it takes --set probe=FILE, a file of %d bytes, and at least one key", PROBE_BYTES);
    options->probe->keys = options->keys;
    struct weir_stream *bids = weir_add_source(job, "source", &random_source, options);
    struct weir_stream *keyed = weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t));
    struct weir_stream *counts = weir_process(keyed, "count", &signed_count_operator, NULL);
    weir_add_sink(weir_rebalance(counts), "sink", &probe_sink, options);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "random-updates", build); }
