/* setup.c - what a job needs before its first process: directory and lock, plan, shared memory, rings, control socket. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/batch.h"
#include "engine/control.h"
#include "engine/launcher.h"
#include "engine/overflow.h"
#include "engine/takeover.h"
#include "engine/task.h"
#include "shm/region.h"
#include "snapshot/io_fault.h"
#include "state/cut.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCK_PATIENCE_NS (5 * NS_PER_S)
#define GENERATION_BYTES 21 /* of the LOCK file: twenty digits and a line end */

/* mkdir -p: all but the last part, which checkpoint_dir_open makes durably. */
static int make_parents(const char *path, struct weir_error *err)
{
    char partial[PATH_MAX];
    size_t size_bytes = strlen(path);
    CHECK(size_bytes < sizeof partial);
    for (size_t i = 1; i < size_bytes; i++) {
        if (path[i] != '/')
            continue;
        memcpy(partial, path, i);
        partial[i] = 0;
        if (mkdir(partial, 0700) != 0 && errno != EEXIST)
            return error_set_errno(err, errno, "checkpoint directory '%s': make '%s'", path, partial);
    }
    return WEIR_OK;
}

/* A job that was stopped answers no more while it frees its memory, and what a killed launcher leaves ends by itself: both still have the
 * lock for a moment. So has one that has just begun, and will answer. */
static bool holder_is_ending(const struct job *job)
{
    pid_t launcher;
    int code = control_launcher(job->options->directory, 0, &launcher, NULL);
    return code == WEIR_ENOENT || (code == WEIR_OK && kill(launcher, 0) != 0 && errno == ESRCH);
}

static int lock_directory(struct job *job, struct weir_error *err)
{
    int64_t end_ns = clock_monotonic_ns() + LOCK_PATIENCE_NS;
    bool ending = false; /* asked until it is: each question waits in the backlog of a socket that nobody serves, until that is full */
    job->lock_fd = openat(job->dir.fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (job->lock_fd < 0)
        return error_set_errno(err, errno, "checkpoint directory '%s': open LOCK", job->options->directory);
    while (flock(job->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return error_set_errno(err, errno, "checkpoint directory '%s': lock", job->options->directory);
        ending = ending || holder_is_ending(job);
        if (clock_monotonic_ns() >= end_ns || !ending)
            return error_set(err, WEIR_EBUSY, "checkpoint directory '%s': another instance of a job runs on it; stop it ('weir stop'), or "
                             "give this one another --directory", job->options->directory);
        poll(NULL, 0, 5);
    }
    return WEIR_OK;
}

static int open_directory(struct job *job, struct weir_error *err)
{
    const struct io *io = NULL;
    int code = make_parents(job->options->directory, err);
    if (code == WEIR_OK)
        code = io_for_job(&io, err);
    if (code == WEIR_OK)
        code = checkpoint_dir_open(io, job->options->directory, true, &job->dir, err);
    if (code == WEIR_OK)
        code = lock_directory(job, err);
    if (code == WEIR_OK)
        code = event_log_open(&job->events, job->dir.fd, err);
    if (code == WEIR_OK)
        code = poison_check_file(job->options, err);
    if (code == WEIR_OK)
        code = control_listen(job->dir.fd, &job->listen_fd, err);
    return code;
}

/* A seccomp filter may kill whoever asks, instead of refusing: so a process tries it that nobody misses. */
static int probe_uring(struct weir_error *ret_why)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_DUMPABLE, 0); /* no core file of it */
        io_probe_uring(io_system(), NULL);
        _exit(0);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFSIGNALED(status))
        return error_set(ret_why, WEIR_EUNSUPPORTED, "whoever asks for it dies of signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    return io_probe_uring(io_system(), ret_why);
}

static int choose_io(struct job *job, struct weir_error *err)
{
    static const enum io_mode modes[] = {[OPTION_IO_AUTO] = IO_AUTO, [OPTION_IO_URING] = IO_URING, [OPTION_IO_PWRITE] = IO_PWRITE};
    job->io_mode = modes[job->options->io];
    struct weir_error why = {0};
    if (job->io_mode == IO_PWRITE || probe_uring(&why) == WEIR_OK)
        return WEIR_OK;
    if (job->io_mode == IO_URING)
        return error_set(err, WEIR_EUNSUPPORTED, "--io=uring: %s; --io=auto falls back to pwrite", why.text);
    log_line(LOG_INFO, "io_uring is refused here (%s): snapshots are written by pwrite", why.text);
    job->io_mode = IO_PWRITE;
    return WEIR_OK;
}

