/*
 * job_shared.h - what the processes of a job tell each other: one region, mapped by all of them. Ids and counts only, no
 * addresses. Who writes a field is said beside it: L launcher, C coordinator, T the task itself, S its snapshot child.
 *
 * It outlives every process but the launcher. A coordinator that is replaced finds here all that it must remember.
 */
#ifndef WEIR_ENGINE_JOB_SHARED_H
#define WEIR_ENGINE_JOB_SHARED_H

#include "engine/plan.h"
#include "shm/layout.h"
#include "snapshot/snapshot.h"

#include <pthread.h>
#include <sys/types.h>

/* ---------------------------------------------------------------- one task ---- */

enum task_phase {
    TASK_EMPTY,     /* not forked yet (L) */
    TASK_STARTING,  /* maps, restores, opens (T) */
    TASK_READY,     /* restored; waits for the others (T) */
    TASK_RUNNING,   /* (T) */
    TASK_ENDED,     /* all its inputs have ended and all is emitted; still takes part in checkpoints (T) */
    TASK_FINISHED,  /* the final checkpoint is committed here too; about to exit (T) */
    TASK_DEAD       /* reaped before it had finished (L) */
};

/* The word of a snapshot slot: checkpoint id << 8 | this. Moves by compare-and-swap from a known word only, so that a late
 * acknowledgement for an older checkpoint changes nothing. */
enum snapshot_status { SNAPSHOT_NONE, SNAPSHOT_RUNNING, SNAPSHOT_DONE, SNAPSHOT_FAILED };
#define SNAPSHOT_WORD(checkpoint_id, status) ((checkpoint_id) << 8 | (uint64_t)(status))
#define SNAPSHOT_STATUS(word) ((enum snapshot_status)((word) & 0xff))
#define SNAPSHOT_ID(word) ((word) >> 8)
#define SNAPSHOT_CLAIM(pid, attempt) ((uint64_t)(uint32_t)(pid) << 32 | (attempt))
#define SNAPSHOT_CLAIM_PID(claim) ((int32_t)((claim) >> 32))

#define PENDING_COMMITTABLES_MAX 64 /* of one task */

struct pending_committable {
    uint64_t checkpoint_id;
    uint32_t node; /* index in the graph */
    uint32_t size_bytes;
    uint8_t bytes[WEIR_COMMITTABLE_BYTES_MAX];
};

/* Everything of a task's cut that is not in its chunks. Written by T at the barrier, before the fork; read by C once the slot says
 * DONE; T does not touch it before the checkpoint is decided. */
struct cut_record {
    uint64_t checksum; /* XXH3 of what follows, up to the last committable: rollback.c */
    uint64_t checkpoint_id;
    uint64_t records_in;
    uint64_t records_out;
    int64_t watermark_ms;
    uint32_t ended;
    uint32_t position_bytes;
    uint8_t position[WEIR_POSITION_BYTES_MAX];
    uint32_t committable_count;
    uint32_t has_file; /* a snapshot file belongs to it */
    struct pending_committable committables[PENDING_COMMITTABLES_MAX];
};

struct snapshot_slot {
    _Atomic uint64_t word;     /* T: to RUNNING; S: to DONE or FAILED; T or L or C: to FAILED for a child that died */
    _Atomic int32_t child_pid; /* T and S, the same value; 0: none */
    uint32_t reserved;
    /* Which child serves the cut: pid << 32 | number of the attempt. T: the next attempt, without a pid. S: its pid, by compare-and-swap
     * from the attempt that it was forked for, as its first act: else it is none. So a process that takes over may fork again
     * where the dead one's child has not begun, and two never write the same file. L: the same for a child that it reaps before that. */
    _Atomic uint64_t claim;
    struct snapshot_result result; /* S before DONE */
    struct weir_error error;       /* whoever sets FAILED, before it */
};

#define IN_PROGRESS_SOURCE UINT32_MAX
#define IN_PROGRESS_BYTES_MAX 256u

/* What a task was doing when it died, so that a poison record can be named. T, relaxed stores; read after its death. */
struct in_progress {
    _Atomic uint32_t ring;  /* index in the plan + 1; IN_PROGRESS_SOURCE: its own source; 0: no record was being processed */
    _Atomic uint32_t count; /* records handed to the operator together; 0: not known, what the source emits */
    _Atomic uint64_t pos;   /* of the first record in the ring; of the source's: its number */
    uint32_t size_bytes;    /* of the first record */
    uint64_t hash;          /* the source's record: poison_hash(), and what there is room for of its bytes; all before `ring` */
    uint8_t bytes[IN_PROGRESS_BYTES_MAX];
};

