/*
 * weir.h - the public interface of Weir, a stream-processing engine for one Linux host.
 *
 * A job is a graph of sources, operators and sinks. Every operator instance (or chain of them) is a process of its
 * own, a *task*; rings in shared memory join the tasks. The engine owns, zeroes, snapshots and restores all declared
 * state. A job survives SIGKILL of any of its processes with exactly-once results.
 *
 * Reading order: errors - records - state - operators - sources and sinks - the graph - running - tests.
 *
 * Conventions that hold for every function unless it says otherwise:
 *   - A function that can fail returns an int: 0 (WEIR_OK) or a positive result (WEIR_IDLE, WEIR_END) when it did what it
 *     says, a negative code of enum weir_status when it failed. Results come last, named ret_x, untouched on failure.
 *   - Functions that take a `struct weir_job *` are called while the job is built, in the launcher, before any task
 *     exists. They never block. The graph is copied by fork into every task.
 *   - Functions that take a `struct weir_ctx *` are called from a callback, in the task's process, on its only thread.
 *     They never block and make no system call, unless they say so.
 *   - Sizes are bytes. Times are milliseconds (_ms) or nanoseconds (_ns) as the name says.
 *   - After a crash or a restore a task is a new process: callbacks start again with open(); memory that was not declared (self,
 *     globals, heap) is as after a first start. Declared state is as of the last batch where the task alone was taken over (it was
 *     killed from outside: SIGKILL, the OOM killer), as of the checkpoint where the whole job went back.
 *   - The header can be used from C11 and from C++17.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

#if defined(__GNUC__)
#define WEIR_API __attribute__((visibility("default")))
#define WEIR_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define WEIR_API
#define WEIR_PRINTF(format_index, first_arg)
#endif

/* The version of the library that the program runs with, "major.minor.patch". Static memory. */
WEIR_API const char *weir_version(void);

/* ------------------------------------------------------------------------------------------------- errors -------- */

/* Every code, its exit-independent name and its meaning, once: the enum, weir_status_name() and the documentation
 * come from this table. */
#define WEIR_STATUS_TABLE(X)                                                                                           \
    X(WEIR_OK, 0, "success")                                                                                           \
    X(WEIR_IDLE, 1, "nothing to do at the moment; not an error")                                                       \
    X(WEIR_END, 2, "the end of a bounded input; not an error")                                                         \
    X(WEIR_EINVAL, -1, "a wrong argument, option or declaration")                                                      \
    X(WEIR_ENOMEM, -2, "out of memory")                                                                                \
    X(WEIR_EIO, -3, "input or output failed")                                                                          \
    X(WEIR_ENOENT, -4, "no such file, job, operator or checkpoint")                                                    \
    X(WEIR_EEXIST, -5, "exists already")                                                                               \
    X(WEIR_EBUSY, -6, "in use by another process")                                                                     \
    X(WEIR_ECORRUPT, -7, "bytes that fail their check")                                                                \
    X(WEIR_EVERSION, -8, "a format of another version")                                                                \
    X(WEIR_EMISMATCH, -9, "belongs to another job, or to other declarations")                                          \
    X(WEIR_ELIMIT, -10, "a documented bound was exceeded")                                                             \
    X(WEIR_ENOSPC, -11, "no space left")                                                                               \
    X(WEIR_EUSER, -12, "a callback of the user reported a failure")                                                    \
    X(WEIR_EFAILED, -13, "the job failed")                                                                             \
    X(WEIR_ETIMEOUT, -14, "took longer than allowed")                                                                  \
    X(WEIR_EPERM, -15, "not permitted")                                                                                \
    X(WEIR_EUNSUPPORTED, -16, "not supported here")                                                                    \
    X(WEIR_ECANCELLED, -17, "given up on request")                                                                     \
    X(WEIR_EFINAL, -18, "a failure that no restart can mend")

enum weir_status {
#define WEIR_STATUS_ENUM(name, value, text) name = (value),
    WEIR_STATUS_TABLE(WEIR_STATUS_ENUM)
#undef WEIR_STATUS_ENUM
};

#define WEIR_ERROR_BYTES 1024

/* A failure and its trail: "what failed: on what: why: what to do". Owned by the caller; zero-initialise it. Once set it
 * keeps the first code; each layer puts its own context before the text. A longer trail is cut at its end. */
struct weir_error {
    int code; /* enum weir_status */
    char text[WEIR_ERROR_BYTES];
};

/* "WEIR_EIO" for -3; "WEIR_UNKNOWN" for a number not in the table. Static memory. */
WEIR_API const char *weir_status_name(int status);
/* "input or output failed" for -3. Static memory. */
WEIR_API const char *weir_status_text(int status);

/* ------------------------------------------------------------------------------------------------- bounds -------- */

#define WEIR_NAME_BYTES_MAX 63          /* names of jobs, operators and states: [A-Za-z0-9_-], first a letter or digit */
#define WEIR_RECORD_BYTES_MAX (1u << 20) /* one record; also at most a quarter of the ring (--ring-size) */
#define WEIR_KEY_BYTES_MAX 1024          /* one key */
#define WEIR_VALUE_BYTES_MAX 1024        /* one fixed-size value state */
#define WEIR_ENTRY_BYTES_MAX 65536       /* one varying value, one list element, one map entry (key plus value) */
#define WEIR_STATES_MAX 32               /* states of one operator */
#define WEIR_INPUTS_MAX 16               /* inputs of one operator */
#define WEIR_OUTPUTS_MAX 8               /* output ports of one operator: port 0 and side outputs */
#define WEIR_PARALLELISM_MAX 64
#define WEIR_BATCH_RECORDS_MAX 64        /* records that on_batch() or write_batch() is given at once */
#define WEIR_POSITION_BYTES_MAX 256      /* one source instance's position */
#define WEIR_COMMITTABLE_BYTES_MAX 256   /* what one sink instance prepares for one checkpoint */

