#include "chaos/run.h"

#include "base/clock.h"
#include "base/error.h"
#include "chaos/watch.h"
#include "engine/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_NS (50 * NS_PER_MS)         /* between two looks at the event log */
#define PRESENT_NS (2 * NS_PER_S)        /* how long a fault waits for its process: tasks are forked again after each recovery */
#define PRESENT_SHORT_NS (300 * NS_PER_MS) /* the same for processes that come and go */
#define FREE_NS (10 * NS_PER_S)          /* a killed launcher's processes have let go of the directory by then */
#define LAUNCHES_AFTER_FAULTS_MAX 4      /* of a job that a disk fault makes fail */

/* Of launcher and supervisor. */
struct outcome {
    int code;
    struct weir_error error;
};

struct run {
    struct chaos *chaos;
    const struct run_plan *plan;
    const char *directory;
    char checkpoints[PATH_MAX];
    char log_path[PATH_MAX];
    struct outcome *outcome; /* shared memory */
    struct process launcher;
    struct watch watch;
    struct run_result result;
    bool ended;
    bool launcher_hit;       /* by us: its death is no failure of the job */
    int64_t restarted_ns;    /* when a launcher died and another was started; 0: all runs, or it was seen to run */
    struct process stopped;  /* until continue_ns */
    int64_t continue_ns;
    struct fault fault;      /* the next random one */
    int64_t began_ns;
    int64_t last_ns;         /* when the loop came round last */
    bool first_done;
};

/* ---- the launcher ---- */

static void set_variable(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static bool redirect_stdio(const struct run *run)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(run->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return null >= 0 && log >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 &&
           dup2(log, STDERR_FILENO) >= 0;
}

/* In the child, which becomes the launcher. First launch: with the faults of the plan. */
_Noreturn static void launch(const struct run *run, pid_t parent, bool first)
{
    static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE};
    static const struct rlimit no_core = {0, 0};
    char runtime[PATH_MAX];
    sigset_t none;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EXIT_FAILURE);
    setpgid(0, 0); /* Ctrl-C is the supervisor's: it ends the run and cleans up */
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        signal(defaults[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &no_core);
    snprintf(runtime, sizeof runtime, "%.*s/runtime", PATH_MAX - 16, run->chaos->scratch);
    set_variable("WEIR_RUNTIME_DIR", runtime);
    set_variable("WEIR_KILL", first ? run->plan->kill : NULL);
    set_variable("WEIR_IO_FAULT", first ? run->plan->io_fault : NULL);
    if (redirect_stdio(run))
        run->outcome->code = chaos_job_run(&run->chaos->job, run->directory, &run->outcome->error);
    else
        run->outcome->code = error_set_errno(&run->outcome->error, errno, "chaos: cannot write '%s'", run->log_path);
    _exit(run->outcome->code == WEIR_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}

static int start(struct run *run, struct weir_error *err)
{
    pid_t parent = getpid();
    memset(run->outcome, 0, sizeof *run->outcome);
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "chaos: fork of a launcher");
    if (pid == 0)
        launch(run, parent, run->result.launches == 0);
    run->launcher = (struct process){pid, (int)syscall(SYS_pidfd_open, pid, 0)};
    if (run->launcher.fd < 0) {
        int errno_value = errno;
        kill(pid, SIGKILL); /* not reaped yet: it is ours */
        waitpid(pid, NULL, 0);
        return error_set_errno(err, errno_value, "chaos: pidfd_open");
    }
    run->result.launches++;
    run->launcher_hit = false;
    return WEIR_OK;
}

/* Ends the launcher, and all others with it. */
static void end_launcher(struct run *run)
{
    if (run->launcher.fd < 0)
        return;
    process_signal(&run->launcher, SIGKILL, NULL);
    waitpid(run->launcher.pid, NULL, 0);
    process_close(&run->launcher);
}

/* ---- what the log says ---- */

/* How often the text stands in the log. */
static unsigned log_count(const struct run *run, const char *text)
{
    char line[1024];
    unsigned count = 0;
    FILE *log = fopen(run->log_path, "re");
    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        count += strstr(line, text) != NULL;
    if (log != NULL)
        fclose(log);
    return count;
}

/* How many of the plan's own faults took effect. */
static unsigned planned_hits(const struct run *run)
{
    unsigned hits = 0;
    if (run->plan->kill != NULL)
        hits += log_count(run, "kill point ");
    if (run->plan->io_fault != NULL)
        hits += log_count(run, "io fault ");
    return hits;
}

/* ---- the end of a launcher ---- */

static int start_again(struct run *run, struct weir_error *err)
{
    if (run->restarted_ns == 0)
        run->restarted_ns = clock_monotonic_ns();
    return start(run, err);
}

