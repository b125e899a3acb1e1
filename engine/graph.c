#include "engine/graph.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct weir_state *node_states(const struct graph_node *node, unsigned *ret_count)
{
    switch (node->kind) {
    case NODE_SOURCE:
        *ret_count = node->source->state_count;
        return node->source->states;
    case NODE_SINK:
        *ret_count = node->sink->state_count;
        return node->sink->states;
    case NODE_OPERATOR:
        break;
    }
    *ret_count = node->op->state_count;
    return node->op->states;
}

size_t node_self_bytes(const struct graph_node *node)
{
    if (node->kind == NODE_SOURCE)
        return node->source->self_bytes;
    return node->kind == NODE_SINK ? node->sink->self_bytes : node->op->self_bytes;
}

const char *node_type(const struct graph_node *node)
{
    const char *type = node->kind == NODE_SOURCE ? node->source->type
                       : node->kind == NODE_SINK ? node->sink->type
                                                 : node->op->type;
    return type != NULL ? type : "";
}

const struct key_spec *graph_input_key(const struct weir_job *job, unsigned node, unsigned input)
{
    for (unsigned i = 0; i < job->edge_count; i++) {
        const struct graph_edge *edge = &job->edges[i];
        if (edge->to_node == node && edge->to_input == input && edge->partition == PARTITION_HASH)
            return &edge->key;
    }
    return NULL;
}

bool graph_node_keyed(const struct weir_job *job, unsigned node)
{
    return graph_input_key(job, node, 0) != NULL;
}

static int check_states(const struct graph_node *node, bool keyed, struct weir_error *err)
{
    unsigned count;
    const struct weir_state *states = node_states(node, &count);
    if (count > WEIR_STATES_MAX)
        return error_set(err, WEIR_ELIMIT, "operator '%s': declares %u states; at most %d", node->name, count, WEIR_STATES_MAX);
    for (unsigned i = 0; i < count; i++) {
        const struct weir_state *state = &states[i];
        if (state->name == NULL || !name_is_valid(state->name))
            return error_set(err, WEIR_EINVAL, "operator '%s': state %u: '%s' is no name ([A-Za-z0-9_-], up to %d)", node->name,
                             i, state->name != NULL ? state->name : "", WEIR_NAME_BYTES_MAX);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(states[j].name, state->name) == 0)
                return error_set(err, WEIR_EINVAL, "operator '%s': two states are named '%s'", node->name, state->name);
        if (state->kind > WEIR_MAP || state->scope > WEIR_PER_OPERATOR)
            return error_set(err, WEIR_EINVAL, "operator '%s': state '%s': unknown kind or scope", node->name, state->name);
        if (state->scope == WEIR_PER_KEY && !keyed)
            return error_set(err, WEIR_EINVAL, "operator '%s': state '%s' is per key, but the input is not keyed: add "
                             "weir_key_by() before it, or declare it WEIR_PER_OPERATOR", node->name, state->name);
        if (state->kind != WEIR_VALUE && state->size_bytes != 0)
            return error_set(err, WEIR_EINVAL, "operator '%s': state '%s': a list or a map has no size_bytes", node->name,
                             state->name);
        if (state->size_bytes > WEIR_VALUE_BYTES_MAX)
            return error_set(err, WEIR_ELIMIT, "operator '%s': state '%s': a value of %u bytes; fixed ones have at most %d (use "
                             "size_bytes 0 for varying ones)", node->name, state->name, state->size_bytes, WEIR_VALUE_BYTES_MAX);
    }
    return WEIR_OK;
}

static int check_callbacks(const struct graph_node *node, bool keyed, struct weir_error *err)
{
    bool whole = true;
    switch (node->kind) {
    case NODE_SOURCE:
        whole = node->source->poll != NULL && node->source->position != NULL;
        break;
    case NODE_OPERATOR:
        whole = node->op->on_record != NULL || node->op->on_batch != NULL || node->op->on_span != NULL;
        break;
    case NODE_SINK:
        whole = (node->sink->write != NULL || node->sink->write_batch != NULL || node->sink->write_span != NULL) &&
                (node->sink->prepare == NULL || node->sink->commit != NULL);
        break;
    }
    if (whole && keyed && node->kind == NODE_OPERATOR && node->op->on_span != NULL)
        return error_set(err, WEIR_EINVAL, "'%s': on_span is not for keyed operators: give on_batch", node->name);
    static const char *const wants[] = {"poll and position", "on_record, on_batch or on_span",
                                        "write, write_batch or write_span, and commit if it has prepare"};
    if (!whole)
        return error_set(err, WEIR_EINVAL, "'%s': its descriptor lacks a callback: it needs %s", node->name, wants[node->kind]);
    return WEIR_OK;
}

