#include "chaos/job.h"

#include "base/bytes.h"
#include "base/error.h"
#include "engine/cli_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a job under fire needs, in place of its own defaults; the user's word counts for more. */
static const struct chaos_pair defaults[] = {
    {"checkpoint-interval", "10ms"},
    {"checkpoint-timeout", "10s"},
    {"checkpoint-tolerated-failures", "unlimited"}, /* most of them are killed by our own hand */
    {"restart-attempts", "unlimited"},
    {"restart-delay", "1ms"},
    {"restart-delay-max", "20ms"},
    {"poison-attempts", "1000"}, /* a record that is in hand at every other SIGSEGV is no poison */
};

/* Options that belong to one run alone. */
static const char *const refused[] = {"directory", "dead-letter", "restore", "from-scratch"};

int chaos_job_option(struct chaos_job *job, const char *name, const char *value, struct weir_error *err)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (strcmp(name, refused[i]) == 0)
            return error_set(err, WEIR_EINVAL, "chaos: --%s cannot be given: each run has a directory of its own, and starts "
                                               "from nothing; "
                                               "--scratch says where they are made", name);
    if (job->pair_count == CHAOS_PAIRS_MAX)
        return error_set(err, WEIR_ELIMIT, "chaos: more than %d options", CHAOS_PAIRS_MAX);
    job->pairs[job->pair_count++] = (struct chaos_pair){name, value};
    return WEIR_OK;
}

static int set_path(struct job_options *options, const char *name, const char *directory, const char *below,
                    struct weir_error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", directory, below) >= (int)sizeof path)
        return error_set(err, WEIR_EINVAL, "chaos: '%s': the path is too long", directory);
    return job_options_set(options, name, path, OPTION_FROM_USER, err);
}

static int set_output_param(const struct chaos_job *job, struct job_options *options, const char *directory,
                            struct weir_error *err)
{
    char name[256], below[256];
    snprintf(name, sizeof name, "set.%s", job->options->output_param);
    snprintf(below, sizeof below, CHAOS_OUTPUT "/%s", job->options->output_param);
    return set_path(options, name, directory, below, err);
}

static int take_options(const struct chaos_job *job, const char *directory, struct job_options *options, struct weir_error *err)
{
    int code = job_options_set_environment(options, err);
    for (size_t i = 0; i < job->pair_count && code == WEIR_OK; i++)
        code = job_options_set(options, job->pairs[i].name, job->pairs[i].value, OPTION_FROM_USER, err);
    for (size_t i = 0; i < COUNT_OF(defaults) && code == WEIR_OK; i++)
        code = job_options_set(options, defaults[i].name, defaults[i].value, OPTION_FROM_ENVIRONMENT, err);
    if (code == WEIR_OK)
        code = set_path(options, "directory", directory, CHAOS_CHECKPOINTS, err);
    if (code == WEIR_OK)
        code = set_path(options, "dead-letter", directory, "dead-letter.jsonl", err);
    options->quiet = false; /* what took effect is told by the log, which is a file here */
    if (options->log_level < OPTION_LOG_INFO)
        options->log_level = OPTION_LOG_INFO;
    if (code == WEIR_OK && job->options->output_param != NULL)
        code = set_output_param(job, options, directory, err);
    return code == WEIR_OK ? code : error_context(err, "chaos");
}

/* ---- outputs ---- */

static const char *copy_text(struct weir_job *graph, const char *text)
{
    size_t size_bytes = strlen(text) + 1;
    char *copy = weir_job_alloc(graph, size_bytes);
    if (copy != NULL)
        memcpy(copy, text, size_bytes);
    return copy;
}

/* The options of the file sink that takes the place of a sink; false where it is neither a file sink nor standard output. */
static bool file_options(const struct node_info *node, struct weir_file_sink_options *ret_options)
{
    const struct weir_stdout_sink_options *printed = node->arg;
    if (node->sink == &weir_file_sink && node->arg != NULL)
        *ret_options = *(const struct weir_file_sink_options *)node->arg;
    else if (node->sink == &weir_stdout_sink)
        *ret_options = (struct weir_file_sink_options){.format = printed != NULL ? printed->format : WEIR_TEXT_LINES};
    else
        return false;
    return true;
}

