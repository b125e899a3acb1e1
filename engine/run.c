/* run.c - the engine's door: a job is made, built, run (cli_api.h). */
#include "base/bytes.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/graph.h"
#include "engine/launcher.h"
#include "engine/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct weir_job *job_new(const char *name, struct weir_error *err)
{
    if (!name_is_valid(name)) {
        error_set(err, WEIR_EINVAL, "'%s' is no job name: letters, digits, '_' and '-', up to %d, first a letter or digit", name,
                  WEIR_NAME_BYTES_MAX);
        return NULL;
    }
    struct weir_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        error_set(err, WEIR_ENOMEM, "job '%s': out of memory", name);
    else
        snprintf(job->name, sizeof job->name, "%s", name);
    return job;
}

void job_free(struct weir_job *job)
{
    while (job != NULL && job->allocations != NULL) {
        struct allocation *next = job->allocations->next;
        free(job->allocations);
        job->allocations = next;
    }
    for (unsigned i = 0; job != NULL && i < job->param_count; i++)
        free(job->params[i].value);
    free(job);
}

static int take_params(struct weir_job *job, const struct job_options *options, struct weir_error *err)
{
    for (size_t i = 0; i < options->param_count; i++) {
        if (job->param_count == COUNT_OF(job->params))
            return error_set(err, WEIR_ELIMIT, "more than %zu --set", COUNT_OF(job->params));
        struct job_param *param = &job->params[job->param_count++];
        snprintf(param->name, sizeof param->name, "%s", options->params[i].name);
        param->value = strdup(options->params[i].value);
        if (param->value == NULL)
            return error_set(err, WEIR_ENOMEM, "--set %s: out of memory", param->name);
    }
    return WEIR_OK;
}

int job_build(struct weir_job *job, weir_build_fn build, struct job_options *options, struct weir_error *err)
{
    int code = take_params(job, options, err);
    if (code != WEIR_OK)
        return code;
    code = build(job);
    if (job->error.code != WEIR_OK)
        return error_set(err, job->error.code, "job '%s': %s", job->name, job->error.text);
    if (code < 0)
        return error_set(err, code, "job '%s': its build function returned %d (%s)", job->name, code, weir_status_name(code));
    for (unsigned i = 0; i < job->default_count; i++) {
        code = job_options_set(options, job->defaults[i].option, job->defaults[i].value, OPTION_FROM_JOB, err);
        if (code != WEIR_OK)
            return error_context(err, "job '%s': weir_default()", job->name);
    }
    return graph_check(job, err);
}

size_t job_param_count(const struct weir_job *job)
{
    size_t count = 0;
    for (unsigned i = 0; i < job->param_count; i++)
        count += job->params[i].asked;
    return count;
}

struct param_info job_param_at(const struct weir_job *job, size_t index)
{
    for (unsigned i = 0; i < job->param_count; i++)
        if (job->params[i].asked && index-- == 0)
            return (struct param_info){job->params[i].name, job->params[i].fallback, job->params[i].help};
    return (struct param_info){NULL, NULL, NULL};
}

static void log_start(struct job *job)
{
    uint64_t restored = job->shared->coordinator.start_id;
    if (restored != 0)
        log_line(LOG_INFO, "job '%s': going on from checkpoint %llu in '%s'", job->graph->name, (unsigned long long)restored,
                 job->options->directory);
    event_log_append(&job->events, EVENT_JOB_STARTED,
                     json_pack("{s:s, s:i, s:I, s:I}", "job", job->graph->name, "pid", (int)getpid(), "generation",
                               (json_int_t)atomic_load(&job->shared->generation), "restored_checkpoint", (json_int_t)restored));
}

int job_run(struct weir_job *graph, const struct job_options *options, const struct run_observer *observer, struct weir_error *err)
{
    struct job job;
    struct registry_entry entry;
    bool registered = false;
    log_set_level((enum log_level)(options->quiet ? OPTION_LOG_ERROR : options->log_level));
    int code = kill_point_init(err);
    if (code != WEIR_OK)
        return code;
    code = job_set_up(&job, graph, options, err);
    if (code == WEIR_OK)
        code = job_choose_start(&job, err);
    if (code == WEIR_OK) {
        struct weir_error why = {0};
        registered = registry_add(graph->name, options->directory, &entry, &why) == WEIR_OK;
        if (!registered)
            log_line(LOG_WARNING, "'weir list' will not show this job: %s", why.text);
        log_start(&job);
        code = launcher_run(&job, observer, err);
    }
    if (registered)
        registry_remove(&entry);
    job_tear_down(&job);
    return code;
}
