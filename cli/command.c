/* How a call of the program finds its command: weir_command() and weir_main(). */
#include "cli/command.h"

#include "base/bytes.h"
#include "base/log.h"
#include "cli/cli.h"
#include "engine/option_value.h"

#include <stdio.h>

#define COMMANDS_MAX 32

static int unknown_command(const struct cli *cli, const char *name)
{
    const char *names[COMMANDS_MAX];
    size_t count = 0;
    for (; count < COMMANDS_MAX && command_at(count) != NULL; count++)
        names[count] = command_at(count)->name;
    const char *nearest = nearest_word(name, names, count);
    if (nearest != NULL)
        fprintf(stderr, "%s: no command '%s': did you mean '%s'?\n", cli->program, name, nearest);
    else
        fprintf(stderr, "%s: no command '%s': '%s --help' lists them\n", cli->program, name, cli->program);
    return EXIT_USAGE;
}

static int call_command(const struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct arguments arguments;
    struct weir_error err = {0};
    if (arguments_parse(cli, command, argc, argv, &arguments, &err) != WEIR_OK)
        return print_failure(cli, &err);
    if (arguments.help && !command->takes_run_options) {
        help_for_command(cli, command);
        return EXIT_DONE;
    }
    return command->run(cli, &arguments);
}

static int call_program_option(const struct cli *cli, int argc, char **argv)
{
    struct weir_error err = {0};
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        help_program(cli);
    else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        printf("%s (Weir) %s\n", cli->program, weir_version());
    else if (strcmp(argv[1], "--generate") == 0 && argc == 3) /* of the build, not of users */
        return generate_files(cli, argv[2], &err) == WEIR_OK ? EXIT_DONE : print_failure(cli, &err);
    else {
        fprintf(stderr, "%s: no option '%s' before a command: '%s --help' lists the commands\n", cli->program, argv[1], cli->program);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

static int dispatch(const struct cli *cli, int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "%s: which command? '%s --help' lists them\n", cli->program, cli->program);
        return EXIT_USAGE;
    }
    if (argv[1][0] == '-')
        return call_program_option(cli, argc, argv);
    const struct command *command = command_find(argv[1]);
    return command != NULL ? call_command(cli, command, argc - 2, argv + 2) : unknown_command(cli, argv[1]);
}

/* What was printed may still be on its way: a full disk behind standard output is a failure of the command. */
static int call_and_flush(const struct cli *cli, int argc, char **argv)
{
    int status = dispatch(cli, argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: cannot write to standard output: %m\n", cli->program);
    return status == EXIT_DONE ? EXIT_FAILED : status;
}

static const char *program_name(int argc, char **argv, const char *fallback)
{
    if (argc < 1 || argv[0] == NULL || argv[0][0] == 0)
        return fallback;
    const char *slash = strrchr(argv[0], '/');
    return slash != NULL && slash[1] != 0 ? slash + 1 : argv[0];
}

int weir_command(int argc, char **argv, const struct weir_command_job *jobs, size_t job_count)
{
    struct cli cli = {.program = program_name(argc, argv, "weir"), .jobs = jobs, .job_count = job_count};
    return call_and_flush(&cli, argc, argv);
}

int weir_main(int argc, char **argv, const char *name, weir_build_fn build)
{
    struct weir_command_job job = {name, "this program's job", build};
    struct cli cli = {.program = program_name(argc, argv, name), .jobs = &job, .job_count = 1, .own = true};
    return call_and_flush(&cli, argc, argv);
}