/* Of a task that was restored lazily: page_in.h. T writes; L clears checkpoint_id before it forks the task. */
struct page_in_shared {
    _Atomic uint64_t checkpoint_id; /* of which some chunks are on disk still; 0: none are. C reads */
    uint64_t bytes;                 /* of all chunks of it */
    uint64_t records_in;            /* that it had processed then */
    int64_t begun_ns;
};

#define USER_COUNTERS_MAX 8
struct user_counter {
    char name[WEIR_NAME_BYTES_MAX + 1];
    uint32_t node;
    uint32_t reserved;
    uint64_t value;
};

/* T writes, C reads, relaxed: a stale read shows an old number. */
#define TASK_COUNTER_TABLE(X)                                                                                          \
    X(records_in, "records taken from inputs, or read by a source")                                                    \
    X(records_out, "records emitted by the last operators of the chain, or handed to its sink")                        \
    X(batches, "batches committed")                                                                                    \
    X(idle_ns, "time parked without input")                                                                            \
    X(blocked_ns, "time parked because an output ring was full (backpressure)")                                        \
    X(parks, "times parked")                                                                                           \
    X(overflow_records, "records that went through the overflow queue")                                                \
    X(barriers, "barriers taken")                                                                                      \
    X(align_ns_last, "from the first input's barrier to the last one's, last checkpoint")                              \
    X(pause_ns_last, "pause of the data path at the last barrier: prepare, cut, fork")                                 \
    X(pause_ns_max, "the longest such pause since the process started")                                                \
    X(fork_ns_last, "the fork alone, last barrier")                                                                    \
    X(snapshot_bytes_last, "bytes of the last snapshot file")                                                          \
    X(snapshot_ns_last, "writing and syncing it")                                                                      \
    X(chunks_copied, "chunks copied at the first write after a cut")                                                   \
    X(state_bytes, "bytes of live chunks")                                                                             \
    X(frozen_bytes, "bytes of chunks that only cuts hold: the snapshot in progress, and what a rollback goes back to")  \
    X(rollback_checkpoint, "the checkpoint whose chunks are kept for a rollback; 0: none")                             \
    X(rollback_given_up, "times that these were given up: --rollback-memory, or the limit of the state")               \
    X(timers_fired, "timers fired")                                                                                    \
    X(poison_diverted, "records diverted to the dead-letter file")                                                     \
    X(restore_ns, "time to restore and open, at this process's start")                                                \
    X(restore_left, "bytes of the restored checkpoint that are still on disk")                                         \
    X(restore_needed, "times that a part of it was read because it was needed")

struct task_counters {
#define TASK_COUNTER_FIELD(name, help) _Atomic uint64_t name;
    TASK_COUNTER_TABLE(TASK_COUNTER_FIELD)
#undef TASK_COUNTER_FIELD
};

#define PREVIOUS_MAX 8 /* so many may have been followed by standbys and not be reaped yet: a large memory takes its time */

/* What the event of a takeover says. Written and told by whoever has taken over; the next one tells of a takeover that was killed too soon. */
struct takeover_report {
    uint32_t untold;     /* 0: there is nothing to tell */
    uint32_t by_standby; /* else by a process that the launcher forked then */
    int32_t old_pid, pid;
    int64_t duration_ns;
    uint64_t undone_bytes;
    uint32_t attempt;
};

