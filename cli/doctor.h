/*
 * doctor.h - one check of the machine a row: what was found, what it means for Weir, how to mend it.
 *
 * A check reads, measures, and fills in a finding; it changes nothing that outlives it. A finding that is OK has no meaning and no
 * cure. Checks block on the disk at most.
 */
#ifndef WEIR_CLI_DOCTOR_H
#define WEIR_CLI_DOCTOR_H

#include "weir.h"

#include <limits.h>

#define FINDING_TEXT_BYTES 320

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct finding {
    enum finding_level level;
    char found[FINDING_TEXT_BYTES];
    char meaning[FINDING_TEXT_BYTES];
    char cure[FINDING_TEXT_BYTES];
};

struct doctor {
    char directory[PATH_MAX]; /* where checkpoints would go: the nearest directory that exists */
};

struct doctor_check {
    const char *name;
    void (*check)(const struct doctor *doctor, struct finding *finding);
};

/* Rows of all checks, by file; they end with a NULL name. */
extern const struct doctor_check doctor_kernel_checks[];
extern const struct doctor_check doctor_limit_checks[];
extern const struct doctor_check doctor_disk_checks[];

/* Set a finding's texts. */
void finding_found(struct finding *finding, const char *format, ...) WEIR_PRINTF(2, 3);
void finding_trouble(struct finding *finding, enum finding_level level, const char *meaning, const char *cure);

/* The first line of a small file of /proc or /sys, without its end. False where it cannot be read. */
bool doctor_read_line(const char *path, char *line, size_t capacity);
/* The same as a number; false also for "max". */
bool doctor_read_number(const char *path, uint64_t *ret_number);

#endif
