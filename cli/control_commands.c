/* checkpoint, stop, kill: what is asked of a running job through its control socket. */
#include "cli/cli.h"
#include "engine/control.h"
#include "engine/option_value.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    char directory[PATH_MAX];
    unsigned timeout_ms;
};

static int prepare(const struct cli *cli, const struct arguments *arguments, unsigned fallback_ms, struct call *ret_call,
                   struct weir_error *err)
{
    int code = arguments_timeout(arguments, fallback_ms, &ret_call->timeout_ms, err);
    return code == WEIR_OK ? target_find(cli, arguments, false, ret_call->directory, err) : code;
}

int checkpoint_command(const struct cli *cli, const struct arguments *arguments)
{
    struct call call;
    struct weir_error err = {0};
    json_t *reply = NULL;
    json_int_t checkpoint = 0, bytes = 0;
    double duration_ms = 0;
    char size[32];
    int code = prepare(cli, arguments, 60000, &call, &err);
    if (code == WEIR_OK)
        code = control_call(call.directory, "checkpoint", NULL, call.timeout_ms, &reply, &err);
    if (code != WEIR_OK) {
        error_context(&err, "checkpoint");
        return print_failure(cli, &err);
    }
    int status = EXIT_DONE;
    json_unpack(reply, "{s?I, s?F, s?I}", "checkpoint", &checkpoint, "duration_ms", &duration_ms, "bytes", &bytes);
    if (arguments_has(arguments, "json"))
        status = print_json(reply);
    else
        printf("checkpoint %lld complete: %.3g ms, %s\n", (long long)checkpoint, duration_ms,
               human_bytes((uint64_t)bytes, size, sizeof size));
    json_decref(reply);
    return status;
}

static int print_stopped(const struct arguments *arguments, const json_t *reply)
{
    const json_t *checkpoint = json_object_get(reply, "checkpoint");
    if (arguments_has(arguments, "json"))
        return print_json(reply);
    if (json_is_integer(checkpoint))
        printf("stopped with checkpoint %lld\n", (long long)json_integer_value(checkpoint));
    else
        printf("stopped without a checkpoint\n");
    return EXIT_DONE;
}

int stop_command(const struct cli *cli, const struct arguments *arguments)
{
    struct call call;
    struct weir_error err = {0};
    json_t *reply = NULL;
    const char *mode = arguments_has(arguments, "now") ? "now" : "checkpoint";
    int code = prepare(cli, arguments, 120000, &call, &err);
    if (code == WEIR_OK)
        code = control_call(call.directory, "stop", json_pack("{s:s}", "mode", mode), call.timeout_ms, &reply, &err);
    if (code == WEIR_OK)
        code = control_wait_gone(call.directory, call.timeout_ms, &err);
    if (code != WEIR_OK)
        error_context(&err, "stop");
    int status = code == WEIR_OK ? print_stopped(arguments, reply) : print_failure(cli, &err);
    json_decref(reply);
    return status;
}

/* ------------------------------------------------------------------------------------------------ kill ----------- */

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

static int print_killed(const struct arguments *arguments, const json_t *reply, int signal)
{
    const json_t *killed = json_object_get(reply, "killed");
    if (arguments_has(arguments, "json"))
        return print_json(reply);
    for (size_t i = 0; i < json_array_size(killed); i++) {
        const char *task = "?";
        json_int_t pid = 0;
        json_unpack(json_array_get(killed, i), "{s?s, s?I}", "task", &task, "pid", &pid);
        printf("sent SIG%s to %s (pid %lld)\n", sigabbrev_np(signal) != NULL ? sigabbrev_np(signal) : "?", task, (long long)pid);
    }
    return EXIT_DONE;
}

int kill_command(const struct cli *cli, const struct arguments *arguments)
{
    struct call call;
    struct weir_error err = {0};
    json_t *reply = NULL;
    char name[WEIR_NAME_BYTES_MAX + 1];
    long subtask = -1;
    int signal = SIGKILL;
    const char *signal_text = arguments_value(arguments, "signal");
    int code = parse_operator(arguments->words[0], name, &subtask, &err);
    if (code == WEIR_OK && signal_text != NULL)
        code = parse_signal(signal_text, &signal, &err);
    if (code == WEIR_OK)
        code = prepare(cli, arguments, 5000, &call, &err);
    if (code == WEIR_OK) {
        json_t *args = json_pack("{s:s, s:o, s:i}", "operator", name, "subtask", subtask >= 0 ? json_integer(subtask) : json_null(),
                                 "signal", signal);
        code = control_call(call.directory, "kill", args, call.timeout_ms, &reply, &err);
    }
    int status = code == WEIR_OK ? print_killed(arguments, reply, signal) : print_failure(cli, &err);
    json_decref(reply);
    return status;
}
