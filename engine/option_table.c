/* The table of options. A new option is a row here and a field of struct job_options; all else follows. */
#include "base/bytes.h"
#include "base/clock.h"
#include "engine/options.h"

#define US INT64_C(1000)
#define MS NS_PER_MS
#define S NS_PER_S
#define MINUTE (60 * NS_PER_S)
#define HOUR (3600 * NS_PER_S)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define AT(field) offsetof(struct job_options, field)

static const char *const guarantee_names[] = {"exactly-once", "at-least-once", "none", NULL};
static const char *const takeover_names[] = {"off", "cold", "on", NULL};
static const char *const io_names[] = {"auto", "uring", "pwrite", NULL};
static const char *const restart_names[] = {"none", "fixed-delay", "exponential-delay", "failure-rate", NULL};
static const char *const restore_names[] = {"lazy", "eager", NULL};
static const char *const poison_names[] = {"fail", "dead-letter", NULL};
static const char *const log_names[] = {"error", "warning", "info", "debug", NULL};

static const char group_job[] = "The job";
static const char group_checkpoints[] = "Checkpoints";
static const char group_recovery[] = "Recovery";
static const char group_memory[] = "Memory and batches";
static const char group_processor[] = "Processor";
static const char group_output[] = "Output";

static const struct option option_table[] = {
    {.name = "name", .type = OPTION_NAME, .offset = AT(name), .placeholder = "NAME", .group = group_job,
     .help = "The job's name: its identity on disk, and what the other commands call it (default: that of the example, the file or "
             "the program)"},
    {.name = "directory", .type = OPTION_PATH, .offset = AT(directory), .placeholder = "DIR", .group = group_job,
     .help = "Checkpoint directory, made if missing (default: $XDG_STATE_HOME/weir/NAME, else ~/.local/state/weir/NAME)"},
    {.name = "set", .type = OPTION_PARAM, .offset = AT(params), .placeholder = "NAME=VALUE", .group = group_job,
     .help = "Sets a parameter of the job; may be given for each of them"},
    {.name = "guarantee", .type = OPTION_CHOICE, .offset = AT(guarantee), .placeholder = "LEVEL", .fallback = "exactly-once",
     .choices = guarantee_names, .group = group_job,
     .help = "What holds for state and output after a failure; at-least-once does not hold records back while barriers align, none takes "
             "no checkpoints"},
    {.name = "no-chain", .type = OPTION_FLAG, .offset = AT(no_chain), .group = group_job,
     .help = "Gives every operator instance a process of its own instead of chaining neighbours"},
    {.name = "chain-keyed", .type = OPTION_FLAG, .offset = AT(chain_keyed), .group = group_job,
     .help = "Chains a keyed operator with its input as well, where each has one instance: less CPU time a record, fewer processes"},
    {.name = "key-groups", .type = OPTION_COUNT, .offset = AT(key_groups), .placeholder = "COUNT", .fallback = "128", .minimum = 1,
     .maximum = 32768, .group = group_job,
     .help = "Key groups, the units in which keyed state is spread over instances; fixed for the life of the job's checkpoints"},

    {.name = "checkpoint-interval", .type = OPTION_DURATION, .offset = AT(checkpoint_interval_ns), .placeholder = "TIME",
     .fallback = "1s", .minimum = 2 * MS, .maximum = 24 * HOUR, .special = "off", .special_value = 0,
     .group = group_checkpoints, .help = "Time from one checkpoint's trigger to the next"},
    {.name = "checkpoint-records", .type = OPTION_COUNT, .offset = AT(checkpoint_records), .placeholder = "COUNT",
     .fallback = "off", .minimum = 1, .maximum = INT64_MAX, .special = "off", .special_value = 0,
     .group = group_checkpoints, .help = "Triggers a checkpoint after so many records from the sources, besides the interval"},
    {.name = "checkpoint-min-pause", .type = OPTION_DURATION, .offset = AT(checkpoint_min_pause_ns), .placeholder = "TIME",
     .fallback = "0", .minimum = 0, .maximum = 24 * HOUR, .group = group_checkpoints,
     .help = "Least time from the end of one checkpoint to the start of the next"},
    {.name = "checkpoint-timeout", .type = OPTION_DURATION, .offset = AT(checkpoint_timeout_ns), .placeholder = "TIME",
     .fallback = "1min", .minimum = 10 * MS, .maximum = 24 * HOUR, .group = group_checkpoints,
     .help = "A checkpoint that takes longer is given up"},
    {.name = "checkpoint-tolerated-failures", .type = OPTION_COUNT, .offset = AT(checkpoint_tolerated_failures),
     .placeholder = "COUNT", .fallback = "10", .minimum = 0, .maximum = INT64_MAX, .special = "unlimited",
     .special_value = -1, .group = group_checkpoints,
     .help = "Checkpoints that may fail one after another before the job fails"},
    {.name = "checkpoints-retained", .type = OPTION_COUNT, .offset = AT(checkpoints_retained), .placeholder = "COUNT",
     .fallback = "2", .minimum = 1, .maximum = 10000, .group = group_checkpoints,
     .help = "How many complete checkpoints are kept"},
    {.name = "io", .type = OPTION_CHOICE, .offset = AT(io), .placeholder = "METHOD", .fallback = "auto", .choices = io_names,
     .environment = "WEIR_IO", .group = group_checkpoints,
     .help = "How snapshots are written and read; auto is io_uring where the system allows it"},
    {.name = "restore", .type = OPTION_COUNT, .offset = AT(restore), .placeholder = "ID", .fallback = "newest", .minimum = 1,
     .maximum = INT64_MAX, .special = "newest", .special_value = 0, .group = group_checkpoints,
     .choices_of = "restore-mode",
     .help = "The checkpoint to start from; newest is the newest one that is complete and undamaged. lazy and eager say --restore-mode"},
    {.name = "restore-mode", .type = OPTION_CHOICE, .offset = AT(restore_mode), .placeholder = "MODE", .fallback = "lazy",
     .choices = restore_names, .group = group_checkpoints,
     .help = "How state is read from a checkpoint: lazy reads, verified, what records need, and the rest meanwhile; eager reads and verifies all "
             "before the first record"},
    {.name = "from-scratch", .type = OPTION_FLAG, .offset = AT(from_scratch), .group = group_checkpoints,
     .help = "Starts from nothing although there are checkpoints; they are kept until newer ones replace them"},

    {.name = "takeover", .type = OPTION_CHOICE, .offset = AT(takeover), .placeholder = "WHEN", .fallback = "on",
     .choices = takeover_names, .group = group_recovery,
     .help = "Whether a task that is killed from outside is taken over in place: on; cold, by a process forked then, without standby processes; "
             "or off: the job goes back to its last checkpoint"},
    {.name = "restart", .type = OPTION_CHOICE, .offset = AT(restart), .placeholder = "STRATEGY",
     .fallback = "exponential-delay", .choices = restart_names, .group = group_recovery,
     .help = "How often and how soon a job whose operators fail is recovered"},
    {.name = "restart-attempts", .type = OPTION_COUNT, .offset = AT(restart_attempts), .placeholder = "COUNT",
     .fallback = "10", .minimum = 1, .maximum = INT64_MAX, .special = "unlimited", .special_value = -1,
     .group = group_recovery,
     .help = "Recoveries before the job fails: in all (fixed-delay), or within the window (failure-rate)"},
    {.name = "restart-delay", .type = OPTION_DURATION, .offset = AT(restart_delay_ns), .placeholder = "TIME",
     .fallback = "100ms", .minimum = 0, .maximum = 1 * HOUR, .group = group_recovery,
     .help = "Wait before a recovery from an operator's failure; the first one of exponential-delay. After a SIGKILL there is none"},
    {.name = "restart-delay-max", .type = OPTION_DURATION, .offset = AT(restart_delay_max_ns), .placeholder = "TIME",
     .fallback = "1min", .minimum = 0, .maximum = 24 * HOUR, .group = group_recovery,
     .help = "The longest wait of exponential-delay, which doubles from one failure to the next"},
    {.name = "restart-window", .type = OPTION_DURATION, .offset = AT(restart_window_ns), .placeholder = "TIME",
     .fallback = "5min", .minimum = 1 * S, .maximum = 24 * HOUR, .group = group_recovery,
     .help = "Time over which failures are counted (failure-rate), or without failure that resets the wait (exponential-delay)"},
    {.name = "on-poison", .type = OPTION_CHOICE, .offset = AT(on_poison), .placeholder = "POLICY", .fallback = "fail",
     .choices = poison_names, .group = group_recovery,
     .help = "What to do with a record that makes its operator fail every time: fail the job, or write the record to the dead-letter "
             "file and go on"},
    {.name = "poison-attempts", .type = OPTION_COUNT, .offset = AT(poison_attempts), .placeholder = "COUNT", .fallback = "3",
     .minimum = 1, .maximum = 1000, .group = group_recovery,
     .help = "How often the same record must fail its operator before it counts as poison"},
    {.name = "dead-letter", .type = OPTION_PATH, .offset = AT(dead_letter), .placeholder = "FILE", .group = group_recovery,
     .help = "Where poison records go, as JSON lines (default: dead-letter.jsonl in the checkpoint directory)"},
    {.name = "rollback-memory", .type = OPTION_BYTES, .offset = AT(rollback_memory_bytes), .placeholder = "SIZE",
     .fallback = "256MiB", .minimum = 0, .maximum = INT64_MAX, .group = group_recovery,
     .help = "Most memory of one task that keeps the last checkpoint's state as it was, so that the job goes back to it without the disk; "
             "a task that needs more reads its state from disk; 0: all do"},
    {.name = "heartbeat-timeout", .type = OPTION_DURATION, .offset = AT(heartbeat_timeout_ns), .placeholder = "TIME",
     .fallback = "10s", .minimum = 100 * MS, .maximum = 24 * HOUR, .special = "off", .special_value = 0,
     .group = group_recovery, .help = "A task that gives no sign of life for so long is killed and recovered"},

    {.name = "ring-size", .type = OPTION_BYTES, .offset = AT(ring_bytes), .placeholder = "SIZE", .fallback = "2MiB",
     .minimum = 64 * KIB, .maximum = 1 * GIB, .power_of_two = true, .group = group_memory,
     .help = "Size of the ring between two tasks: more than the second-level cache is fastest; a record may take a quarter of it"},
    {.name = "batch-records", .type = OPTION_COUNT, .offset = AT(batch_records), .placeholder = "COUNT", .fallback = "1024",
     .minimum = 1, .maximum = 65536, .group = group_memory,
     .help = "Most records that a task processes as one transaction"},
    {.name = "batch-time", .type = OPTION_DURATION, .offset = AT(batch_time_ns), .placeholder = "TIME", .fallback = "1ms",
     .minimum = 10 * US, .maximum = 1 * S, .group = group_memory,
     .help = "Most time that a task spends on one transaction before it publishes its output"},
    {.name = "state-limit", .type = OPTION_BYTES, .offset = AT(state_limit_bytes), .placeholder = "SIZE", .fallback = "50%",
     .minimum = 1 * MIB, .maximum = INT64_MAX, .percent_of_memory = true, .group = group_memory,
     .help = "Most state of one task; a share is of the machine's memory"},
    {.name = "overflow-limit", .type = OPTION_BYTES, .offset = AT(overflow_limit_bytes), .placeholder = "SIZE",
     .fallback = "256MiB", .minimum = 2 * MIB, .maximum = 64 * GIB, .group = group_memory,
     .help = "Most output of one task that waits in memory because it found no room in its rings"},

    {.name = "pin-cpus", .type = OPTION_CPUS, .offset = AT(pin_cpus), .placeholder = "LIST", .fallback = "none",
     .group = group_processor,
     .help = "Binds tasks to CPUs in turn: none, auto (all that the process may use), or a list such as 0,1,4-7. What writes their snapshots is not bound"},
    {.name = "spin", .type = OPTION_DURATION, .offset = AT(spin_ns), .placeholder = "TIME", .fallback = "auto", .minimum = 0,
     .maximum = 100 * MS, .special = "auto", .special_value = OPTION_SPIN_AUTO, .group = group_processor,
     .help = "How long a task without input looks for more before it sleeps; auto is none where tasks outnumber CPUs"},
    {.name = "busy-poll", .type = OPTION_FLAG, .offset = AT(busy_poll), .group = group_processor,
     .help = "Tasks never sleep: the lowest latency, for a whole CPU each"},

    {.name = "quiet", .type = OPTION_FLAG, .offset = AT(quiet), .group = group_output,
     .help = "Prints nothing but errors"},
    {.name = "no-progress", .type = OPTION_FLAG, .offset = AT(no_progress), .group = group_output,
     .help = "Shows no progress line, on a terminal either"},
    {.name = "log-level", .type = OPTION_CHOICE, .offset = AT(log_level), .placeholder = "LEVEL", .fallback = "info",
     .choices = log_names, .environment = "WEIR_LOG_LEVEL", .group = group_output,
     .help = "How much the job's processes say on standard error"},
};

_Static_assert(COUNT_OF(option_table) <= OPTION_ROWS_MAX, "struct job_options has room for the source of every row");

size_t option_count(void) { return COUNT_OF(option_table); }

const struct option *option_at(size_t index) { return index < COUNT_OF(option_table) ? &option_table[index] : NULL; }

const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(option_table); i++)
        if (strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    return NULL;
}
