#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Per-process identity of the log. The one piece of state outside main() that every process must reach, crashing ones too. */
static char log_name[64] = "";
static enum log_level log_level_max = LOG_INFO;

void log_set_name(const char *name) { snprintf(log_name, sizeof log_name, "%s", name); }

void log_set_level(enum log_level level) { log_level_max = level; }

void log_line(enum log_level level, const char *format, ...)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    if (level > log_level_max)
        return;
    char line[2048];
    int used = snprintf(line, sizeof line, "weir: %s%s%s", log_name, log_name[0] != 0 ? ": " : "", prefix[level]);
    va_list args;
    va_start(args, format);
    int rest = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    va_end(args);
    size_t size_bytes = strlen(line);
    if (rest < 0)
        return;
    line[size_bytes++] = '\n';
    if (write(STDERR_FILENO, line, size_bytes) < 0)
        return; /* standard error is closed: there is nowhere to say so */
}
