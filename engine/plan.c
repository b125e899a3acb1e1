#include "engine/plan.h"

#include "state/key.h"

#include <stdio.h>
#include <string.h>

enum partition plan_edge_partition(const struct weir_job *job, const struct graph_edge *edge)
{
    if (edge->partition != PARTITION_DEFAULT)
        return edge->partition;
    return job->nodes[edge->from_node].parallelism == job->nodes[edge->to_node].parallelism ? PARTITION_FORWARD
                                                                                           : PARTITION_ROUND_ROBIN;
}

unsigned plan_edge_channel(const struct weir_job *job, const struct graph_edge *edge)
{
    unsigned channel = 0;
    for (const struct graph_edge *other = job->edges; other != edge; other++)
        channel += other->to_node == edge->to_node;
    return channel;
}

bool plan_edge_is_chained(const struct plan *plan, const struct graph_edge *edge)
{
    unsigned chain = plan->chain_of_node[edge->to_node];
    return chain == plan->chain_of_node[edge->from_node] && plan->chains[chain].nodes[0] != edge->to_node;
}

/* The only edge into a node, or NULL. */
static const struct graph_edge *only_input(const struct weir_job *job, unsigned node)
{
    const struct graph_edge *found = NULL;
    for (unsigned i = 0; i < job->edge_count; i++) {
        if (job->edges[i].to_node != node)
            continue;
        if (found != NULL)
            return NULL;
        found = &job->edges[i];
    }
    return found;
}

/* Whether every record of the edge goes to the subtask that it came from. */
static bool stays_in_subtask(const struct weir_job *job, const struct graph_edge *edge, enum plan_chaining chaining)
{
    enum partition partition = plan_edge_partition(job, edge);
    return partition == PARTITION_FORWARD || (chaining == PLAN_CHAIN_KEYED && partition == PARTITION_HASH &&
                                              job->nodes[edge->from_node].parallelism == 1 && job->nodes[edge->to_node].parallelism == 1);
}

static void make_chains(const struct weir_job *job, enum plan_chaining chaining, struct plan *plan)
{
    for (unsigned i = 0; i < job->node_count; i++) { /* nodes are in the order of the data: inputs come first */
        const struct graph_edge *input = only_input(job, i);
        bool chained = chaining != PLAN_CHAIN_NONE && input != NULL && !job->nodes[i].no_chain && stays_in_subtask(job, input, chaining);
        unsigned chain = chained ? plan->chain_of_node[input->from_node] : plan->chain_count++;
        if (!chained)
            plan->chains[chain] = (struct plan_chain){.parallelism = job->nodes[i].parallelism};
        plan->chains[chain].keyed |= graph_node_keyed(job, i);
        plan->chain_of_node[i] = chain;
        plan->chains[chain].nodes[plan->chains[chain].node_count++] = i;
    }
}

static int make_tasks(const struct weir_job *job, struct plan *plan, struct weir_error *err)
{
    for (unsigned i = 0; i < plan->chain_count; i++) {
        struct plan_chain *chain = &plan->chains[i];
        const struct graph_node *head = &job->nodes[chain->nodes[0]];
        if (plan->task_count + chain->parallelism > PLAN_TASKS_MAX)
            return error_set(err, WEIR_ELIMIT, "job '%s': more than %d tasks: lower the parallelism", job->name, PLAN_TASKS_MAX);
        if (chain->keyed && plan->key_groups < chain->parallelism)
            return error_set(err, WEIR_EINVAL, "operator '%s': a parallelism of %u, but only %u key groups: raise --key-groups",
                             head->name, chain->parallelism, plan->key_groups);
        chain->first_task = plan->task_count;
        for (unsigned subtask = 0; subtask < chain->parallelism; subtask++) {
            struct plan_task *task = &plan->tasks[plan->task_count++];
            *task = (struct plan_task){.chain = i, .subtask = subtask};
            snprintf(task->name, sizeof task->name, "%s/%u", head->name, subtask);
            if (!chain->keyed)
                continue;
            unsigned end = key_subtask_first_group(subtask + 1, chain->parallelism, plan->key_groups);
            task->key_group_first = key_subtask_first_group(subtask, chain->parallelism, plan->key_groups);
            task->key_group_count = end - task->key_group_first;
        }
    }
    return WEIR_OK;
}

int plan_find_ring(const struct plan *plan, unsigned from_task, unsigned to_task)
{
    for (unsigned i = 0; i < plan->ring_count; i++)
        if (plan->rings[i].from_task == from_task && plan->rings[i].to_task == to_task)
            return (int)i;
    return -1;
}

static int add_ring(struct plan *plan, unsigned from_task, unsigned to_task, struct weir_error *err)
{
    if (plan_find_ring(plan, from_task, to_task) >= 0)
        return WEIR_OK;
    if (plan->ring_count == PLAN_RINGS_MAX)
        return error_set(err, WEIR_ELIMIT, "more than %d rings: lower the parallelism", PLAN_RINGS_MAX);
    plan->rings[plan->ring_count++] = (struct plan_ring){from_task, to_task};
    return WEIR_OK;
}

static int make_rings(const struct weir_job *job, struct plan *plan, struct weir_error *err)
{
    for (unsigned i = 0; i < job->edge_count; i++) {
        const struct graph_edge *edge = &job->edges[i];
        if (plan_edge_is_chained(plan, edge))
            continue;
        const struct plan_chain *from = &plan->chains[plan->chain_of_node[edge->from_node]];
        const struct plan_chain *to = &plan->chains[plan->chain_of_node[edge->to_node]];
        bool forward = plan_edge_partition(job, edge) == PARTITION_FORWARD;
        for (unsigned f = 0; f < from->parallelism; f++)
            for (unsigned t = forward ? f : 0; t < (forward ? f + 1 : to->parallelism); t++) {
                int code = add_ring(plan, from->first_task + f, to->first_task + t, err);
                if (code != WEIR_OK)
                    return code;
            }
    }
    return WEIR_OK;
}

int plan_make(const struct weir_job *job, enum plan_chaining chaining, unsigned key_groups, struct plan *ret_plan, struct weir_error *err)
{
    memset(ret_plan, 0, sizeof *ret_plan);
    ret_plan->key_groups = key_groups;
    make_chains(job, chaining, ret_plan);
    int code = make_tasks(job, ret_plan, err);
    return code == WEIR_OK ? make_rings(job, ret_plan, err) : code;
}