/* ------------------------------------------------------------------------------------------------- records ------- */

/* A record as a callback sees it. `data` points into the ring (or into the upstream operator's memory, in a chain); it is
 * aligned to 8 bytes, and good until the callback returns. Never write through it. */
struct weir_record {
    const void *data;
    uint32_t size_bytes;
    uint16_t input;    /* which input of the operator it came by: 0 for the first stream given to weir_process_n() */
    uint16_t reserved; /* zero */
    uint64_t key_hash; /* the engine's; 0 where the stream is not keyed */
};

/* Records of one size and input, one after another in memory, as a callback sees them: for code that goes over many small records and needs
 * no more of each than its bytes. What holds for weir_record.data holds for all of them. */
struct weir_span {
    const void *data;      /* the first one */
    uint64_t stride_bytes; /* from one to the next; a multiple of 8 */
    uint32_t size_bytes;   /* of each */
    uint32_t count;        /* at least 1; has no bound */
    uint16_t input;        /* as in struct weir_record */
    uint16_t reserved[3];  /* zero */
};

/* Record i of a span, from 0 to below count. */
static inline const void *weir_span_at(const struct weir_span *span, uint32_t i)
{
    return (const char *)span->data + i * span->stride_bytes;
}

enum weir_type {
    WEIR_U8, WEIR_U16, WEIR_U32, WEIR_U64, WEIR_I8, WEIR_I16, WEIR_I32, WEIR_I64, WEIR_F32, WEIR_F64,
    WEIR_BOOL,
    WEIR_TIME_MS, /* int64_t, milliseconds since 1970-01-01T00:00:00Z */
    WEIR_CHARS,   /* char[size_bytes], ended by a zero byte if shorter */
    WEIR_STRING,  /* struct weir_string: bytes elsewhere in the same record */
    WEIR_TAIL     /* all bytes from offset to the end of the record, as text */
};

/* A reference to bytes of varying size in the same record. offset counts from the first byte of the record. */
struct weir_string {
    uint32_t offset;
    uint32_t size_bytes;
};

struct weir_field {
    const char *name;
    enum weir_type type;
    uint32_t offset;
    uint32_t size_bytes; /* WEIR_CHARS only */
};

/* What a record looks like, so that tools and sinks can print it. Constant; must outlive the job. Records of several kinds
 * in one stream: the uint32_t at kind_offset is an index into `kinds`, whose fields are printed behind those given here. */
struct weir_layout {
    const char *name;
    const struct weir_field *fields;
    uint32_t field_count;
    uint32_t kind_count; /* 0: one kind */
    const struct weir_layout *kinds;
    uint32_t kind_offset;
};

/* Writes the record as one JSON object / as its fields' text separated by tabs, no line end, no ending zero. Bytes
 * that are not UTF-8 become U+FFFD in JSON; tabs, line ends and backslashes in text are escaped as \t \n \r \\. Returns the
 * size needed, and writes nothing when that exceeds capacity. A field that lies outside the record prints as null (JSON) or
 * \N (text). A NULL layout prints the bytes as they are (text) or as one JSON string. Pure. */
WEIR_API size_t weir_format_json(const struct weir_layout *layout, const void *data, size_t size_bytes, char *buffer,
                                 size_t capacity);
WEIR_API size_t weir_format_text(const struct weir_layout *layout, const void *data, size_t size_bytes, char *buffer,
                                 size_t capacity);

/* ------------------------------------------------------------------------------------------------- state --------- */

enum weir_state_kind {
    WEIR_VALUE, /* one value: fixed size (size_bytes > 0, read and changed in place) or varying (size_bytes == 0) */
    WEIR_LIST,  /* elements of varying size, in the order they were appended */
    WEIR_MAP    /* keys to values, both of varying size */
};

enum weir_state_scope {
    WEIR_PER_KEY,     /* one for each key of a keyed operator */
    WEIR_PER_OPERATOR /* one for each instance of an operator */
};

/* A state declaration. Constant; must outlive the job. `name` is its identity on disk. A checkpoint that was taken with
 * another kind, scope, size or version under the same name is refused, and the difference shown. */
struct weir_state {
    const char *name;
    enum weir_state_kind kind;
    enum weir_state_scope scope;
    uint32_t size_bytes; /* WEIR_VALUE: its size, or 0 for varying; else 0 */
    uint32_t version;    /* the user's own: raise it when the meaning of the bytes changes */
};

struct weir_ctx; /* an operator instance, as its callbacks see it; owned by the engine */

/*
 * State is named by its index in the operator's `states`. Per-key states belong to the current key: that of the record
 * (or timer) the callback was called for, or of the last weir_select_key(). An address got from one of these functions is
 * good until the next call of a state function, an emit, or the end of the callback, whichever comes first. State
 * changes in transactions: what a callback changed before it failed is not kept.
 *
 * All fail (NULL, or a negative code; weir_ctx_error() has the text) with WEIR_ELIMIT when --state-limit or a bound above
 * is reached, WEIR_EINVAL for a state index of another kind or for per-key state without a current key.
 */

