/* launcher.c - forks, reaps, forks again. Single-threaded; everything it decides is whom to fork. */
#include "engine/launcher.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/departing.h"
#include "engine/registry.h"
#include "engine/takeover.h"
#include "engine/task.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRESS_NS (500 * NS_PER_MS)
#define FAILURES_MAX 20 /* one after another, of forking anew in a job that runs */
#define FAILURE_WAIT_MS 50

struct launcher {
    struct job *job;
    const struct run_observer *observer;
    int signal_fd;
    sigset_t old_mask;
    int64_t progress_due_ns;
    uint64_t last_in, last_out; /* for rates */
    int64_t last_progress_ns;
    uint64_t coordinator_beat;
    int64_t coordinator_beat_ns;
    int64_t coordinator_watched_ns;
    unsigned failures;
    struct departing departing;
    int64_t departing_warn_ns; /* when to say that they do not go; INT64_MAX: said */
    bool ended;
};

/* ---- forking ---- */

static int fork_task(struct launcher *launcher, unsigned i, struct weir_error *err)
{
    struct job *job = launcher->job;
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "fork of task '%s' (a limit on processes or memory?)", job->plan->tasks[i].name);
    if (pid == 0) {
        close(launcher->signal_fd);
        task_main(job, i);
    }
    takeover_note_owner(job, i, pid);
    return WEIR_OK;
}

/* It may have become the task before we come to note it: then it has set the word to 0 already, or will. */
static void note_standby(struct job *job, unsigned i, pid_t pid)
{
    struct task_shared *task = &job->shared->tasks[i];
    atomic_store(&task->standby_pid, (int32_t)pid);
    if (takeover_owner(task) == pid)
        atomic_store(&task->standby_pid, 0);
}

/* The signals that the launcher blocks stay blocked until the child has its own handling: job_enter_process(). */
static bool fork_taker(struct launcher *launcher, unsigned i)
{
    struct job *job = launcher->job;
    pid_t pid = fork();
    if (pid < 0) {
        log_line(LOG_WARNING, "task '%s' is not taken over: fork: %s", job->plan->tasks[i].name, strerror(errno));
        return false;
    }
    if (pid == 0) {
        close(launcher->signal_fd);
        task_take_over_main(job, i);
    }
    takeover_note_owner(job, i, pid);
    return true;
}

/* One for each task that lacks one. Where a fork fails the next turn tries again: a takeover needs none, it is only faster with it. */
static void fork_standbys(struct launcher *launcher)
{
    struct job *job = launcher->job;
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        if (!takeover_wants_standby(job, i))
            continue;
        pid_t pid = fork();
        if (pid < 0) {
            log_line(LOG_DEBUG, "no standby for task '%s': fork: %s", job->plan->tasks[i].name, strerror(errno));
            return;
        }
        if (pid == 0) {
            close(launcher->signal_fd);
            task_standby_main(job, i);
        }
        note_standby(job, i, pid);
    }
}

static int fork_tasks(struct launcher *launcher, struct weir_error *err)
{
    int code = job_reset_tasks(launcher->job, err);
    atomic_store_explicit(&launcher->job->shared->run_state, RUN_STARTING, memory_order_release);
    departing_tell(launcher->job, &launcher->departing);
    for (unsigned i = 0; code == WEIR_OK && i < launcher->job->plan->task_count; i++)
        code = fork_task(launcher, i, err);
    return code;
}

static int fork_coordinator(struct launcher *launcher, struct weir_error *err)
{
    struct job *job = launcher->job;
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "fork of the coordinator (a limit on processes or memory?)");
    if (pid == 0) {
        close(launcher->signal_fd);
        coordinator_main(job);
    }
    atomic_store(&job->shared->coordinator_pid, (int32_t)pid);
    atomic_fetch_add(&job->shared->coordinator_count, 1);
    launcher->coordinator_beat_ns = clock_monotonic_ns();
    return WEIR_OK;
}

/* ---- reaping ---- */

