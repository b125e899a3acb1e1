/*
 * judge.c - what must hold, whatever happened: FAULTS.md's I1 to I8 as far as they can be seen here. It knows the input and what a count
 * is; of the engine it looks at a few words of shared memory and at the names on the disk.
 */
#include "sim/sim.h"

#include "base/clock.h"
#include "engine/takeover.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 512
#define SOURCES_MAX 2
#define KEYS_MAX 64
#define LATEST_END_NS (30 * NS_PER_S) /* behind the last fault */
#define HEARTBEAT_NS (100 * NS_PER_MS) /* --heartbeat-timeout */
#define CHECKPOINT_ENDS_NS (5 * NS_PER_S)

static struct sim_row seen[SOURCES_MAX][RECORDS_MAX]; /* count 0: not seen */
static bool count_taken[KEYS_MAX][SOURCES_MAX * RECORDS_MAX + 1];
static uint32_t seen_count[SOURCES_MAX], seen_end[SOURCES_MAX];
static uint64_t committed_max; /* the newest checkpoint whose output somebody may have seen */
static uint64_t slot_ids[SIM_TASKS_MAX];
static uint64_t watched_checkpoint;
static int64_t watched_since_ns;
static uint64_t dead_run_faults;

void judge_begin_seed(void)
{
    memset(seen, 0, sizeof seen);
    memset(count_taken, 0, sizeof count_taken);
    memset(seen_count, 0, sizeof seen_count);
    memset(seen_end, 0, sizeof seen_end);
    memset(slot_ids, 0, sizeof slot_ids);
    committed_max = 0;
    watched_checkpoint = 0;
    dead_run_faults = 0;
}

/* ---- output ---- */

/* I2, and that each row is one that the input can have led to. */
static void judge_row(uint64_t checkpoint, const struct sim_row *row)
{
    unsigned long long id = checkpoint;
    if (row->source >= sim.profile.sources || row->seq >= sim.profile.records || row->key != job_key(row->source, row->seq))
        sim_fail("checkpoint %llu: a row that the input has not", id);
    else if (seen[row->source][row->seq].count != 0)
        sim_fail("checkpoint %llu: record %u of source %u is there twice", id, row->seq, row->source);
    else if (row->count == 0 || row->count > sim.profile.sources * sim.profile.records)
        sim_fail("checkpoint %llu: key %u was counted to %u", id, row->key, row->count);
    else if (count_taken[row->key][row->count])
        sim_fail("checkpoint %llu: key %u was counted to %u twice: a record was lost from the state", id, row->key, row->count);
    else {
        seen[row->source][row->seq] = *row;
        count_taken[row->key][row->count] = true;
        seen_count[row->source]++;
        if (row->seq >= seen_end[row->source])
            seen_end[row->source] = row->seq + 1;
    }
}

/* I1, I3: with one sink, what is visible is always the beginning of the input, and nothing of what follows. */
void judge_visible(uint64_t checkpoint, unsigned sink, const struct sim_row *rows, size_t count)
{
    sim_note("sink %u makes %zu rows of checkpoint %llu visible", sink, count, (unsigned long long)checkpoint);
    for (size_t i = 0; i < count && !sim.failed; i++)
        judge_row(checkpoint, &rows[i]);
    for (unsigned i = 0; sim.profile.sinks == 1 && i < sim.profile.sources; i++)
        if (seen_count[i] != seen_end[i])
            sim_fail("checkpoint %llu: of source %u %u records are visible, the last of them is number %u", (unsigned long long)checkpoint, i,
                     seen_count[i], seen_end[i] - 1);
}

/* I4, and I1 at the end: all there, counted without a gap, each key in the order of its source. */
static void judge_output(void)
{
    uint32_t totals[KEYS_MAX] = {0};
    for (unsigned source = 0; source < sim.profile.sources; source++) {
        uint32_t last[KEYS_MAX] = {0};
        for (uint32_t seq = 0; seq < sim.profile.records; seq++) {
            const struct sim_row *row = &seen[source][seq];
            if (row->count == 0)
                sim_fail("record %u of source %u is lost", seq, source);
            else if (row->count <= last[row->key])
                sim_fail("record %u of source %u was counted before an earlier one of its key", seq, source);
            last[row->key] = row->count;
            totals[row->key]++;
        }
    }
    for (uint32_t key = 0; key < sim.profile.keys; key++)
        for (uint32_t count = 1; count <= totals[key] && !sim.failed; count++)
            if (!count_taken[key][count])
                sim_fail("key %u: no record was counted as number %u of %u", key, count, totals[key]);
}

/* ---- checkpoints ---- */

void judge_sink_commit(uint64_t checkpoint)
{
    if (checkpoint > committed_max)
        committed_max = checkpoint;
}

/* I8 */
static void judge_restored(uint64_t restored)
{
    if (restored < committed_max)
        sim_fail("goes back to checkpoint %llu, but %llu was committed: its output may have been seen", (unsigned long long)restored,
                 (unsigned long long)committed_max);
}