/* The one before has died, and its processes have not all let go of the directory. */
static bool is_still_taken(const struct run *run)
{
    return run->outcome->code == WEIR_EBUSY && run->result.launches > 1 && run->restarted_ns != 0 &&
           clock_monotonic_ns() - run->restarted_ns < FREE_NS;
}

static void note_running(struct run *run)
{
    if (run->restarted_ns == 0)
        return;
    recoveries_add(&run->chaos->report.recoveries[RECOVERY_PATH_RESTART], clock_monotonic_ns() - run->restarted_ns);
    run->restarted_ns = 0;
}

static int launcher_ended(struct run *run, struct weir_error *err)
{
    int status = 0;
    while (waitpid(run->launcher.pid, &status, 0) < 0 && errno == EINTR)
        continue;
    process_close(&run->launcher);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        note_running(run);
        run->ended = true;
        return WEIR_OK;
    }
    if (WIFSIGNALED(status)) {
        if (run->launcher_hit || (run->plan->kill != NULL && planned_hits(run) > 0))
            return start_again(run, err);
        return error_set(err, WEIR_EFAILED, "the launcher was killed by signal %d (%s), and not by a fault", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    }
    if (is_still_taken(run)) {
        run->result.launches--;
        poll(NULL, 0, 5);
        return start(run, err);
    }
    if (run->plan->io_fault != NULL && planned_hits(run) > 0 && run->result.launches < LAUNCHES_AFTER_FAULTS_MAX)
        return start_again(run, err); /* a disk that fails may end a job, if the next run goes on from there */
    return error_set(err, run->outcome->code != WEIR_OK ? run->outcome->code : WEIR_EFAILED, "%s",
                     run->outcome->error.text[0] != 0 ? run->outcome->error.text : "the launcher ended without a word");
}

/* ---- faults ---- */

static bool name_is_cut(const char *name) { return strlen(name) > PROCESS_COMM_BYTES; }

/* Of tasks whose names begin alike, the job itself knows which is which; 0: it has no such process, or does not answer. */
static pid_t ask_for_pid(const struct run *run, const char *name)
{
    json_t *status = NULL;
    pid_t pid = 0;
    if (control_call(run->checkpoints, "status", NULL, 100, &status, NULL) != WEIR_OK)
        return 0;
    const json_t *tasks = json_object_get(status, "tasks");
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        const json_t *task = json_array_get(tasks, i);
        const char *head = json_string_value(json_object_get(task, "name"));
        char full[PROCESS_NAME_BYTES];
        snprintf(full, sizeof full, "%s/%d", head != NULL ? head : "", (int)json_integer_value(json_object_get(task, "subtask")));
        if (strcmp(full, name) == 0)
            pid = (pid_t)json_integer_value(json_object_get(task, "pid"));
    }
    json_decref(status);
    return pid;
}

/* What the names of all processes of such a role begin with; NULL: the place is one process. */
static const char *role_prefix(const char *place)
{
    return strcmp(place, "snapshot") == 0 ? "snapshot:" : strcmp(place, "standby") == 0 ? "standby:" : NULL;
}

/* Any of several alike: chance. */
static bool open_any(const struct run *run, const char *prefix, struct process *ret_process)
{
    struct process_entry entries[PROCESS_CHILDREN_MAX];
    size_t count = process_children(run->launcher.pid, entries, PROCESS_CHILDREN_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct process_entry *entry = &entries[(i + run->chaos->faults_done) % count];
        if (strncmp(entry->comm, prefix, strlen(prefix)) == 0 &&
            process_open_child(entry->pid, run->launcher.pid, entry->comm, ret_process, NULL) == WEIR_OK)
            return true;
    }
    return false;
}

static bool open_one(const struct run *run, const char *name, struct process *ret_process)
{
    struct process_entry entries[PROCESS_CHILDREN_MAX];
    size_t count = process_children(run->launcher.pid, entries, PROCESS_CHILDREN_MAX), matches = 0;
    pid_t pid = 0;
    for (size_t i = 0; i < count; i++)
        if (process_may_be(entries[i].comm, name)) {
            matches++;
            pid = entries[i].pid;
        }
    if (matches > 1 || (matches == 1 && name_is_cut(name)))
        pid = ask_for_pid(run, name);
    return pid > 0 && process_open_child(pid, run->launcher.pid, name, ret_process, NULL) == WEIR_OK;
}

static bool ended_within(const struct run *run, int wait_ms)
{
    struct pollfd end = {.fd = run->launcher.fd, .events = POLLIN};
    return poll(&end, 1, wait_ms) > 0;
}

