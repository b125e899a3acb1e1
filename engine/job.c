/* job.c - what all processes of a job share in code: waking, entering a process, the checkpoint's states, the expected manifest. */
#include "engine/job.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "shm/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

void job_wake(int event_fd)
{
    uint64_t one = 1;
    ssize_t written = write(event_fd, &one, sizeof one);
    (void)written; /* fails only when the counter is full, and then its reader is awake anyway */
}

void job_ring_task(const struct job *job, unsigned task)
{
    doorbell_ring(&job->shared->tasks[task].bell, job->memory[task].event_fd);
}

void job_ring_task_for_dead(const struct job *job, unsigned task)
{
    doorbell_ring_for_dead(&job->shared->tasks[task].bell, job->memory[task].event_fd);
}

void job_ring_all_tasks_for_dead(const struct job *job)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        job_ring_task_for_dead(job, i);
}

void job_ring_all_tasks(const struct job *job)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        job_ring_task(job, i);
}

/* Which process the kernel should kill first when memory runs out: snapshot children (cost a checkpoint), standbys (cost a slower
 * takeover), then tasks (cost a takeover), the coordinator, and the launcher last. In thousandths of what is left above the launcher's own
 * score: absolute ones would put the launcher first where it was started with a high one. Far between standbys and tasks, since the kernel
 * adds what a process has mapped, and a task has its whole state mapped. */
static const struct {
    const char *prefix; /* of the name; the last row is a task's */
    int share;
} oom_shares[] = {{"snapshot:", 950}, {"standby:", 800}, {"coordinator", 50}, {"", 100}};

enum plan_chaining job_chaining(const struct job_options *options)
{
    if (options->no_chain)
        return PLAN_CHAIN_NONE;
    return options->chain_keyed ? PLAN_CHAIN_KEYED : PLAN_CHAIN_FORWARD;
}

int job_oom_score(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    return got > 0 ? atoi(text) : 0;
}

/* Raising it needs no rights, nor does lowering it to what nobody with rights has set as the least. Where it fails nothing is lost. */
static void set_oom_score(const struct job *job, const char *name)
{
    size_t i = 0;
    while (strncmp(name, oom_shares[i].prefix, strlen(oom_shares[i].prefix)) != 0)
        i++;
    char text[16];
    int size_bytes = snprintf(text, sizeof text, "%d", job->oom_score + (1000 - job->oom_score) * oom_shares[i].share / 1000);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, text, (size_t)size_bytes) < 0)
        log_line(LOG_DEBUG, "oom_score_adj: %s", strerror(errno));
    close(fd);
}

void job_set_process_name(const struct job *job, const char *name)
{
    prctl(PR_SET_NAME, name);
    set_oom_score(job, name);
    log_set_name(name);
    kill_point_set_process(name);
}

void job_enter_process(const struct job *job, const char *name)
{
    /* Stopping is the launcher's: Ctrl-C, a closing terminal and a service manager reach the whole group. */
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    /* The signal is bound to the launcher's one thread and cleared by fork: set here, then look whether it was too late. */
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    if (getppid() != job->launcher_pid)
        _exit(0);
    job_set_process_name(job, name);
}

int64_t job_now_ms(const struct job *job)
{
    return job->shared->started_wall_ms + (clock_boot_ns() - job->shared->started_boot_ns) / NS_PER_MS;
}

/* ---- the states of a checkpoint ---- */

static const char *const state_names[CHECKPOINT_STATE_COUNT] = {"idle",       "requesting", "executing",
                                                                "committing", "completed",  "aborted"};

#define MOVE(state) (1u << (state))
static const unsigned allowed_moves[CHECKPOINT_STATE_COUNT] = {
    [CHECKPOINT_IDLE] = MOVE(CHECKPOINT_REQUESTING),
    [CHECKPOINT_REQUESTING] = MOVE(CHECKPOINT_EXECUTING) | MOVE(CHECKPOINT_ABORTED),
    [CHECKPOINT_EXECUTING] = MOVE(CHECKPOINT_COMMITTING) | MOVE(CHECKPOINT_ABORTED),
    [CHECKPOINT_COMMITTING] = MOVE(CHECKPOINT_COMPLETED) | MOVE(CHECKPOINT_ABORTED),
    [CHECKPOINT_COMPLETED] = MOVE(CHECKPOINT_IDLE),
    [CHECKPOINT_ABORTED] = MOVE(CHECKPOINT_IDLE),
};