/* A snapshot child that ended without its acknowledgement has failed. `word`: of the slot when it was the slot's child. */
static void snapshot_child_gone(struct job *job, unsigned i, uint64_t word, int status)
{
    struct snapshot_slot *slot = &job->shared->tasks[i].snapshot;
    if (SNAPSHOT_STATUS(word) != SNAPSHOT_RUNNING || atomic_load_explicit(&slot->word, memory_order_acquire) != word)
        return;
    char how[64];
    snprintf(how, sizeof how, WIFSIGNALED(status) ? "was killed by signal %d" : "exited with status %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    error_set(&slot->error, WEIR_EFAILED, "its snapshot child %s", how);
    if (atomic_compare_exchange_strong(&slot->word, &word, SNAPSHOT_WORD(SNAPSHOT_ID(word), SNAPSHOT_FAILED)))
        job_wake(job->coordinator_fd);
}

/* Whether the child that has ended served the slot's attempt, or would have: then it has claimed it, if only now and by us, and no process that takes
 * the task over forks another one for it. False: it belonged to an attempt that is over, of which somebody else's child has the cut now. Whoever ends
 * an attempt forgets its child first (forget_child()): the pid is looked at after the claim. */
static bool served_the_cut(struct snapshot_slot *slot, pid_t pid)
{
    uint64_t claim = atomic_load(&slot->claim);
    if (SNAPSHOT_CLAIM_PID(claim) != 0 || pid != atomic_load(&slot->child_pid))
        return SNAPSHOT_CLAIM_PID(claim) == pid;
    return atomic_compare_exchange_strong(&slot->claim, &claim, SNAPSHOT_CLAIM(pid, (uint32_t)claim)) || SNAPSHOT_CLAIM_PID(claim) == pid;
}

/* Of a task that a standby has taken over. */
static void previous_gone(struct job *job, unsigned i, pid_t pid, int status)
{
    if (WIFSIGNALED(status) && !takeover_signal_is_own_fault(WTERMSIG(status)) && job->shared->tasks[i].distrusted == 0)
        takeover_log_death(job, i, pid, status);
    else
        takeover_distrust(job, i, status);
    job_ring_all_tasks_for_dead(job);
}

static void task_gone(struct launcher *launcher, unsigned i, pid_t pid, int status)
{
    struct job *job = launcher->job;
    struct task_shared *task = &job->shared->tasks[i];
    bool is_taken;
    int32_t noted = pid;
    atomic_compare_exchange_strong(&task->pid, &noted, 0); /* else a standby has noted itself already */
    if (atomic_load_explicit(&task->phase, memory_order_acquire) == TASK_FINISHED && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    task->exit_status = status;
    task->exit_pid = pid;
    if (takeover_claim(job, i, pid, &is_taken)) {
        if (fork_taker(launcher, i)) {
            takeover_log_death(job, i, pid, status);
            job_ring_all_tasks_for_dead(job);
            return;
        }
        takeover_give_up(job, i);
    } else if (is_taken) {
        (void)takeover_was_followed(task, pid); /* it has been, this instant */
        previous_gone(job, i, pid, status);
        return;
    }
    atomic_store_explicit(&task->phase, TASK_DEAD, memory_order_release);
    job_wake(job->coordinator_fd);
    job_ring_all_tasks_for_dead(job); /* it may have died between a store and the wake that it owed a neighbour */
}

static void child_gone(struct launcher *launcher, pid_t pid, int status)
{
    struct job *job = launcher->job;
    if (pid == atomic_load(&job->shared->coordinator_pid)) {
        atomic_store(&job->shared->coordinator_pid, 0);
        if (!launcher->ended && atomic_load(&job->shared->launcher_request) != LAUNCHER_END)
            log_line(LOG_WARNING, "the coordinator died (%s %d): another one takes over; the data flows on",
                     WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        job_ring_all_tasks_for_dead(job);
        return;
    }
    if (departing_gone(job, &launcher->departing, pid))
        return;
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        struct task_shared *task = &job->shared->tasks[i];
        /* Before the pids, which a task resets before its next checkpoint runs: else a child that has done its part, and is reaped late,
         * might pass for that of the next checkpoint. Pairs with the release in start_snapshot(). */
        uint64_t word = atomic_load_explicit(&task->snapshot.word, memory_order_acquire);
        int32_t standby = pid;
        if (atomic_compare_exchange_strong(&task->standby_pid, &standby, 0) && pid != takeover_owner(task))
            return;
        if (pid == takeover_owner(task))
            task_gone(launcher, i, pid, status);
        else if (takeover_was_followed(task, pid))
            previous_gone(job, i, pid, status);
        else if (served_the_cut(&task->snapshot, pid))
            snapshot_child_gone(job, i, word, status);
    }
}

/* All that have ended, without waiting. Returns whether any child is left. */
static bool reap(struct launcher *launcher)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0)
            child_gone(launcher, pid, status);
        else if (pid == 0)
            return true;
        else if (errno != EINTR)
            return false; /* ECHILD: none is left */
    }
}

