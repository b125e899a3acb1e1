/* The running job's functions of weir.h, over its control socket. */
#include "base/error.h"
#include "engine/control.h"

int weir_checkpoint_now(const char *directory, unsigned timeout_ms, uint64_t *ret_checkpoint, struct weir_error *error)
{
    json_t *reply = NULL;
    json_int_t checkpoint = 0;
    int code = control_call(directory, "checkpoint", NULL, timeout_ms, &reply, error);
    if (code != WEIR_OK)
        return code;
    if (json_unpack(reply, "{s:I}", "checkpoint", &checkpoint) != 0 || checkpoint <= 0)
        code = error_set(error, WEIR_EFAILED, "job on '%s': its answer names no checkpoint", directory);
    else if (ret_checkpoint != NULL)
        *ret_checkpoint = (uint64_t)checkpoint;
    json_decref(reply);
    return code;
}

int weir_stop(const char *directory, unsigned timeout_ms, struct weir_error *error)
{
    json_t *args = json_pack("{s:s}", "mode", "checkpoint");
    int code = control_call(directory, "stop", args, timeout_ms, NULL, error);
    return code == WEIR_OK ? control_wait_gone(directory, timeout_ms, error) : code;
}
