/* `kill`: a signal to one kind of process of a running job, or a kill point armed in it. Who has which pid is the job's answer to
 * `status`; whether it still is that process is asked of the kernel. */
#include "base/bytes.h"
#include "base/clock.h"
#include "chaos/process.h"
#include "cli/cli.h"
#include "engine/control.h"

#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* name, field of a task's status that has the pid (NULL: not one a task), what stands before the task's name in the process's */
#define ROLE_TABLE(X)                                                                                                  \
    X(TASK, "task", "pid", "")                                                                                         \
    X(SNAPSHOT, "snapshot", "snapshot_pid", "snapshot:")                                                               \
    X(STANDBY, "standby", "standby_pid", "standby:")                                                                   \
    X(COORDINATOR, "coordinator", NULL, "")                                                                            \
    X(LAUNCHER, "launcher", NULL, "")

enum role {
#define ROLE_ENUM(id, name, field, prefix) ROLE_##id,
    ROLE_TABLE(ROLE_ENUM)
#undef ROLE_ENUM
    ROLE_COUNT
};

static const struct {
    const char *name;
    const char *pid_field;
    const char *prefix;
} roles[ROLE_COUNT] = {
#define ROLE_ROW(id, name, field, prefix) {name, field, prefix},
    ROLE_TABLE(ROLE_ROW)
#undef ROLE_ROW
};

struct kill_call {
    char directory[PATH_MAX];
    unsigned timeout_ms;
    enum role role;
    char operator_name[WEIR_NAME_BYTES_MAX + 1]; /* "": none */
    long subtask;                                /* -1: all */
    int signal;
    const char *kill_point; /* NULL: a signal */
    struct process launcher;
    json_t *killed;
};

/* "KILL", "SIGKILL", "kill", "9". */
static int parse_signal(const char *text, int *ret_signal, struct weir_error *err)
{
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    char *end;
    long number = strtol(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && *end == 0 && number > 0 && number < NSIG) {
        *ret_signal = (int)number;
        return WEIR_OK;
    }
    for (int i = 1; i < NSIG; i++) {
        const char *known = sigabbrev_np(i);
        if (known != NULL && strcasecmp(known, name) == 0) {
            *ret_signal = i;
            return WEIR_OK;
        }
    }
    return error_set(err, WEIR_EINVAL, "--signal: '%s' is no signal: it takes a name or a number, such as KILL or 9", text);
}

/* "count/0" -> "count" and 0; "count" -> "count" and -1. */
static int parse_operator(const char *text, char name[WEIR_NAME_BYTES_MAX + 1], long *ret_subtask, struct weir_error *err)
{
    size_t name_bytes = strcspn(text, "/");
    char *end = NULL;
    *ret_subtask = -1;
    if (text[name_bytes] == '/') {
        *ret_subtask = isdigit((unsigned char)text[name_bytes + 1]) ? strtol(text + name_bytes + 1, &end, 10) : -1;
        if (end == NULL || *end != 0 || *ret_subtask >= WEIR_PARALLELISM_MAX)
            return error_set(err, WEIR_EINVAL, "'%s': behind the '/' belongs the index of an instance, 0 or more", text);
    }
    if (name_bytes == 0 || name_bytes > WEIR_NAME_BYTES_MAX)
        return error_set(err, WEIR_EINVAL, "'%s' is no name of an operator", text);
    memcpy(name, text, name_bytes);
    name[name_bytes] = 0;
    return WEIR_OK;
}

static int parse_role(const char *text, enum role *ret_role, struct weir_error *err)
{
    for (size_t i = 0; i < ROLE_COUNT; i++)
        if (strcmp(text, roles[i].name) == 0) {
            *ret_role = (enum role)i;
            return WEIR_OK;
        }
    return error_set(err, WEIR_EINVAL, "--role: '%s' is no role: task, snapshot, standby, coordinator, launcher", text);
}