struct task_shared {
    struct doorbell bell;
    _Atomic uint32_t phase;   /* enum task_phase: L (EMPTY, DEAD), T */
    _Atomic int32_t pid;      /* L */
    _Atomic uint64_t heartbeat; /* T: counts up with every turn of its loop */
    _Atomic uint64_t committed_seen; /* T: its sinks have committed up to this checkpoint */
    _Atomic uint32_t restored; /* T: its part of the checkpoint is loaded and whole; L clears it */
    _Atomic uint32_t careful; /* C: one record at a time, so that a poison record can be told apart */
    uint32_t deaths_there;    /* C: from outside, since it was last seen to have died elsewhere */
    uint64_t died_at;         /* C: the most records that it had committed when it died, all these times */
    uint64_t careful_until;   /* C: so many records committed, and what it was careful about lies behind it */
    int32_t exit_status;      /* L, before DEAD: as from waitpid */
    struct in_progress in_progress;
    struct weir_error failure; /* T, before it exits with EXIT_TASK_FAILED */
    uint32_t damaged;          /* T, before it exits: the checkpoint it was restoring is damaged (failure says how) */
    uint32_t hung;             /* C, before it kills it */
    uint32_t distrusted;       /* L: it took over from one that had died of its own fault */
    uint32_t fell_back;        /* T, before it exits: it was to take over and could not (failure says why): the whole job goes back */
    _Atomic uint32_t takeover_count;    /* T, once it has taken over: of this run of the command */
    _Atomic uint32_t takeover_attempts; /* whoever takes over: takeovers since this task last got on; T: to 0 */
    _Atomic uint32_t deaths_in_hand;    /* whoever takes over: deaths with records in hand since this task last committed any; T: to 0 */
    _Atomic int64_t takeover_noticed_ns; /* whoever takes over, monotonic: when it noticed the death */
    /* Whose the task is: pid << 32 | incarnation << 1; moved by compare-and-swap only, by whoever takes it over (L, or the standby). Bit
     * 0: nobody's any more, the whole job goes back. A pid of 0: the launcher is about to fork the one. */
    _Atomic uint64_t owner;
    struct takeover_report takeover; /* the last one; T */
    _Atomic int32_t previous_pids[PREVIOUS_MAX]; /* the standby that took over: whom it followed; L, once it has reaped that one: 0 */
    _Atomic int32_t standby_pid;   /* L; the standby, to 0, when it becomes the task */
    _Atomic uint32_t guarded;      /* T: it holds `alive`, so a standby may wait for its end */
    _Atomic uint32_t standby_spared; /* any task: no standby, there are too few processes */
    _Atomic uint32_t leaving;      /* T: it is about to exit by itself */
    _Atomic uint32_t fault_signal; /* T, in its signal handler: it dies of its own fault */
    pthread_mutex_t alive;         /* robust; held by the task, so that the kernel wakes the standby when it dies. L makes it */
    struct snapshot_slot snapshot;
    int32_t exit_pid;       /* L, before DEAD, and before a takeover: who it was */
    struct page_in_shared page_in;
    struct cut_record cut;
    struct cut_record kept_cut; /* T: `cut` of the last complete checkpoint, while a newer one is written down there */
    _Atomic uint32_t departing; /* L: its old processes that are not gone yet: departing.h */
    uint32_t rolled_back;       /* T, before `restored`: its part of the checkpoint was in memory; L clears it */
    uint32_t memory_damaged;    /* S, before FAILED: what it was rolled back to is not what it was; L clears it */
    _Alignas(CACHE_LINE_BYTES) struct task_counters counters;
    struct user_counter user_counters[USER_COUNTERS_MAX];
};

/* ---------------------------------------------------------------- the coordinator ---- */

enum checkpoint_state {
    CHECKPOINT_IDLE,
    CHECKPOINT_REQUESTING,
    CHECKPOINT_EXECUTING,
    CHECKPOINT_COMMITTING,
    CHECKPOINT_COMPLETED,
    CHECKPOINT_ABORTED,
    CHECKPOINT_STATE_COUNT
};

enum trigger { TRIGGER_PERIODIC, TRIGGER_RECORDS, TRIGGER_REQUEST, TRIGGER_STOP, TRIGGER_FINAL };

/* C only (and its successors); L reads the totals. */
struct coordinator_shared {
    uint32_t state;   /* enum checkpoint_state */
    uint32_t trigger; /* enum trigger, of the checkpoint in progress */
    uint64_t checkpoint_id;
    uint64_t next_id;
    uint64_t last_completed_id;
    int64_t started_ns;      /* monotonic */
    int64_t started_wall_ms;
    int64_t last_ended_ns;   /* completed or aborted */
    int64_t last_completed_ns; /* monotonic; 0: none yet */
    int64_t last_duration_ns;
    uint64_t last_bytes;
    uint64_t completed_count;
    uint64_t aborted_count;
    uint64_t aborted_in_a_row;
    uint32_t acknowledged_count; /* of the checkpoint in progress, already in the event log */
    uint32_t manifest_attempt;
    uint32_t last_path;          /* enum recovery_path, of the last recovery */
    uint32_t stop_requested; /* enum stop_mode */
    uint64_t stop_checkpoint_id; /* the checkpoint after which all end; 0: none yet */
    uint64_t restart_count;
    uint32_t recovery_state; /* enum recovery_state */
    uint32_t has_run;        /* all tasks were ready once, in this run of the command and since a damaged checkpoint was skipped */
    int64_t recovery_due_ns;     /* monotonic: when the restart strategy allows it */
    int64_t death_noticed_ns;    /* monotonic */
    int64_t last_recovery_ns;    /* how long the last recovery took, from death noticed to running */
    uint64_t manifest_tried_id;  /* whose manifest may be on disk, although it is not known to be complete */
    uint64_t restore_below_id;   /* checkpoints from here up are not to be tried (damaged) */
    uint64_t ignore_up_to_id;    /* --from-scratch: checkpoints up to here are not this run's */
    uint64_t start_id;           /* L: the checkpoint that this run began with; 0: from nothing */
    uint64_t outside_deaths;     /* SIGKILLed tasks since the last completed checkpoint */
    uint64_t strategy_restarts;  /* restarts that count for the restart strategy */
    int64_t last_restart_ns;     /* of those */
#define RESTART_TIMES_MAX 256
    int64_t restart_times_ns[RESTART_TIMES_MAX]; /* ring of the latest restarts, for the failure rate */
};

