/*
 * task.h - a task's private view of itself: its operators, rings, batch. One process, one thread. Made after the fork,
 * never shared; everything that must survive the process is in task_shared, in the chunk region or in the rings.
 */
#ifndef WEIR_ENGINE_TASK_H
#define WEIR_ENGINE_TASK_H

#include "engine/job.h"
#include "engine/overflow.h"
#include "engine/page_in.h"
#include "shm/ring.h"
#include "state/op_state.h"

#include <sched.h>

#define POLL_RECORDS_MAX 512
#define GATHER_BYTES 16384 /* of records that wait for a keyed operator in the same task */
#define GULP_RECORDS_MAX WEIR_BATCH_RECORDS_MAX /* frames decoded, prefetched and processed together */

struct task;
struct weir_ctx;

/* Records that were emitted one by one to a keyed operator in the same task, which is handed them together: it looks for the state of all of them
 * at once. Copies, aligned to 8 bytes, in the order of emission; of the open batch, so that they die with it. */
struct gathered {
    struct weir_record *records; /* WEIR_BATCH_RECORDS_MAX */
    unsigned char *bytes;        /* GATHER_BYTES */
    size_t count, used_bytes;
};

/* Where the records of one output port go: one edge. */
enum target_kind { TARGET_CHAINED, TARGET_RINGS, TARGET_COLLECTED };
struct target {
    enum target_kind kind;
    enum partition partition;
    uint8_t channel;              /* TARGET_RINGS: of the frames */
    uint16_t input;               /* TARGET_CHAINED */
    struct weir_ctx *chained;     /* TARGET_CHAINED */
    struct weir_record *records;  /* TARGET_CHAINED: WEIR_BATCH_RECORDS_MAX, all of the same size, for batches */
    struct gathered *gathered;    /* TARGET_CHAINED and keyed; else NULL */
    bool takes_spans;             /* TARGET_CHAINED: ctx_takes_spans() */
    const struct key_spec *key;   /* PARTITION_HASH; else NULL */
    uint16_t *rings;              /* indices into task.outs, by subtask of the receiver; one for forward */
    unsigned ring_count;
    unsigned next;                /* PARTITION_ROUND_ROBIN */
    uint16_t *ring_of_key_group;  /* PARTITION_HASH: index into task.outs */
};

struct output {
    struct target *targets;
    unsigned target_count;
};

/* Takes emitted records in a harness. */
typedef int (*collect_fn)(void *self, unsigned port, const void *data, size_t size_bytes);

/* Private memory for one record. */
struct emit_buffer {
    void *bytes;
    size_t capacity;
};

/* An operator instance. */
struct weir_ctx {
    struct task *task;
    const struct graph_node *node;
    unsigned node_index;
    struct op_state *state; /* NULL: it declares none, and no timers can be set */
    void *self;
    bool keyed;
    const struct key_spec *input_keys[WEIR_INPUTS_MAX];
    struct output outputs[WEIR_OUTPUTS_MAX];
    const struct weir_layout *input_layouts[WEIR_INPUTS_MAX];
    struct weir_error error;
    /* weir_reserve() .. weir_emit_reserved() */
    void *reserved;
    size_t reserved_bytes;
    unsigned reserved_port;
    struct ring_producer *reserved_ring; /* NULL: in scratch */
    struct emit_buffer scratch, aligned; /* what is reserved; an emitted record that its reader needs aligned */
    unsigned char *key_scratch; /* WEIR_KEY_BYTES_MAX, for key functions */
    const struct weir_record *batch; /* of the on_batch() that runs */
    size_t batch_left_cold;      /* how many records it has; 0: their state was prefetched, or is looked for all at once */
    unsigned char *keys_scratch; /* the same for each record of a batch; NULL before the first weir_values() that needs it */
    bool sink_dirty;            /* wrote since the last flush */
    /* weir_wait_fd(), weir_wait_ms() */
    int wait_fd;
    uint32_t wait_ms;
    uint64_t spare_counter; /* weir_counter() beyond USER_COUNTERS_MAX */
};