static int make_event_fd(int *ret_fd, struct weir_error *err)
{
    *ret_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *ret_fd >= 0 ? WEIR_OK : error_set_errno(err, errno, "eventfd");
}

static unsigned rings_of_task(const struct plan *plan, unsigned task)
{
    unsigned count = 0;
    for (unsigned i = 0; i < plan->ring_count; i++)
        count += plan->rings[i].from_task == task || plan->rings[i].to_task == task;
    return count;
}

static int make_task_memory(struct job *job, unsigned i, struct weir_error *err)
{
    struct job_task_memory *memory = &job->memory[i];
    const char *name = job->plan->tasks[i].name;
    uint64_t area_bytes = commit_area_bytes(job->graph, &job->plan->chains[job->plan->tasks[i].chain], rings_of_task(job->plan, i));
    int code = chunk_region_create(&memory->region, name, job->options->state_limit_bytes, area_bytes, err);
    if (code == WEIR_OK)
        cut_set_memory(&memory->region, job->options->rollback_memory_bytes);
    if (code == WEIR_OK && job->options->takeover != OPTION_TAKEOVER_OFF)
        code = chunk_undo_create(&memory->region, name, UNDO_BYTES_MAX, err);
    if (code == WEIR_OK)
        code = overflow_create(name, job->options->overflow_limit_bytes, &memory->overflow_fd, err);
    if (code == WEIR_OK)
        code = make_event_fd(&memory->event_fd, err);
    return code == WEIR_OK ? WEIR_OK : error_context(err, "task '%s'", name);
}

static int make_ring(struct job *job, unsigned i, struct weir_error *err)
{
    const struct plan_ring *ring = &job->plan->rings[i];
    char name[192];
    snprintf(name, sizeof name, "weir-ring:%s-%s", job->plan->tasks[ring->from_task].name, job->plan->tasks[ring->to_task].name);
    int code = ring_create(name, job->ring_bytes, &job->ring_fds[i], err);
    if (code == WEIR_OK)
        code = ring_map_control(job->ring_fds[i], &job->ring_controls[i], err);
    return code;
}

static int make_shared(struct job *job, struct weir_error *err)
{
    job->shared_bytes = align_up(sizeof(struct job_shared) + job->plan->task_count * sizeof(struct task_shared), SHM_PAGE_BYTES);
    int fd;
    int code = region_create("weir-job", job->shared_bytes, true, &fd, err);
    if (code != WEIR_OK)
        return code;
    void *address = NULL;
    code = region_map(fd, 0, job->shared_bytes, &address, err);
    close(fd);
    job->shared = address;
    return code;
}

static int make_memory(struct job *job, struct weir_error *err)
{
    const struct plan *plan = job->plan;
    job->ring_bytes = job->options->ring_bytes;
    job->ring_fds = malloc((plan->ring_count + 1) * sizeof *job->ring_fds);
    job->ring_controls = calloc(plan->ring_count + 1, sizeof(struct ring_shared *));
    job->memory = calloc(plan->task_count, sizeof *job->memory);
    if (job->ring_fds == NULL || job->ring_controls == NULL || job->memory == NULL)
        return error_set(err, WEIR_ENOMEM, "job '%s': out of memory", job->graph->name);
    for (unsigned i = 0; i < plan->ring_count; i++)
        job->ring_fds[i] = -1;
    for (unsigned i = 0; i < plan->task_count; i++)
        job->memory[i].overflow_fd = job->memory[i].event_fd = job->memory[i].region.fd = -1;
    int code = make_shared(job, err);
    for (unsigned i = 0; code == WEIR_OK && i < plan->task_count; i++)
        code = make_task_memory(job, i, err);
    for (unsigned i = 0; code == WEIR_OK && i < plan->ring_count; i++)
        code = make_ring(job, i, err);
    if (code == WEIR_OK)
        code = make_event_fd(&job->coordinator_fd, err);
    if (code == WEIR_OK)
        code = make_event_fd(&job->launcher_fd, err);
    return code;
}