enum recovery_path { PATH_NONE, PATH_ROLLBACK, PATH_DISK }; /* no task had to read the disk; some had to */
enum stop_mode { STOP_NONE, STOP_CHECKPOINT, STOP_NOW };
enum recovery_state { RECOVERY_NONE, RECOVERY_DELAYED, RECOVERY_REQUESTED, RECOVERY_STARTING };

/* A record that killed its task too often: passed by. Keyed by node and XXH3 of the record's bytes. */
#define POISON_ROWS_MAX 256
struct poison_row {
    uint64_t hash;
    uint32_t node;
    uint32_t failures;
    uint32_t diverted; /* C: tasks pass such records by */
    uint32_t reserved;
};

/* ---------------------------------------------------------------- the job ---- */

enum run_state { RUN_STARTING, RUN_RUNNING, RUN_FINISHING, RUN_CANCELLED };

enum launcher_request { LAUNCHER_NOTHING, LAUNCHER_RESTART, LAUNCHER_END };

struct job_shared {
    /* What tasks look at in every turn of their loop: one line, seldom written. */
    _Atomic uint64_t generation;          /* L */
    _Atomic uint32_t run_state;           /* enum run_state: L, C */
    _Atomic uint32_t poison_row_count;    /* C: rows below it are whole */
    _Atomic uint64_t checkpoint_request;  /* C: id << 1 | all end after it */
    _Atomic uint64_t checkpoint_committed; /* C: sinks commit up to this id */
    _Atomic uint64_t checkpoint_aborted;  /* C: snapshot children of this id may give up */
    _Atomic uint64_t restore_checkpoint;  /* C, before LAUNCHER_RESTART: what starting tasks restore; 0: nothing */
    _Atomic uint64_t rollback_barred_id;  /* C, before LAUNCHER_RESTART: up to here memory is not to be trusted */

    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t launcher_request; /* C to L: enum launcher_request */
    _Atomic uint32_t departing;        /* L: old processes, of all tasks */
    _Atomic uint32_t stop_signals;     /* L: SIGINT or SIGTERM, so many times */
    _Atomic int32_t coordinator_pid;   /* L */
    _Atomic uint32_t coordinator_count; /* L: how many there have been */
    _Atomic uint64_t coordinator_heartbeat; /* C */
    _Atomic uint32_t records_trigger;  /* T to C: --checkpoint-records is reached */
    uint32_t outcome;                  /* C, before LAUNCHER_END: enum outcome */
    struct weir_error failure;         /* C, before LAUNCHER_END with OUTCOME_FAILED */
    int64_t started_wall_ms;           /* L, before the first fork; the job's clock counts on from here: job_now_ms() */
    int64_t started_boot_ns;           /* L, at the same moment */
    int64_t started_ns;                /* L */
    uint8_t job_id[16];                /* L, before the first fork */
    struct coordinator_shared coordinator;
    struct poison_row poison_rows[POISON_ROWS_MAX];
    struct task_shared tasks[];
};

enum outcome { OUTCOME_NONE, OUTCOME_FINISHED, OUTCOME_STOPPED, OUTCOME_FAILED };

/* Exit status of a task that reported its own failure (task_shared.failure). */
#define EXIT_TASK_FAILED 3

static inline void counter_add(_Atomic uint64_t *counter, uint64_t value) /* single writer */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}
static inline void counter_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}
static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