/* The value, to be changed in place; zeroed when it is new. Fixed-size values only. Aligned to 8 bytes. */
WEIR_API void *weir_value(struct weir_ctx *ctx, unsigned state);
/* In on_batch(): weir_value() for the keys of `count` records of the batch at once, which is faster. ret_values[i] is the value of
 * the key of records[i]; records of the same key get the same address. All are good together, as long as one of weir_value(). After
 * it no key is current (weir_select_key()). */
WEIR_API int weir_values(struct weir_ctx *ctx, unsigned state, const struct weir_record *records, size_t count, void **ret_values);
/* The value for reading, NULL where it was never made (not a failure). Fixed and varying. Makes nothing, copies no chunk;
 * ret_size_bytes may be NULL. */
WEIR_API const void *weir_value_get(struct weir_ctx *ctx, unsigned state, size_t *ret_size_bytes);
/* Replaces the value. Fixed size: size_bytes must be its size. Varying: any size up to WEIR_ENTRY_BYTES_MAX; 0 is a value. */
WEIR_API int weir_value_set(struct weir_ctx *ctx, unsigned state, const void *data, size_t size_bytes);

/* Adds an element of up to WEIR_ENTRY_BYTES_MAX at the end of the list, which is made when it is not there. The bytes are copied, and
 * may be those of another element or state. 0 bytes are an element too. */
WEIR_API int weir_list_append(struct weir_ctx *ctx, unsigned state, const void *data, size_t size_bytes);
/* Number of elements (list) or entries (map); 0 where it was never made. */
WEIR_API uint64_t weir_count(struct weir_ctx *ctx, unsigned state);

/* An iterator over a list or a map; plain memory of the caller, zero-initialise it to begin. Lists give elements in order,
 * maps entries in no particular order. Changing the state that is iterated ends the iteration (the next call fails with
 * WEIR_EINVAL), except weir_map_remove() of the entry just given. */
struct weir_iterator {
    uint64_t opaque[8];
};
struct weir_bytes {
    const void *data;
    size_t size_bytes;
};
/* WEIR_OK and the next element, or WEIR_END. */
WEIR_API int weir_list_next(struct weir_ctx *ctx, unsigned state, struct weir_iterator *iterator,
                            struct weir_bytes *ret_element);
WEIR_API int weir_map_next(struct weir_ctx *ctx, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_key,
                           struct weir_bytes *ret_value);

/* Makes the entry, or replaces its value. Key and value are copied, and may be those of another entry or state; together at most
 * WEIR_ENTRY_BYTES_MAX. Either may have 0 bytes. */
WEIR_API int weir_map_put(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, const void *value,
                          size_t value_bytes);
/* The entry's value for reading, NULL where there is none (not a failure). */
WEIR_API const void *weir_map_get(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes,
                                  size_t *ret_value_bytes);
/* The entry's value, to be changed in place, made and zeroed at `value_bytes` where there is none. The entry must lie in
 * one piece: key_bytes + value_bytes at most WEIR_VALUE_BYTES_MAX. */
WEIR_API void *weir_map_value(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes, size_t value_bytes);
/* WEIR_OK where it was removed, WEIR_END where there was none. */
WEIR_API int weir_map_remove(struct weir_ctx *ctx, unsigned state, const void *key, size_t key_bytes);

/* Forgets the value, all elements or all entries; the memory is free for other keys. */
WEIR_API int weir_clear(struct weir_ctx *ctx, unsigned state);
/* Forgets all states of the current key, and the key. Its timers stay. */
WEIR_API int weir_clear_key(struct weir_ctx *ctx);

/* The current key. NULL where the operator is not keyed. */
WEIR_API const void *weir_key(struct weir_ctx *ctx, size_t *ret_size_bytes);
/* In on_batch(): makes the key of `record` (one of the batch) current. */
WEIR_API int weir_select_key(struct weir_ctx *ctx, const struct weir_record *record);

/* ------------------------------------------------------------------------------------------------- callbacks ----- */

/* Hands a copy of a record to output `port` (0 is the main one). The bytes may be the caller's own, or those of the record
 * being processed. Never waits for room: what the rings cannot take is kept in shared memory (--overflow-limit) and
 * sent before further input is read. Fails with WEIR_ELIMIT (record too large, overflow full), WEIR_EINVAL (no such port). */
WEIR_API int weir_emit(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes);
/* The same for `count` records of size_bytes each, which lie one behind the other at `data`: one call, less work for each. */
WEIR_API int weir_emit_batch(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes, size_t count);
/* Zero-copy: room for a record of up to size_bytes in the ring itself where it has a single reader, else in private memory.
 * Fill it in, then weir_emit_reserved() with the size used (at most that much), or just leave it. One reservation at a
 * time; any other emit drops it. The memory is not zeroed. NULL as weir_emit() fails. */
WEIR_API void *weir_reserve(struct weir_ctx *ctx, unsigned port, size_t size_bytes);
WEIR_API int weir_emit_reserved(struct weir_ctx *ctx, size_t size_bytes);