struct task_input {
    struct ring_consumer ring;
    unsigned ring_index;  /* in the plan */
    unsigned from_task;
    bool blocked; /* its barrier has come, the others' not yet */
    uint64_t barrier_id; /* the newest barrier that came here */
    bool ended;
};

struct task_output {
    struct ring_producer ring;
    unsigned ring_index;
    unsigned to_task;
    bool wake_due; /* it asked to be woken, and was not yet */
};

/* An edge into the head, by channel. */
struct task_channel {
    uint16_t input;
    bool keyed;
};

struct task {
    struct job *job;
    unsigned index;
    const struct plan_task *plan;
    const struct plan_chain *chain;
    struct task_shared *shared;
    char process_name[WEIR_NAME_BYTES_MAX + 32];

    struct weir_ctx *ops; /* in the order of the data; [0] is the head */
    unsigned op_count;
    bool has_source;
    bool has_sink;
    bool has_state; /* a snapshot file is worth writing */
    collect_fn collect;
    void *collect_self;

    struct chunk_region region;
    struct page_in page_in;
    struct commit_area *commit_area;
    struct pending_list *pending; /* in the commit area */
    struct overflow overflow;

    struct task_input *ins;
    unsigned in_count;
    unsigned in_next; /* where the next turn begins: fairness */
    struct task_output *outs;
    unsigned out_count;
    int64_t wake_due_since_ns; /* the first wake put off; 0: none */
    int64_t work_begun_ns;     /* when the last batch of records was begun */
    bool output_tight; /* a ring has little room left: end the batch and wait */
    struct task_channel channels[GRAPH_EDGES_MAX];
    unsigned channel_count;

    struct weir_record *records; /* GULP_RECORDS_MAX */
    bool head_takes_spans;       /* ctx_takes_spans(&ops[0]) */
    uint64_t gulp_max;      /* 1 .. GULP_RECORDS_MAX, fewer where records take long */
    uint64_t poll_max;      /* GULP_RECORDS_MAX .. POLL_RECORDS_MAX: what a source is asked for */
    int64_t gulp_begun_ns;

    uint64_t batch;
    bool batch_open;            /* something changed since the last commit */
    uint64_t batch_records;
    int64_t now_ms;             /* of this batch; 0: not read yet */
    int64_t manual_now_ms;      /* a harness's clock; -1: the real one */
    uint64_t records_in;
    uint64_t records_out;
    uint64_t source_emitted; /* by the source's poll */
    bool has_gathered;       /* some target may have records gathered; never at the end of a turn */
    bool watching;           /* what the source emits, record by record: one of them may be a poison record */
    uint8_t position[WEIR_POSITION_BYTES_MAX];
    size_t position_bytes;

    uint64_t barrier_id;       /* being aligned, or the last one taken */
    uint64_t barrier_due;      /* a barrier behind the last commit: see batch.h; 0: none */
    bool barrier_stop;
    bool barrier_snapshot;
    bool aligning;
    unsigned aligned_count;
    int64_t align_begun_ns;
    uint64_t records_since_barrier;
    bool ended;                /* END seen on all inputs (or from the source) and on_end done */
    bool stopping;             /* the stop barrier was taken: nothing more is processed */
    bool end_forwarded;
    uint64_t turns;            /* of the loop */
    int64_t spin_ns;           /* before parking; INT64_MAX: for ever */
    int64_t park_ns_max;
    bool cut_live;             /* the snapshot child may still read the frozen chunks */
    bool proving;              /* it has taken over, and has not got on since */
    bool pinned;               /* by --pin-cpus; then cpus_allowed is what the process might use before */
    cpu_set_t cpus_allowed;
    bool runs_first;           /* it has taken over, and goes before other processes: sched_run_first() */
    bool warming_up;           /* in warm_up(): operators have no state yet, and perhaps another process is the task */
    int dead_letter_fd;        /* -1: not open */
};