int job_set_up(struct job *job, const struct weir_job *graph, const struct job_options *options, struct weir_error *err)
{
    *job = (struct job){
        .graph = graph,
        .options = options,
        .coordinator_fd = -1,
        .launcher_fd = -1,
        .listen_fd = -1,
        .lock_fd = -1,
        .launcher_pid = getpid(),
        .oom_score = job_oom_score(),
        .dir = {.fd = -1, .snapshots_fd = -1},
        .events = {.fd = -1, .directory_fd = -1},
    };
    job->plan = calloc(1, sizeof *job->plan);
    if (job->plan == NULL)
        return error_set(err, WEIR_ENOMEM, "job '%s': out of memory", graph->name);
    if (options->restart == OPTION_RESTART_FAILURE_RATE && options->restart_attempts > RESTART_TIMES_MAX)
        return error_set(err, WEIR_EINVAL, "--restart-attempts %llu: with --restart=failure-rate it is at most %d",
                         (unsigned long long)options->restart_attempts, RESTART_TIMES_MAX);
    int code = plan_make(graph, job_chaining(options), (unsigned)options->key_groups, job->plan, err);
    if (code == WEIR_OK)
        code = choose_io(job, err);
    if (code == WEIR_OK)
        code = open_directory(job, err);
    if (code == WEIR_OK)
        code = make_memory(job, err);
    return code;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void job_tear_down(struct job *job)
{
    if (job->listen_fd >= 0) {
        close(job->listen_fd);
        control_unlink(job->dir.fd);
    }
    for (unsigned i = 0; job->memory != NULL && i < job->plan->task_count; i++) {
        chunk_region_destroy(&job->memory[i].region);
        close_fd(job->memory[i].overflow_fd);
        close_fd(job->memory[i].event_fd);
    }
    for (unsigned i = 0; job->ring_fds != NULL && job->ring_controls != NULL && i < job->plan->ring_count; i++) {
        region_unmap(job->ring_controls[i], SHM_PAGE_BYTES);
        close_fd(job->ring_fds[i]);
    }
    region_unmap(job->shared, job->shared_bytes);
    close_fd(job->coordinator_fd);
    close_fd(job->launcher_fd);
    if (job->events.fd >= 0)
        event_log_close(&job->events);
    close_fd(job->lock_fd);
    if (job->dir.fd >= 0)
        checkpoint_dir_close(&job->dir);
    free(job->memory);
    free(job->ring_fds);
    free(job->ring_controls);
    free(job->plan);
}

int job_reset_tasks(struct job *job, struct weir_error *err)
{
    for (unsigned i = 0; i < job->plan->ring_count; i++) {
        int code = ring_reset(job->ring_fds[i], err);
        if (code != WEIR_OK)
            return code;
        KILL_POINT(v3);
    }
    /* A request of a checkpoint that was given up is none for the new processes. */
    atomic_store(&job->shared->checkpoint_request, atomic_load(&job->shared->restore_checkpoint) << 1);
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        struct task_shared *task = &job->shared->tasks[i];
        atomic_store(&task->bell.state, DOORBELL_AWAKE);
        atomic_store(&task->phase, TASK_EMPTY);
        atomic_store(&task->snapshot.word, SNAPSHOT_WORD(0, SNAPSHOT_NONE));
        atomic_store(&task->snapshot.child_pid, 0);
        atomic_store(&task->in_progress.ring, 0);
        task->exit_status = 0;
        task->damaged = 0;
        task->rolled_back = 0;
        task->memory_damaged = 0;
        atomic_store(&task->restored, 0);
        atomic_store(&task->page_in.checkpoint_id, 0);
        task->hung = 0;
        atomic_store(&task->snapshot.claim, 0);
        int code = takeover_reset(task, err);
        if (code != WEIR_OK)
            return code;
        task->failure = (struct weir_error){0};
    }
    return WEIR_OK;
}

/* ---- the first start ---- */

static void warn_skipped(void *self, uint64_t checkpoint_id, const struct weir_error *reason)
{
    struct job *job = self;
    log_line(LOG_WARNING, "checkpoint %llu is skipped: %s", (unsigned long long)checkpoint_id, reason->text);
    event_log_append(&job->events, EVENT_CHECKPOINT_SKIPPED_DAMAGED,
                     json_pack("{s:I, s:s}", "checkpoint", (json_int_t)checkpoint_id, "reason", reason->text));
}