const char *checkpoint_state_name(enum checkpoint_state state) { return state_names[state]; }

void checkpoint_move(struct coordinator_shared *coordinator, enum checkpoint_state to)
{
    CHECK(coordinator->state < CHECKPOINT_STATE_COUNT);
    CHECK((allowed_moves[coordinator->state] & MOVE(to)) != 0);
    coordinator->state = (uint32_t)to;
}

/* ---- the manifest that this job would write, without what changes ---- */

static int fill_operator(const struct weir_job *graph, unsigned node, struct manifest *m, struct manifest_operator *op)
{
    static const uint32_t kinds[] = {MANIFEST_SOURCE, MANIFEST_OPERATOR, MANIFEST_SINK};
    const struct graph_node *from = &graph->nodes[node];
    const struct key_spec *key = graph_input_key(graph, node, 0);
    snprintf(op->name, sizeof op->name, "%s", from->name);
    snprintf(op->type, sizeof op->type, "%s", node_type(from));
    op->kind = kinds[from->kind];
    op->parallelism = from->parallelism;
    op->keyed = key != NULL;
    op->key_bytes = key != NULL && key->fn == NULL ? key->size_bytes : 0;
    unsigned count;
    const struct weir_state *states = node_states(from, &count);
    op->state_count = count;
    op->states = manifest_alloc(m, count, sizeof *op->states);
    if (op->states == NULL)
        return WEIR_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        snprintf(op->states[i].name, sizeof op->states[i].name, "%s", states[i].name);
        op->states[i].kind = states[i].kind;
        op->states[i].scope = states[i].scope;
        op->states[i].size_bytes = states[i].size_bytes;
        op->states[i].version = states[i].version;
    }
    return WEIR_OK;
}

static int fill_task(const struct job *job, unsigned index, struct manifest *m, struct manifest_task *task)
{
    const struct plan_task *from = &job->plan->tasks[index];
    const struct plan_chain *chain = &job->plan->chains[from->chain];
    snprintf(task->name, sizeof task->name, "%s", job->graph->nodes[chain->nodes[0]].name);
    task->subtask = from->subtask;
    task->key_group_first = from->key_group_first;
    task->key_group_count = from->key_group_count;
    task->operator_count = chain->node_count;
    task->operators = manifest_alloc(m, chain->node_count, sizeof *task->operators);
    if (task->operators == NULL)
        return WEIR_ENOMEM;
    memcpy(task->operators, chain->nodes, chain->node_count * sizeof *task->operators);
    return WEIR_OK;
}

static int fill_manifest(const struct job *job, struct manifest *m)
{
    snprintf(m->job_name, sizeof m->job_name, "%s", job->graph->name);
    memcpy(m->job_id, job->shared->job_id, sizeof m->job_id);
    m->guarantee = job->options->guarantee == OPTION_EXACTLY_ONCE ? MANIFEST_EXACTLY_ONCE : MANIFEST_AT_LEAST_ONCE;
    m->key_group_count = job->plan->key_groups;
    m->operator_count = job->graph->node_count;
    m->task_count = job->plan->task_count;
    m->operators = manifest_alloc(m, m->operator_count, sizeof *m->operators);
    m->tasks = manifest_alloc(m, m->task_count, sizeof *m->tasks);
    int code = m->operators != NULL && m->tasks != NULL ? WEIR_OK : WEIR_ENOMEM;
    for (unsigned i = 0; code == WEIR_OK && i < m->operator_count; i++)
        code = fill_operator(job->graph, i, m, &m->operators[i]);
    for (unsigned i = 0; code == WEIR_OK && i < m->task_count; i++)
        code = fill_task(job, i, m, &m->tasks[i]);
    return code;
}

int job_expected_manifest(const struct job *job, struct manifest **ret_manifest, struct weir_error *err)
{
    struct manifest *m = manifest_new();
    if (m == NULL || fill_manifest(job, m) != WEIR_OK) {
        manifest_free(m);
        return error_set(err, WEIR_ENOMEM, "manifest: out of memory");
    }
    *ret_manifest = m;
    return WEIR_OK;
}
