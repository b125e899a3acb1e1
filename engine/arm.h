/* arm.h - the control command `arm`: a kill point in a job that runs. Called by the coordinator. */
#ifndef WEIR_ENGINE_ARM_H
#define WEIR_ENGINE_ARM_H

#include "engine/control.h"

/* args: {"list": as in WEIR_KILL}. Answers the request. WEIR_EUNSUPPORTED in builds without kill points. */
void arm_kill_points(const struct control_request *request, const json_t *args);

#endif
