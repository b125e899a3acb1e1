/* build.c - the functions of weir.h that build a graph. A failure is kept in the job; later calls do nothing. */
#include "base/bytes.h"
#include "engine/graph.h"
#include "engine/task.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int job_error(struct weir_job *job, int code, const char *format, ...) WEIR_PRINTF(3, 4);
static int job_error(struct weir_job *job, int code, const char *format, ...)
{
    if (job->error.code != WEIR_OK)
        return job->error.code;
    va_list args;
    va_start(args, format);
    error_set_va(&job->error, code, format, args);
    va_end(args);
    return code;
}

void *weir_job_alloc(struct weir_job *job, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - sizeof(struct allocation))
        return NULL;
    struct allocation *allocation = calloc(1, sizeof *allocation + size_bytes);
    if (allocation == NULL) {
        job_error(job, WEIR_ENOMEM, "out of memory");
        return NULL;
    }
    allocation->next = job->allocations;
    job->allocations = allocation;
    return allocation->bytes;
}

int weir_job_fail(struct weir_job *job, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (job->error.code == WEIR_OK)
        error_set_va(&job->error, WEIR_EINVAL, format, args);
    va_end(args);
    return WEIR_EINVAL;
}

static struct weir_stream *new_stream(struct weir_job *job, const struct weir_stream *like)
{
    struct weir_stream *stream = weir_job_alloc(job, sizeof *stream);
    if (stream != NULL) {
        *stream = *like;
        stream->job = job;
    }
    return stream;
}

static struct graph_node *add_node(struct weir_job *job, const char *name, enum node_kind kind, const void *arg)
{
    if (job->error.code != WEIR_OK)
        return NULL;
    if (name == NULL || !name_is_valid(name)) {
        job_error(job, WEIR_EINVAL, "'%s' is no operator name: letters, digits, '_' and '-', up to %d, first a letter or digit",
                  name != NULL ? name : "", WEIR_NAME_BYTES_MAX);
        return NULL;
    }
    for (unsigned i = 0; i < job->node_count; i++)
        if (strcmp(job->nodes[i].name, name) == 0) {
            job_error(job, WEIR_EINVAL, "two operators are named '%s'; names are identities on disk and must differ", name);
            return NULL;
        }
    if (job->node_count == GRAPH_NODES_MAX) {
        job_error(job, WEIR_ELIMIT, "operator '%s': a job has at most %d operators", name, GRAPH_NODES_MAX);
        return NULL;
    }
    struct graph_node *node = &job->nodes[job->node_count++];
    memset(node, 0, sizeof *node);
    snprintf(node->name, sizeof node->name, "%s", name);
    node->kind = kind;
    node->arg = arg;
    node->parallelism = 1;
    node->output_count = kind == NODE_SINK ? 0 : 1;
    return node;
}

/* The launcher itself would read a descriptor that is not there. False, with the job's error set. */
static bool is_given(struct weir_job *job, const char *name, const void *descriptor, const char *what)
{
    if (descriptor == NULL)
        job_error(job, WEIR_EINVAL, "operator '%s': its %s is NULL; give it a pointer to one that outlives the job",
                  name != NULL ? name : "", what);
    return descriptor != NULL;
}

static struct weir_stream *node_stream(struct weir_job *job, const struct graph_node *node)
{
    struct weir_stream like = {.node = (uint16_t)(node - job->nodes)};
    return new_stream(job, &like);
}

static void add_edge(struct weir_job *job, const struct weir_stream *from, const struct graph_node *to, unsigned input)
{
    if (job->edge_count == GRAPH_EDGES_MAX) {
        job_error(job, WEIR_ELIMIT, "operator '%s': a job has at most %d edges", to->name, GRAPH_EDGES_MAX);
        return;
    }
    job->edges[job->edge_count++] = (struct graph_edge){
        .from_node = from->node,
        .from_port = from->port,
        .to_node = (uint16_t)(to - job->nodes),
        .to_input = (uint16_t)input,
        .partition = from->partition,
        .key = from->key,
    };
}

