/* run.c - the engine's door: a job is made, built, run (cli_api.h). */
#include "base/bytes.h"
#include "base/check.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/graph.h"
#include "engine/launcher.h"
#include "engine/plan.h"
#include "engine/registry.h"
#include "shm/region.h"

#include <errno.h>
#include <signal.h>
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

size_t job_node_count(const struct weir_job *job) { return job->node_count; }

struct node_info job_node_at(const struct weir_job *job, size_t index)
{
    const struct graph_node *node = &job->nodes[index];
    return (struct node_info){.name = node->name, .source = node->source, .sink = node->sink, .arg = node->arg};
}

int job_replace_sink(struct weir_job *job, size_t index, const struct weir_sink *sink, const void *arg, struct weir_error *err)
{
    CHECK(index < job->node_count && job->nodes[index].kind == NODE_SINK);
    job->nodes[index].sink = sink;
    job->nodes[index].arg = arg;
    return graph_check(job, err);
}

static void fill_task_info(const struct weir_job *job, const struct plan *plan, unsigned index, struct task_info *info)
{
    _Static_assert(sizeof info->operators / sizeof info->operators[0] >= GRAPH_NODES_MAX, "a chain may hold all nodes");
    const struct plan_task *task = &plan->tasks[index];
    const struct plan_chain *chain = &plan->chains[task->chain];
    snprintf(info->name, sizeof info->name, "%s", task->name);
    info->subtask = task->subtask;
    info->operator_count = chain->node_count;
    for (unsigned i = 0; i < chain->node_count; i++)
        info->operators[i] = job->nodes[chain->nodes[i]].name;
}

int job_tasks(const struct weir_job *job, const struct job_options *options, struct task_info **ret_tasks, size_t *ret_count,
              struct weir_error *err)
{
    struct task_info *tasks = NULL;
    struct plan *plan = malloc(sizeof *plan);
    int code = plan != NULL ? plan_make(job, job_chaining(options), (unsigned)options->key_groups, plan, err) : WEIR_ENOMEM;
    if (code == WEIR_OK)
        tasks = calloc(plan->task_count, sizeof *tasks);
    if (plan == NULL || (code == WEIR_OK && tasks == NULL))
        code = error_set(err, WEIR_ENOMEM, "job '%s': out of memory", job->name);
    for (unsigned i = 0; code == WEIR_OK && i < plan->task_count; i++)
        fill_task_info(job, plan, i, &tasks[i]);
    if (code == WEIR_OK) {
        *ret_tasks = tasks;
        *ret_count = plan->task_count;
    }
    free(plan);
    return code;
}

bool job_huge_pages_work(void) { return region_huge_pages_work(); }

static void log_start(struct job *job)
{
    uint64_t restored = job->shared->coordinator.start_id;
    if (restored != 0)
        log_line(LOG_INFO, job->had_ended ? "job '%s' had finished: nothing comes after checkpoint %llu in '%s'"
                                          : "job '%s': going on from checkpoint %llu in '%s'",
                 job->graph->name, (unsigned long long)restored, job->options->directory);
    bool huge = region_huge_pages_work();
    log_line(LOG_DEBUG, "job '%s': state is mapped in %s", job->graph->name,
             huge ? "huge pages, from 2 MiB on" : "pages of 4 KiB, which standbys map ahead ('weir doctor' says how to have huge ones)");
    event_log_append(&job->events, EVENT_JOB_STARTED,
                     json_pack("{s:s, s:i, s:I, s:I, s:b}", "job", job->graph->name, "pid", (int)getpid(), "generation",
                               (json_int_t)atomic_load(&job->shared->generation), "restored_checkpoint", (json_int_t)restored, "huge_pages", (int)huge));
}

/* Set up, run, torn down. */
static int run(struct weir_job *graph, const struct job_options *options, const struct run_observer *observer, struct weir_error *err)
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

int job_run(struct weir_job *graph, const struct job_options *options, const struct run_observer *observer, struct weir_error *err)
{
    /* A limit on the size of files is a failed write, of this process and of all that are forked, and not their end. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigemptyset(&ignore.sa_mask);
    if (sigaction(SIGXFSZ, &ignore, &old) != 0)
        return error_set_errno(err, errno, "job '%s': ignore SIGXFSZ", graph->name);
    int code = run(graph, options, observer, err);
    sigaction(SIGXFSZ, &old, NULL);
    return code;
}