/* ---- killing ---- */

static void take_signals(struct launcher *launcher)
{
    struct signalfd_siginfo info;
    while (read(launcher->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD) {
            atomic_fetch_add(&launcher->job->shared->stop_signals, 1);
            job_wake(launcher->job->coordinator_fd);
        }
}

static void kill_child(pid_t pid) { kill(pid, SIGKILL); }

/* Not reaped yet: a pid that was noted long ago may be another process's by now. */
static bool is_child(pid_t pid)
{
    siginfo_t info;
    return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0;
}

/* A kernel without the list of children, or no descriptor left to read it by: those whose pid somebody has noted. */
static bool for_each_noted_child(struct launcher *launcher, pid_t but, void (*fn)(pid_t pid))
{
    struct job_shared *shared = launcher->job->shared;
    bool any = false;
    for (unsigned i = 0; i <= launcher->job->plan->task_count; i++) {
        struct task_shared *task = &shared->tasks[i];
        bool is_task = i < launcher->job->plan->task_count;
        pid_t pids[4 + PREVIOUS_MAX] = {is_task ? atomic_load(&task->pid) : atomic_load(&shared->coordinator_pid),
                                        is_task ? atomic_load(&task->standby_pid) : 0,
                                        is_task ? atomic_load(&task->snapshot.child_pid) : 0,
                                        is_task ? SNAPSHOT_CLAIM_PID(atomic_load(&task->snapshot.claim)) : 0};
        for (unsigned j = 0; is_task && j < PREVIOUS_MAX; j++)
            pids[4 + j] = atomic_load(&task->previous_pids[j]);
        for (unsigned j = 0; j < sizeof pids / sizeof pids[0]; j++) {
            if (pids[j] == but || !is_child(pids[j]))
                continue;
            any = true;
            if (fn != NULL)
                fn(pids[j]);
        }
    }
    return any;
}

/* Calls fn (NULL: nothing) for every child but the coordinator, also snapshot children whose pid nobody noted: their parent is this
 * process. Returns whether there is any. */
static bool for_each_child(struct launcher *launcher, bool coordinator_too, void (*fn)(pid_t pid))
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    pid_t but = coordinator_too ? 0 : atomic_load(&launcher->job->shared->coordinator_pid);
    if (children == NULL)
        return for_each_noted_child(launcher, but, fn);
    bool any = false;
    int pid;
    while (fscanf(children, "%d", &pid) == 1) {
        if (pid == but)
            continue;
        any = true;
        if (fn != NULL)
            fn(pid);
    }
    fclose(children);
    return any;
}

static bool others_left(struct launcher *launcher, bool coordinator_too)
{
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG) != 0)
        return false;
    bool waits = info.si_pid != 0; /* to be reaped */
    return waits || coordinator_too || for_each_child(launcher, false, NULL);
}

static void kill_and_reap(struct launcher *launcher, bool coordinator_too)
{
    int64_t warn_at_ns = clock_monotonic_ns() + 5 * NS_PER_S;
    for_each_child(launcher, coordinator_too, kill_child);
    while (reap(launcher) && others_left(launcher, coordinator_too)) {
        struct pollfd wait = {.fd = launcher->signal_fd, .events = POLLIN};
        if (poll(&wait, 1, 20) > 0) {
            struct signalfd_siginfo drained;
            while (read(launcher->signal_fd, &drained, sizeof drained) == (ssize_t)sizeof drained)
                if (drained.ssi_signo != SIGCHLD)
                    atomic_fetch_add(&launcher->job->shared->stop_signals, 1);
        }
        for_each_child(launcher, coordinator_too, kill_child); /* a task may have forked its child after the first look */
        if (clock_monotonic_ns() > warn_at_ns) {
            log_line(LOG_WARNING, "a killed process does not go away (it hangs in the kernel, perhaps on a disk); still waiting");
            warn_at_ns = INT64_MAX;
        }
    }
}

/* Kills all children but the coordinator, and looks at them. *ret_left: those that are not gone. False: one of them may still execute
 * something, or was not there the last time (then it was not killed yet). */
