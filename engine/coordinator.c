/* coordinator.c - the coordinator's loop, and its answers on the control socket. */
#include "engine/coordinator.h"

#include "base/clock.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/arm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- those who wait ---- */

static void add_waiting(struct coordinator *c, const struct control_request *request, bool stop)
{
    if (c->waiting_count == WAITING_MAX) {
        control_reply_error(request, WEIR_EBUSY, "%d requests wait already: try again", WAITING_MAX);
        return;
    }
    c->waiting[c->waiting_count++] = (struct waiting_request){.request = *request, .stop = stop};
}

void coordinator_answer(struct coordinator *c, uint64_t checkpoint_id, const struct weir_error *err)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < c->waiting_count; i++) {
        struct waiting_request *waiting = &c->waiting[i];
        if (waiting->stop || waiting->checkpoint_id != checkpoint_id)
            c->waiting[kept++] = *waiting;
        else if (err != NULL)
            control_reply_failure(&waiting->request, err);
        else
            control_reply(&waiting->request,
                          json_pack("{s:I, s:f, s:I}", "checkpoint", (json_int_t)checkpoint_id, "duration_ms",
                                    (double)c->state->last_duration_ns / 1e6, "bytes", (json_int_t)c->state->last_bytes));
    }
    c->waiting_count = kept;
}

static void answer_all_at_end(struct coordinator *c, const struct weir_error *failure)
{
    for (unsigned i = 0; i < c->waiting_count; i++) {
        const struct waiting_request *waiting = &c->waiting[i];
        if (failure != NULL)
            control_reply_failure(&waiting->request, failure);
        else if (!waiting->stop)
            control_reply_error(&waiting->request, WEIR_ECANCELLED, "the job has ended");
        else
            control_reply(&waiting->request, c->state->stop_checkpoint_id != 0
                                                 ? json_pack("{s:I}", "checkpoint", (json_int_t)c->state->stop_checkpoint_id)
                                                 : json_pack("{s:n}", "checkpoint"));
    }
    c->waiting_count = 0;
    control_server_drain(c->server, 500);
}

void coordinator_end_job(struct coordinator *c, enum outcome outcome, const struct weir_error *failure)
{
    static const enum event_kind events[] = {[OUTCOME_FINISHED] = EVENT_JOB_FINISHED,
                                             [OUTCOME_STOPPED] = EVENT_JOB_STOPPED,
                                             [OUTCOME_FAILED] = EVENT_JOB_FAILED};
    if (c->done)
        return;
    c->done = true;
    if (failure != NULL)
        c->shared->failure = *failure;
    c->shared->outcome = (uint32_t)outcome;
    json_t *fields = failure != NULL ? json_pack("{s:s, s:s}", "code", weir_status_name(failure->code), "error", failure->text)
                                     : json_pack("{s:I}", "checkpoint", (json_int_t)c->state->last_completed_id);
    event_log_append(&c->job->events, events[outcome], fields);
    answer_all_at_end(c, failure); /* before the launcher may see the request: it ends this process too */
    atomic_store_explicit(&c->shared->launcher_request, LAUNCHER_END, memory_order_release);
    job_wake(c->job->launcher_fd);
}

/* ---- requests ---- */

static void request_stop(struct coordinator *c, enum stop_mode mode)
{
    if ((uint32_t)mode > c->state->stop_requested)
        c->state->stop_requested = (uint32_t)mode;
}

static void handle_stop(struct coordinator *c, const struct control_request *request, const json_t *args)
{
    const char *mode = json_string_value(json_object_get(args, "mode"));
    if (mode != NULL && strcmp(mode, "checkpoint") != 0 && strcmp(mode, "now") != 0) {
        control_reply_error(request, WEIR_EINVAL, "stop: mode '%s': it takes 'checkpoint' or 'now'", mode);
        return;
    }
    add_waiting(c, request, true);
    request_stop(c, mode != NULL && strcmp(mode, "now") == 0 ? STOP_NOW : STOP_CHECKPOINT);
}

