/*
 * log.h - one line a call on standard error: "weir: NAME: text", written by a single write(2), so that lines of several
 * processes never mix. The name is the process's role ("launcher", "coordinator", "count/0"), set once after fork.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include "weir.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* `name` is copied (cut at 63 bytes). Survives fork until set again. */
void log_set_name(const char *name);
void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *format, ...) WEIR_PRINTF(2, 3);

#endif
