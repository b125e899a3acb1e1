/*
 * staging.h - rows in hidden part files that become visible at a commit: what the file sink and the stdout sink share.
 *
 * One `struct staging` belongs to one sink instance. Rows go into a private buffer of STAGING_BUFFER_BYTES, and from
 * there into the staged file .<prefix>-<subtask>-<number>.g<generation>, made with O_EXCL below the directory's
 * descriptor: a fresh inode for every attempt, so that nothing a dead process started can end up in a file of a living
 * one. Bytes are handed to the kernel when the buffer is full, at prepare and at the end of each batch, so that a process that
 * takes over in place has them; that one goes on in the same files (its predecessor is dead, and used no asynchronous I/O).
 *
 * Numbers count up per subtask for ever. The next one is per-operator state (staging_states), changed when a part is
 * begun, so that it does not matter whether the cut is taken before or after prepare().
 *
 * A committable names all numbers from the first that was not committed when it was made: what a failed checkpoint had
 * prepared is committed with the next. Committing is idempotent, number by number.
 *
 * A staged file whose sync failed is renamed to <name>.failed by the snapshot child and never synced again (the kernel
 * reports a lost write once): every checkpoint that needs it fails, until a restore writes its records anew.
 */
#ifndef WEIR_CONNECTORS_IO_STAGING_H
#define WEIR_CONNECTORS_IO_STAGING_H

#include "weir.h"

#define STAGING_BUFFER_BYTES (256u * 1024)
#define STAGING_NAME_BYTES 128
#define STAGING_PINNED_MAX 64

/* State 0 of a sink that stages: the number of the next part. */
extern const struct weir_state staging_states[];
#define STAGING_STATE_COUNT 1

struct staging;
/* Makes the staged part visible. Called for every number of a committable, also when that was done before (then the
 * staged file is missing). WEIR_OK or a failure. */
typedef int (*staging_finish_fn)(struct weir_ctx *ctx, struct staging *s, uint64_t number, const char *staged_name);

/* Tells whether a number whose staged file is missing was committed meanwhile (by the task, while its child syncs). */
typedef bool (*staging_finished_fn)(const struct staging *s, uint64_t number);

/* A closed part that no commit has reached yet. Its descriptor stays open, so that the kernel keeps the inode and with
 * it the memory of a failed write-back until the snapshot child has synced it. */
struct staging_pin {
    uint64_t number;
    int fd;
};

/* At the beginning of what weir_self() gives. */
struct staging {
    staging_finish_fn finish;
    staging_finished_fn is_finished;
    int directory_fd;
    const char *directory; /* for messages; outlives the staging */
    const char *prefix;
    uint64_t roll_bytes;
    enum weir_output_format format;
    const struct weir_layout *layout;
    unsigned subtask;
    uint64_t generation;
    unsigned char *buffer;
    size_t capacity; /* grows where one row needs more */
    size_t used;
    int fd;               /* of the part being written, -1: none */
    uint64_t file_bytes;  /* handed to the kernel for it */
    uint64_t next_number; /* copy of the state */
    uint64_t first_uncommitted;
    struct staging_pin pins[STAGING_PINNED_MAX];
    unsigned pin_count;
};

/* Reads the state and allocates; the caller has set finish, is_finished, directory_fd (-1: nothing is ever staged; it is the
 * staging's from now on), directory, prefix, roll_bytes and format. */
int staging_open(struct weir_ctx *ctx, struct staging *s);

/* Formats the records and appends them, rolling where roll_bytes is reached. */
int staging_write(struct weir_ctx *ctx, struct staging *s, const struct weir_record *records, size_t count);
/* A record as a line of text or JSON, without its end; the size that it needs, as snprintf(). Not for WEIR_RAW. */
size_t staging_format_row(const struct staging *s, const struct weir_record *record, char *buffer, size_t capacity);

/* ---- callbacks of a struct weir_sink whose self begins with a struct staging ---- */

int staging_flush(struct weir_ctx *ctx);
int staging_prepare(struct weir_ctx *ctx, uint64_t checkpoint, void *committable, size_t *ret_size_bytes);
int staging_persist(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes);
int staging_commit(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes);
/* Removes every staged file of this subtask from next_number on; never one of the restored checkpoint, which may be committed later, a
 * finished one, one of another subtask, or a file of another name. */
int staging_abort(struct weir_ctx *ctx, uint64_t restored_checkpoint);
void staging_close(struct weir_ctx *ctx);
int staging_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes);
/* What resume() does behind staging_open(). */
int staging_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes);

#endif