static int redirect(struct weir_job *graph, size_t index, const char *directory, struct weir_error *err)
{
    char path[PATH_MAX];
    struct node_info node = job_node_at(graph, index);
    struct weir_file_sink_options found, *options = weir_job_alloc(graph, sizeof *options);
    if (node.sink == NULL || !file_options(&node, &found))
        return WEIR_OK;
    if (snprintf(path, sizeof path, "%s/" CHAOS_OUTPUT "/%s", directory, node.name) >= (int)sizeof path)
        return error_set(err, WEIR_EINVAL, "chaos: '%s': the path is too long", directory);
    found.directory = copy_text(graph, path);
    if (options == NULL || found.directory == NULL)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    *options = found;
    return job_replace_sink(graph, index, &weir_file_sink, options, err);
}

static int add_output(struct chaos_job *job, const char *name, bool raw, struct weir_error *err)
{
    if (raw && job->options->record_bytes == 0)
        return error_set(err, WEIR_EINVAL, "chaos: the sink '%s' writes bytes, not lines: --record-bytes says how many make a "
                                           "record", name);
    if (job->output_count == CHAOS_OUTPUTS_MAX)
        return error_set(err, WEIR_ELIMIT, "chaos: more than %d outputs", CHAOS_OUTPUTS_MAX);
    struct chaos_output *output = &job->outputs[job->output_count++];
    snprintf(output->name, sizeof output->name, "%s", name);
    output->record_bytes = job->options->record_bytes;
    return WEIR_OK;
}

static int find_outputs(struct chaos_job *job, const struct weir_job *graph, struct weir_error *err)
{
    int code = WEIR_OK;
    for (size_t i = 0; i < job_node_count(graph) && code == WEIR_OK; i++) {
        struct node_info node = job_node_at(graph, i);
        const struct weir_line_source_options *lines = node.arg;
        struct weir_file_sink_options options;
        if (node.sink != NULL && file_options(&node, &options))
            code = add_output(job, node.name, options.format == WEIR_RAW, err);
        if (node.source == &weir_line_source && lines != NULL && lines->address != NULL && strcmp(lines->address, "-") == 0)
            code = error_set(err, WEIR_EINVAL, "chaos: the source '%s' reads standard input, which cannot be read once for "
                                               "each run: let it "
                                               "read a file", node.name);
    }
    if (code == WEIR_OK && job->options->output_param != NULL)
        code = add_output(job, job->options->output_param, false, err);
    if (code == WEIR_OK && job->output_count == 0)
        return error_set(err, WEIR_EINVAL, "chaos: the job has no output that could be compared: no file sink and no standard "
                                           "output; a sink of "
                                           "its own needs --output-param");
    return code;
}

/* ---- places ---- */

/* Out of 1,000, spread over all tasks. */
#define WEIGHT_TASKS 700
#define WEIGHT_SNAPSHOTS 150
#define WEIGHT_COORDINATOR 100
#define WEIGHT_LAUNCHER 50

static int add_default_places(struct chaos_job *job, const struct task_info *tasks, size_t count, struct weir_error *err)
{
    int code = fault_places_add(&job->places, WEIGHT_COORDINATOR * (unsigned)count, "coordinator", err);
    if (code == WEIR_OK)
        code = fault_places_add(&job->places, WEIGHT_LAUNCHER * (unsigned)count, "launcher", err);
    for (size_t i = 0; i < count && code == WEIR_OK; i++) {
        code = fault_places_add(&job->places, WEIGHT_TASKS, tasks[i].name, err);
        if (code == WEIR_OK)
            code = fault_places_add(&job->places, WEIGHT_SNAPSHOTS, "snapshot", err);
    }
    return code;
}

static bool has_operator(const struct task_info *task, const char *name, size_t name_bytes)
{
    for (unsigned i = 0; i < task->operator_count; i++)
        if (strlen(task->operators[i]) == name_bytes && memcmp(task->operators[i], name, name_bytes) == 0)
            return true;
    return false;
}