/* Processing-time timers. A timer is named by the current key (in a keyed operator) and by `id`; setting it again moves it.
 * Timers are state: they survive crashes, and one whose time has come meanwhile fires at once. They fire at `at_ms` or
 * later, in order of time, never while the callback that set them runs. Fails with WEIR_EINVAL where the operator has no on_timer
 * (sources and sinks have none) or, in a keyed one, no key is current; with WEIR_ELIMIT when --state-limit is reached or there are too
 * many timers. */
WEIR_API int weir_timer_set(struct weir_ctx *ctx, uint64_t id, int64_t at_ms);
/* WEIR_OK, or WEIR_END where there was none. WEIR_EINVAL without a current key, as above. */
WEIR_API int weir_timer_cancel(struct weir_ctx *ctx, uint64_t id);
/* Wall-clock time, milliseconds since 1970. One clock read per batch: the same within a batch. It counts on from what the wall
 * clock showed when the job was started: a clock that is set meanwhile, forward or back, is followed at the next start only, so that
 * timers fire neither early nor late for it. Between a stop and the next start it may jump; a timer then is late at most. */
WEIR_API int64_t weir_now_ms(const struct weir_ctx *ctx);

/* Reports a failure in words: `return weir_fail(ctx, "cannot parse %s", x);` Returns WEIR_EUSER. The job then follows its
 * restart strategy; for a record that fails again and again, --on-poison. A callback that returns WEIR_EFINAL (after weir_fail(), for the
 * words) ends the job at once instead: for what no restart can mend. */
WEIR_API int weir_fail(struct weir_ctx *ctx, const char *format, ...) WEIR_PRINTF(2, 3);
/* The failure of the last call that failed on this ctx. Owned by ctx. */
WEIR_API const struct weir_error *weir_ctx_error(const struct weir_ctx *ctx);

WEIR_API void *weir_self(struct weir_ctx *ctx);            /* the instance's private memory: self_bytes, zeroed at start */
WEIR_API const void *weir_arg(const struct weir_ctx *ctx); /* what was given when the graph was built */
/* The name that it was given when the graph was built. As old as the job, as those below. */
WEIR_API const char *weir_operator_name(const struct weir_ctx *ctx);
WEIR_API unsigned weir_subtask_index(const struct weir_ctx *ctx); /* 0 .. parallelism - 1 */
WEIR_API unsigned weir_subtask_count(const struct weir_ctx *ctx); /* parallelism */
/* How often the job has been started or recovered: counts up by one each time, for ever. */
WEIR_API uint64_t weir_generation(const struct weir_ctx *ctx);
/* The checkpoint that this process was restored from; 0 for a fresh start. */
WEIR_API uint64_t weir_restored_checkpoint(const struct weir_ctx *ctx);
/* What --name says, else the name given to weir_main() or weir_run(), or that of a shared object's file ("foo" for libfoo.so). "harness"
 * in a harness. */
WEIR_API const char *weir_job_name(const struct weir_ctx *ctx);
/* The job's checkpoint directory, where connectors may keep files of their own under connectors/<operator>/. "" in a
 * harness. */
WEIR_API const char *weir_job_directory(const struct weir_ctx *ctx);
/* The layout of the records of one input (sinks: 0), or NULL. */
WEIR_API const struct weir_layout *weir_input_layout(const struct weir_ctx *ctx, unsigned input);
/* Logs one line with the operator's name, through the engine's log. Makes a system call. */
WEIR_API void weir_log(struct weir_ctx *ctx, const char *format, ...) WEIR_PRINTF(2, 3);
/* A count that `weir status` shows under `name` for this operator; at most 8 per operator, names as states'. Never NULL.
 * Adding to it is all; it is not state and starts at 0 in every process, also in one that takes over. */
WEIR_API uint64_t *weir_counter(struct weir_ctx *ctx, const char *name);

/* ------------------------------------------------------------------------------------------------- operators ----- */

/* An operator: a constant descriptor, which must outlive the job. Every callback may be NULL, but one of on_record, on_batch and on_span.
 * Callbacks return WEIR_OK or a negative code (best by weir_fail()). A positive code is a mistake, and fails as WEIR_EINVAL: what
 * weir_map_remove() or weir_timer_cancel() returned, say, may be WEIR_END, and is not to be handed on. */
struct weir_operator {
    const char *type; /* for people: "tokenize", "count" */
    const struct weir_state *states;
    uint32_t state_count;
    uint32_t output_count; /* ports, 0 means 1; ports above 0 are side outputs: weir_side_output() */
    size_t self_bytes;     /* private memory of an instance */
    const struct weir_layout *output_layout; /* of port 0; may be NULL */
    int (*open)(struct weir_ctx *ctx);
    int (*on_record)(struct weir_ctx *ctx, const struct weir_record *record);
    /* Up to WEIR_BATCH_RECORDS_MAX records of one input at once, in order; preferred over on_record where both are given.
     * The key of the first is current. */
    int (*on_batch)(struct weir_ctx *ctx, const struct weir_record *records, size_t count);
    /* Records that lie in a row, which is the case where the sender emits such of one size; preferred where it is given, and the fastest.
     * Not for keyed operators. Others go to on_batch or on_record; where neither is given, each in a span of one. */
    int (*on_span)(struct weir_ctx *ctx, const struct weir_span *span);
    int (*on_timer)(struct weir_ctx *ctx, uint64_t id, int64_t at_ms);
    int (*on_end)(struct weir_ctx *ctx); /* all inputs have ended; may still emit. No current key */
    void (*close)(struct weir_ctx *ctx); /* not called when the process is killed */
    /* Before open(), in each process that runs the operator; in a standby while it waits, so that a takeover does not. For what takes
     * long and needs nothing of the job: to load a model or a table into self. No state, no key, no timer, nothing emitted;
     * another process may run the same operator meanwhile. May block. */
    int (*warm_up)(struct weir_ctx *ctx);
};