/* The parts of a task's process (task.c) that takeover_task.c needs as well: in this order. `role` stands before the name of a process
 * that is not the task (yet). */
struct task *task_make(struct job *job, unsigned index, const char *role);
int task_map_memory(struct task *task, bool taken_over, struct weir_error *err);
void task_describe_channels(struct task *task);
_Noreturn void task_run(struct task *task);
/* A callback or the engine failed: nothing of the open batch is published. */
_Noreturn void task_fail_with_code(struct task *task, int code);

/* The process of a task. Never returns. */
_Noreturn void task_main(struct job *job, unsigned index);
/* The same, in the place of one that died, or waiting for its end: see takeover.h. */
_Noreturn void task_take_over_main(struct job *job, unsigned index);
_Noreturn void task_standby_main(struct job *job, unsigned index);
/* The task has got on after a takeover: tells of it. Not earlier: it costs more than the takeover. */
void takeover_tell(struct task *task);

/* ---- operators (operator.c) ---- */
/* In this order: instances; what takes long and needs nothing of the job (may be called in a process that only waits); their state. */
int task_make_operators(struct task *task, struct weir_error *err);
int task_warm_up_operators(struct task *task, struct weir_error *err);
int task_open_state(struct task *task, struct weir_error *err);
void task_free_operators(struct task *task);
int task_open_operators(struct task *task, const struct manifest_task *restored, struct weir_error *err);
/* In a process that takes over: operators are opened, sources at the position of the commit record, sinks resumed. */
int task_resume_operators(struct task *task, struct weir_error *err);
void task_close_operators(struct task *task);
int ctx_process(struct weir_ctx *ctx, const struct weir_record *records, size_t count);
/* Records in a row, to an operator or sink that takes spans. */
bool ctx_takes_spans(const struct weir_ctx *ctx);
int ctx_process_span(struct weir_ctx *ctx, const struct weir_span *span);
int ctx_set_key(struct weir_ctx *ctx, const struct weir_record *record);
/* In an on_batch(), before its first single key: prefetches the state of all. */
void ctx_prefetch_batch(struct weir_ctx *ctx);
/* What a callback of ctx returned, as it is. A positive code, which means nothing here, becomes a failure with words: what its author
 * meant by it was not to be passed over in silence. */
int ctx_refuse_result(struct weir_ctx *ctx, const char *callback, int code);
static inline int ctx_callback_result(struct weir_ctx *ctx, const char *callback, int code)
{
    return __builtin_expect(code <= WEIR_OK, 1) ? code : ctx_refuse_result(ctx, callback, code);
}
/* Why a callback of ctx returned `code`, with the operator's name before it. */
void ctx_take_failure(const struct weir_ctx *ctx, int code, struct weir_error *ret_failure);
int ctx_end(struct weir_ctx *ctx);
int ctx_flush(struct weir_ctx *ctx);
/* The key of a record; WEIR_EUSER, with words in *err, where there is none. */
int key_too_short(const struct key_spec *key, const struct weir_record *record, struct weir_error *err);
int key_call(const struct key_spec *key, const struct weir_record *record, void *scratch, struct weir_bytes *ret_key,
             struct weir_error *err);
static inline int key_extract(const struct key_spec *key, const struct weir_record *record, void *scratch, struct weir_bytes *ret_key,
                              struct weir_error *err)
{
    if (__builtin_expect(key->fn != NULL, 0))
        return key_call(key, record, scratch, ret_key, err);
    if (__builtin_expect((uint64_t)key->offset + key->size_bytes > record->size_bytes, 0))
        return key_too_short(key, record, err);
    *ret_key = (struct weir_bytes){(const char *)record->data + key->offset, key->size_bytes};
    return WEIR_OK;
}
/* Fires timers that are due; returns how many, or a negative code. */
int task_fire_timers(struct task *task);
int64_t task_next_timer_ms(const struct task *task);
int64_t task_now_ms(struct task *task);