static void connect_input(struct weir_stream *in, struct graph_node *to, unsigned input)
{
    if (in->members == NULL) {
        add_edge(in->job, in, to, input);
        return;
    }
    for (unsigned i = 0; i < in->member_count; i++) {
        struct weir_stream member = *in->members[i];
        if (in->partition != PARTITION_DEFAULT) { /* what was said of the union holds for each member */
            member.partition = in->partition;
            member.key = in->key;
        }
        member.job = in->job;
        connect_input(&member, to, input);
    }
}

struct weir_stream *weir_add_source(struct weir_job *job, const char *name, const struct weir_source *source, const void *arg)
{
    struct graph_node *node = is_given(job, name, source, "struct weir_source") ? add_node(job, name, NODE_SOURCE, arg) : NULL;
    if (node == NULL)
        return NULL;
    node->source = source;
    node->layout = source->output_layout;
    return node_stream(job, node);
}

struct weir_stream *weir_process_n(struct weir_stream *const *in, unsigned in_count, const char *name,
                                   const struct weir_operator *op, const void *arg)
{
    for (unsigned i = 0; i < in_count; i++)
        if (in[i] == NULL)
            return NULL;
    if (in_count == 0)
        return NULL;
    struct weir_job *job = in[0]->job;
    if (in_count > WEIR_INPUTS_MAX) {
        job_error(job, WEIR_ELIMIT, "operator '%s': %u inputs; at most %d", name, in_count, WEIR_INPUTS_MAX);
        return NULL;
    }
    if (!is_given(job, name, op, "struct weir_operator"))
        return NULL;
    if (op->output_count > WEIR_OUTPUTS_MAX) {
        job_error(job, WEIR_ELIMIT, "operator '%s': %u outputs; at most %d", name, op->output_count, WEIR_OUTPUTS_MAX);
        return NULL;
    }
    struct graph_node *node = add_node(job, name, NODE_OPERATOR, arg);
    if (node == NULL)
        return NULL;
    node->op = op;
    node->layout = op->output_layout;
    node->input_count = in_count;
    node->output_count = op->output_count == 0 ? 1 : op->output_count;
    for (unsigned i = 0; i < in_count; i++)
        connect_input(in[i], node, i);
    return node_stream(job, node);
}

struct weir_stream *weir_process(struct weir_stream *in, const char *name, const struct weir_operator *op, const void *arg)
{
    return in == NULL ? NULL : weir_process_n(&in, 1, name, op, arg);
}

struct weir_stream *weir_add_sink(struct weir_stream *in, const char *name, const struct weir_sink *sink, const void *arg)
{
    if (in == NULL || !is_given(in->job, name, sink, "struct weir_sink"))
        return NULL;
    struct graph_node *node = add_node(in->job, name, NODE_SINK, arg);
    if (node == NULL)
        return NULL;
    node->sink = sink;
    node->input_count = 1;
    connect_input(in, node, 0);
    return node_stream(in->job, node);
}

static const struct function_arg *function_of(const struct weir_ctx *ctx) { return &ctx->node->function; }

static int filter_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct function_arg *function = function_of(ctx);
    if (!function->filter(record, function->user_arg))
        return WEIR_OK;
    return weir_emit(ctx, 0, record->data, record->size_bytes);
}

static int map_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct function_arg *function = function_of(ctx);
    void *out = weir_reserve(ctx, 0, function->out_bytes_max);
    if (out == NULL)
        return weir_ctx_error(ctx)->code;
    int64_t size_bytes = function->map(record, out, function->user_arg);
    if (size_bytes < 0)
        return weir_fail(ctx, "the map function returned %lld", (long long)size_bytes);
    if ((uint64_t)size_bytes > function->out_bytes_max)
        return weir_fail(ctx, "the map function says that it wrote %lld bytes; it was given room for %u", (long long)size_bytes,
                         function->out_bytes_max);
    return size_bytes == 0 ? WEIR_OK : weir_emit_reserved(ctx, (size_t)size_bytes);
}

static int flat_map_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    return function_of(ctx)->flat_map(ctx, record);
}

static const struct weir_operator filter_operator = {.type = "filter", .on_record = filter_on_record};
static const struct weir_operator map_operator = {.type = "map", .on_record = map_on_record};
static const struct weir_operator flat_map_operator = {.type = "flat_map", .on_record = flat_map_on_record};

