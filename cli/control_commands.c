/* checkpoint, stop: what is asked of a running job through its control socket. */
#include "cli/cli.h"
#include "engine/control.h"
#include "engine/option_value.h"

#include <stdio.h>

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
