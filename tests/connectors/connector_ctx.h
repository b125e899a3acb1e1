/*
 * connector_ctx.h - a small stand-in for the engine, linked instead of it in the connectors' tests: one operator
 * instance, its declared state in plain arrays, and its emitted records.
 *
 * A checkpoint is a `struct host_image`: plain memory without pointers, so that it can lie in memory shared with a
 * process that is about to be killed. A crash is that instance thrown away; the next one starts from the image.
 */
#ifndef WEIR_TESTS_CONNECTORS_CONNECTOR_CTX_H
#define WEIR_TESTS_CONNECTORS_CONNECTOR_CTX_H

#include "weir.h"

#include <stddef.h>
#include <stdint.h>

#define HOST_STATES_MAX 4
#define HOST_ENTRIES_MAX 256
#define HOST_IMAGE_BYTES (1u << 17)

/* What a checkpoint holds of one instance. checkpoint 0: there is none. */
struct host_image {
    uint64_t checkpoint;
    size_t position_bytes;
    unsigned char position[WEIR_POSITION_BYTES_MAX];
    size_t committable_bytes;
    unsigned char committable[WEIR_COMMITTABLE_BYTES_MAX];
    size_t used;
    unsigned char states[HOST_IMAGE_BYTES];
};

struct host_entry {
    void *key;
    size_t key_bytes;
    void *value;
    size_t value_bytes;
};

struct weir_ctx {
    const struct weir_source *source; /* one of the two */
    const struct weir_sink *sink;
    const void *arg;
    const char *operator_name;
    const char *job_name;
    char job_directory[4096];
    unsigned subtask_index, subtask_count;
    uint64_t generation, restored_checkpoint;
    const struct weir_layout *layout;
    void *self;
    struct weir_error error;
    struct host_entry entries[HOST_STATES_MAX][HOST_ENTRIES_MAX];
    size_t entry_counts[HOST_STATES_MAX];
    bool state_forbidden; /* in persist() */
    bool commits_late;    /* host_start() leaves the commit to the test, as a lazy restore does */
    int wait_fd;          /* what the last poll asked for; -1, 0: nothing */
    uint32_t wait_ms;
    unsigned log_count;
    char log_text[1024]; /* the last line */
    uint64_t counters[8];
    /* Emitted records: their bytes, each with an end in `ends`. */
    unsigned char *output;
    size_t output_bytes, output_capacity;
    size_t *ends;
    size_t record_count, record_capacity;
    /* Instead of collecting. */
    int (*on_emit)(struct weir_ctx *ctx, void *user, const void *data, size_t size_bytes);
    void *on_emit_user;
};

/* With defaults: operator "op" of job "job", subtask 0 of 1, generation 1, no job directory. free with host_free (which
 * does not call close()). */
struct weir_ctx *host_new_source(const struct weir_source *source, const void *arg);
struct weir_ctx *host_new_sink(const struct weir_sink *sink, const void *arg);
void host_free(struct weir_ctx *ctx);

/* open(): fresh for a NULL image or one without a checkpoint, else with the image's state and position; for a sink then
 * commit and abort, as the contract says. The first failure, or WEIR_OK. */
int host_start(struct weir_ctx *ctx, const struct host_image *image);
/* close(), then host_free(). */
void host_stop(struct weir_ctx *ctx);
/* States and position / states and prepare(). */
int host_cut(struct weir_ctx *ctx, uint64_t checkpoint, struct host_image *ret_image);
/* The end of a batch: flush(), then states and position. A process that takes over begins with that: host_resume(), in place
 * of host_start(). */
int host_end_batch(struct weir_ctx *ctx, struct host_image *ret_image);
int host_resume(struct weir_ctx *ctx, const struct host_image *image);
/* persist() in a forked child, as in the engine; its return code as an exit status (0: WEIR_OK). */
int host_persist(struct weir_ctx *ctx, const struct host_image *image);
int host_commit(struct weir_ctx *ctx, const struct host_image *image);
int host_write(struct weir_ctx *ctx, const void *data, size_t size_bytes);
/* Polls until something else than WEIR_OK comes back, and returns that. */
int host_drain(struct weir_ctx *ctx, uint32_t records_max);
/* The emitted record `index`. */
struct weir_bytes host_record(const struct weir_ctx *ctx, size_t index);
void host_drop_output(struct weir_ctx *ctx);

#endif