static struct weir_stream *add_function(struct weir_stream *in, const char *name, const struct weir_operator *op,
                                        const struct function_arg *function)
{
    if (in != NULL && function->filter == NULL && function->map == NULL && function->flat_map == NULL) {
        job_error(in->job, WEIR_EINVAL, "operator '%s': weir_%s() without a function: it is NULL", name != NULL ? name : "", op->type);
        return NULL;
    }
    struct weir_stream *stream = weir_process(in, name, op, function->user_arg);
    if (stream != NULL)
        stream->job->nodes[stream->node].function = *function;
    return stream;
}

struct weir_stream *weir_filter(struct weir_stream *in, const char *name, weir_filter_fn fn, const void *arg)
{
    struct weir_stream *stream =
        add_function(in, name, &filter_operator, &(struct function_arg){.filter = fn, .user_arg = arg});
    if (stream != NULL && in->members == NULL)
        stream->job->nodes[stream->node].layout = in->job->nodes[in->node].layout; /* records pass unchanged */
    return stream;
}

struct weir_stream *weir_map(struct weir_stream *in, const char *name, weir_map_fn fn, uint32_t out_bytes_max, const void *arg)
{
    if (in != NULL && (out_bytes_max == 0 || out_bytes_max > WEIR_RECORD_BYTES_MAX)) {
        job_error(in->job, WEIR_EINVAL, "operator '%s': weir_map() with an out_bytes_max of %u; it takes 1 to %u", name != NULL ? name : "",
                  out_bytes_max, WEIR_RECORD_BYTES_MAX);
        return NULL;
    }
    return add_function(in, name, &map_operator,
                        &(struct function_arg){.map = fn, .out_bytes_max = out_bytes_max, .user_arg = arg});
}

struct weir_stream *weir_flat_map(struct weir_stream *in, const char *name, weir_flat_map_fn fn, const void *arg)
{
    struct weir_stream *stream =
        add_function(in, name, &flat_map_operator, &(struct function_arg){.flat_map = fn, .user_arg = arg});
    return stream;
}

struct weir_stream *weir_union(struct weir_stream *const *in, unsigned in_count)
{
    for (unsigned i = 0; i < in_count; i++)
        if (in[i] == NULL)
            return NULL;
    if (in_count == 0)
        return NULL;
    struct weir_job *job = in[0]->job;
    struct weir_stream **members = weir_job_alloc(job, in_count * sizeof(struct weir_stream *));
    if (members == NULL)
        return NULL;
    memcpy(members, in, in_count * sizeof(struct weir_stream *));
    struct weir_stream like = {.node = in[0]->node, .members = members, .member_count = in_count};
    return new_stream(job, &like);
}

struct weir_stream *weir_side_output(struct weir_stream *of, unsigned port)
{
    if (of == NULL)
        return NULL;
    const struct graph_node *node = &of->job->nodes[of->node];
    if (of->members != NULL || port == 0 || port >= node->output_count) {
        job_error(of->job, WEIR_EINVAL, "operator '%s': it has no side output %u; it declares %u outputs", node->name, port,
                  node->output_count);
        return NULL;
    }
    struct weir_stream like = {.node = of->node, .port = (uint16_t)port};
    return new_stream(of->job, &like);
}

static struct weir_stream *with_partition(struct weir_stream *in, enum partition partition, const struct key_spec *key)
{
    if (in == NULL)
        return NULL;
    struct weir_stream like = *in;
    like.partition = partition;
    like.key = key != NULL ? *key : (struct key_spec){0};
    return new_stream(in->job, &like);
}

struct weir_stream *weir_key_by(struct weir_stream *in, uint32_t offset, uint32_t size_bytes)
{
    if (in != NULL && (size_bytes == 0 || size_bytes > WEIR_KEY_BYTES_MAX)) {
        job_error(in->job, WEIR_EINVAL, "weir_key_by() behind '%s': a key of %u bytes; it takes 1 to %d",
                  in->job->nodes[in->node].name, size_bytes, WEIR_KEY_BYTES_MAX);
        return NULL;
    }
    return with_partition(in, PARTITION_HASH, &(struct key_spec){.offset = offset, .size_bytes = size_bytes});
}

