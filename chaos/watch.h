/* watch.h - what a run's event log tells while it grows: recoveries, and the first checkpoint. */
#ifndef WEIR_CHAOS_WATCH_H
#define WEIR_CHAOS_WATCH_H

#include "chaos/report.h"
#include "engine/event_log.h"

struct watch {
    char directory[PATH_MAX]; /* of the checkpoints */
    struct event_reader *reader; /* NULL: there is no log yet */
    uint64_t checkpoints;
    uint64_t starts;       /* of the job */
    uint64_t coordinators; /* that began */
};

void watch_init(struct watch *watch, const char *directory);
/* Takes what was written since. A log that cannot be read is as one without news: it says nothing about the output. */
void watch_read(struct watch *watch, struct chaos_report *report);
/* The last events, and what only the end shows. */
void watch_finish(struct watch *watch, struct chaos_report *report);

#endif
