#include "chaos/options.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/kill_point.h"
#include "chaos/fault.h"
#include "engine/option_value.h"

#include <stdio.h>
#include <sys/random.h>

#define KILLS_DEFAULT 50
#define KILLS_MAX 10000000
#define RECORD_BYTES_MAX WEIR_RECORD_BYTES_MAX

enum value_type { TYPE_COUNT, TYPE_DURATION, TYPE_KIND, TYPE_TARGET, TYPE_TEXT, TYPE_SEED, TYPE_FLAG };

static const struct {
    const char *name;
    enum value_type type;
    size_t offset;
} rows[] = {
#define OPTION_ROW(name, placeholder, help, type, field) {name, TYPE_##type, offsetof(struct chaos_options, field)},
    CHAOS_OPTION_TABLE(OPTION_ROW)
#undef OPTION_ROW
};

void chaos_options_init(struct chaos_options *options)
{
    *options = (struct chaos_options){.interval_ns = 50 * NS_PER_MS, .hold_ns = 50 * NS_PER_MS, .runs_max = 1000,
                                      .timeout_ns = 300 * NS_PER_S};
}

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < COUNT_OF(rows) && strcmp(rows[i].name, name) != 0)
        i++;
    return i;
}

_Static_assert(COUNT_OF(rows) <= CHAOS_OPTIONS_MAX, "who lists them all has room");

const char *chaos_options_name(size_t index) { return index < COUNT_OF(rows) ? rows[index].name : NULL; }

bool chaos_options_has(const char *name) { return find(name) < COUNT_OF(rows); }

static int add_target(struct chaos_options *options, const char *value, struct weir_error *err)
{
    if (options->target_count == CHAOS_TARGETS_MAX)
        return error_set(err, WEIR_ELIMIT, "more than %d", CHAOS_TARGETS_MAX);
    options->targets[options->target_count++] = value;
    return WEIR_OK;
}

static int set_value(struct chaos_options *options, size_t row, const char *value, struct weir_error *err)
{
    void *field = (char *)options + rows[row].offset;
    enum fault_kind kind;
    int code = WEIR_OK;
    switch (rows[row].type) {
    case TYPE_COUNT: code = value_count(value, field, err); break;
    case TYPE_DURATION: code = value_duration(value, field, err); break;
    case TYPE_KIND:
        code = fault_kind_parse(value, &kind, err);
        if (code == WEIR_OK)
            options->kinds |= 1u << kind;
        break;
    case TYPE_TARGET: code = add_target(options, value, err); break;
    case TYPE_TEXT: *(const char **)field = value; break;
    case TYPE_SEED:
        code = value_count(value, &options->seed, err);
        options->seed_given = true;
        break;
    case TYPE_FLAG: *(bool *)field = value == NULL || strcmp(value, "true") == 0; break;
    }
    options->kills_given |= field == (void *)&options->kills;
    return code;
}

int chaos_options_set(struct chaos_options *options, const char *name, const char *value, struct weir_error *err)
{
    size_t row = find(name);
    if (row == COUNT_OF(rows))
        return error_set(err, WEIR_EINVAL, "there is no option '%s'", name);
    if (rows[row].type != TYPE_FLAG && (value == NULL || *value == 0))
        return error_set(err, WEIR_EINVAL, "--%s needs a value", name);
    int code = set_value(options, row, value, err);
    return code == WEIR_OK ? code : error_context(err, "--%s", name);
}

static int check_range(const char *name, int64_t value, int64_t minimum, int64_t maximum, const char *text,
                       struct weir_error *err)
{
    if (value >= minimum && value <= maximum)
        return WEIR_OK;
    return error_set(err, WEIR_EINVAL, "--%s: it takes %s", name, text);
}

static int check_ranges(const struct chaos_options *options, struct weir_error *err)
{
    const struct {
        const char *name;
        int64_t value, minimum, maximum;
        const char *text;
    } checks[] = {
        {"kills", (int64_t)options->kills, 0, KILLS_MAX, "0 to 10M"},
        {"interval", options->interval_ns, 1000, 3600 * NS_PER_S, "a time from 1us to 1h"},
        {"hold", options->hold_ns, 1000, 3600 * NS_PER_S, "a time from 1us to 1h"},
        {"runs", (int64_t)options->runs_max, 1, KILLS_MAX, "1 to 10M"},
        {"run-timeout", options->timeout_ns, NS_PER_S, 24 * 3600 * NS_PER_S, "a time from 1s to 1d"},
        {"record-bytes", (int64_t)options->record_bytes, 0, RECORD_BYTES_MAX, "1 to 1Mi"},
    };
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        int code = check_range(checks[i].name, checks[i].value, checks[i].minimum, checks[i].maximum, checks[i].text, err);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

int chaos_options_finish(struct chaos_options *options, struct weir_error *err)
{
    bool enumerates = options->kill_points != NULL || options->io_faults != NULL;
    if (enumerates && !kill_points_built())
        return error_set(err, WEIR_EINVAL, "--%s: this build of Weir has no kill points: build it with "
                                                 "-DWEIR_KILL_POINTS=ON",
                         options->kill_points != NULL ? "kill-points" : "io-faults");
    if (!options->kills_given)
        options->kills = enumerates ? 0 : KILLS_DEFAULT;
    if (options->kinds == 0)
        options->kinds = 1u << FAULT_KILL;
    if (!options->seed_given && getrandom(&options->seed, sizeof options->seed, 0) != sizeof options->seed)
        options->seed = (uint64_t)clock_monotonic_ns();
    options->seed &= INT64_MAX; /* JSON's and every shell's numbers */
    return check_ranges(options, err);
}
