/*
 * fuzz_options.c - the options of `run`: the input is a name, a line end, and a value. What is refused is refused in words; what is
 * accepted is shown by option_format() in a form that is accepted again and means the same.
 */
#include "engine/event_log.h"
#include "engine/option_value.h"
#include "engine/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

#define TEXT_BYTES (2 * PATH_MAX)

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* Numbers are shown rounded to what a unit can say; they must still be accepted. */
static bool is_exact(const struct option *option)
{
    return option->type != OPTION_DURATION && option->type != OPTION_BYTES;
}

static void try_option(const char *name, const char *value)
{
    static struct job_options options, again;
    static char shown[TEXT_BYTES], shown_again[TEXT_BYTES];
    struct weir_error err = {0};
    job_options_init(&options);
    int code = job_options_set(&options, name, value, OPTION_FROM_USER, &err);
    must(code <= 0 && (code == WEIR_OK || err.text[0] != 0));
    const struct option *option = option_find(strncmp(name, "set.", 4) == 0 ? "set" : name);
    if (code == WEIR_OK) {
        must(option != NULL);
        option_format(&options, option, shown, sizeof shown);
        struct weir_error together = {0};
        if (job_options_finish(&options, "job", &together) != WEIR_OK)
            must(together.text[0] != 0);
    }
    if (code == WEIR_OK && option->type != OPTION_PARAM && shown[0] != 0) {
        job_options_init(&again);
        must(job_options_set(&again, option->name, shown, OPTION_FROM_USER, &err) == WEIR_OK);
        option_format(&again, option, shown_again, sizeof shown_again);
        must(!is_exact(option) || strcmp(shown, shown_again) == 0);
        job_options_free(&again);
    }
    job_options_free(&options);
}

/* A parameter is found under its name, byte for byte. */
static void try_param(const char *text)
{
    static struct job_options options;
    struct weir_error err = {0};
    job_options_init(&options);
    const char *equals = strchr(text, '=');
    if (job_options_set(&options, "set", text, OPTION_FROM_USER, &err) == WEIR_OK) {
        must(equals != NULL && options.param_count == 1);
        must(strlen(options.params[0].name) == (size_t)(equals - text));
        const char *value = job_options_param(&options, options.params[0].name);
        must(value != NULL && strcmp(value, equals + 1) == 0);
    } else {
        must(err.text[0] != 0);
    }
    job_options_free(&options);
}

static void try_values(const char *text)
{
    struct weir_error err = {0};
    struct option_cpus cpus;
    int64_t number = 0;
    uint64_t natural = 0;
    char shown[TEXT_BYTES];
    if (value_duration(text, &number, &err) == WEIR_OK)
        must(number >= 0 && value_duration(format_duration(number, shown, sizeof shown), &number, &err) == WEIR_OK);
    if (value_bytes(text, &natural, &err) == WEIR_OK)
        must(value_bytes(format_bytes(natural, shown, sizeof shown), &natural, &err) == WEIR_OK);
    if (value_percent(text, UINT64_C(1) << 34, &natural, &err) == WEIR_OK)
        must(natural <= UINT64_C(1) << 34);
    value_count(text, &natural, &err);
    if (value_cpus(text, &cpus, &err) == WEIR_OK)
        must(value_cpus(format_cpus(&cpus, shown, sizeof shown), &cpus, &err) == WEIR_OK);
    if (event_time_parse(text, &number, &err) == WEIR_OK) {
        int64_t again = 0;
        must(event_time_parse(event_time_format(number, shown, sizeof shown), &again, &err) != WEIR_OK || again == number);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static char name[TEXT_BYTES], value[TEXT_BYTES];
    if (size_bytes >= TEXT_BYTES)
        return 0;
    const uint8_t *line_end = size_bytes > 0 ? memchr(data, '\n', size_bytes) : NULL;
    const size_t name_bytes = line_end != NULL ? (size_t)(line_end - data) : size_bytes;
    memcpy(name, data, name_bytes);
    name[name_bytes] = 0;
    value[0] = 0;
    if (line_end != NULL) {
        memcpy(value, line_end + 1, size_bytes - name_bytes - 1);
        value[size_bytes - name_bytes - 1] = 0;
    }
    try_option(name, line_end != NULL ? value : NULL);
    try_param(value);
    try_values(value);
    return 0;
}
