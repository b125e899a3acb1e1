/*
 * event_log.h - what happened to a job, as JSON lines in its directory: events.jsonl, rotated to events.1.jsonl (the
 * youngest of the old ones) .. events.3.jsonl, EVENT_LOG_FILE_BYTES each. It survives restarts of the job.
 *
 * A line: {"time": "2026-01-31T12:00:00.123Z", "event": "checkpoint_completed", fields of the event...}
 *
 * Writing: any process of the job, also several at once, and a fork may go on with its parent's log: each line is one
 * write(2) in append mode. A process that is killed in that call may leave half a line; opening the log ends such a line, and
 * the reader skips what is not an object with "time" and "event". Losing an event is no failure of the job:
 * event_log_append() returns its code for tests, callers may ignore it. Never blocks but on the disk; no fsync.
 */
#ifndef WEIR_ENGINE_EVENT_LOG_H
#define WEIR_ENGINE_EVENT_LOG_H

#include "weir.h"

#include <jansson.h>

#define EVENT_LOG_FILE_BYTES (4u << 20)
#define EVENT_LOG_FILE_COUNT 4    /* events.jsonl and three old ones */
#define EVENT_LOG_LINE_BYTES_MAX 65536 /* a longer event is written without its fields, with "cut": true */

/* id, name in the file, its fields and when. Durations are _ms with decimals where the field says so, else as named. */
#define EVENT_TABLE(X)                                                                                                 \
    X(JOB_STARTED, "job_started", "a run began: job, pid, generation, restored_checkpoint")                            \
    X(JOB_FINISHED, "job_finished", "all input is processed and committed: checkpoint")                                \
    X(JOB_FAILED, "job_failed", "the run gave up: code, error")                                                        \
    X(JOB_STOPPED, "job_stopped", "stopped on request: mode, checkpoint")                                              \
    X(COORDINATOR_STARTED, "coordinator_started", "a coordinator began or took over: pid, generation")                 \
    X(CHECKPOINT_TRIGGERED, "checkpoint_triggered", "barriers were sent: checkpoint, trigger")                         \
    X(CHECKPOINT_ACKNOWLEDGED, "checkpoint_acknowledged", "one task's snapshot is durable: checkpoint, task, bytes, duration_ms") \
    X(CHECKPOINT_COMPLETED, "checkpoint_completed", "committed: checkpoint, duration_ms, bytes")                       \
    X(CHECKPOINT_ABORTED, "checkpoint_aborted", "given up and cleaned up: checkpoint, reason, failures")               \
    X(CHECKPOINT_SKIPPED_DAMAGED, "checkpoint_skipped_damaged", "not restored from: checkpoint, reason (which file, and where in it)") \
    X(MEMORY_DAMAGED, "memory_damaged", "frozen chunks that a task was rolled back to are not what they were: checkpoint, task, reason") \
    X(RESTORE_LOADED, "restore_loaded", "all state of a task is in memory: task, checkpoint, mode, bytes, duration_ns, needed, records_before") \
    X(PROCESS_DIED, "process_died", "a process ended before its time: role, task, pid, signal or exit")                \
    X(TASK_HUNG, "task_hung", "no heartbeat for too long, killed: task, pid, silent_ms")                               \
    X(TAKEOVER, "takeover", "a killed task goes on in another process, in place: task, old_pid, pid, by, duration_ns, undone_bytes, attempt") \
    X(RECOVERY_STARTED, "recovery_started", "the job goes back: generation, cause, attempt")                           \
    X(RECOVERY_FINISHED, "recovery_finished", "records flow again: generation, checkpoint, path (rollback: in memory; disk), duration_ns")               \
    X(POISON_RECORD, "poison_record", "a record that fails every time: task, operator (the first of the task), position, attempts, bytes, action")

enum event_kind {
#define EVENT_ENUM(id, name, help) EVENT_##id,
    EVENT_TABLE(EVENT_ENUM)
#undef EVENT_ENUM
    EVENT_KIND_COUNT
};

/* Static memory; NULL past the table. */
const char *event_name(unsigned kind);
const char *event_help(unsigned kind);

/* Owned by its opener; plain data, may be copied by fork. */
struct event_log {
    int directory_fd; /* a duplicate of the one given */
    int fd;
    uint64_t file_bytes_max; /* EVENT_LOG_FILE_BYTES; tests set a smaller one after opening */
    bool torn;               /* the last write was short: the next one begins with a line end */
};

/* Opens or makes DIR/events.jsonl (0600). The caller keeps directory_fd. */
int event_log_open(struct event_log *log, int directory_fd, struct weir_error *err);
void event_log_close(struct event_log *log);
/* Writes one line. `fields` is a JSON object or NULL; the reference is stolen, also on failure. A log that is not open
 * (fd -1) takes the fields and drops them. */
int event_log_append(struct event_log *log, enum event_kind kind, json_t *fields);

/* Which events a reader gives. Zero: all. */
struct event_filter {
    const char *event;  /* a name of the table; NULL: any */
    int64_t since_ms;   /* wall clock, milliseconds since 1970; events before it are left out */
};

struct event_reader;
/* Reads the log of `directory`, oldest file first. WEIR_ENOENT where there is none. `filter` is copied, its text borrowed. */
int event_reader_open(const char *directory, const struct event_filter *filter, struct event_reader **ret_reader,
                      struct weir_error *err);
/* The next event that passes the filter, to be json_decref'd. WEIR_END: no more at the moment; called again later it goes on
 * with what was written since, also across a rotation. */
int event_reader_next(struct event_reader *reader, json_t **ret_event, struct weir_error *err);
/* Lines that could not be read so far: torn by a crash, or damaged. */
uint64_t event_reader_skipped(const struct event_reader *reader);
void event_reader_close(struct event_reader *reader);

/* "2026-01-31T12:00:00.123Z" <-> milliseconds since 1970. Parsing also takes a date alone and seconds without decimals;
 * WEIR_EINVAL else. */
#define EVENT_TIME_BYTES 32
const char *event_time_format(int64_t time_ms, char *buffer, size_t capacity);
int event_time_parse(const char *text, int64_t *ret_time_ms, struct weir_error *err);

#endif