static bool kill_and_look(struct launcher *launcher, struct departing *ret_left)
{
    struct job *job = launcher->job;
    struct departing before = *ret_left;
    *ret_left = (struct departing){0};
    for_each_child(launcher, false, kill_child);
    reap(launcher);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    bool powerless = children != NULL || !others_left(launcher, false);
    int pid;
    while (children != NULL && fscanf(children, "%d", &pid) == 1) {
        if (pid == atomic_load(&job->shared->coordinator_pid))
            continue;
        bool seen = departing_has(&before, pid) && departing_is_powerless(job, pid);
        powerless = departing_add(job, ret_left, pid) && seen && powerless;
    }
    if (children != NULL)
        fclose(children);
    departing_free(&before);
    return powerless;
}

/* Until nobody of the old ones executes anything any more; those that are not gone by then go while the job goes on. Where that cannot be
 * seen, until they are gone. */
static void kill_and_part(struct launcher *launcher)
{
    struct departing left = {0};
    int64_t warn_at_ns = clock_monotonic_ns() + 5 * NS_PER_S;
    while (!kill_and_look(launcher, &left)) {
        (void)ppoll(&(struct pollfd){.fd = launcher->signal_fd, .events = POLLIN}, 1, &(struct timespec){.tv_nsec = 100000}, NULL);
        take_signals(launcher);
        if (clock_monotonic_ns() > warn_at_ns) {
            log_line(LOG_WARNING, "a killed process does not go away (it hangs in the kernel, perhaps on a disk); still waiting");
            warn_at_ns = INT64_MAX;
        }
    }
    launcher->departing_warn_ns = clock_monotonic_ns() + 5 * NS_PER_S;
    for (unsigned i = 0; i < left.count; i++)
        if (!departing_add(launcher->job, &launcher->departing, left.children[i].pid))
            kill_and_reap(launcher, false);
    departing_free(&left);
}

static void watch_departing(struct launcher *launcher)
{
    if (launcher->departing.count == 0 || clock_monotonic_ns() < launcher->departing_warn_ns)
        return;
    launcher->departing_warn_ns = INT64_MAX;
    log_line(LOG_WARNING, "%u killed processes do not go away (they hang in the kernel, perhaps on a disk): no checkpoint before they have gone",
             launcher->departing.count);
}

/* ---- what the coordinator asks for ---- */

static int restart_tasks(struct launcher *launcher, struct weir_error *err)
{
    struct job_shared *shared = launcher->job->shared;
    atomic_store_explicit(&shared->run_state, RUN_STARTING, memory_order_release);
    int64_t begun_ns = clock_monotonic_ns();
    kill_and_part(launcher);
    int64_t reaped_ns = clock_monotonic_ns();
    int code = job_next_generation(launcher->job, atomic_load(&shared->generation) + 1, err);
    if (code == WEIR_OK)
        code = fork_tasks(launcher, err);
    if (code != WEIR_OK)
        return code; /* the request stands */
    log_line(LOG_DEBUG, "no old process runs any more after %.2f ms, all tasks forked after another %.2f ms", (double)(reaped_ns - begun_ns) / 1e6,
             (double)(clock_monotonic_ns() - reaped_ns) / 1e6);
    atomic_store_explicit(&shared->launcher_request, LAUNCHER_NOTHING, memory_order_release);
    job_wake(launcher->job->coordinator_fd);
    return WEIR_OK;
}

/* The tasks anew, or another coordinator. Where processes, memory or descriptors are lacking for a moment, a job that ran does not fail of it. */
static int fork_what_is_due(struct launcher *launcher, uint32_t request, struct weir_error *err)
{
    int code = WEIR_OK;
    if (request == LAUNCHER_RESTART)
        code = restart_tasks(launcher, err);
    if (code == WEIR_OK && atomic_load(&launcher->job->shared->coordinator_pid) == 0)
        code = fork_coordinator(launcher, err);
    if (code == WEIR_OK) {
        launcher->failures = 0;
        return WEIR_OK;
    }
    if (++launcher->failures > FAILURES_MAX)
        return code;
    log_line(LOG_WARNING, "%s; trying again", err->text);
    memset(err, 0, sizeof *err);
    poll(NULL, 0, FAILURE_WAIT_MS);
    job_wake(launcher->job->launcher_fd); /* at once */
    return WEIR_OK;
}