static void handle_checkpoint(struct coordinator *c, const struct control_request *request)
{
    if (c->job->options->guarantee == OPTION_NO_GUARANTEE) {
        control_reply_error(request, WEIR_EINVAL, "the job runs with --guarantee=none: it takes no checkpoints");
        return;
    }
    add_waiting(c, request, false);
    c->checkpoint_wanted = true;
}

static bool kill_one(struct coordinator *c, unsigned i, int signal_number, json_t *killed)
{
    int32_t pid = atomic_load(&c->shared->tasks[i].pid);
    if (pid <= 0 || kill(pid, signal_number) != 0)
        return false;
    json_array_append_new(killed, json_pack("{s:s, s:i}", "task", c->job->plan->tasks[i].name, "pid", (int)pid));
    return true;
}

static bool chain_has(const struct coordinator *c, const struct plan_chain *chain, const char *name)
{
    for (unsigned i = 0; i < chain->node_count; i++)
        if (strcmp(c->job->graph->nodes[chain->nodes[i]].name, name) == 0)
            return true;
    return false;
}

static void handle_kill(struct coordinator *c, const struct control_request *request, const json_t *args)
{
    const char *name = json_string_value(json_object_get(args, "operator"));
    const json_t *subtask = json_object_get(args, "subtask");
    const json_t *signal_arg = json_object_get(args, "signal");
    json_int_t signal_number = json_is_integer(signal_arg) ? json_integer_value(signal_arg) : SIGKILL;
    if (name == NULL || signal_number < 1 || signal_number >= NSIG) {
        control_reply_error(request, WEIR_EINVAL, "kill: it takes an operator's name and a signal from 1 to %d", NSIG - 1);
        return;
    }
    json_t *killed = json_array();
    if (strcmp(name, "coordinator") == 0) {
        json_array_append_new(killed, json_pack("{s:s, s:i}", "task", "coordinator", "pid", (int)getpid()));
        control_reply(request, json_pack("{s:o}", "killed", killed));
        control_server_drain(c->server, 100);
        kill(getpid(), (int)signal_number);
        return;
    }
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        const struct plan_task *task = &c->job->plan->tasks[i];
        if (chain_has(c, &c->job->plan->chains[task->chain], name) &&
            (!json_is_integer(subtask) || json_integer_value(subtask) == (json_int_t)task->subtask))
            kill_one(c, i, (int)signal_number, killed);
    }
    if (json_array_size(killed) > 0) {
        control_reply(request, json_pack("{s:o}", "killed", killed));
        return;
    }
    json_decref(killed);
    control_reply_error(request, WEIR_ENOENT, "kill: no running task has an operator '%s' of this index; 'weir status' lists them", name);
}

static void handle(void *self, const struct control_request *request, const char *command, const json_t *args)
{
    struct coordinator *c = self;
    if (strcmp(command, "status") == 0)
        control_reply(request, status_json(c));
    else if (strcmp(command, "checkpoint") == 0)
        handle_checkpoint(c, request);
    else if (strcmp(command, "stop") == 0)
        handle_stop(c, request, args);
    else if (strcmp(command, "kill") == 0)
        handle_kill(c, request, args);
    else if (strcmp(command, "arm") == 0)
        arm_kill_points(request, args);
    else
        control_reply_error(request, WEIR_EINVAL, "there is no command '%s': status, checkpoint, stop, kill, arm", command);
}

/* ---- the loop ---- */

static void take_signals(struct coordinator *c)
{
    uint32_t signals = atomic_load_explicit(&c->shared->stop_signals, memory_order_relaxed);
    if (signals > 0)
        request_stop(c, signals > 1 ? STOP_NOW : STOP_CHECKPOINT);
    if (c->state->stop_requested == STOP_NOW)
        coordinator_end_job(c, OUTCOME_STOPPED, NULL);
}

