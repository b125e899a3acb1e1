/* `run`: finds the job's build function, takes the options, and hands both to the engine. */
#include "base/log.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "engine/cli_api.h"
#include "engine/option_value.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------ which job ------ */

static int unknown_job(const struct cli *cli, const char *name, struct weir_error *err)
{
    const char *names[64];
    size_t count = 0;
    for (; count < cli->job_count && count < sizeof names / sizeof names[0]; count++)
        names[count] = cli->jobs[count].name;
    const char *nearest = nearest_word(name, names, count);
    error_set(err, WEIR_ENOENT, "run: no built-in job '%s'", name);
    if (nearest != NULL)
        return error_append(err, ": did you mean '%s'?", nearest);
    return error_append(err, ": '%s list' shows those there are; the path of a shared object needs a '/', such as ./job.so",
                        cli->program);
}

/* "/a/libfoo.so" -> "foo". Not every file's name makes a name for a job: job_new() checks. */
static void name_from_path(const char *path, char name[WEIR_NAME_BYTES_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    if (strncmp(base, "lib", 3) == 0 && isalnum((unsigned char)base[3]))
        base += 3;
    snprintf(name, WEIR_NAME_BYTES_MAX + 1, "%.*s", (int)strcspn(base, "."), base);
}

/* The library is code that will run as this user: what others may change is not loaded. */
static int check_library(const char *path, struct weir_error *err)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return error_set_errno(err, errno, "run: cannot find the shared object '%s'", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, WEIR_EINVAL, "run: '%s' is no file", path);
    if ((status.st_mode & S_IWOTH) != 0)
        return error_set(err, WEIR_EPERM, "run: every user may write to '%s': chmod o-w it first", path);
    return WEIR_OK;
}

/* The library stays loaded until the process ends: tasks are forks of it. */
static int load_library(const char *path, struct weir_command_job *ret_job, struct weir_error *err)
{
    int code = check_library(path, err);
    if (code != WEIR_OK)
        return code;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return error_set(err, WEIR_EINVAL, "run: cannot load the job: %s", dlerror());
    void *symbol = dlsym(library, WEIR_JOB_SYMBOL);
    if (symbol == NULL) {
        dlclose(library);
        return error_set(err, WEIR_EINVAL, "run: '%s' exports no function " WEIR_JOB_SYMBOL ": is it a job of Weir?", path);
    }
    memcpy(&ret_job->build, &symbol, sizeof symbol); /* a function's address by way of an object's: POSIX allows it */
    return WEIR_OK;
}

/* name_buffer keeps the name of a job that was loaded. */
static int find_job(const struct cli *cli, const char *given, char name_buffer[WEIR_NAME_BYTES_MAX + 1],
                    struct weir_command_job *ret_job, struct weir_error *err)
{
    if (cli->own) {
        *ret_job = cli->jobs[0];
        return WEIR_OK;
    }
    if (strchr(given, '/') != NULL) {
        name_from_path(given, name_buffer);
        *ret_job = (struct weir_command_job){name_buffer, given, NULL};
        return load_library(given, ret_job, err);
    }
    for (size_t i = 0; i < cli->job_count; i++)
        if (strcmp(cli->jobs[i].name, given) == 0) {
            *ret_job = cli->jobs[i];
            return WEIR_OK;
        }
    return unknown_job(cli, given, err);
}

/* ------------------------------------------------------------------------------------------------ running -------- */

static int take_options(const struct arguments *arguments, struct job_options *options, struct weir_error *err)
{
    int code = job_options_set_environment(options, err);
    for (unsigned i = 0; i < arguments->value_count && code == WEIR_OK; i++)
        code = job_options_set(options, arguments->values[i].name, arguments->values[i].value, OPTION_FROM_USER, err);
    return code == WEIR_OK ? code : error_context(err, "run");
}

static int build_and_run(const struct weir_command_job *given, struct job_options *options, struct weir_error *err)
{
    struct progress progress;
    const char *name = options->name[0] != 0 ? options->name : given->name;
    struct weir_job *job = job_new(name, err);
    if (job == NULL)
        return error_context(err, "run");
    int code = job_build(job, given->build, options, err);
    if (code == WEIR_OK && job_options_finish(options, name, err) != WEIR_OK)
        code = error_context(err, "run");
    if (code == WEIR_OK) {
        enum log_level level = options->quiet ? LOG_ERROR : (enum log_level)options->log_level;
        log_set_level(level);
        progress_init(&progress, name, options);
        code = job_run(job, options, &progress.observer, err);
    }
    job_free(job);
    return code;
}

static int run_job(const struct cli *cli, const struct arguments *arguments, const struct weir_command_job *job)
{
    struct weir_error err = {0};
    struct job_options *options = malloc(sizeof *options);
    if (options == NULL) {
        error_set(&err, WEIR_ENOMEM, "run: out of memory");
        return print_failure(cli, &err);
    }
    job_options_init(options);
    int code = take_options(arguments, options, &err);
    if (code == WEIR_OK)
        code = build_and_run(job, options, &err);
    job_options_free(options);
    free(options);
    return code < 0 ? print_failure(cli, &err) : EXIT_DONE;
}

int call_with_job(const struct cli *cli, const struct arguments *arguments, job_command_fn fn)
{
    struct weir_error err = {0};
    struct weir_command_job job = {0};
    char name[WEIR_NAME_BYTES_MAX + 1];
    bool named = cli->own || arguments->job != NULL;
    if (named && find_job(cli, arguments->job, name, &job, &err) != WEIR_OK)
        return print_failure(cli, &err);
    if (!arguments->help)
        return fn(cli, arguments, &job);
    help_for_command(cli, arguments->command);
    if (named)
        help_job_parameters(&job);
    else
        printf("\n'%s %s JOB --help' adds the parameters of one job.\n", cli->program, arguments->command->name);
    return EXIT_DONE;
}

int run_command(const struct cli *cli, const struct arguments *arguments) { return call_with_job(cli, arguments, run_job); }
