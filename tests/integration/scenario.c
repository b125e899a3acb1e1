#include "scenario.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 64

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Between two looks at a condition; nothing depends on how long it takes. */
static void breathe(void) { poll(NULL, 0, 5); }

/* ---- the place ---- */

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *at)
{
    (void)stat, (void)type, (void)at;
    return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT); }

void scenario_begin(struct scenario *s, const char *name)
{
    *s = (struct scenario){.limit = -1};
    snprintf(s->root, sizeof s->root, "%s/scratch/%s", WEIR_BINARY_DIR, name);
    snprintf(s->directory, sizeof s->directory, "%s/checkpoints", s->root);
    snprintf(s->output, sizeof s->output, "%s/out", s->root);
    char path[PATH_BYTES];
    mkdir(WEIR_BINARY_DIR "/scratch", 0755);
    remove_tree(s->root);
    cr_assert_eq(mkdir(s->root, 0755), 0, "mkdir %s: %s", s->root, strerror(errno));
    snprintf(path, sizeof path, "%s/run", s->root);
    cr_assert_eq(mkdir(path, 0700), 0);
    setenv("WEIR_RUNTIME_DIR", path, 1);
    unsetenv("WEIR_KILL");
    unsetenv("WEIR_IO");
}

void scenario_end(struct scenario *s)
{
    for (unsigned i = 0; i < s->process_count; i++)
        if (s->processes[i].pid > 0)
            kill(s->processes[i].pid, SIGKILL);
    for (unsigned i = 0; i < s->process_count; i++)
        if (s->processes[i].pid > 0)
            waitpid(s->processes[i].pid, NULL, 0);
    free(s->out);
    free(s->err);
    free(s->kill_list);
    umount2(s->directory, MNT_DETACH);
    umount2(s->output, MNT_DETACH);
    int64_t deadline_ms = now_ms() + DEADLINE_S * 1000; /* tasks whose launcher was killed need a moment to end */
    do {
        remove_tree(s->root);
        if (access(s->root, F_OK) != 0)
            return;
        breathe();
    } while (now_ms() < deadline_ms);
}

bool mount_small_disk(const char *path, size_t size_bytes)
{
    char options[64];
    snprintf(options, sizeof options, "size=%zu,mode=0700", size_bytes);
    mkdir(path, 0700);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("weir-test", path, "tmpfs", 0, options) != 0) {
        fprintf(stderr, "no small disk for this test: %s\n", strerror(errno));
        return false;
    }
    return true;
}

/* ---- processes ---- */

static void redirect(const char *path, int fd)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || dup2(file, fd) < 0)
        _exit(126);
}

static _Noreturn void become(const struct scenario *s, const struct process *process, char *const *argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    redirect(process->out_path, STDOUT_FILENO);
    redirect(process->err_path, STDERR_FILENO);
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    if (s->kill_list != NULL)
        setenv("WEIR_KILL", s->kill_list, 1);
    if (s->limit >= 0 && setrlimit((__rlimit_resource_t)s->limit, &(struct rlimit){s->limit_value, s->limit_value}) != 0)
        _exit(125);
    if (s->uid != 0) {
        if (setgroups(0, NULL) != 0 || setgid((gid_t)s->uid) != 0 || setuid(s->uid) != 0)
            _exit(124);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* setuid clears it */
    }
    execv(argv[0], argv);
    _exit(127);
}

static struct process *spawn(struct scenario *s, char *const *argv)
{
    cr_assert_lt(s->process_count, SCENARIO_PROCESSES_MAX, "the scenario starts too many processes");
    struct process *process = &s->processes[s->process_count];
    snprintf(process->out_path, sizeof process->out_path, "%s/process-%u.out", s->root, s->process_count);
    snprintf(process->err_path, sizeof process->err_path, "%s/process-%u.err", s->root, s->process_count);
    process->pid = fork();
    cr_assert_geq(process->pid, 0, "fork: %s", strerror(errno));
    if (process->pid == 0)
        become(s, process, argv);
    s->process_count++;
    return process;
}

char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = calloc(1, 1);
    size_t used = 0;
    char part[65536];
    for (size_t n; file != NULL && (n = fread(part, 1, sizeof part, file)) > 0;) {
        text = realloc(text, used + n + 1);
        cr_assert_not_null(text);
        memcpy(text + used, part, n);
        text[used += n] = 0;
    }
    if (file != NULL)
        fclose(file);
    return text;
}

void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file, "%s: %s", path, strerror(errno));
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static void take_words(struct scenario *s, const struct process *process)
{
    free(s->out);
    free(s->err);
    s->out = read_file(process->out_path);
    s->err = read_file(process->err_path);
}