static int parse(const struct cli *cli, const struct arguments *arguments, struct kill_call *call, struct weir_error *err)
{
    const char *signal_text = arguments_value(arguments, "signal"), *role = arguments_value(arguments, "role");
    const char *word = arguments->word_count > 0 ? arguments->words[0] : NULL;
    *call = (struct kill_call){.role = ROLE_TASK, .subtask = -1, .signal = SIGKILL, .launcher = {.fd = -1}};
    call->kill_point = arguments_value(arguments, "kill-point");
    if (call->kill_point != NULL && signal_text != NULL)
        return error_set(err, WEIR_EINVAL, "kill: --kill-point sends no signal: leave --signal out");
    if (call->kill_point != NULL && strpbrk(call->kill_point, ",@") != NULL)
        return error_set(err, WEIR_EINVAL, "--kill-point: '%s': it takes one name, as in t3:2", call->kill_point);
    int code = signal_text != NULL ? parse_signal(signal_text, &call->signal, err) : WEIR_OK;
    if (code == WEIR_OK && role != NULL)
        code = parse_role(role, &call->role, err);
    if (code == WEIR_OK && role == NULL && word != NULL && strcmp(word, "coordinator") == 0)
        call->role = ROLE_COORDINATOR;
    else if (code == WEIR_OK && word != NULL)
        code = parse_operator(word, call->operator_name, &call->subtask, err);
    if (code != WEIR_OK)
        return code;
    bool of_a_task = roles[call->role].pid_field != NULL;
    if (of_a_task && word == NULL && (call->kill_point == NULL || role != NULL))
        return error_set(err, WEIR_EINVAL, "kill: it needs OPERATOR[/INDEX], or --role coordinator or launcher: see '%s kill "
                                           "--help'",
                         cli->program);
    if (!of_a_task && call->operator_name[0] != 0)
        return error_set(err, WEIR_EINVAL, "kill: the %s serves all operators: leave '%s' out", roles[call->role].name, word);
    code = arguments_timeout(arguments, 5000, &call->timeout_ms, err);
    return code == WEIR_OK ? target_find(cli, arguments, false, call->directory, err) : code;
}

/* Again where the coordinator is replaced while it answers. */
static int ask_status(const struct kill_call *call, json_t **ret_status, struct weir_error *err)
{
    int64_t end_ns = clock_monotonic_ns() + call->timeout_ms * NS_PER_MS;
    for (;;) {
        int code = control_call(call->directory, "status", NULL, call->timeout_ms, ret_status, err);
        if (code != WEIR_EFAILED || clock_monotonic_ns() >= end_ns)
            return code;
        poll(NULL, 0, 5);
    }
}

static bool is_meant(const struct kill_call *call, const json_t *task)
{
    const json_t *operators = json_object_get(task, "operators");
    bool found = false;
    for (size_t i = 0; i < json_array_size(operators); i++) {
        const char *name = json_string_value(json_array_get(operators, i));
        found |= name != NULL && strcmp(name, call->operator_name) == 0;
    }
    return found && (call->subtask < 0 || json_integer_value(json_object_get(task, "subtask")) == call->subtask);
}

static void task_name(const struct kill_call *call, const json_t *task, char name[PROCESS_NAME_BYTES])
{
    const char *head = json_string_value(json_object_get(task, "name"));
    snprintf(name, PROCESS_NAME_BYTES, "%s%s/%d", roles[call->role].prefix, head != NULL ? head : "?",
             (int)json_integer_value(json_object_get(task, "subtask")));
}

/* One that has ended meanwhile is passed over. */
static int signal_child(struct kill_call *call, pid_t pid, const char *name, struct weir_error *err)
{
    struct process process;
    int code = process_open_child(pid, call->launcher.pid, name, &process, err);
    if (code == WEIR_OK) {
        code = process_signal(&process, call->signal, err);
        process_close(&process);
    }
    if (code == WEIR_OK)
        json_array_append_new(call->killed, json_pack("{s:s, s:i}", "task", name, "pid", (int)pid));
    return code == WEIR_ENOENT ? WEIR_OK : code;
}

static int signal_tasks(struct kill_call *call, struct weir_error *err)
{
    const char *field = roles[call->role].pid_field;
    json_t *status = NULL;
    bool known = false;
    int code = ask_status(call, &status, err);
    const json_t *tasks = json_object_get(status, "tasks");
    for (size_t i = 0; code == WEIR_OK && i < json_array_size(tasks); i++) {
        const json_t *task = json_array_get(tasks, i), *pid = json_object_get(task, field);
        char name[PROCESS_NAME_BYTES];
        if (!is_meant(call, task))
            continue;
        known = true;
        if (pid == NULL)
            code = error_set(err, WEIR_EUNSUPPORTED, "kill: this job has no process of the role '%s'", roles[call->role].name);
        task_name(call, task, name);
        if (code == WEIR_OK && json_integer_value(pid) > 0)
            code = signal_child(call, (pid_t)json_integer_value(pid), name, err);
    }
    json_decref(status);
    if (code != WEIR_OK || json_array_size(call->killed) > 0)
        return code;
    if (!known)
        return error_set(err, WEIR_ENOENT, "kill: the job has no operator '%s' of this index; 'weir status' lists them",
                         call->operator_name);
    return error_set(err, WEIR_ENOENT, "kill: no process of the role '%s' runs for operator '%s' at the moment: try again",
                     roles[call->role].name, call->operator_name);
}

static int signal_coordinator(struct kill_call *call, struct weir_error *err)
{
    struct process_entry entries[PROCESS_CHILDREN_MAX];
    size_t count = process_children(call->launcher.pid, entries, PROCESS_CHILDREN_MAX);
    int code = WEIR_OK;
    for (size_t i = 0; i < count && code == WEIR_OK; i++)
        if (strcmp(entries[i].comm, "coordinator") == 0)
            code = signal_child(call, entries[i].pid, "coordinator", err);
    if (code == WEIR_OK && json_array_size(call->killed) == 0)
        return error_set(err, WEIR_ENOENT, "kill: no coordinator runs at the moment, it is being replaced: try again");
    return code;
}