static int check_edge(const struct weir_job *job, const struct graph_edge *edge, struct weir_error *err)
{
    const struct graph_node *from = &job->nodes[edge->from_node], *to = &job->nodes[edge->to_node];
    if (from->kind == NODE_SINK)
        return error_set(err, WEIR_EINVAL, "'%s' reads from '%s', which is a sink and has no output: connect it to what the sink reads",
                         to->name, from->name);
    if (edge->partition == PARTITION_FORWARD && from->parallelism != to->parallelism)
        return error_set(err, WEIR_EINVAL, "'%s' to '%s': weir_forward() needs the same parallelism; it is %u and %u", from->name,
                         to->name, from->parallelism, to->parallelism);
    bool keyed = edge->partition == PARTITION_HASH;
    if (keyed != (graph_input_key(job, edge->to_node, 0) != NULL) || (keyed && graph_input_key(job, edge->to_node, 0) == NULL))
        return error_set(err, WEIR_EINVAL, "'%s': some of its inputs are keyed and some are not; all or none must be", to->name);
    const struct key_spec *key = keyed ? graph_input_key(job, edge->to_node, edge->to_input) : NULL;
    const struct key_spec *first = keyed ? graph_input_key(job, edge->to_node, 0) : NULL;
    if (keyed && (key->fn != edge->key.fn || key->offset != edge->key.offset || key->size_bytes != edge->key.size_bytes))
        return error_set(err, WEIR_EINVAL, "'%s': streams of one union have different keys", to->name);
    if (keyed && (first->fn == NULL) != (key->fn == NULL))
        return error_set(err, WEIR_EINVAL, "'%s': one input is keyed by a field and another by a function; use functions for both",
                         to->name);
    if (keyed && first->fn == NULL && first->size_bytes != key->size_bytes)
        return error_set(err, WEIR_EINVAL, "'%s': its inputs have keys of %u and %u bytes; they must be equal", to->name,
                         first->size_bytes, key->size_bytes);
    return WEIR_OK;
}

/* Streams exist only behind their operator, so the builder cannot make a cycle; a damaged graph could. */
static int check_order(const struct weir_job *job, struct weir_error *err)
{
    for (unsigned i = 0; i < job->edge_count; i++)
        if (job->edges[i].from_node >= job->edges[i].to_node)
            return error_set(err, WEIR_EINVAL, "'%s' and '%s' form a cycle; a job must have none",
                             job->nodes[job->edges[i].from_node].name, job->nodes[job->edges[i].to_node].name);
    return WEIR_OK;
}

static int check_connected(const struct weir_job *job, unsigned node, struct weir_error *err)
{
    bool has_output = false;
    for (unsigned i = 0; i < job->edge_count; i++)
        has_output |= job->edges[i].from_node == node;
    if (job->nodes[node].kind != NODE_SINK && !has_output)
        return error_set(err, WEIR_EINVAL, "'%s': nobody reads its output; connect it to an operator or a sink (weir_null_sink drops)",
                         job->nodes[node].name);
    return WEIR_OK;
}

int graph_check(const struct weir_job *job, struct weir_error *err)
{
    if (job->error.code != WEIR_OK)
        return error_set(err, job->error.code, "job '%s': %s", job->name, job->error.text);
    if (job->node_count == 0)
        return error_set(err, WEIR_EINVAL, "job '%s': it has no operators", job->name);
    int code = check_order(job, err);
    for (unsigned i = 0; code == WEIR_OK && i < job->node_count; i++) {
        code = check_callbacks(&job->nodes[i], graph_node_keyed(job, i), err);
        if (code == WEIR_OK)
            code = check_states(&job->nodes[i], graph_node_keyed(job, i), err);
        if (code == WEIR_OK)
            code = check_connected(job, i, err);
    }
    for (unsigned i = 0; code == WEIR_OK && i < job->edge_count; i++)
        code = check_edge(job, &job->edges[i], err);
    if (code != WEIR_OK)
        return error_context(err, "job '%s'", job->name);
    for (unsigned i = 0; i < job->param_count; i++)
        if (job->params[i].value != NULL && !job->params[i].asked)
            return error_set(err, WEIR_EINVAL, "job '%s': --set %s=...: it has no such parameter; 'run --help' lists them", job->name,
                             job->params[i].name);
    return WEIR_OK;
}
