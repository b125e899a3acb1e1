/*
 * graph.h - the job as the user built it: nodes (sources, operators, sinks), edges between them, parameters.
 *
 * Built once, in the launcher, by the weir_add_... functions of weir.h; read-only afterwards, and inherited by every task
 * through fork. Private memory: nothing of it is in shared memory or on disk but names.
 */
#ifndef WEIR_ENGINE_GRAPH_H
#define WEIR_ENGINE_GRAPH_H

#include "base/error.h"
#include "snapshot/checkpoint_dir.h" /* name_is_valid(): what may be a name is what may be in a file name */

#define GRAPH_NODES_MAX 64
#define GRAPH_EDGES_MAX 256

enum node_kind { NODE_SOURCE, NODE_OPERATOR, NODE_SINK };

enum partition { PARTITION_DEFAULT, PARTITION_FORWARD, PARTITION_ROUND_ROBIN, PARTITION_HASH, PARTITION_BROADCAST };

/* How a key is got from a record: a field of fixed size, or a function. */
struct key_spec {
    weir_key_fn fn; /* NULL: the field */
    uint32_t offset;
    uint32_t size_bytes;
};

/* One upstream port of one input of a node. A union of streams is several edges to the same input. */
struct graph_edge {
    uint16_t from_node;
    uint16_t from_port;
    uint16_t to_node;
    uint16_t to_input;
    enum partition partition;
    struct key_spec key; /* PARTITION_HASH */
};

/* weir_filter, weir_map and weir_flat_map: an operator whose callback calls the user's function. */
struct function_arg {
    weir_filter_fn filter;
    weir_map_fn map;
    weir_flat_map_fn flat_map;
    uint32_t out_bytes_max;
    const void *user_arg;
};

struct graph_node {
    char name[WEIR_NAME_BYTES_MAX + 1];
    enum node_kind kind;
    const struct weir_source *source;
    const struct weir_operator *op;
    const struct weir_sink *sink;
    const void *arg;
    const struct weir_layout *layout; /* of port 0 */
    struct function_arg function;     /* op is one of the three function operators */
    unsigned parallelism;
    unsigned input_count;
    unsigned output_count;
    bool no_chain;
};

struct job_param {
    char name[WEIR_NAME_BYTES_MAX + 1];
    char *value; /* as given; NULL: not given */
    const char *fallback;
    const char *help;
    bool asked;
};

struct weir_stream {
    struct weir_job *job;
    uint16_t node;
    uint16_t port;
    enum partition partition;
    struct key_spec key;
    struct weir_stream *const *members; /* a union: its streams; else NULL */
    unsigned member_count;
};

struct allocation {
    struct allocation *next;
    max_align_t bytes[];
};

struct job_default {
    const char *option;
    const char *value;
};

struct weir_job {
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct graph_node nodes[GRAPH_NODES_MAX];
    unsigned node_count;
    struct graph_edge edges[GRAPH_EDGES_MAX];
    unsigned edge_count;
    struct job_param params[64];
    unsigned param_count;
    struct job_default defaults[64];
    unsigned default_count;
    struct weir_error error; /* the first failure while building */
    struct allocation *allocations;
};

/* The states that a node's descriptor declares. */
const struct weir_state *node_states(const struct graph_node *node, unsigned *ret_count);
size_t node_self_bytes(const struct graph_node *node);
const char *node_type(const struct graph_node *node);
/* Whether the input edges are keyed. */
bool graph_node_keyed(const struct weir_job *job, unsigned node);
/* The key of input `input` of a keyed node. */
const struct key_spec *graph_input_key(const struct weir_job *job, unsigned node, unsigned input);

/* The whole graph: connected, acyclic, parallelisms and partitions that fit, states that make sense. */
int graph_check(const struct weir_job *job, struct weir_error *err);

#endif
