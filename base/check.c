#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *file, int line, const char *expression)
{
    char text[512];
    int size = snprintf(text, sizeof text, "weir[%d]: check failed at %s:%d: %s\n", (int)getpid(), file, line, expression);
    if (size > 0 && write(STDERR_FILENO, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1) < 0)
        abort(); /* nowhere to say it: the signal says enough */
    abort();
}