static bool hit_launcher(struct run *run, const struct fault *fault)
{
    if (process_signal(&run->launcher, fault_kind_signal(fault->kind), NULL) != WEIR_OK)
        return false;
    run->launcher_hit = fault->kind != FAULT_STOP;
    if (fault->kind == FAULT_STOP)
        run->stopped = (struct process){run->launcher.pid, fcntl(run->launcher.fd, F_DUPFD_CLOEXEC, 0)};
    return true;
}

static bool hit_child(struct run *run, const struct fault *fault)
{
    struct process process;
    const char *prefix = role_prefix(fault->place);
    if (prefix != NULL ? !open_any(run, prefix, &process) : !open_one(run, fault->place, &process))
        return false;
    bool hit = process_signal(&process, fault_kind_signal(fault->kind), NULL) == WEIR_OK;
    if (hit && fault->kind == FAULT_STOP)
        run->stopped = process;
    else
        process_close(&process);
    return hit;
}

static bool is_interrupted(const struct chaos *chaos)
{
    return chaos->observer.interrupted != NULL && *chaos->observer.interrupted != 0;
}

/* Waits for the process where it is not there: between two recoveries, or a snapshot child. False: the run ended first, and
 * the fault is the next run's. */
static bool inject(struct run *run, const struct fault *fault, bool *ret_hit)
{
    bool brief = role_prefix(fault->place) != NULL;
    int64_t end_ns = clock_monotonic_ns() + (brief ? PRESENT_SHORT_NS : PRESENT_NS);
    bool is_launcher = strcmp(fault->place, "launcher") == 0;
    do {
        *ret_hit = is_launcher ? hit_launcher(run, fault) : hit_child(run, fault);
        if (!*ret_hit && ended_within(run, brief ? 0 : 1))
            return false;
    } while (!*ret_hit && clock_monotonic_ns() < end_ns && !is_interrupted(run->chaos));
    if (*ret_hit && fault->kind == FAULT_STOP)
        run->continue_ns = clock_monotonic_ns() + fault->hold_ns;
    return true;
}

static void note_fault(struct run *run, uint64_t number, const char *kind, const char *place, bool hit)
{
    struct fault_record record = {.number = number, .kind = kind, .hit = hit};
    snprintf(record.place, sizeof record.place, "%s", place);
    report_add_fault(&run->chaos->report, &record);
    run->result.hits += hit;
}

/* The next random fault is drawn once, however many runs its wait takes. */
static bool has_random_fault(struct run *run)
{
    struct chaos *chaos = run->chaos;
    if (!run->plan->random || chaos->faults_done >= chaos->options.kills)
        return false;
    run->fault = fault_choose(&chaos->options, &chaos->job.places, chaos->faults_done + 1);
    if (!chaos->fault_waits)
        chaos->wait_left_ns = run->fault.wait_ns;
    chaos->fault_waits = true;
    return true;
}

static void do_random_fault(struct run *run)
{
    struct chaos *chaos = run->chaos;
    bool hit = false;
    if (!inject(run, &run->fault, &hit))
        return;
    chaos->faults_done++;
    chaos->fault_waits = false;
    note_fault(run, chaos->faults_done, fault_kind_name(run->fault.kind), run->fault.place, hit);
}

static void do_first_fault(struct run *run)
{
    struct fault fault = {.kind = run->plan->first_kind, .place = run->chaos->job.first_task};
    bool hit = false;
    run->first_done = true;
    if (inject(run, &fault, &hit))
        note_fault(run, 0, fault_kind_name(fault.kind), fault.place, hit);
}

static void continue_stopped(struct run *run)
{
    process_signal(&run->stopped, SIGCONT, NULL); /* WEIR_ENOENT: somebody has killed it meanwhile */
    process_close(&run->stopped);
}

/* ---- the loop ---- */

static void show_progress(const struct run *run)
{
    const struct chaos *chaos = run->chaos;
    const struct chaos_report *report = &chaos->report;
    struct chaos_progress progress = {.run = run->plan->name, .runs = report->case_count, .faults_wanted = report->faults_wanted,
                                      .elapsed_ns = clock_monotonic_ns() - chaos->began_ns};
    if (chaos->observer.on_progress == NULL)
        return;
    for (size_t i = 0; i < report->fault_count; i++)
        progress.faults += report->faults[i].hit;
    for (unsigned i = 0; i < RECOVERY_PATH_COUNT; i++)
        progress.recoveries += report->recoveries[i].count;
    chaos->observer.on_progress(chaos->observer.self, &progress);
}

/* Whether a job that was started again runs by now: looked for every few milliseconds, while that lasts. */
static void look_for_running(struct run *run)
{
    json_t *status = NULL;
    if (run->restarted_ns == 0 || control_call(run->checkpoints, "status", NULL, 50, &status, NULL) != WEIR_OK)
        return;
    const char *state = json_string_value(json_object_get(status, "state"));
    if (state != NULL && strcmp(state, "starting") != 0)
        note_running(run);
    json_decref(status);
}