struct weir_stream *weir_key_by_fn(struct weir_stream *in, weir_key_fn fn)
{
    if (in != NULL && fn == NULL) {
        job_error(in->job, WEIR_EINVAL, "weir_key_by_fn() behind '%s': its function is NULL", in->job->nodes[in->node].name);
        return NULL;
    }
    return with_partition(in, PARTITION_HASH, &(struct key_spec){.fn = fn});
}

struct weir_stream *weir_rebalance(struct weir_stream *in) { return with_partition(in, PARTITION_ROUND_ROBIN, NULL); }
struct weir_stream *weir_broadcast(struct weir_stream *in) { return with_partition(in, PARTITION_BROADCAST, NULL); }
struct weir_stream *weir_forward(struct weir_stream *in) { return with_partition(in, PARTITION_FORWARD, NULL); }

struct weir_stream *weir_parallelism(struct weir_stream *stream, unsigned parallelism)
{
    if (stream == NULL)
        return NULL;
    struct graph_node *node = &stream->job->nodes[stream->node];
    if (parallelism == 0 || parallelism > WEIR_PARALLELISM_MAX) {
        job_error(stream->job, WEIR_EINVAL, "operator '%s': a parallelism of %u; it takes 1 to %d", node->name, parallelism,
                  WEIR_PARALLELISM_MAX);
        return NULL;
    }
    node->parallelism = parallelism;
    return stream;
}

struct weir_stream *weir_set_layout(struct weir_stream *stream, const struct weir_layout *layout)
{
    if (stream != NULL)
        stream->job->nodes[stream->node].layout = layout;
    return stream;
}

struct weir_stream *weir_no_chain(struct weir_stream *stream)
{
    if (stream != NULL)
        stream->job->nodes[stream->node].no_chain = true;
    return stream;
}

const char *weir_param(struct weir_job *job, const char *name, const char *fallback, const char *help)
{
    struct job_param *param = NULL;
    for (unsigned i = 0; i < job->param_count && param == NULL; i++)
        if (strcmp(job->params[i].name, name) == 0)
            param = &job->params[i];
    if (param == NULL) {
        if (job->param_count == COUNT_OF(job->params) || !name_is_valid(name)) {
            job_error(job, WEIR_EINVAL, "parameter '%s': no valid name, or too many parameters", name);
            return fallback;
        }
        param = &job->params[job->param_count++];
        memset(param, 0, sizeof *param);
        snprintf(param->name, sizeof param->name, "%s", name);
    }
    param->asked = true;
    param->help = help;
    param->fallback = fallback;
    return param->value != NULL ? param->value : fallback;
}

uint64_t weir_param_u64(struct weir_job *job, const char *name, uint64_t fallback, const char *help)
{
    static const struct {
        const char *suffix;
        uint64_t factor;
    } suffixes[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {"Ki", 1u << 10}, {"Mi", 1u << 20}, {"Gi", 1u << 30}};
    char *fallback_text = weir_job_alloc(job, 24);
    if (fallback_text != NULL)
        snprintf(fallback_text, 24, "%llu", (unsigned long long)fallback);
    const char *text = weir_param(job, name, fallback_text, help);
    if (text == NULL || text == fallback_text)
        return fallback;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && errno == 0)
        for (size_t i = 0; i < COUNT_OF(suffixes); i++)
            if (strcmp(end, suffixes[i].suffix) == 0 && value <= UINT64_MAX / suffixes[i].factor)
                return value * suffixes[i].factor;
    job_error(job, WEIR_EINVAL, "--set %s=%s: it takes a whole number, plain or with k, M, G, Ki, Mi or Gi behind it", name, text);
    return fallback;
}

int weir_default(struct weir_job *job, const char *option, const char *value)
{
    if (job->default_count == COUNT_OF(job->defaults))
        return job_error(job, WEIR_ELIMIT, "weir_default(\"%s\"): too many", option);
    job->defaults[job->default_count++] = (struct job_default){option, value};
    return WEIR_OK;
}
