#include "engine/arm.h"

#include "base/kill_point.h"

void arm_kill_points(const struct control_request *request, const json_t *args)
{
    struct weir_error err = {0};
    const char *list = json_string_value(json_object_get(args, "list"));
    if (list == NULL || *list == 0)
        control_reply_error(request, WEIR_EINVAL, "arm: it takes a list of kill points, as in WEIR_KILL");
    else if (kill_point_arm(list, &err) != WEIR_OK)
        control_reply_failure(request, &err);
    else
        control_reply(request, json_pack("{s:s}", "armed", list));
}
