#include "engine/options.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/option_value.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VALUE_TEXT_BYTES 128

static void *field_of(struct job_options *options, const struct option *option)
{
    return (char *)options + option->offset;
}

static uint64_t memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : (uint64_t)1 << 30;
}

static bool name_is_allowed(const char *name)
{
    size_t size_bytes = strlen(name);
    if (size_bytes == 0 || size_bytes > WEIR_NAME_BYTES_MAX || !isalnum((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < size_bytes; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------ one value ------ */

static const char *format_number(const struct option *option, int64_t value, char *buffer, size_t capacity)
{
    if (option->type == OPTION_DURATION)
        return format_duration(value, buffer, capacity);
    if (option->type == OPTION_BYTES)
        return format_bytes((uint64_t)value, buffer, capacity);
    snprintf(buffer, capacity, "%llu", (unsigned long long)value);
    return buffer;
}

/* What a number may be, for people: " from 2ms to 24h, or off". */
static void describe_range(const struct option *option, char *text, size_t capacity)
{
    char minimum[32], maximum[32];
    format_number(option, option->minimum, minimum, sizeof minimum);
    format_number(option, option->maximum, maximum, sizeof maximum);
    bool bounded = option->maximum != INT64_MAX;
    snprintf(text, capacity, "%s%s%s%s%s%s%s", option->power_of_two ? ", a power of two" : "",
             bounded ? ", from " : ", at least ", minimum, bounded ? " to " : "", bounded ? maximum : "",
             option->special != NULL ? ", or " : "", option->special != NULL ? option->special : "");
}

static int parse_unsigned(const struct option *option, const char *text, uint64_t *ret_value, struct weir_error *err)
{
    if (option->type == OPTION_COUNT)
        return value_count(text, ret_value, err);
    if (option->percent_of_memory && strchr(text, '%') != NULL)
        return value_percent(text, memory_bytes(), ret_value, err);
    return value_bytes(text, ret_value, err);
}

static int set_number(const struct option *option, const char *text, void *field, struct weir_error *err)
{
    int64_t value = 0;
    uint64_t natural = 0;
    int code;
    if (option->special != NULL && strcmp(text, option->special) == 0) {
        memcpy(field, &option->special_value, sizeof option->special_value);
        return WEIR_OK;
    }
    if (option->type == OPTION_DURATION) {
        code = value_duration(text, &value, err);
    } else {
        code = parse_unsigned(option, text, &natural, err);
        if (code == WEIR_OK && natural > INT64_MAX)
            code = error_set(err, WEIR_EINVAL, "a smaller number");
        value = (int64_t)natural;
    }
    bool is_off = option->special != NULL && option->special_value == 0 && value == 0;
    bool in_range = is_off || (value >= option->minimum && value <= option->maximum);
    bool power = !option->power_of_two || (value & (value - 1)) == 0;
    if (code == WEIR_OK && (!in_range || !power))
        code = error_set(err, WEIR_EINVAL, "%s", option->type == OPTION_DURATION ? "a time" : option->type == OPTION_BYTES ? "a size" : "a number");
    if (code != WEIR_OK) {
        char range[VALUE_TEXT_BYTES];
        describe_range(option, range, sizeof range);
        return error_append(err, "%s", range), code;
    }
    memcpy(field, &value, sizeof value);
    return WEIR_OK;
}

static int set_choice(const struct option *option, const char *text, void *field, struct weir_error *err)
{
    for (int i = 0; option->choices[i] != NULL; i++)
        if (strcmp(option->choices[i], text) == 0) {
            memcpy(field, &i, sizeof i);
            return WEIR_OK;
        }
    error_set(err, WEIR_EINVAL, "one of");
    for (int i = 0; option->choices[i] != NULL; i++)
        error_append(err, "%s%s", i == 0 ? " " : ", ", option->choices[i]);
    return WEIR_EINVAL;
}

static int set_flag(const char *text, void *field, struct weir_error *err)
{
    bool on = strcmp(text, "true") == 0;
    if (!on && strcmp(text, "false") != 0)
        return error_set(err, WEIR_EINVAL, "true or false");
    memcpy(field, &on, sizeof on);
    return WEIR_OK;
}

static int set_text(const char *text, void *field, size_t capacity, struct weir_error *err)
{
    size_t size_bytes = strlen(text);
    if (size_bytes == 0 || size_bytes >= capacity)
        return error_set(err, WEIR_EINVAL, "a path of 1 to %zu bytes", capacity - 1);
    memcpy(field, text, size_bytes + 1);
    return WEIR_OK;
}

static int set_name(const char *text, void *field, struct weir_error *err)
{
    if (!name_is_allowed(text))
        return error_set(err, WEIR_EINVAL, "letters, digits, - and _, beginning with a letter or digit, at most %d",
                         WEIR_NAME_BYTES_MAX);
    memcpy(field, text, strlen(text) + 1);
    return WEIR_OK;
}

static struct option_param *find_param(const struct job_options *options, const char *name)
{
    for (size_t i = 0; i < options->param_count; i++)
        if (strcmp(options->params[i].name, name) == 0)
            return &options->params[i];
    return NULL;
}

/* The place of a parameter: where it stands already, with its old text freed, or a new one. NULL: no more can be added. */
static struct option_param *param_place(struct job_options *options, const char *name, struct weir_error *err)
{
    struct option_param *param = find_param(options, name);
    if (param != NULL) {
        free(param->name);
        return param;
    }
    if (options->param_count == OPTION_PARAMS_MAX) {
        error_set(err, WEIR_ELIMIT, "at most %d parameters", OPTION_PARAMS_MAX);
        return NULL;
    }
    struct option_param *grown = realloc(options->params, (options->param_count + 1) * sizeof *grown);
    if (grown == NULL) {
        error_set(err, WEIR_ENOMEM, "out of memory");
        return NULL;
    }
    options->params = grown;
    return &grown[options->param_count++];
}

/* NAME=VALUE; a later value replaces an earlier one. */
static int set_param(struct job_options *options, const char *text, struct weir_error *err)
{
    const char *equals = strchr(text, '=');
    char *block = strdup(text);
    if (block == NULL)
        return error_set(err, WEIR_ENOMEM, "out of memory");
    size_t name_bytes = equals != NULL ? (size_t)(equals - text) : 0;
    block[name_bytes] = 0;
    if (!name_is_allowed(block)) {
        free(block);
        return error_set(err, WEIR_EINVAL, "NAME=VALUE, the name of letters, digits, - and _");
    }
    struct option_param *param = param_place(options, block, err);
    if (param == NULL) {
        free(block);
        return err != NULL ? err->code : WEIR_ELIMIT;
    }
    *param = (struct option_param){block, block + name_bytes + 1};
    return WEIR_OK;
}

static int set_value(struct job_options *options, const struct option *option, const char *text, struct weir_error *err)
{
    void *field = field_of(options, option);
    struct option_cpus cpus;
    int code;
    switch (option->type) {
    case OPTION_DURATION:
    case OPTION_BYTES:
    case OPTION_COUNT: return set_number(option, text, field, err);
    case OPTION_CHOICE: return set_choice(option, text, field, err);
    case OPTION_FLAG: return set_flag(text, field, err);
    case OPTION_NAME: return set_name(text, field, err);
    case OPTION_PATH: return set_text(text, field, PATH_MAX, err);
    case OPTION_CPUS:
        code = value_cpus(text, &cpus, err);
        if (code == WEIR_OK)
            memcpy(field, &cpus, sizeof cpus);
        return code;
    case OPTION_PARAM: return set_param(options, text, err);
    }
    return error_set(err, WEIR_EINVAL, "a known type of option");
}

/* ------------------------------------------------------------------------------------------------ all of them ---- */

void job_options_init(struct job_options *options)
{
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        struct weir_error err = {0};
        if (option->fallback != NULL)
            CHECK(set_value(options, option, option->fallback, &err) == WEIR_OK);
    }
}

void job_options_free(struct job_options *options)
{
    for (size_t i = 0; i < options->param_count; i++)
        free(options->params[i].name);
    free(options->params);
    options->params = NULL;
    options->param_count = 0;
}

static int unknown_option(const char *name, struct weir_error *err)
{
    const char *names[OPTION_ROWS_MAX];
    for (size_t i = 0; i < option_count(); i++)
        names[i] = option_at(i)->name;
    const char *nearest = nearest_word(name, names, option_count());
    if (nearest == NULL)
        return error_set(err, WEIR_EINVAL, "no option '%s': 'run --help' lists them", name);
    return error_set(err, WEIR_EINVAL, "no option '%s': did you mean '%s'?", name, nearest);
}

/* A value that a stronger source has overruled is only checked. */
static int check_value(const struct option *option, const char *text, struct weir_error *err)
{
    struct job_options *scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL)
        return error_set(err, WEIR_ENOMEM, "out of memory");
    int code = set_value(scratch, option, text, err);
    job_options_free(scratch);
    free(scratch);
    return code;
}

/* --restore=eager stands for --restore-mode=eager. */
static bool is_word_of_another(const struct option *option, const char *value)
{
    const struct option *other = option->choices_of != NULL ? option_find(option->choices_of) : NULL;
    for (int i = 0; other != NULL && value != NULL && other->choices[i] != NULL; i++)
        if (strcmp(other->choices[i], value) == 0)
            return true;
    return false;
}

int job_options_set(struct job_options *options, const char *name, const char *value, enum option_source source,
                    struct weir_error *err)
{
    struct weir_error accepted = {0};
    char param[PATH_MAX];
    if (strncmp(name, "set.", 4) == 0) {
        if (value == NULL || snprintf(param, sizeof param, "%s=%s", name + 4, value) >= (int)sizeof param)
            return error_set(err, WEIR_EINVAL, "%s: needs a value of less than %zu bytes", name, sizeof param);
        name = "set";
        value = param;
    }
    const struct option *option = option_find(name);
    if (option == NULL)
        return unknown_option(name, err);
    if (is_word_of_another(option, value))
        option = option_find(option->choices_of);
    if (value == NULL && option->type != OPTION_FLAG)
        return error_set(err, WEIR_EINVAL, "--%s: needs a value: --%s=%s", name, name, option->placeholder);
    const char *text = value != NULL ? value : "true";
    unsigned char *given_by = &options->source[option - option_at(0)];
    bool overruled = source < *given_by;
    int code = overruled ? check_value(option, text, &accepted) : set_value(options, option, text, &accepted);
    if (code != WEIR_OK)
        return error_set(err, code, "--%s: '%s' is not accepted: it takes %s", name, text, accepted.text);
    if (!overruled)
        *given_by = (unsigned char)source;
    return WEIR_OK;
}

int job_options_set_environment(struct job_options *options, struct weir_error *err)
{
    for (size_t i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        const char *value = option->environment != NULL ? getenv(option->environment) : NULL;
        if (value == NULL || value[0] == 0)
            continue;
        int code = job_options_set(options, option->name, value, OPTION_FROM_ENVIRONMENT, err);
        if (code != WEIR_OK)
            return error_context(err, "environment variable %s", option->environment);
    }
    return WEIR_OK;
}

const char *job_options_param(const struct job_options *options, const char *name)
{
    const struct option_param *param = find_param(options, name);
    return param != NULL ? param->value : NULL;
}

const char *option_format(const struct job_options *options, const struct option *option, char *buffer, size_t capacity)
{
    const void *field = (const char *)options + option->offset;
    int64_t number;
    int choice;
    buffer[0] = 0;
    switch (option->type) {
    case OPTION_DURATION:
    case OPTION_BYTES:
    case OPTION_COUNT:
        memcpy(&number, field, sizeof number);
        if (option->special != NULL && number == option->special_value)
            snprintf(buffer, capacity, "%s", option->special);
        else
            format_number(option, number, buffer, capacity);
        break;
    case OPTION_CHOICE:
        memcpy(&choice, field, sizeof choice);
        snprintf(buffer, capacity, "%s", option->choices[choice]);
        break;
    case OPTION_FLAG: snprintf(buffer, capacity, "%s", *(const bool *)field ? "true" : "false"); break;
    case OPTION_NAME:
    case OPTION_PATH: snprintf(buffer, capacity, "%s", (const char *)field); break;
    case OPTION_CPUS: format_cpus(field, buffer, capacity); break;
    case OPTION_PARAM:
        for (size_t i = 0, used = 0; i < options->param_count && used < capacity; i++)
            used += (size_t)snprintf(buffer + used, capacity - used, "%s%s=%s", i == 0 ? "" : " ", options->params[i].name,
                                     options->params[i].value);
        break;
    }
    return buffer;
}

/* ------------------------------------------------------------------------------------------------ together ------- */

static const char *home_directory(void)
{
    const char *home = getenv("HOME");
    if (home != NULL && home[0] == '/')
        return home;
    const struct passwd *user = getpwuid(getuid());
    return user != NULL ? user->pw_dir : NULL;
}

int job_options_directory(const char *job_name, char *directory, struct weir_error *err)
{
    const char *base = getenv("XDG_STATE_HOME");
    const char *below = "";
    if (base == NULL || base[0] != '/') {
        base = home_directory();
        below = "/.local/state";
    }
    if (base == NULL)
        return error_set(err, WEIR_ENOENT, "no home directory: give the checkpoint directory with --directory");
    if (snprintf(directory, PATH_MAX, "%s%s/weir/%s", base, below, job_name) >= PATH_MAX)
        return error_set(err, WEIR_EINVAL, "checkpoint directory below '%s': the path is too long", base);
    return WEIR_OK;
}

static int make_absolute(char *path, const char *option_name, struct weir_error *err)
{
    char here[PATH_MAX], joined[PATH_MAX];
    if (path[0] == '/' || path[0] == 0)
        return WEIR_OK;
    if (getcwd(here, sizeof here) == NULL)
        return error_set(err, WEIR_ENOENT, "--%s: '%s' is relative, and there is no current directory", option_name, path);
    if (snprintf(joined, sizeof joined, "%s/%s", strcmp(here, "/") == 0 ? "" : here, path) >= (int)sizeof joined)
        return error_set(err, WEIR_EINVAL, "--%s: '%s': the path is too long", option_name, path);
    memcpy(path, joined, sizeof joined);
    return WEIR_OK;
}

static int check_together(const struct job_options *options, struct weir_error *err)
{
    if (options->from_scratch && options->restore != 0)
        return error_set(err, WEIR_EINVAL, "--from-scratch and --restore exclude each other: give one of them");
    if (options->restart == OPTION_RESTART_EXPONENTIAL_DELAY && options->restart_delay_ns > options->restart_delay_max_ns)
        return error_set(err, WEIR_EINVAL, "--restart-delay is longer than --restart-delay-max: raise the latter");
    if (options->busy_poll && options->spin_ns >= 0)
        return error_set(err, WEIR_EINVAL, "--busy-poll and --spin exclude each other: busy polling spins for ever");
    if (options->no_chain && options->chain_keyed)
        return error_set(err, WEIR_EINVAL, "--no-chain and --chain-keyed exclude each other: give one of them");
    if (options->heartbeat_timeout_ns > 0 && options->heartbeat_timeout_ns <= 2 * options->batch_time_ns)
        return error_set(err, WEIR_EINVAL, "--heartbeat-timeout must be more than twice --batch-time: a task in a batch would be "
                                           "taken for hung");
    return WEIR_OK;
}

int job_options_finish(struct job_options *options, const char *job_name, struct weir_error *err)
{
    const char *name = options->name[0] != 0 ? options->name : job_name;
    int code = check_together(options, err);
    if (code == WEIR_OK && options->directory[0] == 0)
        code = job_options_directory(name, options->directory, err);
    if (code == WEIR_OK)
        code = make_absolute(options->directory, "directory", err);
    if (code == WEIR_OK && options->dead_letter[0] == 0 &&
        snprintf(options->dead_letter, PATH_MAX, "%s/dead-letter.jsonl", options->directory) >= PATH_MAX)
        code = error_set(err, WEIR_EINVAL, "--directory: '%s': the path is too long", options->directory);
    if (code == WEIR_OK)
        code = make_absolute(options->dead_letter, "dead-letter", err);
    return code;
}