/* ------------------------------------------------------------------------------------------------- sources ------- */

/* A source: a constant descriptor, which must outlive the job. What it needs to go on after a crash is its position (a few bytes, noted
 * at the end of each batch) and any per-operator state it declares. Callbacks return as an operator's, but for poll. */
struct weir_source {
    const char *type;
    const struct weir_state *states; /* WEIR_PER_OPERATOR only */
    uint32_t state_count;
    size_t self_bytes;
    const struct weir_layout *output_layout;
    /* position is NULL at a fresh start, else what position() gave at the checkpoint, or, in a process that takes over in place, at the
     * end of the last batch (never NULL then). May block. */
    int (*open)(struct weir_ctx *ctx, const void *position, size_t position_bytes);
    /* Emits up to records_max records to port 0. WEIR_OK: there may be more at once; WEIR_IDLE: nothing now (see
     * weir_wait_fd, weir_wait_ms; else it is polled again after 1 ms); WEIR_END: the input is finished for good. Must not block. */
    int (*poll)(struct weir_ctx *ctx, uint32_t records_max);
    /* The position behind the last record emitted. buffer has WEIR_POSITION_BYTES_MAX. Called after open and after each poll: cheap. */
    int (*position)(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes);
    /* A checkpoint is complete; what lies before its position will not be asked for again. May be NULL. */
    int (*on_committed)(struct weir_ctx *ctx, uint64_t checkpoint, const void *position, size_t position_bytes);
    void (*close)(struct weir_ctx *ctx);
    int (*warm_up)(struct weir_ctx *ctx); /* as an operator's */
};

/* From poll(), with WEIR_IDLE: poll again when fd is readable / when that much time has passed. Both may be given. */
WEIR_API void weir_wait_fd(struct weir_ctx *ctx, int fd);
WEIR_API void weir_wait_ms(struct weir_ctx *ctx, uint32_t wait_ms);

/* ------------------------------------------------------------------------------------------------- sinks --------- */

/*
 * A sink: a constant descriptor, which must outlive the job; callbacks return as an operator's. It works in two phases. What was written
 * since the last barrier is *prepared* at the barrier and made visible by *commit*, once the checkpoint is complete. In order:
 *   write, write, ... flush (end of each batch) ... prepare(n) | persist(n) in the snapshot child | commit(n)
 * - A checkpoint that fails takes nothing back: what was prepared for it is committed with the next one that completes.
 * - After a crash: open(), then commit() again for each committable of the restored checkpoint, then abort(restored
 *   checkpoint), which must throw away everything written or prepared after it (0: everything not committed).
 * - With commits_late: open(), then abort(restored checkpoint), which must keep what was prepared for that checkpoint and those before
 *   it; commit() comes later, between two batches, once all of the checkpoint has been read and found whole (--restore-mode).
 * - A sink without prepare is at-least-once.
 * - A task that was killed from outside is *taken over in place*: another process undoes its open batch and goes on, and no other task
 *   goes back. Its sinks are not opened then but *resumed*: what they wrote up to the end of the last batch stays, what they
 *   wrote after it goes, as if it had never been written. A task with a sink without resume is not taken over: its death
 *   sends the whole job back to the last checkpoint.
 */
struct weir_sink {
    const char *type;
    const struct weir_state *states; /* WEIR_PER_OPERATOR only */
    uint32_t state_count;
    size_t self_bytes;
    int (*open)(struct weir_ctx *ctx);
    int (*write)(struct weir_ctx *ctx, const struct weir_record *record);
    /* Instead of write, where given. */
    int (*write_batch)(struct weir_ctx *ctx, const struct weir_record *records, size_t count);
    /* As an operator's on_span, with write_batch and write for the others; also where the stream is keyed. */
    int (*write_span)(struct weir_ctx *ctx, const struct weir_span *span);
    /* The end of a batch that wrote something: hand buffered bytes to the kernel. */
    int (*flush)(struct weir_ctx *ctx);
    /* At the barrier, in the task: closes what belongs to `checkpoint`, and describes it in committable (room for
     * WEIR_COMMITTABLE_BYTES_MAX; size 0: nothing to commit). Keep it short: the data path waits. */
    int (*prepare)(struct weir_ctx *ctx, uint64_t checkpoint, void *committable, size_t *ret_size_bytes);
    /* In the snapshot child, before the checkpoint can complete: make it durable (fsync). May block. No state, no emit. */
    int (*persist)(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes);
    /* In the task: make it visible. Idempotent: may be called again, in another process, for what is visible already. */
    int (*commit)(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes);
    int (*abort)(struct weir_ctx *ctx, uint64_t restored_checkpoint);
    void (*close)(struct weir_ctx *ctx);
    /* Behind the last row written. buffer has WEIR_POSITION_BYTES_MAX, aligned to 8. Called after flush (and after prepare) at the end
     * of each batch: cheap. What lies before it must survive the death of this process, so flush has handed it to the kernel. */
    int (*position)(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes);
    /* In place of open(), in a process that takes over: what it needs, as open() does; then cuts off what was written (or prepared)
     * after `position`, or reopens there. Declared state is as of that position. What is committed already may be committed
     * again. position is NULL where the sink has none to give (position NULL). A failure sends the job back to the last checkpoint. */
    int (*resume)(struct weir_ctx *ctx, const void *position, size_t position_bytes);
    int (*warm_up)(struct weir_ctx *ctx); /* as an operator's */
    /* Its commit() may come after abort() when a checkpoint is restored: see above. A job with a sink that has prepare and not this is
     * restored eagerly. */
    bool commits_late;
};

