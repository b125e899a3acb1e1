#include "cli/cli.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/option_value.h"

#include <stdio.h>
#include <sys/stat.h>

#define OPTIONS_MAX 128

static bool find_option(const struct cli *cli, const struct command *command, const char *name, size_t name_bytes,
                        struct command_option *ret_option)
{
    struct command_option option;
    for (size_t i = 0; command_option_at(cli, command, i, &option); i++)
        if (strlen(option.name) == name_bytes && memcmp(option.name, name, name_bytes) == 0) {
            *ret_option = option;
            return true;
        }
    return false;
}

static int unknown_option(const struct cli *cli, const struct command *command, const char *given, struct weir_error *err)
{
    const char *names[OPTIONS_MAX];
    char bare[64];
    size_t count = 0;
    struct command_option option;
    for (; count < OPTIONS_MAX && command_option_at(cli, command, count, &option); count++)
        names[count] = option.name;
    const char *begin = given + strspn(given, "-");
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(begin, "="), begin);
    const char *nearest = nearest_word(bare, names, count);
    error_set(err, WEIR_EINVAL, "%s: no option '%s'", command->name, given);
    if (nearest != NULL)
        return error_append(err, ": did you mean '--%s'?", nearest);
    return error_append(err, ": see '%s %s --help'", cli->program, command->name);
}

/* One argument that begins with a dash; *at is its index, moved over a value of its own. */
static int parse_option(const struct cli *cli, int argc, char **argv, int *at, struct arguments *arguments,
                        struct weir_error *err)
{
    const struct command *command = arguments->command;
    const char *given = argv[*at];
    if (strcmp(given, "--help") == 0 || strcmp(given, "-h") == 0) {
        arguments->help = true;
        return WEIR_OK;
    }
    struct command_option option;
    size_t name_bytes = strcspn(given + 2, "=");
    if (given[1] != '-' || !find_option(cli, command, given + 2, name_bytes, &option))
        return unknown_option(cli, command, given, err);
    const char *value = given[2 + name_bytes] == '=' ? given + 3 + name_bytes : NULL;
    if (option.placeholder == NULL && value != NULL)
        return error_set(err, WEIR_EINVAL, "%s: --%s takes no value", command->name, option.name);
    if (option.placeholder != NULL && value == NULL) {
        if (*at + 1 >= argc)
            return error_set(err, WEIR_EINVAL, "%s: --%s needs a value: --%s=%s", command->name, option.name, option.name,
                             option.placeholder);
        value = argv[++*at];
    }
    if (arguments->value_count == ARGUMENT_VALUES_MAX)
        return error_set(err, WEIR_EINVAL, "%s: more than %d options", command->name, ARGUMENT_VALUES_MAX);
    arguments->values[arguments->value_count].name = option.name;
    arguments->values[arguments->value_count++].value = value;
    return WEIR_OK;
}

static int add_word(const struct cli *cli, const char *word, struct arguments *arguments, struct weir_error *err)
{
    const struct command *command = arguments->command;
    if (command->takes_job && !cli->own && arguments->job == NULL)
        arguments->job = word;
    else if (arguments->word_count < command->words_max)
        arguments->words[arguments->word_count++] = word;
    else
        return error_set(err, WEIR_EINVAL, "%s: '%s' is one argument too many: see '%s %s --help'", command->name, word,
                         cli->program, command->name);
    return WEIR_OK;
}

static int check_words(const struct cli *cli, const struct arguments *arguments, struct weir_error *err)
{
    const struct command *command = arguments->command;
    bool lacks_job = command->takes_job && !cli->own && arguments->job == NULL;
    if (arguments->help || (!lacks_job && arguments->word_count >= command->words_min))
        return WEIR_OK;
    const char *list = command->takes_run_options ? "'weir list' shows the built-in jobs" : "'weir list' shows those that run";
    if (lacks_job)
        return error_set(err, WEIR_EINVAL, "%s: which JOB? %s", command->name, list);
    return error_set(err, WEIR_EINVAL, "%s: needs %s: see '%s %s --help'", command->name, command->words, cli->program, command->name);
}

int arguments_parse(const struct cli *cli, const struct command *command, int argc, char **argv,
                    struct arguments *ret_arguments, struct weir_error *err)
{
    struct arguments arguments = {.command = command};
    bool options_end = false;
    for (int at = 0; at < argc; at++) {
        int code = WEIR_OK;
        if (!options_end && strcmp(argv[at], "--") == 0)
            options_end = true;
        else if (!options_end && argv[at][0] == '-' && argv[at][1] != 0)
            code = parse_option(cli, argc, argv, &at, &arguments, err);
        else
            code = add_word(cli, argv[at], &arguments, err);
        if (code != WEIR_OK)
            return code;
    }
    *ret_arguments = arguments;
    return check_words(cli, &arguments, err);
}

bool arguments_has(const struct arguments *arguments, const char *option)
{
    for (unsigned i = 0; i < arguments->value_count; i++)
        if (strcmp(arguments->values[i].name, option) == 0)
            return true;
    return false;
}

const char *arguments_value(const struct arguments *arguments, const char *option)
{
    const char *value = NULL;
    for (unsigned i = 0; i < arguments->value_count; i++)
        if (strcmp(arguments->values[i].name, option) == 0)
            value = arguments->values[i].value;
    return value;
}

int arguments_timeout(const struct arguments *arguments, unsigned fallback_ms, unsigned *ret_timeout_ms,
                      struct weir_error *err)
{
    int64_t timeout_ns = fallback_ms * NS_PER_MS;
    struct weir_error accepted = {0};
    const char *text = arguments_value(arguments, "timeout");
    int code = text != NULL ? value_duration(text, &timeout_ns, &accepted) : WEIR_OK;
    if (code != WEIR_OK || timeout_ns < NS_PER_MS || timeout_ns > 24 * 3600 * NS_PER_S)
        return error_set(err, WEIR_EINVAL, "--timeout: '%s' is not accepted: it takes a time from 1ms to 1d", text);
    *ret_timeout_ms = (unsigned)(timeout_ns / NS_PER_MS);
    return WEIR_OK;
}