/* ---- outputs (output.c) ---- */
int task_make_outputs(struct task *task, struct weir_error *err);
/* Hands the keyed operators of the task what was gathered for them: struct gathered. After every call of the user's that may emit, when all that it was
 * called for is done. A negative code where one failed. */
int task_hand_on(struct task *task);
void task_free_outputs(struct task *task);
int task_push_control(struct task *task, enum frame_kind kind, const void *payload, uint32_t size_bytes);
/* Moves queued frames into rings, as far as there is room. */
void task_drain_overflow(struct task *task);
/* Whether every output ring has room for a gulp again; asks to be rung when it has. */
bool task_outputs_roomy(struct task *task);

/* ---- batch (batch.c) ---- */
int batch_commit(struct task *task);
/* Wakes the readers that asked for it; more_to_come: only those that have waited long enough. */
void batch_wake_readers(struct task *task, bool more_to_come);
/* What comes first in a commit: sinks hand over what they have buffered. */
int batch_flush_sinks(struct task *task);
/* taken_over false: empties it. */
int commit_area_attach(struct task *task, bool taken_over, struct weir_error *err);
size_t commit_area_bytes(const struct weir_job *graph, const struct plan_chain *chain, unsigned ring_count);
/* In a process that takes over: undoes the open batch, and makes the task's private view that of the commit record. May be repeated. A
 * failure leaves the task to the checkpoint: WEIR_ECORRUPT, WEIR_ELIMIT. */
int batch_recover(struct task *task, uint64_t *ret_undone_bytes, struct weir_error *err);
/* What the commit record has of a sink; false: nothing. Good until the next commit. */
bool batch_sink_position(const struct task *task, unsigned node, const void **ret_position, size_t *ret_size_bytes);
/* What the commit record says, to the neighbours; who may have been owed a wake is woken. */
void batch_publish_again(struct task *task);

/* ---- inputs (input.c) ---- */
/* Processes up to one batch from one input ring. WEIR_OK: something was done; WEIR_IDLE; negative: failed. */
int input_turn(struct task *task);
/* A turn of the source: polls it. WEIR_OK, WEIR_IDLE, WEIR_END, negative. */
int source_turn(struct task *task, uint32_t records_max);
bool task_has_input(const struct task *task);
/* Notes where the source is. */
int source_note_position(struct task *task);

/* ---- barrier (barrier.c) ---- */
/* Payload of FRAME_BARRIER. */
struct barrier_payload {
    uint64_t checkpoint_id;
    uint64_t stop; /* nothing comes after it: the job ends when the checkpoint is complete */
};
int barrier_arrived(struct task *task, struct task_input *in, uint64_t checkpoint_id, bool stop);
int barrier_take(struct task *task, uint64_t checkpoint_id, bool stop);
/* Adds what a sink prepared to what is committed with checkpoint_id, or a later one that completes. */
int barrier_add_pending(struct task *task, struct weir_ctx *ctx, uint64_t checkpoint_id, const void *bytes, size_t size_bytes);
/* The second part, behind the commit: snapshot, barrier forwarded. Repeated by a process that takes over in the middle of it. */
int barrier_finish(struct task *task);
/* Gives frozen chunks free again once the snapshot child is done with them. */
void barrier_release_cut(struct task *task);
/* Commits what is pending up to checkpoint_id in this task's sinks, and tells its source. */
int sinks_commit(struct task *task, uint64_t checkpoint_id);
/* --guarantee=none: there is no checkpoint to wait for at the end. */
int sinks_commit_without_checkpoint(struct task *task);

/* ---- the snapshot child (snapshot_child.c) ---- */
/* Forks. The child serves the cut if this attempt is still the slot's. The task goes on; WEIR_OK, or the error of fork. */
int snapshot_child_start(struct task *task, uint64_t checkpoint_id, uint32_t attempt, struct weir_error *err);

