/*
 * cli.h - what the commands of this folder share: the table of commands, the arguments of a call, and how results and
 * failures are printed.
 *
 * Reading order: command_table.c (what there is), command.c (how a call is dispatched), arguments.c, then a file a command.
 * Facts go to standard output, all else to standard error. A command's function returns the exit status.
 */
#ifndef WEIR_CLI_CLI_H
#define WEIR_CLI_CLI_H

#include "base/error.h"
#include "cli/command.h"
#include "cli/exit_code.h"

#include <jansson.h>
#include <limits.h>

#define ARGUMENT_WORDS_MAX 4
#define ARGUMENT_VALUES_MAX 512

/* How the program was called. */
struct cli {
    const char *program; /* as the user calls it, without directories */
    const struct weir_command_job *jobs;
    size_t job_count;
    bool own; /* weir_main(): the program is one job, jobs[0], and commands take no JOB */
};

/* An option of a command. The options of `run`, which `chaos` takes as well, are those of engine/options.h. */
struct command_option {
    const char *name;
    const char *placeholder; /* NULL: a flag */
    const char *help;
};

struct arguments;

struct command {
    const char *name;
    const char *words;    /* behind JOB, for the usage line: "OPERATOR[/INDEX]"; "" for none */
    unsigned words_min;   /* without JOB */
    unsigned words_max;
    bool takes_job;       /* a first word JOB, but where the program is the job itself */
    bool takes_run_options;
    const char *summary;  /* one line, no full stop */
    const char *details;  /* for the help and the manual page: paragraphs, separated by empty lines */
    const struct command_option *options; /* ends with a NULL name; NULL: none */
    int (*run)(const struct cli *cli, const struct arguments *arguments);
};

/* Static memory; NULL past the end / where there is none. */
const struct command *command_at(size_t index);
const struct command *command_find(const char *name);
/* The i-th option of a command, of either kind, as one list; false past the end. */
bool command_option_at(const struct cli *cli, const struct command *command, size_t index, struct command_option *ret_option);

/* A parsed call. Everything points into argv or the tables. */
struct arguments {
    const struct command *command;
    const char *job; /* NULL: not given, or the program is the job */
    const char *words[ARGUMENT_WORDS_MAX];
    unsigned word_count;
    bool help;
    unsigned value_count;
    struct {
        const char *name;
        const char *value; /* NULL: a flag */
    } values[ARGUMENT_VALUES_MAX];
};

/* argv behind the command's name: --name=value, --name value, -h, -- ends the options. WEIR_EINVAL with a suggestion. Number and
 * presence of words are checked unless --help is among them. */
int arguments_parse(const struct cli *cli, const struct command *command, int argc, char **argv,
                    struct arguments *ret_arguments, struct weir_error *err);
bool arguments_has(const struct arguments *arguments, const char *option);
/* The last value given; NULL: none. */
const char *arguments_value(const struct arguments *arguments, const char *option);
/* As a duration, in milliseconds. */
int arguments_timeout(const struct arguments *arguments, unsigned fallback_ms, unsigned *ret_timeout_ms,
                      struct weir_error *err);

/* The directory of the job that the call names: a running job, or a checkpoint directory. With `stopped_too` also a name of
 * a job that does not run, where its default directory exists. WEIR_ENOENT with what to do. */
int target_find(const struct cli *cli, const struct arguments *arguments, bool stopped_too, char directory[PATH_MAX],
                struct weir_error *err);

/* What `run` and `chaos` have in common: finds the job (a built-in one, that of the program, or one in a shared object, which is loaded
 * then), prints the help with the job's parameters where that was asked for, else calls fn. */
typedef int (*job_command_fn)(const struct cli *cli, const struct arguments *arguments, const struct weir_command_job *job);
int call_with_job(const struct cli *cli, const struct arguments *arguments, job_command_fn fn);

/* "PROGRAM: text" on standard error; returns the exit status for the code. */
int print_failure(const struct cli *cli, const struct weir_error *err);
/* One JSON document on standard output. Borrowed. Returns EXIT_DONE or, when out of memory, EXIT_FAILED. */
int print_json(const json_t *value);
/* The same on one line. */
int print_json_line(const json_t *value);

/* ---- the commands ---- */
int run_command(const struct cli *cli, const struct arguments *arguments);
int list_command(const struct cli *cli, const struct arguments *arguments);
int status_command(const struct cli *cli, const struct arguments *arguments);
int checkpoint_command(const struct cli *cli, const struct arguments *arguments);
int checkpoints_command(const struct cli *cli, const struct arguments *arguments);
int inspect_command(const struct cli *cli, const struct arguments *arguments);
int stop_command(const struct cli *cli, const struct arguments *arguments);
int kill_command(const struct cli *cli, const struct arguments *arguments);
int chaos_command(const struct cli *cli, const struct arguments *arguments);
int events_command(const struct cli *cli, const struct arguments *arguments);
int doctor_command(const struct cli *cli, const struct arguments *arguments);
int help_command(const struct cli *cli, const struct arguments *arguments);

/* ---- help, manual pages, completion: all from the tables ---- */
void help_program(const struct cli *cli);
void help_for_command(const struct cli *cli, const struct command *command);
/* Behind help_for_command() of run: the parameters of one job. */
void help_job_parameters(const struct weir_command_job *given);
/* Writes the pages of man1/ and the bash completion below `directory`, for the build. */
int generate_files(const struct cli *cli, const char *directory, struct weir_error *err);

#endif