static uint64_t field(const json_t *fields, const char *name) { return (uint64_t)json_integer_value(json_object_get(fields, name)); }

/* A task that runs is not hung. (None of this job's works for so long without a turn of its loop; while it restores, it may wait for
 * the disk.) */
static void judge_hung(const struct proc *proc)
{
    bool restores = true;
    for (unsigned i = 0; proc != NULL && i < sim.task_count; i++)
        if (atomic_load_explicit(&sim.shared->tasks[i].pid, memory_order_relaxed) == proc->pid)
            restores = atomic_load_explicit(&sim.shared->tasks[i].phase, memory_order_relaxed) == TASK_STARTING;
    if (!restores && proc->state != PROC_ZOMBIE && sim.now_ns - proc->ran_ns < HEARTBEAT_NS / 2)
        sim_fail("task %s is killed as hung, but it ran %lld us ago", proc->name, (long long)((sim.now_ns - proc->ran_ns) / NS_PER_US));
}

void judge_event(enum event_kind kind, const json_t *fields)
{
    switch (kind) {
    case EVENT_TASK_HUNG:
        judge_hung(proc_find((int)field(fields, "pid")));
        break;
    case EVENT_JOB_STARTED:
        judge_restored(field(fields, "restored_checkpoint"));
        break;
    case EVENT_RECOVERY_FINISHED:
        judge_restored(field(fields, "checkpoint"));
        sim.rollbacks++;
        break;
    case EVENT_CHECKPOINT_COMPLETED:
        sim.completed++;
        break;
    case EVENT_CHECKPOINT_ABORTED:
        sim.aborted++;
        break;
    case EVENT_TAKEOVER:
        sim.takeovers++;
        break;
    default:
        break;
    }
}

/* Two coordinators never both commit. */
void judge_manifest_renamed(uint64_t checkpoint)
{
    for (unsigned i = 0; i < sim.proc_count; i++) {
        const struct proc *proc = sim.procs[i];
        if (proc != sim.current && proc->state != PROC_ZOMBIE && proc_is(proc, "coordinator"))
            sim_fail("checkpoint %llu is committed while there is another coordinator (%d)", (unsigned long long)checkpoint, proc->pid);
    }
    if (checkpoint <= committed_max)
        sim_fail("checkpoint %llu is committed behind checkpoint %llu", (unsigned long long)checkpoint, (unsigned long long)committed_max);
}

/* ---- processes ---- */

/* A task is one process. */
void judge_batch_committed(void)
{
    for (unsigned i = 0; i < sim.proc_count; i++) {
        const struct proc *proc = sim.procs[i];
        if (proc != sim.current && proc->state != PROC_ZOMBIE && strcmp(proc->name, sim.current->name) == 0)
            sim_fail("two processes are task %s: %d commits a batch, %d lives", proc->name, sim.current->pid, proc->pid);
    }
}

static void judge_task(unsigned i)
{
    const struct task_shared *task = &sim.shared->tasks[i];
    uint64_t word = atomic_load_explicit(&task->snapshot.word, memory_order_relaxed);
    if (SNAPSHOT_ID(word) < slot_ids[i] && word != SNAPSHOT_WORD(0, SNAPSHOT_NONE))
        sim_fail("the snapshot slot of task %u goes back from checkpoint %llu to %llu", i, (unsigned long long)slot_ids[i],
                 (unsigned long long)SNAPSHOT_ID(word));
    slot_ids[i] = SNAPSHOT_ID(word);
    if (task->fell_back != 0) /* SIGKILL leaves nothing that cannot be gone on with */
        sim_fail("task %u could not be taken over: %s", i, task->failure.text);
    /* Bit 0 of the owner: nobody takes it over any more. */
    if (atomic_load_explicit(&task->phase, memory_order_relaxed) == TASK_DEAD &&
        (atomic_load_explicit(&task->owner, memory_order_relaxed) & 1) == 0)
        sim_fail("the whole job goes back for the death of task %u, which was taken over as well", i);
}

static void judge_checkpoint(void)
{
    const struct coordinator_shared *state = &sim.shared->coordinator;
    uint64_t word = state->state == CHECKPOINT_IDLE ? 0 : state->checkpoint_id;
    if (word != watched_checkpoint || word == 0) {
        watched_checkpoint = word;
        watched_since_ns = sim.now_ns;
    } else if (sim.now_ns - watched_since_ns > CHECKPOINT_ENDS_NS)
        sim_fail("checkpoint %llu does not end: it is neither completed nor aborted", (unsigned long long)word);
}

void judge_shared(void)
{
    if (sim.shared == NULL)
        return;
    for (unsigned i = 0; i < sim.task_count && !sim.failed; i++)
        judge_task(i);
    judge_checkpoint();
    uint64_t told = atomic_load_explicit(&sim.shared->checkpoint_committed, memory_order_relaxed);
    if (told > committed_max)
        committed_max = told;
    /* I6 */
    if (sim.faults_left == 0 && sim.point_faults_left == 0 && sim.now_ns - sim.last_fault_ns > LATEST_END_NS)
        sim_fail("not done %lld s after the last fault", (long long)(LATEST_END_NS / NS_PER_S));
}