/* ------------------------------------------------------------------------------------------------- the graph ----- */

struct weir_job;
/* The records of one output port of one operator, with the way in which they are handed on. Owned by the job. The
 * functions below accept NULL streams and then do nothing but return NULL: a build function need not check each step,
 * weir_main() and weir_run() report the first failure. */
struct weir_stream;

/* `name` is the operator's identity on disk: unique in the job. */
WEIR_API struct weir_stream *weir_add_source(struct weir_job *job, const char *name, const struct weir_source *source,
                                             const void *arg);
/* One input: `in` decides by weir_key_by() and friends which instance gets which record. */
WEIR_API struct weir_stream *weir_process(struct weir_stream *in, const char *name, const struct weir_operator *op,
                                          const void *arg);
/* Several inputs, told apart by record->input: in[0] is input 0. Either all keyed or none. */
WEIR_API struct weir_stream *weir_process_n(struct weir_stream *const *in, unsigned in_count, const char *name,
                                            const struct weir_operator *op, const void *arg);
/* Returns a stream only to set options by (weir_parallelism). */
WEIR_API struct weir_stream *weir_add_sink(struct weir_stream *in, const char *name, const struct weir_sink *sink,
                                           const void *arg);

/* Whether the record is handed on. */
typedef bool (*weir_filter_fn)(const struct weir_record *record, const void *arg);
/* Fills `out` (capacity out_bytes_max) and returns the size used, 0 to drop the record, negative to fail. */
typedef int64_t (*weir_map_fn)(const struct weir_record *record, void *out, const void *arg);
/* Emits any number of records to port 0, as on_record does, and returns as it does. */
typedef int (*weir_flat_map_fn)(struct weir_ctx *ctx, const struct weir_record *record);

/* Operators of one function, without state: what weir_process() does, for the simple cases. `arg` is handed to the functions of
 * filter and map; that of flat_map gets it by weir_arg(). It must outlive the job. fn must not be NULL. */
/* Hands on, unchanged, the records for which fn is true. Its layout is that of `in`, unless that is a union. */
WEIR_API struct weir_stream *weir_filter(struct weir_stream *in, const char *name, weir_filter_fn fn, const void *arg);
/* At most one record for each; out_bytes_max is 1 .. WEIR_RECORD_BYTES_MAX. */
WEIR_API struct weir_stream *weir_map(struct weir_stream *in, const char *name, weir_map_fn fn, uint32_t out_bytes_max,
                                      const void *arg);
/* Any number of records for each. */
WEIR_API struct weir_stream *weir_flat_map(struct weir_stream *in, const char *name, weir_flat_map_fn fn, const void *arg);

/* Several streams as one, for the next operator, which sees them all as input 0. All with the same keys. */
WEIR_API struct weir_stream *weir_union(struct weir_stream *const *in, unsigned in_count);
/* The records that the operator behind `of` emits to `port` (1 ..). */
WEIR_API struct weir_stream *weir_side_output(struct weir_stream *of, unsigned port);

/* How records are handed to the instances of the next operator. Each gives a new stream. Without any of them: forward, to
 * the instance of the same index, where both have the same parallelism, else round-robin. */
/* By key: `size_bytes` bytes at `offset` of the record. A record that is too short fails. With --chain-keyed, where both sides have one
 * instance, the operator shares its input's process; else records by key always cross a ring. */
WEIR_API struct weir_stream *weir_key_by(struct weir_stream *in, uint32_t offset, uint32_t size_bytes);
/* By key: fn points ret_key at 1 .. WEIR_KEY_BYTES_MAX bytes, of the record or of `scratch` (WEIR_KEY_BYTES_MAX). Pure: called by
 * the sender and by the receiver. An empty key is a failure. */
typedef int (*weir_key_fn)(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key);
WEIR_API struct weir_stream *weir_key_by_fn(struct weir_stream *in, weir_key_fn fn);
WEIR_API struct weir_stream *weir_rebalance(struct weir_stream *in); /* round-robin */
WEIR_API struct weir_stream *weir_broadcast(struct weir_stream *in); /* every instance gets every record */
WEIR_API struct weir_stream *weir_forward(struct weir_stream *in);   /* same index; needs the same parallelism */

/* Of the operator that `stream` comes from (of a union: its first stream's). Each returns `stream`; a later call replaces what an
 * earlier one said. */
/* How many instances run: 1 .. WEIR_PARALLELISM_MAX; 1 where nothing is said. Another number fails the build. A checkpoint is restored
 * with the parallelism that it was taken with. */
