#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

int print_failure(const struct cli *cli, const struct weir_error *err)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", cli->program, err->text);
    return exit_code_of(err->code);
}

int print_json_line(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    if (text == NULL)
        return EXIT_FAILED;
    puts(text);
    free(text);
    return EXIT_DONE;
}

int print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    if (text == NULL)
        return EXIT_FAILED;
    puts(text);
    free(text);
    return EXIT_DONE;
}