int end_of(struct scenario *s, struct process *process)
{
    int pid_fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    struct pollfd wait = {.fd = pid_fd, .events = POLLIN};
    bool ended = pid_fd >= 0 && poll(&wait, 1, DEADLINE_S * 1000) == 1;
    if (pid_fd >= 0)
        close(pid_fd);
    if (!ended)
        kill(process->pid, SIGKILL);
    int status = 0;
    waitpid(process->pid, &status, 0);
    process->pid = 0;
    take_words(s, process);
    cr_assert(ended, "a process did not end within %d s; it said:\n%s", DEADLINE_S, s->err);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static unsigned split(struct scenario *s, char *text, char **argv, unsigned argc)
{
    for (char *rest = NULL, *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        cr_assert_lt(argc, WORDS_MAX - 1);
        argv[argc++] = strcmp(word, "@") == 0 ? s->directory : word;
    }
    argv[argc] = NULL;
    return argc;
}

static char *format_text(const char *format, va_list args)
{
    char *text = NULL;
    cr_assert_geq(vasprintf(&text, format, args), 0);
    return text;
}

static struct process *start_job_va(struct scenario *s, const char *format, va_list args)
{
    char *text = format_text(format, args);
    char *set_output = NULL;
    cr_assert_geq(asprintf(&set_output, "output=%s", s->output), 0);
    char *argv[WORDS_MAX] = {WEIR_TEST_JOBS, "run", "--directory", s->directory, "--set", set_output, "--heartbeat-timeout", "60s"};
    split(s, text, argv, 8);
    struct process *process = spawn(s, argv);
    free(set_output);
    free(text);
    return process;
}

struct process *start_job(struct scenario *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct process *process = start_job_va(s, format, args);
    va_end(args);
    return process;
}

int run_job(struct scenario *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct process *process = start_job_va(s, format, args);
    va_end(args);
    return end_of(s, process);
}

static int run_program(struct scenario *s, char *program_path, const char *format, va_list args)
{
    char *text = format_text(format, args);
    char *argv[WORDS_MAX] = {program_path};
    unsigned argc = split(s, text, argv, 1);
    if (argc > 1 && (strcmp(argv[1], "status") == 0 || strcmp(argv[1], "kill") == 0))
        argv[argc++] = "--timeout=60s";
    argv[argc] = NULL;
    struct process *process = spawn(s, argv);
    int status = end_of(s, process);
    unlink(process->out_path);
    unlink(process->err_path);
    if (process == &s->processes[s->process_count - 1])
        s->process_count--;
    free(text);
    return status;
}

int weir(struct scenario *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = run_program(s, WEIR_COMMAND, format, args);
    va_end(args);
    return status;
}

int program(struct scenario *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = run_program(s, WEIR_TEST_JOBS, format, args);
    va_end(args);
    return status;
}

void assert_says(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        cr_assert_not_null(strstr(text, *words), "it does not say '%s', but:\n%s", *words, text);
}

/* ---- output ---- */

static void add_line(struct lines *lines, const char *text, size_t size_bytes)
{
    if (lines->count == lines->capacity) {
        lines->capacity = lines->capacity == 0 ? 1024 : 2 * lines->capacity;
        lines->line = realloc(lines->line, lines->capacity * sizeof(char *));
        cr_assert_not_null(lines->line);
    }
    lines->line[lines->count++] = strndup(text, size_bytes);
}

void lines_add(struct lines *lines, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int size_bytes = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cr_assert(size_bytes >= 0 && size_bytes < (int)sizeof text);
    add_line(lines, text, (size_t)size_bytes);
}

static int compare_lines(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void lines_sort(struct lines *lines)
{
    if (lines->count > 0)
        qsort(lines->line, lines->count, sizeof(char *), compare_lines);
}

void lines_free(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->line[i]);
    free(lines->line);
    *lines = (struct lines){0};
}

static void add_file(struct lines *lines, const char *path)
{
    char *text = read_file(path);
    for (char *at = text; *at != 0;) {
        char *end = strchrnul(at, '\n');
        add_line(lines, at, (size_t)(end - at));
        at = *end != 0 ? end + 1 : end;
    }
    free(text);
}

struct lines output_lines(const char *directory)
{
    struct lines lines = {0};
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            add_file(&lines, path);
    }
    if (dir != NULL)
        closedir(dir);
    lines_sort(&lines);
    return lines;
}

size_t output_count(const char *directory)
{
    struct lines lines = output_lines(directory);
    size_t count = lines.count;
    lines_free(&lines);
    return count;
}

void assert_same_lines(struct lines *expected, struct lines got)
{
    lines_sort(expected);
    for (size_t i = 0; i < expected->count && i < got.count; i++)
        cr_assert_str_eq(got.line[i], expected->line[i], "of the sorted output, line %zu is '%s', not '%s' (%zu lines, not %zu)", i,
                         got.line[i], expected->line[i], got.count, expected->count);
    cr_assert_eq(got.count, expected->count, "%zu lines of output, not %zu; the first one too many or missing is '%s'", got.count,
                 expected->count, got.count > expected->count ? got.line[expected->count] : expected->line[got.count]);
    lines_free(expected);
    lines_free(&got);
}

/* ---- events and status ---- */