/* ---- restore (restore.c) ---- */
int task_restore(struct task *task, uint64_t checkpoint_id, struct manifest **ret_manifest,
                 const struct manifest_task **ret_restored, struct weir_error *err);
/* The file of this task in a checkpoint, for a process that has not restored it itself. snapshot_close() it. */
int task_open_image(struct task *task, uint64_t checkpoint_id, struct snapshot_reader **ret_reader, struct weir_error *err);
/* Whether a failure says something about the checkpoint, and not about this process or the disk's mood. One of a newer version is whole:
 * it is refused, never passed over for an older one. */
static inline bool restore_is_damaged(int code) { return code == WEIR_ECORRUPT || code == WEIR_ENOENT; }
struct restore_loaded {
    uint64_t checkpoint_id;
    const char *mode;
    uint64_t bytes;
    int64_t duration_ns;
    uint64_t needed;         /* times that a chunk was needed before it was there */
    uint64_t records_before; /* processed before the last chunk was there */
};
/* For people and tests. */
void restore_log_loaded(struct task *task, const struct restore_loaded *loaded);
/* Says that this task has restored its part, and waits until all have. Where one finds its part damaged, the launcher ends the wait: it
 * kills all. */
void task_wait_for_the_others(struct task *task);
/* Until nothing is left of the processes that this one follows. */
void task_wait_for_the_departing(struct task *task);

/* ---- rollback (rollback.c) ---- */
/* Writes the checksum of a cut that is written down. */
void rollback_seal_record(struct cut_record *cut);
bool rollback_record_is_whole(const struct cut_record *cut, uint64_t checkpoint_id);
/* Before another is written down in `cut`: keeps it, where its checkpoint is complete. */
void rollback_keep_record(struct task *task);
/* Instead of reading checkpoint_id from disk: the task's state, and *ret_restored, become what they were at its cut. Else the region
 * is good for chunk_region_reset() only. WEIR_ENOENT: it is not in memory; WEIR_ECORRUPT; WEIR_ENOMEM. */
int task_roll_back(struct task *task, uint64_t checkpoint_id, struct manifest **ret_manifest,
                   const struct manifest_task **ret_restored, struct weir_error *err);
/* In the snapshot child, before it acknowledges: what the task was rolled back to is what it was. */
int rollback_verify(struct task *task, struct weir_error *err);
/* Whose bytes a task's snapshots are. */
void task_snapshot_identity(const struct task *task, uint64_t checkpoint_id, struct snapshot_identity *ret_identity);

/* ---- poison records (poison.c) ---- */
bool poison_is_diverted(const struct job *job, unsigned node, const struct weir_record *record);
int poison_divert(struct task *task, const struct weir_record *record);
uint64_t poison_hash(const void *data, size_t size_bytes);
/* Whether the source's records must be looked at one by one. */
bool poison_is_suspected(const struct task *task);
/* The record that the task's own source emits is what it does from now on. */
void poison_note_emitted(struct task *task, const struct weir_record *record);
/* The source may emit several from here on, nobody knows which. */
static inline void poison_note_polling(struct task *task)
{
    atomic_store_explicit(&task->shared->in_progress.count, 0, memory_order_relaxed);
    atomic_store_explicit(&task->shared->in_progress.ring, IN_PROGRESS_SOURCE, memory_order_relaxed);
}
/* From here on no record is to blame for what fails. */
static inline void poison_forget(struct task *task)
{
    atomic_store_explicit(&task->shared->in_progress.ring, 0, memory_order_relaxed);
}
/* Before the job starts: the dead-letter file can be written. */
int poison_check_file(const struct job_options *options, struct weir_error *err);

/* Marks the task as failed, with the text of err, and ends the process. */
_Noreturn void task_fail(struct task *task, const struct weir_error *err, bool damaged);
/* What a task has forked may run wherever the task might before --pin-cpus. */
void task_unpin(const struct task *task);

#endif