static void end_all(struct launcher *launcher)
{
    launcher->ended = true;
    atomic_store_explicit(&launcher->job->shared->run_state, RUN_CANCELLED, memory_order_release);
    kill_and_reap(launcher, true);
}

/* A coordinator that hangs is as good as dead. */
static void watch_coordinator(struct launcher *launcher)
{
    struct job_shared *shared = launcher->job->shared;
    int64_t timeout_ns = launcher->job->options->heartbeat_timeout_ns;
    int64_t now_ns = clock_monotonic_ns();
    uint64_t beat = atomic_load_explicit(&shared->coordinator_heartbeat, memory_order_relaxed);
    /* Not looked at for longer than this process ever waits: the machine may have stood still, and both of them with it. */
    bool overslept = now_ns - launcher->coordinator_watched_ns > timeout_ns + PROGRESS_NS;
    launcher->coordinator_watched_ns = now_ns;
    if (beat != launcher->coordinator_beat || timeout_ns == 0 || overslept) {
        launcher->coordinator_beat = beat;
        launcher->coordinator_beat_ns = now_ns;
    } else if (now_ns - launcher->coordinator_beat_ns > 2 * timeout_ns && atomic_load(&shared->coordinator_pid) > 0) {
        log_line(LOG_WARNING, "the coordinator gave no sign of life: killed");
        kill(atomic_load(&shared->coordinator_pid), SIGKILL);
        launcher->coordinator_beat_ns = now_ns;
    }
}

/* ---- progress ---- */

static const char *progress_state(const struct job_shared *shared, bool ended)
{
    const struct coordinator_shared *state = &shared->coordinator;
    if (ended)
        return shared->outcome == OUTCOME_FAILED ? "failed" : "finished";
    if (state->recovery_state != RECOVERY_NONE)
        return state->death_noticed_ns != 0 ? "recovering" : "starting";
    return state->stop_requested != STOP_NONE || atomic_load(&shared->run_state) != RUN_RUNNING ? "stopping" : "running";
}

static void sum_tasks(const struct job *job, struct job_progress *progress)
{
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        const struct plan_chain *chain = &job->plan->chains[job->plan->tasks[i].chain];
        const struct task_counters *counters = &job->shared->tasks[i].counters;
        if (job->graph->nodes[chain->nodes[0]].kind == NODE_SOURCE)
            progress->records_in += counter_get(&counters->records_in);
        if (job->graph->nodes[chain->nodes[chain->node_count - 1]].kind == NODE_SINK)
            progress->records_out += counter_get(&counters->records_out);
    }
}

static void sum_rings(const struct job *job, struct job_progress *progress)
{
    for (unsigned i = 0; i < job->plan->ring_count; i++) {
        const struct ring_shared *ring = job->ring_controls[i];
        uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
        uint64_t records = counter_get(&ring->records);
        if (head <= tail || records == 0)
            continue;
        uint64_t fill = head - tail;
        progress->lag_records += fill / (head / records > 0 ? head / records : 1);
        unsigned fill_pct = (unsigned)(fill * 100 / ring->capacity_bytes);
        progress->ring_fill_pct_max = fill_pct > progress->ring_fill_pct_max ? fill_pct : progress->ring_fill_pct_max;
    }
}

static double per_second(uint64_t now, uint64_t before, int64_t span_ns)
{
    return now > before && span_ns > 0 ? (double)(now - before) * 1e9 / (double)span_ns : 0;
}

static void show_progress(struct launcher *launcher, bool ended)
{
    const struct job *job = launcher->job;
    const struct coordinator_shared *state = &job->shared->coordinator;
    int64_t now_ns = clock_monotonic_ns();
    launcher->progress_due_ns = now_ns + PROGRESS_NS;
    if (launcher->observer == NULL || launcher->observer->on_progress == NULL)
        return;
    struct job_progress progress = {
        .state = progress_state(job->shared, ended),
        .ended = ended,
        .uptime_ns = now_ns - job->shared->started_ns,
        .checkpoints_completed = state->completed_count,
        .checkpoints_failed = state->aborted_count,
        .checkpoint_last = state->last_completed_id,
        .checkpoint_last_duration_ns = state->last_duration_ns,
        .checkpoint_last_age_ns =
            state->last_completed_ns != 0 ? now_ns - state->last_completed_ns : 0,
        .checkpoint_last_bytes = state->last_bytes,
        .restarts = state->restart_count,
        .restored_checkpoint = state->start_id,
    };
    sum_tasks(job, &progress);
    sum_rings(job, &progress);
    progress.records_in_per_s = per_second(progress.records_in, launcher->last_in, now_ns - launcher->last_progress_ns);
    progress.records_out_per_s = per_second(progress.records_out, launcher->last_out, now_ns - launcher->last_progress_ns);
    launcher->last_in = progress.records_in;
    launcher->last_out = progress.records_out;
    launcher->last_progress_ns = now_ns;
    launcher->observer->on_progress(launcher->observer->self, &progress);
}