json_t *events(const struct scenario *s)
{
    static const char *const names[] = {"events.3.jsonl", "events.2.jsonl", "events.1.jsonl", "events.jsonl"};
    json_t *all = json_array();
    struct lines lines = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", s->directory, names[i]);
        add_file(&lines, path);
    }
    for (size_t i = 0; i < lines.count; i++) {
        json_t *event = json_loads(lines.line[i], 0, NULL);
        if (event != NULL) /* the last line may be half written at this moment */
            json_array_append_new(all, event);
    }
    lines_free(&lines);
    return all;
}

static bool is_event(const json_t *event, const char *name)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    return kind != NULL && strcmp(kind, name) == 0;
}

size_t event_count(const struct scenario *s, const char *name)
{
    json_t *all = events(s);
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(all); i++)
        count += is_event(json_array_get(all, i), name);
    json_decref(all);
    return count;
}

json_t *event_at(const struct scenario *s, const char *name, int n)
{
    json_t *all = events(s), *found = NULL;
    int wanted = n >= 0 ? n : (int)event_count(s, name) + n;
    for (size_t i = 0; found == NULL && wanted >= 0 && i < json_array_size(all); i++)
        if (is_event(json_array_get(all, i), name) && wanted-- == 0)
            found = json_incref(json_array_get(all, i));
    json_decref(all);
    return found;
}

json_t *job_status(struct scenario *s)
{
    return weir(s, "status @ --json") == 0 ? json_loads(s->out, 0, NULL) : NULL;
}

char process_state(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    fclose(file);
    return state;
}

unsigned job_pids(struct scenario *s, pid_t *pids, unsigned capacity)
{
    json_t *status = job_status(s);
    unsigned count = 0;
    cr_assert_not_null(status, "no status: %s", s->err);
    pids[count++] = (pid_t)json_integer_value(json_object_get(status, "launcher_pid"));
    pids[count++] = (pid_t)json_integer_value(json_object_get(status, "coordinator_pid"));
    json_t *tasks = json_object_get(status, "tasks");
    for (size_t i = 0; i < json_array_size(tasks) && count < capacity; i++)
        pids[count++] = (pid_t)json_integer_value(json_object_get(json_array_get(tasks, i), "pid"));
    json_decref(status);
    return count;
}

void await(struct scenario *s, condition holds, void *arg, const char *what)
{
    int64_t deadline_ms = now_ms() + DEADLINE_S * 1000;
    while (!holds(s, arg)) {
        if (now_ms() > deadline_ms && s->process_count > 0)
            take_words(s, &s->processes[s->process_count - 1]);
        cr_assert_leq(now_ms(), deadline_ms, "after %d s still not so: %s; the last process said:\n%s", DEADLINE_S, what,
                      s->err != NULL ? s->err : "");
        breathe();
    }
}

struct wanted {
    const char *name;
    size_t count;
};

static bool has_events(struct scenario *s, void *arg)
{
    const struct wanted *wanted = arg;
    return event_count(s, wanted->name) >= wanted->count;
}

void await_events(struct scenario *s, const char *name, size_t count)
{
    char what[128];
    snprintf(what, sizeof what, "%zu events %s", count, name);
    await(s, has_events, &(struct wanted){name, count}, what);
}

static bool has_output(struct scenario *s, void *arg)
{
    return output_count(s->output) >= *(size_t *)arg;
}

void await_output(struct scenario *s, size_t count)
{
    char what[128];
    snprintf(what, sizeof what, "%zu lines of output", count);
    await(s, has_output, &count, what);
}

static bool is_running(struct scenario *s, void *arg)
{
    (void)arg;
    json_t *status = job_status(s);
    const char *state = json_string_value(json_object_get(status, "state"));
    bool running = state != NULL && strcmp(state, "running") == 0;
    json_decref(status);
    return running;
}

void await_running(struct scenario *s) { await(s, is_running, NULL, "the job runs"); }

struct taken_in {
    const char *task;
    json_int_t count;
};

static bool have_taken_in(struct scenario *s, void *arg)
{
    const struct taken_in *wanted = arg;
    size_t index;
    json_int_t sum = 0;
    json_t *task, *status = job_status(s);
    json_array_foreach(json_object_get(status, "tasks"), index, task)
        if (strncmp(json_string_value(json_object_get(task, "name")), wanted->task, strlen(wanted->task)) == 0)
            sum += json_integer_value(json_object_get(task, "records_in"));
    json_decref(status);
    return sum >= wanted->count;
}

void await_records_in(struct scenario *s, const char *task, json_int_t count)
{
    char what[128];
    snprintf(what, sizeof what, "%lld records in %s", (long long)count, task);
    await(s, have_taken_in, &(struct taken_in){task, count}, what);
}

void stop_job(struct scenario *s, struct process *process)
{
    int status = weir(s, "stop @");
    cr_assert_eq(status, 0, "weir stop: %d: %s", status, s->err);
    status = end_of(s, process);
    cr_assert_eq(status, 0, "the stopped job: %d: %s", status, s->err);
}

unsigned manifests_on_disk(const struct scenario *s)
{
    unsigned count = 0;
    DIR *dir = opendir(s->directory);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        count += strncmp(entry->d_name, "manifest-", 9) == 0 && strstr(entry->d_name, "tmp") == NULL;
    if (dir != NULL)
        closedir(dir);
    return count;
}