/* Until when nothing has to be done. */
static int64_t next_due_ns(struct run *run, int64_t now_ns, bool random)
{
    int64_t due_ns = now_ns + (run->restarted_ns != 0 ? 2 * NS_PER_MS : TICK_NS);
    if (run->stopped.fd >= 0 && run->continue_ns < due_ns)
        due_ns = run->continue_ns;
    if (random && run->stopped.fd < 0 && now_ns + run->chaos->wait_left_ns < due_ns)
        due_ns = now_ns + run->chaos->wait_left_ns;
    return due_ns;
}

static void wait_until(const struct run *run, int64_t due_ns)
{
    int64_t left_ns = due_ns - clock_monotonic_ns();
    struct timespec wait = {left_ns > 0 ? left_ns / NS_PER_S : 0, left_ns > 0 ? left_ns % NS_PER_S : 0};
    struct pollfd end = {.fd = run->launcher.fd, .events = POLLIN};
    ppoll(&end, 1, &wait, NULL);
}

/* What is due now. */
static void act(struct run *run, bool random, int64_t now_ns)
{
    if (run->stopped.fd >= 0) {
        if (now_ns >= run->continue_ns)
            continue_stopped(run);
        return; /* one at a time */
    }
    if (run->plan->first_fault && !run->first_done && run->watch.checkpoints > 0)
        do_first_fault(run);
    else if (random && run->chaos->wait_left_ns <= 0)
        do_random_fault(run);
}

static int check_limits(const struct run *run, int64_t now_ns, struct weir_error *err)
{
    if (is_interrupted(run->chaos))
        return error_set(err, WEIR_ECANCELLED, "chaos: interrupted");
    if (now_ns - run->began_ns > run->chaos->options.timeout_ns)
        return error_set(err, WEIR_ETIMEOUT, "the job had not ended after %lld s (--run-timeout)",
                         (long long)(run->chaos->options.timeout_ns / NS_PER_S));
    return WEIR_OK;
}

static int supervise(struct run *run, struct weir_error *err)
{
    int64_t shown_ns = 0;
    int code = start(run, err);
    while (code == WEIR_OK && !run->ended) {
        bool random = has_random_fault(run);
        wait_until(run, next_due_ns(run, run->last_ns, random));
        int64_t now_ns = clock_monotonic_ns();
        run->chaos->wait_left_ns -= now_ns - run->last_ns;
        run->last_ns = now_ns;
        watch_read(&run->watch, &run->chaos->report);
        if (ended_within(run, 0))
            code = launcher_ended(run, err);
        else
            code = check_limits(run, now_ns, err);
        if (code != WEIR_OK || run->ended)
            break;
        look_for_running(run);
        act(run, random, now_ns);
        run->last_ns = clock_monotonic_ns(); /* what it took is no part of the next wait */
        if (now_ns - shown_ns >= 4 * TICK_NS) {
            show_progress(run);
            shown_ns = now_ns;
        }
    }
    return code;
}

int run_supervise(struct chaos *chaos, const struct run_plan *plan, const char *directory, struct run_result *ret_result,
                  struct weir_error *err)
{
    struct run *run = calloc(1, sizeof *run);
    void *outcome = mmap(NULL, sizeof(struct outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int code = run != NULL && outcome != MAP_FAILED ? WEIR_OK : error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    if (code == WEIR_OK) {
        *run = (struct run){.chaos = chaos, .plan = plan, .directory = directory, .outcome = outcome, .launcher = {.fd = -1},
                            .stopped = {.fd = -1}, .began_ns = clock_monotonic_ns()};
        run->last_ns = run->began_ns;
        snprintf(run->checkpoints, sizeof run->checkpoints, "%s/" CHAOS_CHECKPOINTS, directory);
        snprintf(run->log_path, sizeof run->log_path, "%s/" CHAOS_LOG, directory);
        watch_init(&run->watch, run->checkpoints);
        code = supervise(run, err);
        if (run->stopped.fd >= 0)
            continue_stopped(run);
        end_launcher(run);
        watch_finish(&run->watch, &chaos->report);
        run->result.duration_ns = clock_monotonic_ns() - run->began_ns;
        run->result.reached = planned_hits(run) > 0;
        if (plan->kill != NULL || plan->io_fault != NULL)
            note_fault(run, 0, plan->kill != NULL ? "kill point" : "disk fault", plan->place, run->result.reached);
        *ret_result = run->result;
    }
    if (outcome != MAP_FAILED)
        munmap(outcome, sizeof(struct outcome));
    free(run);
    return code;
}
