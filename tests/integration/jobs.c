/* jobs.c - the test program: one job whose graph is chosen by --set shape=NAME. */
#include "jobs.h"

#include <string.h>

static const struct {
    const char *name;
    void (*build)(struct weir_job *job, const struct parameters *p);
} shapes[] = {
    {"wordcount", build_wordcount}, {"union", build_union},         {"two-input", build_two_input},
    {"side", build_side_output},    {"broadcast", build_broadcast}, {"rebalance", build_rebalance},
    {"forward", build_forward},     {"keyed", build_keyed},         {"burst", build_burst},
    {"starve", build_starve},       {"slow", build_slow},           {"early", build_early},
    {"timer", build_timer},         {"fail", build_fail},           {"big-record", build_big_record},
    {"bad-key", build_bad_key},     {"states", build_states},       {"broken", build_broken},
    {"batches", build_batches},     {"answers", build_answers},     {"steps", build_steps},     {"warm", build_warm},
};

static int build(struct weir_job *job)
{
    struct parameters *p = weir_job_alloc(job, sizeof *p);
    if (p == NULL)
        return WEIR_ENOMEM;
    p->shape = weir_param(job, "shape", "keyed", "which graph");
    p->output = weir_param(job, "output", "", "directory of the sink's files");
    p->input = weir_param(job, "input", "", "what the file source reads");
    p->how = weir_param(job, "how", "", "a variant of the shape");
    p->note = weir_param(job, "note", "", "a file in which failures are counted");
    p->count = weir_param_u64(job, "count", 1000, "records of a source; 0: without end");
    p->keys = weir_param_u64(job, "keys", 17, "different keys");
    p->p = (unsigned)weir_param_u64(job, "p", 1, "parallelism");
    p->bytes = weir_param_u64(job, "bytes", 0, "size of a record or an output");
    p->at = weir_param_u64(job, "at", UINT64_MAX, "the number of the record that fails");
    p->times = weir_param_u64(job, "times", UINT64_MAX, "how often it fails");
    p->delay_ms = weir_param_u64(job, "delay", 0, "milliseconds of a timer or a wait");
    p->step = weir_param_u64(job, "step", 0, "records between two waits of a source");
    p->together = weir_param_u64(job, "together", 0, "1: a source emits up to eight records at once") != 0;
    p->hold = weir_param_u64(job, "hold", 0, "1: sources fall silent instead of ending") != 0;
    p->each = weir_param_u64(job, "each", 1, "records that one becomes");
    p->plain = weir_param_u64(job, "plain", 0, "1: record by record") != 0;
    p->spans = weir_param_u64(job, "spans", 0, "1: by records in a row") != 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, p->shape) == 0) {
            shapes[i].build(job, p);
            return WEIR_OK;
        }
    return weir_job_fail(job, "there is no shape '%s'", p->shape);
}

int main(int argc, char **argv) { return weir_main(argc, argv, "shapes", build); }
