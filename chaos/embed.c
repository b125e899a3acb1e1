/* weir_chaos(): what `weir chaos` does, for a program of the user's. */
#include "weir_chaos.h"

#include "base/bytes.h"
#include "base/error.h"
#include "chaos/chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "name=value" cut in two, in one block of memory: the options keep pointers into it. */
static int take_pairs(struct chaos *chaos, const char *const *pairs, size_t count, char **copies, struct weir_error *err)
{
    int code = WEIR_OK;
    for (size_t i = 0; i < count && code == WEIR_OK; i++) {
        if (pairs[i] == NULL)
            return error_set(err, WEIR_EINVAL, "weir_chaos: option %zu is NULL", i);
        copies[i] = strdup(pairs[i]);
        if (copies[i] == NULL)
            return error_set(err, WEIR_ENOMEM, "weir_chaos: out of memory");
        char *value = strchr(copies[i], '=');
        if (value != NULL)
            *value++ = 0;
        code = chaos_set(chaos, copies[i], value, err);
    }
    return code;
}

static void fill(struct chaos *chaos, struct weir_chaos_result *result)
{
    struct chaos_totals totals = report_totals(&chaos->report);
    const struct recoveries *recoveries = chaos->report.recoveries;
    *result = (struct weir_chaos_result){
        .seed = chaos->options.seed,
        .runs = totals.runs,
        .faults = totals.hits,
        .faults_missed = totals.misses,
        .in_place_count = recoveries[RECOVERY_PATH_IN_PLACE].count,
        .rollback_count = recoveries[RECOVERY_PATH_ROLLBACK].count,
        .disk_count = recoveries[RECOVERY_PATH_DISK].count + recoveries[RECOVERY_PATH_RESTART].count,
        .coordinator_count = recoveries[RECOVERY_PATH_COORDINATOR].count,
        .recovery_ns_p50 = totals.times.p50_ns,
        .recovery_ns_p99 = totals.times.p99_ns,
        .recovery_ns_max = totals.times.max_ns,
        .records_compared = totals.compared,
        .records_lost = totals.lost,
        .records_doubled = totals.doubled,
        .records_wrong = totals.wrong,
    };
    snprintf(result->kept, sizeof result->kept, "%.*s", (int)sizeof result->kept - 1, chaos->scratch);
}

static int run(struct chaos *chaos, const char *const *pairs, size_t count, char **copies, struct weir_error *err)
{
    int code = take_pairs(chaos, pairs, count, copies, err);
    if (code == WEIR_OK)
        code = chaos_prepare(chaos, err);
    if (code == WEIR_OK)
        code = chaos_run(chaos, err);
    return code == WEIR_OK ? chaos_verdict(chaos, err) : code;
}

int weir_chaos(const char *name, weir_build_fn build, const char *const *option_values, size_t option_count,
               struct weir_chaos_result *ret_result, struct weir_error *error)
{
    struct weir_error own = {0};
    struct weir_error *err = error != NULL ? error : &own;
    if (ret_result == NULL || name == NULL || build == NULL || (option_values == NULL && option_count > 0))
        return error_set(err, WEIR_EINVAL, "weir_chaos: name, build function, options or result are NULL");
    *ret_result = (struct weir_chaos_result){0};
    struct chaos *chaos = malloc(sizeof *chaos);
    char **copies = calloc(option_count + 1, sizeof *copies);
    int code = chaos != NULL && copies != NULL ? WEIR_OK : error_set(err, WEIR_ENOMEM, "weir_chaos: out of memory");
    if (code == WEIR_OK) {
        chaos_init(chaos, name, build);
        code = run(chaos, option_values, option_count, copies, err);
        fill(chaos, ret_result);
        chaos_free(chaos);
    }
    for (size_t i = 0; copies != NULL && i < option_count; i++)
        free(copies[i]);
    free(copies);
    free(chaos);
    return code;
}