static void wait_for_events(struct coordinator *c, int64_t deadline_ns)
{
    struct pollfd fds[1 + CONTROL_POLL_FDS_MAX] = {{.fd = c->job->coordinator_fd, .events = POLLIN}};
    size_t count = 1 + control_server_fill(c->server, fds + 1, CONTROL_POLL_FDS_MAX);
    int64_t wait_ns = deadline_ns - clock_monotonic_ns();
    int server_ms = control_server_timeout_ms(c->server);
    if (server_ms >= 0 && server_ms * NS_PER_MS < wait_ns)
        wait_ns = server_ms * NS_PER_MS;
    if (wait_ns < 0)
        wait_ns = 0;
    struct timespec timeout = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
    int ready = ppoll(fds, count, &timeout, NULL);
    if (ready < 0 && errno != EINTR)
        log_line(LOG_WARNING, "poll: %s", strerror(errno));
    uint64_t rings;
    if (ready > 0 && (fds[0].revents & POLLIN) != 0 && read(c->job->coordinator_fd, &rings, sizeof rings) < 0 && errno != EAGAIN)
        log_line(LOG_WARNING, "read of the eventfd: %s", strerror(errno));
    c->now_ns = clock_monotonic_ns();
    control_server_process(c->server, fds + 1, count - 1);
}

static void sample_task(struct task_sample *sample, const struct task_counters *counters, int64_t span_ns)
{
    uint64_t records_in = counter_get(&counters->records_in);
    uint64_t waited_ns = counter_get(&counters->idle_ns) + counter_get(&counters->blocked_ns);
    if (records_in >= sample->records_in && waited_ns >= sample->waited_ns && span_ns > 0) { /* else it is a new process */
        double waited = (double)(waited_ns - sample->waited_ns) / (double)span_ns;
        sample->records_per_s = (double)(records_in - sample->records_in) * 1e9 / (double)span_ns;
        sample->busy_pct = waited < 1 ? 100 * (1 - waited) : 0;
    }
    sample->records_in = records_in;
    sample->waited_ns = waited_ns;
}

static void sample_tasks(struct coordinator *c)
{
    int64_t span_ns = c->now_ns - c->sampled_at_ns;
    if (span_ns < NS_PER_S / 2)
        return;
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        sample_task(&c->samples[i], &c->shared->tasks[i].counters, c->sampled_at_ns == 0 ? 0 : span_ns);
    c->sampled_at_ns = c->now_ns;
}

static int64_t earliest(int64_t a, int64_t b) { return a < b ? a : b; }

static void run(struct coordinator *c)
{
    while (!c->done) {
        c->now_ns = clock_monotonic_ns();
        take_signals(c);
        sample_tasks(c);
        int64_t deadline_ns = c->now_ns + NS_PER_S;
        if (!c->done)
            deadline_ns = earliest(deadline_ns, recovery_tick(c));
        if (!c->done)
            deadline_ns = earliest(deadline_ns, checkpoint_tick(c));
        if (!c->done)
            deadline_ns = earliest(deadline_ns, heartbeat_tick(c));
        if (!c->done)
            wait_for_events(c, deadline_ns);
    }
}

_Noreturn void coordinator_main(struct job *job)
{
    job_enter_process(job, "coordinator");
    struct weir_error err = {0};
    struct coordinator c = {
        .job = job,
        .shared = job->shared,
        .state = &job->shared->coordinator,
        .heartbeats = calloc(job->plan->task_count, sizeof *c.heartbeats),
    };
    c.samples = calloc(job->plan->task_count, sizeof *c.samples);
    if (c.heartbeats == NULL || c.samples == NULL || control_server_new(job->listen_fd, handle, &c, &c.server, &err) != WEIR_OK) {
        log_line(LOG_ERROR, "cannot start: %s", err.code != 0 ? err.text : "out of memory");
        _exit(1);
    }
    event_log_append(&job->events, EVENT_COORDINATOR_STARTED,
                     json_pack("{s:i, s:I}", "pid", (int)getpid(), "generation", (json_int_t)atomic_load(&job->shared->generation)));
    run(&c);
    control_server_free(c.server);
    free(c.heartbeats);
    free(c.samples);
    _exit(0);
}
