/* generate.h - what the build makes from the tables: manual pages and the completion of the shell. */
#ifndef WEIR_CLI_GENERATE_H
#define WEIR_CLI_GENERATE_H

#include "cli/cli.h"

#include <stdio.h>

/* weir(1), and weir-COMMAND(1) for each command. */
void man_program(const struct cli *cli, FILE *out);
void man_command(const struct cli *cli, const struct command *command, FILE *out);
/* For bash, as bash-completion loads it. */
void completion_bash(const struct cli *cli, FILE *out);

#endif