/* The manifest to begin with, or NULL for a fresh start. */
static int find_start(struct job *job, struct manifest **ret_manifest, struct weir_error *err)
{
    const struct job_options *options = job->options;
    *ret_manifest = NULL;
    if (options->from_scratch)
        return WEIR_OK;
    if (options->restore != 0)
        return manifest_read(&job->dir, options->restore, ret_manifest, err);
    int code = checkpoint_find_newest(&job->dir, UINT64_MAX, warn_skipped, job, ret_manifest, err);
    if (code == WEIR_END)
        return WEIR_OK;
    if (code == WEIR_ECORRUPT)
        error_append(err, "; 'weir checkpoints' shows what is there; --from-scratch starts from nothing");
    return code;
}

static int check_start(struct job *job, const struct manifest *found, struct weir_error *err)
{
    struct manifest *expected;
    int code = job_expected_manifest(job, &expected, err);
    if (code != WEIR_OK)
        return code;
    memset(expected->job_id, 0, sizeof expected->job_id); /* the checkpoint says which job this is */
    code = manifest_check_compatible(found, expected, err);
    manifest_free(expected);
    if (code == WEIR_EMISMATCH)
        error_append(err, "; --from-scratch starts from nothing, another --directory starts a new job");
    return code;
}

static int new_job_id(struct job *job, struct weir_error *err)
{
    if (getrandom(job->shared->job_id, sizeof job->shared->job_id, 0) != (ssize_t)sizeof job->shared->job_id)
        return error_set_errno(err, errno, "job id: getrandom");
    return WEIR_OK;
}

int job_next_generation(struct job *job, uint64_t at_least, struct weir_error *err)
{
    char text[GENERATION_BYTES + 1] = {0};
    ssize_t got = pread(job->lock_fd, text, GENERATION_BYTES, 0);
    uint64_t noted = got > 0 ? strtoull(text, NULL, 10) : 0;
    uint64_t generation = u64_max(noted + 1, at_least);
    snprintf(text, sizeof text, "%0*llu\n", GENERATION_BYTES - 1, (unsigned long long)generation);
    if (pwrite(job->lock_fd, text, GENERATION_BYTES, 0) != GENERATION_BYTES)
        return error_set_errno(err, errno, "checkpoint directory '%s': note the generation in LOCK", job->options->directory);
    atomic_store(&job->shared->generation, generation);
    return WEIR_OK;
}

static bool all_finished(const struct manifest *m)
{
    for (uint32_t i = 0; i < m->task_count; i++)
        if (!m->tasks[i].finished)
            return false;
    return true;
}

int job_choose_start(struct job *job, struct weir_error *err)
{
    struct coordinator_shared *state = &job->shared->coordinator;
    uint64_t id_max;
    struct manifest *start = NULL;
    int code = checkpoint_id_max(&job->dir, &id_max, err);
    if (code == WEIR_OK)
        code = find_start(job, &start, err);
    if (code == WEIR_OK && start != NULL)
        code = check_start(job, start, err);
    if (code == WEIR_OK && start == NULL)
        code = new_job_id(job, err);
    if (code != WEIR_OK) {
        manifest_free(start);
        return code;
    }
    uint64_t restored = start != NULL ? start->checkpoint_id : 0;
    job->had_ended = start != NULL && all_finished(start);
    if (start != NULL)
        memcpy(job->shared->job_id, start->job_id, sizeof job->shared->job_id);
    code = job_next_generation(job, start != NULL ? start->generation + 1 : 1, err);
    manifest_free(start);
    if (code != WEIR_OK)
        return code;
    state->next_id = id_max + 1;
    state->last_completed_id = restored;
    state->start_id = restored;
    /* Without a checkpoint chosen, those that lie here are another run's. After --restore, newer ones are as well. */
    state->ignore_up_to_id = restored == id_max ? 0 : job->options->from_scratch || job->options->restore != 0 ? id_max : 0;
    state->recovery_state = RECOVERY_STARTING;
    atomic_store(&job->shared->restore_checkpoint, restored);
    if (job->options->restore != 0) /* the one to go back to may be older than those that are kept */
        return WEIR_OK;
    struct weir_error left = {0}; /* what cannot be deleted is in nobody's way */
    if (checkpoint_retain(&job->dir, (uint32_t)job->options->checkpoints_retained, state->next_id, NULL, &left) != WEIR_OK)
        log_line(LOG_WARNING, "deleting old checkpoints: %s", left.text);
    return WEIR_OK;
}
