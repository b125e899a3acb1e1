#include "chaos/watch.h"

#include "base/bytes.h"
#include "engine/control.h"

#include <stdio.h>
#include <string.h>

void watch_init(struct watch *watch, const char *directory)
{
    *watch = (struct watch){0};
    snprintf(watch->directory, sizeof watch->directory, "%s", directory);
}

static int64_t duration_of(const json_t *event)
{
    const json_t *duration = json_object_get(event, "duration_ns");
    return json_is_integer(duration) ? json_integer_value(duration) : -1;
}

static void take(struct watch *watch, struct chaos_report *report, const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    const char *path = json_string_value(json_object_get(event, "path"));
    bool in_memory = path != NULL && strcmp(path, "rollback") == 0;
    if (strcmp(name, "takeover") == 0)
        recoveries_add(&report->recoveries[RECOVERY_PATH_IN_PLACE], duration_of(event));
    else if (strcmp(name, "recovery_finished") == 0)
        recoveries_add(&report->recoveries[in_memory ? RECOVERY_PATH_ROLLBACK : RECOVERY_PATH_DISK], duration_of(event));
    else if (strcmp(name, "checkpoint_completed") == 0)
        watch->checkpoints++;
    else if (strcmp(name, "job_started") == 0)
        watch->starts++;
    else if (strcmp(name, "coordinator_started") == 0)
        watch->coordinators++;
}

void watch_read(struct watch *watch, struct chaos_report *report)
{
    struct event_filter all = {0};
    json_t *event = NULL;
    if (watch->reader == NULL && event_reader_open(watch->directory, &all, &watch->reader, NULL) != WEIR_OK)
        return;
    while (event_reader_next(watch->reader, &event, NULL) == WEIR_OK) {
        take(watch, report, event);
        json_decref(event);
    }
}

void watch_finish(struct watch *watch, struct chaos_report *report)
{
    watch_read(watch, report);
    for (uint64_t i = watch->starts; i < watch->coordinators; i++)
        recoveries_add(&report->recoveries[RECOVERY_PATH_COORDINATOR], -1);
    event_reader_close(watch->reader);
    watch->reader = NULL;
}