WEIR_API struct weir_stream *weir_parallelism(struct weir_stream *stream, unsigned parallelism);
/* What the records of port 0 look like, for tools and sinks; in place of the descriptor's output_layout. NULL: unknown. */
WEIR_API struct weir_stream *weir_set_layout(struct weir_stream *stream, const struct weir_layout *layout);
WEIR_API struct weir_stream *weir_no_chain(struct weir_stream *stream); /* never in one process with its input */

/* Memory that lives as long as the job: for `arg`s made while building. Zeroed. NULL when out of memory. */
WEIR_API void *weir_job_alloc(struct weir_job *job, size_t size_bytes);
/* The build function's own failure: `return weir_job_fail(job, "...")`. Returns WEIR_EINVAL. */
WEIR_API int weir_job_fail(struct weir_job *job, const char *format, ...) WEIR_PRINTF(2, 3);

/* A parameter of the job, given as --set NAME=VALUE; `run JOB --help` lists it with `help`. The text is owned by the job.
 * fallback NULL: NULL when not given. A name that no weir_param asks for is an error. */
WEIR_API const char *weir_param(struct weir_job *job, const char *name, const char *fallback, const char *help);
/* The same as a number: plain, or with k, M, G (powers of 1000) or Ki, Mi, Gi behind it. A wrong one fails the build. */
WEIR_API uint64_t weir_param_u64(struct weir_job *job, const char *name, uint64_t fallback, const char *help);
/* The job's own default for a command-line option of `run`, by its long name without dashes ("checkpoint-interval", "100ms"). */
WEIR_API int weir_default(struct weir_job *job, const char *option, const char *value);

/* Builds the graph. Called once, in the launcher. Returns WEIR_OK or a negative code. */
typedef int (*weir_build_fn)(struct weir_job *job);

/* ------------------------------------------------------------------------------------------------- running ------- */

/* Turns a program into a full command: `run` and the rest (see `PROGRAM --help`). `name` is the job's name. Blocks
 * until the command is done; `run` forks, and returns in the launcher only. Returns the exit status. */
WEIR_API int weir_main(int argc, char **argv, const char *name, weir_build_fn build);

/* A job compiled as a shared object for `weir run ./job.so` exports one function of this name and type. */
#define WEIR_JOB_SYMBOL "weir_job_build"

/* Runs a job from C. option_values is "name=value" of the options of `run` (as in --help, without dashes), and "set.NAME=VALUE"
 * for job parameters. Forks; returns in the launcher when the job has ended: WEIR_OK when it finished or was stopped. The caller
 * must have one thread only. error may be NULL. */
WEIR_API int weir_run(const char *name, weir_build_fn build, const char *const *option_values, size_t option_count,
                      struct weir_error *error);

/* A running job, from any process of the same user: by its checkpoint directory. Each connects to the job's control socket, waits
 * for the answer (up to timeout_ms), and fails with WEIR_ENOENT when no job runs there. */
/* Takes a checkpoint and returns when it is complete; ret_checkpoint (may be NULL) gets its number. WEIR_EINVAL where the job runs with
 * --guarantee=none. */
WEIR_API int weir_checkpoint_now(const char *directory, unsigned timeout_ms, uint64_t *ret_checkpoint,
                                 struct weir_error *error);
/* Takes a final checkpoint, commits its output and ends the job (--guarantee=none: without a checkpoint); returns when nobody serves the
 * job's control socket any more. It waits up to timeout_ms for the checkpoint, and as long again for the end. Started again, the job
 * goes on from there. WEIR_ETIMEOUT: it has not ended yet, and is still to stop. Fails with the job's own failure where that failed
 * meanwhile. */
WEIR_API int weir_stop(const char *directory, unsigned timeout_ms, struct weir_error *error);

/* ------------------------------------------------------------------------------------------------- connectors ---- */

/* Built-in connectors. Each takes its options as the `arg` of weir_add_source / weir_add_sink: a constant struct that must
 * outlive the job (weir_job_alloc). Zero means the default. */

enum weir_file_format {
    WEIR_LINES, /* a record a line, without its end ("\n" or "\r\n"); a last line without an end counts */
    WEIR_BINARY /* fixed-size records of record_bytes */
};
struct weir_file_source_options {
    const char *path; /* a file, a directory (its regular files, by name, not hidden), or a glob */
    enum weir_file_format format;
    uint32_t record_bytes;   /* WEIR_BINARY */
    uint32_t line_bytes_max; /* WEIR_LINES: a longer line ends the job (WEIR_EFINAL); default 65536, at most WEIR_RECORD_BYTES_MAX */
    bool follow;             /* go on with what is appended; never ends */
    bool whole_files;        /* parallelism: whole files instead of byte ranges */
    const struct weir_layout *layout;
};
WEIR_API extern const struct weir_source weir_file_source;

struct weir_line_source_options {
    const char *address; /* "-" standard input, "unix:PATH" or "tcp:HOST:PORT" to connect to */
    uint32_t line_bytes_max;
    bool journal;               /* lines are written to a durable file before they enter the job: exactly-once */
    uint64_t journal_bytes_max; /* default 1 GiB: then reading waits for checkpoints to free it */
};
WEIR_API extern const struct weir_source weir_line_source;

/* 0, 1, 2, ... as uint64_t. */
struct weir_sequence_source_options {
    uint64_t first;
    uint64_t count;      /* 0: without end */
    uint64_t per_second; /* 0: as fast as it goes; of all instances together */
};
WEIR_API extern const struct weir_source weir_sequence_source;