/* ---- the loop ---- */

static void wait_for_events(struct launcher *launcher)
{
    struct pollfd fds[2] = {{.fd = launcher->signal_fd, .events = POLLIN}, {.fd = launcher->job->launcher_fd, .events = POLLIN}};
    int64_t wait_ns = launcher->progress_due_ns - clock_monotonic_ns();
    int ready = poll(fds, 2, wait_ns <= 0 ? 0 : (int)(wait_ns / NS_PER_MS) + 1);
    if (ready < 0 && errno != EINTR)
        log_line(LOG_WARNING, "poll: %s", strerror(errno));
    uint64_t rings;
    if (ready > 0 && (fds[1].revents & POLLIN) != 0 && read(launcher->job->launcher_fd, &rings, sizeof rings) < 0 && errno != EAGAIN)
        log_line(LOG_WARNING, "read of the eventfd: %s", strerror(errno));
    take_signals(launcher);
}

static int loop(struct launcher *launcher, struct weir_error *err)
{
    struct job_shared *shared = launcher->job->shared;
    for (;;) {
        wait_for_events(launcher);
        reap(launcher);
        uint32_t request = atomic_load_explicit(&shared->launcher_request, memory_order_acquire);
        if (request == LAUNCHER_END)
            return WEIR_OK;
        int code = fork_what_is_due(launcher, request, err);
        if (code != WEIR_OK)
            return code;
        watch_coordinator(launcher);
        watch_departing(launcher);
        fork_standbys(launcher);
        if (clock_monotonic_ns() >= launcher->progress_due_ns)
            show_progress(launcher, false);
    }
}

static int take_over_signals(struct launcher *launcher, struct weir_error *err)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &mask, &launcher->old_mask) != 0)
        return error_set_errno(err, errno, "launcher: block signals");
    launcher->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (launcher->signal_fd < 0)
        return error_set_errno(err, errno, "launcher: signalfd");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return error_set_errno(err, errno, "launcher: become the subreaper");
    return WEIR_OK;
}

static int outcome_code(const struct job *job, struct weir_error *err)
{
    const struct job_shared *shared = job->shared;
    if (shared->outcome == OUTCOME_FAILED) {
        if (err != NULL)
            *err = shared->failure;
        return shared->failure.code != WEIR_OK ? shared->failure.code : WEIR_EFAILED;
    }
    if (shared->outcome == OUTCOME_STOPPED && shared->coordinator.stop_requested == STOP_NOW)
        return error_set(err, WEIR_ECANCELLED, "job '%s': stopped at once, without a final checkpoint", job->graph->name);
    return WEIR_OK;
}

int launcher_run(struct job *job, const struct run_observer *observer, struct weir_error *err)
{
    struct launcher launcher = {.job = job, .observer = observer, .signal_fd = -1};
    log_set_name("launcher");
    kill_point_set_process("launcher");
    job->shared->started_ns = clock_monotonic_ns();
    job->shared->started_wall_ms = clock_wall_ms();
    job->shared->started_boot_ns = clock_boot_ns();
    launcher.progress_due_ns = launcher.last_progress_ns = job->shared->started_ns;
    int code = take_over_signals(&launcher, err);
    if (code == WEIR_OK)
        code = fork_tasks(&launcher, err);
    if (code == WEIR_OK)
        code = fork_coordinator(&launcher, err);
    if (code == WEIR_OK)
        code = loop(&launcher, err);
    end_all(&launcher);
    show_progress(&launcher, true);
    departing_free(&launcher.departing);
    if (launcher.signal_fd >= 0)
        close(launcher.signal_fd);
    sigprocmask(SIG_SETMASK, &launcher.old_mask, NULL);
    return code == WEIR_OK ? outcome_code(job, err) : code;
}
