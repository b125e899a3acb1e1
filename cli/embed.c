/* weir_run(): what `run` does, for a program that keeps its command line to itself. */
#include "base/error.h"
#include "engine/cli_api.h"

#include <stdlib.h>
#include <string.h>

/* "name=value", or a flag's name alone. */
static int set_pair(struct job_options *options, const char *pair, struct weir_error *err)
{
    char *name = pair != NULL ? strdup(pair) : NULL;
    if (name == NULL)
        return error_set(err, pair == NULL ? WEIR_EINVAL : WEIR_ENOMEM, "an option is NULL, or memory is short");
    char *value = strchr(name, '=');
    if (value != NULL)
        *value++ = 0;
    int code = job_options_set(options, name, value, OPTION_FROM_USER, err);
    free(name);
    return code;
}

static int set_all(struct job_options *options, const char *const *pairs, size_t count, struct weir_error *err)
{
    int code = job_options_set_environment(options, err);
    for (size_t i = 0; i < count && code == WEIR_OK; i++)
        code = set_pair(options, pairs[i], err);
    return code;
}

static int build_and_run(const char *name, weir_build_fn build, struct job_options *options, struct weir_error *err)
{
    const char *own_name = options->name[0] != 0 ? options->name : name;
    struct weir_job *job = job_new(own_name, err);
    if (job == NULL)
        return err->code;
    int code = job_build(job, build, options, err);
    if (code == WEIR_OK)
        code = job_options_finish(options, own_name, err);
    if (code == WEIR_OK)
        code = job_run(job, options, NULL, err);
    job_free(job);
    return code;
}

int weir_run(const char *name, weir_build_fn build, const char *const *option_values, size_t option_count,
             struct weir_error *error)
{
    struct weir_error own = {0};
    struct weir_error *err = error != NULL ? error : &own;
    if (name == NULL || build == NULL || (option_values == NULL && option_count > 0))
        return error_set(err, WEIR_EINVAL, "weir_run: name, build function or options are NULL");
    struct job_options *options = malloc(sizeof *options);
    if (options == NULL)
        return error_set(err, WEIR_ENOMEM, "weir_run: out of memory");
    job_options_init(options);
    int code = set_all(options, option_values, option_count, err);
    if (code == WEIR_OK)
        code = build_and_run(name, build, options, err);
    job_options_free(options);
    free(options);
    return code;
}