static int send_signals(struct kill_call *call, struct weir_error *err)
{
    int code = process_open_launcher(call->directory, call->timeout_ms, &call->launcher, err);
    if (code != WEIR_OK)
        return code;
    if (call->role == ROLE_COORDINATOR)
        code = signal_coordinator(call, err);
    else if (call->role != ROLE_LAUNCHER)
        code = signal_tasks(call, err);
    else if ((code = process_signal(&call->launcher, call->signal, err)) == WEIR_OK)
        json_array_append_new(call->killed, json_pack("{s:s, s:i}", "task", "launcher", "pid", (int)call->launcher.pid));
    process_close(&call->launcher);
    return code;
}

/* The name of the processes in which the point counts: that of the task into which the operator was chained. */
static int point_place(struct kill_call *call, char place[PROCESS_NAME_BYTES], struct weir_error *err)
{
    json_t *status = NULL;
    place[0] = 0;
    if (roles[call->role].pid_field == NULL)
        snprintf(place, PROCESS_NAME_BYTES, "@%s", roles[call->role].name);
    if (call->operator_name[0] == 0)
        return WEIR_OK;
    int code = ask_status(call, &status, err);
    const json_t *tasks = json_object_get(status, "tasks");
    for (size_t i = 0; code == WEIR_OK && place[0] == 0 && i < json_array_size(tasks); i++)
        if (is_meant(call, json_array_get(tasks, i))) {
            char name[PROCESS_NAME_BYTES];
            task_name(call, json_array_get(tasks, i), name);
            if (call->subtask < 0)
                name[strcspn(name, "/")] = 0; /* the part before the index stands for all */
            snprintf(place, PROCESS_NAME_BYTES, "@%.*s", PROCESS_NAME_BYTES - 2, name);
        }
    json_decref(status);
    if (code == WEIR_OK && place[0] == 0)
        return error_set(err, WEIR_ENOENT, "kill: the job has no operator '%s' of this index; 'weir status' lists them",
                         call->operator_name);
    return code;
}

static int arm(struct kill_call *call, json_t **ret_reply, struct weir_error *err)
{
    char place[PROCESS_NAME_BYTES], list[PROCESS_NAME_BYTES + 64];
    int code = point_place(call, place, err);
    if (code != WEIR_OK)
        return code;
    if (snprintf(list, sizeof list, "%s%s", call->kill_point, place) >= (int)sizeof list)
        return error_set(err, WEIR_EINVAL, "--kill-point: '%s' is too long", call->kill_point);
    return control_call(call->directory, "arm", json_pack("{s:s}", "list", list), call->timeout_ms, ret_reply, err);
}

static int print_killed(const struct arguments *arguments, const struct kill_call *call)
{
    const char *signal_name = sigabbrev_np(call->signal);
    if (arguments_has(arguments, "json")) {
        json_t *all = json_pack("{s:b, s:O}", "ok", true, "killed", call->killed);
        int status = print_json(all);
        json_decref(all);
        return status;
    }
    for (size_t i = 0; i < json_array_size(call->killed); i++) {
        const char *task = "?";
        json_int_t pid = 0;
        json_unpack(json_array_get(call->killed, i), "{s?s, s?I}", "task", &task, "pid", &pid);
        if (signal_name != NULL)
            printf("sent SIG%s to %s (pid %lld)\n", signal_name, task, (long long)pid);
        else
            printf("sent signal %d to %s (pid %lld)\n", call->signal, task, (long long)pid);
    }
    return EXIT_DONE;
}

static int print_armed(const struct arguments *arguments, const json_t *reply)
{
    const char *armed = json_string_value(json_object_get(reply, "armed"));
    if (arguments_has(arguments, "json"))
        return print_json(reply);
    printf("armed %s\n", armed != NULL ? armed : "?");
    return EXIT_DONE;
}

int kill_command(const struct cli *cli, const struct arguments *arguments)
{
    struct kill_call call;
    struct weir_error err = {0};
    json_t *reply = NULL;
    int code = parse(cli, arguments, &call, &err);
    if (code != WEIR_OK)
        return print_failure(cli, &err);
    call.killed = json_array();
    code = call.kill_point != NULL ? arm(&call, &reply, &err) : send_signals(&call, &err);
    int status;
    if (code != WEIR_OK)
        status = print_failure(cli, &err);
    else
        status = call.kill_point != NULL ? print_armed(arguments, reply) : print_killed(arguments, &call);
    json_decref(reply);
    json_decref(call.killed);
    return status;
}