/* ---- the end ---- */

static uint64_t faults_so_far(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; faults_name(i) != NULL; i++)
        sum += sim.counts_of_faults[i];
    return sum;
}

/* Fail-stop is an answer to a disk that fails and a fork that is refused at the start, not to deaths. */
bool judge_run_ended(int code, const struct weir_error *err)
{
    const struct job_shared *shared = sim.shared;
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (sim.procs[i] != sim.current && sim.procs[i]->run == sim.run)
            sim_fail("the command has ended, and left process %d %s", sim.procs[i]->pid, sim.procs[i]->name);
    if (code == WEIR_OK && shared != NULL && shared->outcome == OUTCOME_FINISHED)
        return true;
    if (code == WEIR_OK || code == WEIR_ECANCELLED || code == WEIR_EBUSY)
        return false; /* asked to stop; processes of the run before are still there */
    sim.runs_failed++;
    if (shared != NULL && atomic_load(&shared->stop_signals) > 0)
        return false; /* asked to stop while it waited to recover: that is said as a failure */
    if (faults_so_far() == dead_run_faults || !(sim.profile.fork_errors || sim.profile.disk_errors))
        sim_fail("the job fails, and nothing but deaths has happened: %s", err->text);
    dead_run_faults = faults_so_far();
    return false;
}

struct leaks {
    struct checkpoint_dir dir;
    struct manifest *manifests[32];
    size_t count;
};

static bool is_named(const struct leaks *leaks, const char *name)
{
    for (size_t i = 0; i < leaks->count; i++)
        for (uint32_t j = 0; j < leaks->manifests[i]->task_count; j++)
            for (uint32_t k = 0; k < leaks->manifests[i]->tasks[j].file_count; k++)
                if (strcmp(leaks->manifests[i]->tasks[j].files[k].name, name) == 0)
                    return true;
    return false;
}

static int judge_top_name(void *self, const char *name, struct weir_error *err)
{
    struct leaks *leaks = self;
    uint64_t id;
    struct manifest *manifest;
    if (strcmp(name, "snapshots") == 0)
        return WEIR_OK;
    if (!manifest_name_parse(name, &id))
        sim_fail("%s is left on the disk", name);
    else if (manifest_read(&leaks->dir, id, &manifest, err) != WEIR_OK)
        sim_fail("%s cannot be read: %s", name, err->text);
    else if (leaks->count < sizeof leaks->manifests / sizeof leaks->manifests[0])
        leaks->manifests[leaks->count++] = manifest;
    return WEIR_OK;
}

static int judge_snapshot_name(void *self, const char *name, struct weir_error *err)
{
    (void)err;
    if (!is_named(self, name))
        sim_fail("snapshots/%s is left on the disk, and no manifest names it", name);
    return WEIR_OK;
}

/* I7 */
static void judge_disk(void)
{
    struct leaks leaks = {0};
    struct weir_error err = {0};
    if (sim.disk->open_fds != 0)
        sim_fail("%d files are left open", sim.disk->open_fds);
    if (checkpoint_dir_open(disk_io(), "/disk", false, &leaks.dir, &err) != WEIR_OK)
        sim_fail("the disk: %s", err.text);
    else if (faults_so_far() > 0 || sim.profile.slow_disk) /* a coordinator that was killed in its clean-up leaves it to the next start */
        checkpoint_retain(&leaks.dir, (uint32_t)sim.profile.retained, sim.shared->coordinator.next_id, NULL, &err);
    if (checkpoint_dir_scan(&leaks.dir, leaks.dir.fd, judge_top_name, &leaks, &err) != WEIR_OK ||
             checkpoint_dir_scan(&leaks.dir, leaks.dir.snapshots_fd, judge_snapshot_name, &leaks, &err) != WEIR_OK)
        sim_fail("the disk: %s", err.text);
    if (leaks.count == 0 || leaks.count > sim.profile.retained)
        sim_fail("%zu checkpoints are left, %llu are to be kept", leaks.count, (unsigned long long)sim.profile.retained);
    checkpoint_dir_close(&leaks.dir);
}

void judge_end(void)
{
    judge_output();
    for (unsigned i = 0; i < sim.task_count; i++)
        if (SNAPSHOT_STATUS(atomic_load(&sim.shared->tasks[i].snapshot.word)) == SNAPSHOT_RUNNING)
            sim_fail("the snapshot of task %u is still running", i);
    if (sim.shared->coordinator.state != CHECKPOINT_IDLE)
        sim_fail("the last checkpoint has not ended");
    if (!sim.failed && !sim.profile.disk_errors) /* an unlink that failed leaves its file */
        judge_disk();
}
