/* exit_code.h - every exit status of the command, once: what the code returns and what the documentation says. */
#ifndef WEIR_CLI_EXIT_CODE_H
#define WEIR_CLI_EXIT_CODE_H

#include <stddef.h>

#define EXIT_CODE_TABLE(X)                                                                                             \
    X(EXIT_DONE, 0, "done; for run: the input ended, or the job was stopped with its final checkpoint")                \
    X(EXIT_FAILED, 1, "it failed; for doctor: something will not work; for chaos: the output differs, or the job failed") \
    X(EXIT_USAGE, 2, "wrong usage: a command, an option, a value, or a job whose graph is wrong")                      \
    X(EXIT_NOT_FOUND, 3, "no such job, checkpoint or file, or the job does not run")                                   \
    X(EXIT_REFUSED, 4, "refused: in use by another instance, not permitted, or made by another job or version")       \
    X(EXIT_DAMAGED, 5, "bytes on disk fail their check")                                                               \
    X(EXIT_TIMEOUT, 6, "no answer in time; for chaos: the run without faults did not end")                             \
    X(EXIT_INCOMPLETE, 7, "for chaos: the output is right, but too few of the faults took effect")                    \
    X(EXIT_INTERRUPTED, 130, "given up at once on request, without a final checkpoint")

enum exit_code {
#define EXIT_CODE_ENUM(id, value, text) id = (value),
    EXIT_CODE_TABLE(EXIT_CODE_ENUM)
#undef EXIT_CODE_ENUM
};

struct exit_code_row {
    int value;
    const char *text;
};

/* Rows in order; a NULL text past the end. */
struct exit_code_row exit_code_at(size_t index);
/* The exit status for a code of enum weir_status. */
int exit_code_of(int status);

#endif