/* Events of Apache Beam's Nexmark generator, default configuration, field for field. Event n, counted from 0, has the id
 * first_event_id + n and the time base_time_ms + 10 n. */
struct weir_nexmark_source_options {
    uint64_t first_event_id;
    uint64_t event_count; /* 0: without end */
    int64_t base_time_ms; /* 0: 1436918400000 */
    uint64_t per_second;  /* events per second of wall time, all instances together; 0: as fast as it goes */
};
WEIR_API extern const struct weir_source weir_nexmark_source;

enum weir_nexmark_kind { WEIR_NEXMARK_PERSON, WEIR_NEXMARK_AUCTION, WEIR_NEXMARK_BID };
struct weir_nexmark_person {
    uint64_t id;
    int64_t date_time_ms;
    struct weir_string name, email_address, credit_card, city, state, extra;
};
struct weir_nexmark_auction {
    uint64_t id;
    uint64_t initial_bid, reserve;
    int64_t date_time_ms, expires_ms;
    uint64_t seller, category;
    struct weir_string item_name, description, extra;
};
struct weir_nexmark_bid {
    uint64_t auction, bidder, price;
    int64_t date_time_ms;
    struct weir_string extra;
};
/* A record of weir_nexmark_source: this, then the bytes that the strings refer to (offsets from the record's start). */
struct weir_nexmark_event {
    uint64_t event_id;
    uint32_t kind; /* enum weir_nexmark_kind */
    uint32_t reserved;
    union {
        struct weir_nexmark_person person;
        struct weir_nexmark_auction auction;
        struct weir_nexmark_bid bid;
    } as;
};

enum weir_output_format {
    WEIR_TEXT_LINES, /* weir_format_text, one a line */
    WEIR_JSON_LINES,
    WEIR_RAW /* the bytes of the records, nothing between them */
};
struct weir_file_sink_options {
    const char *directory; /* made if missing. Finished files: part-<subtask>-<number>; hidden ones start with a dot */
    enum weir_output_format format;
    uint64_t roll_bytes; /* a new part file beyond this; default 128 MiB. Each checkpoint with output ends one as well */
    const char *suffix;  /* ".txt" */
};
WEIR_API extern const struct weir_sink weir_file_sink;

struct weir_stdout_sink_options {
    enum weir_output_format format;
};
/* Prints what is committed. A kill while it prints may repeat lines after recovery: a terminal cannot take them back. */
WEIR_API extern const struct weir_sink weir_stdout_sink;
/* Counts and drops. */
WEIR_API extern const struct weir_sink weir_null_sink;

/* ------------------------------------------------------------------------------------------------- user tests ---- */

/*
 * One operator without processes: feed it records, look at what it emits, snapshot, restore, compare. Runs in the
 * caller's process and thread; every function returns a code and, on failure, sets weir_harness_error(). Not keyed unless
 * weir_harness_key_by() is called before the first record.
 */
struct weir_harness;
/* `op` and `arg` must outlive the harness; the operator is not opened yet: that happens at the first feed, set_time, end, snapshot or
 * restore. NULL when out of memory, or without op. weir_harness_free() it. */
WEIR_API struct weir_harness *weir_harness_new(const struct weir_operator *op, const void *arg);
/* Closes the operator where it was opened, and frees all that the harness owns. NULL does nothing. */
WEIR_API void weir_harness_free(struct weir_harness *harness);
/* The words of the last failure; code WEIR_OK where there was none. Owned by the harness: copy what is to outlive its next call. */
WEIR_API const struct weir_error *weir_harness_error(const struct weir_harness *harness);
/* The records of all inputs are keyed, as by weir_key_by() / weir_key_by_fn(). WEIR_EINVAL once the operator is open. */
WEIR_API int weir_harness_key_by(struct weir_harness *harness, uint32_t offset, uint32_t size_bytes);
WEIR_API int weir_harness_key_by_fn(struct weir_harness *harness, weir_key_fn fn);
/* Gives the operator one record (a batch of one, where it has on_batch) by `input`, from 0 to below WEIR_INPUTS_MAX. The bytes are copied.
 * Returns what the callback returned. Unlike in a job, what a failed callback changed and emitted stays. */
WEIR_API int weir_harness_feed(struct weir_harness *harness, unsigned input, const void *data, size_t size_bytes);
/* Moves the clock that weir_now_ms() and timers see (it starts at 0), firing timers in order. */
WEIR_API int weir_harness_set_time(struct weir_harness *harness, int64_t now_ms);
/* All inputs have ended: calls on_end, where there is one. */
WEIR_API int weir_harness_end(struct weir_harness *harness);
/* The records emitted since the last call of weir_harness_drop_output(), per port, oldest first. Owned by the harness. */
WEIR_API size_t weir_harness_output_count(const struct weir_harness *harness, unsigned port);
WEIR_API struct weir_bytes weir_harness_output(const struct weir_harness *harness, unsigned port, size_t index);
WEIR_API void weir_harness_drop_output(struct weir_harness *harness);
/* The operator's whole state as bytes; free() them. The same state gives the same bytes if it was reached by the same calls. */
WEIR_API int weir_harness_snapshot(struct weir_harness *harness, void **ret_bytes, size_t *ret_size_bytes);
/* Closes the operator, restores the state and opens it again, as after a crash. */
WEIR_API int weir_harness_restore(struct weir_harness *harness, const void *bytes, size_t size_bytes);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_H */
