/*
 * coordinator.h - the process that triggers checkpoints, commits them, decides recovery and answers the control socket.
 *
 * Everything that it must remember is in job_shared.coordinator: when it is killed, the next one goes on from there. What is
 * here is private and may be lost: who waits for an answer, when which heartbeat was last seen.
 */
#ifndef WEIR_ENGINE_COORDINATOR_H
#define WEIR_ENGINE_COORDINATOR_H

#include "engine/control.h"
#include "engine/job.h"

#define WAITING_MAX 64

struct waiting_request {
    struct control_request request;
    uint64_t checkpoint_id; /* answered when this one is decided; 0: the next one triggered */
    bool stop;              /* answered when the job has ended */
};

struct heartbeat_seen {
    uint64_t value;
    int64_t at_ns;
};

/* For rates: a task's counters, half a second or more ago, and what came of them. */
struct task_sample {
    uint64_t records_in;
    uint64_t waited_ns;
    double records_per_s;
    double busy_pct;
};

struct coordinator {
    struct job *job;
    struct job_shared *shared;
    struct coordinator_shared *state;
    struct control_server *server;
    struct waiting_request waiting[WAITING_MAX];
    unsigned waiting_count;
    bool checkpoint_wanted; /* somebody asked for one */
    bool retain_due; /* a checkpoint is complete, and older ones are not deleted yet; lost, the next one sees to it */
    struct heartbeat_seen *heartbeats; /* by task */
    int64_t heartbeats_at_ns; /* when they were looked at */
    struct task_sample *samples; /* by task */
    int64_t sampled_at_ns;
    int64_t now_ns; /* of this turn */
    bool done;
};

/* Each looks at the shared state and does what is due; each may be repeated by a successor. They return the time of their next
 * deadline (monotonic ns, INT64_MAX: none). */
int64_t checkpoint_tick(struct coordinator *c);
int64_t recovery_tick(struct coordinator *c);
int64_t heartbeat_tick(struct coordinator *c);

/* Gives the checkpoint in progress, if any, up. It counts as a failed one (--checkpoint-tolerated-failures). */
void checkpoint_abort(struct coordinator *c, const char *format, ...) WEIR_PRINTF(2, 3);
/* The same for a task's death, which has bounds of its own (the restart strategy): no failure of the checkpoint. */
void checkpoint_interrupted(struct coordinator *c);
/* Answers those who wait for this checkpoint. err NULL: it is complete. */
void coordinator_answer(struct coordinator *c, uint64_t checkpoint_id, const struct weir_error *err);
/* Ends the job: all processes, with this outcome. */
void coordinator_end_job(struct coordinator *c, enum outcome outcome, const struct weir_error *failure);
const char *recovery_path_name(enum recovery_path path);
bool all_tasks_in_phase(const struct coordinator *c, enum task_phase phase);

/* A checkpoint is complete: tasks that have come past what they were careful about go on as others do. */
void recovery_lift_care(struct coordinator *c);

/* Looks at what a task that died of its own fault was doing (poison.c's counterpart). WEIR_EFAILED where the job must fail for it. */
int poison_examine(struct coordinator *c, unsigned task, struct weir_error *err);

/* {"job":..., "tasks":[...], ...} for `status` (status.c). */
json_t *status_json(const struct coordinator *c);

#endif
