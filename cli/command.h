/*
 * command.h - the entry of the `weir` command. It is exported for cli/main.c, which links the library like any other program;
 * it is not part of the public interface (a program of a user calls weir_main() of weir.h).
 */
#ifndef WEIR_CLI_COMMAND_H
#define WEIR_CLI_COMMAND_H

#include "weir.h"

/* A job that the command can run by name. */
struct weir_command_job {
    const char *name;
    const char *help;
    weir_build_fn build;
};

/* Runs one command and returns the exit status. Blocks. */
WEIR_API int weir_command(int argc, char **argv, const struct weir_command_job *jobs, size_t job_count);

#endif