/* "task", "snapshot", "standby", "coordinator", "launcher", or an operator with or without its index. */
static int add_target(struct chaos_job *job, const char *target, const struct task_info *tasks, size_t count,
                      struct weir_error *err)
{
    static const char *const roles[] = {"snapshot", "standby", "coordinator", "launcher"};
    size_t name_bytes = strcspn(target, "/");
    bool all = strcmp(target, "task") == 0, found = false;
    for (size_t i = 0; i < COUNT_OF(roles); i++)
        if (strcmp(target, roles[i]) == 0)
            return fault_places_add(&job->places, (unsigned)count, target, err); /* as likely as all tasks together */
    int code = WEIR_OK;
    for (size_t i = 0; i < count && code == WEIR_OK; i++) {
        bool here = target[name_bytes] == 0 || strcmp(strchr(tasks[i].name, '/'), target + name_bytes) == 0;
        if (!all && (!here || !has_operator(&tasks[i], target, name_bytes)))
            continue;
        found = true;
        code = fault_places_add(&job->places, 1, tasks[i].name, err);
    }
    if (code == WEIR_OK && !found)
        return error_set(err, WEIR_EINVAL, "--target: '%s' is no operator of this job, and no role: task, snapshot, standby, "
                                           "coordinator, "
                                           "launcher", target);
    return code;
}

static int find_places(struct chaos_job *job, const struct weir_job *graph, const struct job_options *options,
                       struct weir_error *err)
{
    struct task_info *tasks = NULL;
    size_t count = 0;
    int code = job_tasks(graph, options, &tasks, &count, err);
    if (code == WEIR_OK && job->options->target_count == 0)
        code = add_default_places(job, tasks, count, err);
    for (unsigned i = 0; i < job->options->target_count && code == WEIR_OK; i++)
        code = add_target(job, job->options->targets[i], tasks, count, err);
    if (code == WEIR_OK)
        snprintf(job->first_task, sizeof job->first_task, "%s", tasks[0].name);
    free(tasks);
    return code;
}

/* ---- building ---- */

/* Options and graph of one run. On success both are the caller's. */
static int build(const struct chaos_job *job, const char *directory, struct job_options *options, struct weir_job **ret_graph,
                 struct weir_error *err)
{
    int code = take_options(job, directory, options, err);
    if (code != WEIR_OK)
        return code;
    const char *name = options->name[0] != 0 ? options->name : job->name;
    struct weir_job *graph = job_new(name, err);
    if (graph == NULL)
        return err->code;
    code = job_build(graph, job->build, options, err);
    if (code == WEIR_OK)
        code = job_options_finish(options, name, err);
    if (code == WEIR_OK)
        *ret_graph = graph;
    else
        job_free(graph);
    return code;
}

int chaos_job_prepare(struct chaos_job *job, struct weir_error *err)
{
    struct weir_job *graph = NULL;
    struct job_options *options = malloc(sizeof *options);
    if (options == NULL)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    job_options_init(options);
    int code = build(job, "/", options, &graph, err);
    if (code == WEIR_OK)
        code = find_outputs(job, graph, err);
    if (code == WEIR_OK)
        code = find_places(job, graph, options, err);
    job_free(graph);
    job_options_free(options);
    free(options);
    return code;
}

void chaos_job_free(struct chaos_job *job) { fault_places_free(&job->places); }

int chaos_job_run(const struct chaos_job *job, const char *directory, struct weir_error *err)
{
    struct weir_job *graph = NULL;
    struct job_options *options = malloc(sizeof *options);
    if (options == NULL)
        return error_set(err, WEIR_ENOMEM, "chaos: out of memory");
    job_options_init(options);
    int code = build(job, directory, options, &graph, err);
    for (size_t i = 0; code == WEIR_OK && i < job_node_count(graph); i++)
        code = redirect(graph, i, directory, err);
    if (code == WEIR_OK)
        code = job_run(graph, options, NULL, err);
    job_free(graph);
    job_options_free(options);
    free(options);
    return code;
}
