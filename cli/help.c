#include "cli/cli.h"

#include "cli/text.h"
#include "engine/cli_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 110
#define OPTION_COLUMN 36

static void print_entry(const char *name, const char *help, unsigned column)
{
    int used = printf("  %s", name);
    bool fits = (unsigned)used + 2 <= column;
    printf("%s%*s", fits ? "" : "\n", (int)column - (fits ? used : 0), "");
    text_wrap(help, column, column, WIDTH);
}

static void print_exit_codes(void)
{
    printf("\nExit status\n");
    for (size_t i = 0; exit_code_at(i).text != NULL; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", exit_code_at(i).value);
        print_entry(number, exit_code_at(i).text, 8);
    }
}

void help_program(const struct cli *cli)
{
    if (cli->own)
        printf("Usage: %s COMMAND [OPTIONS]\n\nThe job '%s', run by Weir: exactly-once through SIGKILL of any of its processes.\n", cli->program,
               cli->jobs[0].name);
    else
        printf("Usage: %s COMMAND [JOB] [OPTIONS]\n\nWeir runs stream-processing jobs on this machine: one process an operator, exactly-once "
               "through SIGKILL.\n", cli->program);
    printf("\nCommands\n");
    for (size_t i = 0; command_at(i) != NULL; i++)
        print_entry(command_at(i)->name, command_at(i)->summary, 16);
    if (!cli->own) {
        printf("\nBuilt-in jobs, for '%s run'\n", cli->program);
        for (size_t i = 0; i < cli->job_count; i++)
            print_entry(cli->jobs[i].name, cli->jobs[i].help, 16);
        printf("\nJOB is the name of a job or its checkpoint directory; for run a built-in job, or a shared object.\n");
    }
    printf("\n'%s COMMAND --help' has the options of a command; --version prints the version.\n", cli->program);
    print_exit_codes();
}

static void option_heading(const struct command_option *option, char *text, size_t capacity)
{
    snprintf(text, capacity, "--%s%s%s", option->name, option->placeholder != NULL ? "=" : "",
             option->placeholder != NULL ? option->placeholder : "");
}

/* The sentence of the table, and what it leaves to the other columns: choices, default, environment. */
static void print_run_option(const struct option *option)
{
    char heading[96], help[1024];
    struct command_option shown = {option->name, option->placeholder, option->help};
    option_heading(&shown, heading, sizeof heading);
    size_t used = (size_t)snprintf(help, sizeof help, "%s", option->help);
    for (size_t i = 0; option->choices != NULL && option->choices[i] != NULL && used < sizeof help; i++)
        used += (size_t)snprintf(help + used, sizeof help - used, "%s%s", i == 0 ? ": " : ", ", option->choices[i]);
    if (option->fallback != NULL && used < sizeof help)
        used += (size_t)snprintf(help + used, sizeof help - used, " (default: %s)", option->fallback);
    if (option->environment != NULL && used < sizeof help)
        snprintf(help + used, sizeof help - used, " [$%s]", option->environment);
    print_entry(heading, help, OPTION_COLUMN);
}

static void print_run_options(void)
{
    const char *group = "";
    for (size_t i = 0; option_at(i) != NULL; i++) {
        if (strcmp(option_at(i)->group, group) != 0)
            printf("\n%s\n", option_at(i)->group);
        group = option_at(i)->group;
        print_run_option(option_at(i));
    }
}

static void print_command_options(const struct cli *cli, const struct command *command)
{
    char heading[96];
    struct command_option option;
    printf("\nOptions\n");
    for (size_t i = 0; command->takes_run_options && command->options != NULL && command->options[i].name != NULL; i++) {
        option_heading(&command->options[i], heading, sizeof heading);
        print_entry(heading, command->options[i].help, OPTION_COLUMN);
    }
    for (size_t i = 0; !command->takes_run_options && command_option_at(cli, command, i, &option); i++) {
        option_heading(&option, heading, sizeof heading);
        print_entry(heading, option.help, OPTION_COLUMN);
    }
    print_entry("--help", "Shows this", OPTION_COLUMN);
}

void help_for_command(const struct cli *cli, const struct command *command)
{
    struct command_option option;
    bool has_options = command_option_at(cli, command, 0, &option);
    printf("Usage: %s %s%s%s%s%s\n\n%s:", cli->program, command->name, command->takes_job && !cli->own ? " JOB" : "",
           command->words[0] != 0 ? " " : "", command->words, has_options ? " [OPTIONS]" : "", command->name);
    text_wrap(command->summary, (unsigned)strlen(command->name) + 1, 0, WIDTH);
    if (command->details != NULL) {
        putchar('\n');
        text_wrap(command->details, 0, 0, WIDTH);
    }
    if (!command->takes_run_options || command->options != NULL)
        print_command_options(cli, command);
    if (command->takes_run_options)
        print_run_options();
}

void help_job_parameters(const struct weir_command_job *given)
{
    struct weir_error err = {0};
    struct job_options *options = malloc(sizeof *options);
    struct weir_job *job = options != NULL ? job_new(given->name, &err) : NULL;
    if (job != NULL) {
        job_options_init(options);
        job_build(job, given->build, options, &err); /* a failure is one of values, and here there are none */
        printf("\nParameters of %s, set by --set=NAME=VALUE\n", given->name);
        for (size_t i = 0; i < job_param_count(job); i++) {
            struct param_info param = job_param_at(job, i);
            char help[512];
            snprintf(help, sizeof help, "%s%s%s%s", param.help != NULL ? param.help : "", param.fallback != NULL ? " (default: " : "",
                     param.fallback != NULL ? param.fallback[0] != 0 ? param.fallback : "empty" : "",
                     param.fallback != NULL ? ")" : "");
            print_entry(param.name, help, OPTION_COLUMN);
        }
        if (job_param_count(job) == 0)
            printf("  none\n");
        job_free(job);
        job_options_free(options);
    }
    free(options);
}

int help_command(const struct cli *cli, const struct arguments *arguments)
{
    if (arguments->word_count == 0) {
        help_program(cli);
        return EXIT_DONE;
    }
    const struct command *command = command_find(arguments->words[0]);
    if (command == NULL) {
        fprintf(stderr, "%s: help: no command '%s': '%s --help' lists them\n", cli->program, arguments->words[0], cli->program);
        return EXIT_USAGE;
    }
    help_for_command(cli, command);
    return EXIT_DONE;
}
