/*
 * plan.h - from the graph to processes: which operators share a task (chaining), how many tasks, which rings join them, who
 * owns which key groups. Made once in the launcher, read-only afterwards.
 *
 * A chain is a tree of operators without a repartition between them; its first operator alone has inputs from rings. A task
 * is one subtask of a chain. There is one ring for each pair of tasks that talk, whatever the number of edges between them;
 * a frame's channel says which edge it came by.
 */
#ifndef WEIR_ENGINE_PLAN_H
#define WEIR_ENGINE_PLAN_H

#include "engine/graph.h"

#define PLAN_TASKS_MAX 512
#define PLAN_RINGS_MAX 8192

enum plan_chaining {
    PLAN_CHAIN_NONE,    /* one process per operator instance */
    PLAN_CHAIN_FORWARD, /* neighbours whose records stay in their subtask */
    PLAN_CHAIN_KEYED,   /* also a keyed operator and its only input, where there is one subtask of each: nothing is repartitioned */
};

struct plan_chain {
    unsigned nodes[GRAPH_NODES_MAX]; /* in the order of the data; nodes[0] is the head */
    unsigned node_count;
    unsigned parallelism;
    unsigned first_task;
    bool keyed; /* one of its operators is */
};

struct plan_task {
    unsigned chain;
    unsigned subtask;
    char name[WEIR_NAME_BYTES_MAX + 1 + 16]; /* "count/0": the head's name and the subtask index */
    unsigned key_group_first;
    unsigned key_group_count; /* 0: not keyed */
};

struct plan_ring {
    unsigned from_task;
    unsigned to_task;
};

struct plan {
    struct plan_chain chains[GRAPH_NODES_MAX];
    unsigned chain_count;
    unsigned chain_of_node[GRAPH_NODES_MAX];
    struct plan_task tasks[PLAN_TASKS_MAX];
    unsigned task_count;
    struct plan_ring rings[PLAN_RINGS_MAX];
    unsigned ring_count;
    unsigned key_groups;
};

/* WEIR_ELIMIT where the job needs too many tasks or rings. */
int plan_make(const struct weir_job *job, enum plan_chaining chaining, unsigned key_groups, struct plan *ret_plan, struct weir_error *err);

/* Whether records of this edge are handed over by a call, within a task. */
bool plan_edge_is_chained(const struct plan *plan, const struct graph_edge *edge);
/* The partition that an unmarked edge gets: forward where both sides have the same parallelism, else round-robin. */
enum partition plan_edge_partition(const struct weir_job *job, const struct graph_edge *edge);
/* The index of the ring between two tasks, or -1. */
int plan_find_ring(const struct plan *plan, unsigned from_task, unsigned to_task);
/* An edge's number among the edges into its node: the channel of its frames. */
unsigned plan_edge_channel(const struct weir_job *job, const struct graph_edge *edge);

#endif
