#include "engine/options.h"

#include "base/clock.h"
#include "engine/option_value.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* struct job_options is large for a stack of a test. */
static struct job_options options;
static struct weir_error failure;

static void setup(void)
{
    memset(&failure, 0, sizeof failure);
    job_options_init(&options);
}

static void teardown(void) { job_options_free(&options); }

TestSuite(options, .init = setup, .fini = teardown);

static int set(const char *name, const char *value) { return job_options_set(&options, name, value, OPTION_FROM_USER, &failure); }

static bool says(const char *part) { return strstr(failure.text, part) != NULL; }

Test(options, defaults_are_those_that_the_documentation_promises)
{
    cr_assert_eq(options.checkpoint_interval_ns, NS_PER_S);
    cr_assert_eq(options.checkpoint_records, 0);
    cr_assert_eq(options.checkpoint_timeout_ns, 60 * NS_PER_S);
    cr_assert_eq(options.checkpoints_retained, 2);
    cr_assert_eq(options.guarantee, OPTION_EXACTLY_ONCE);
    cr_assert_eq(options.io, OPTION_IO_AUTO);
    cr_assert_eq(options.ring_bytes, 2097152);
    cr_assert_eq(options.batch_records, 1024);
    cr_assert_eq(options.key_groups, 128);
    cr_assert_eq(options.overflow_limit_bytes, 268435456);
    cr_assert_eq(options.spin_ns, OPTION_SPIN_AUTO);
    cr_assert_eq(options.restore, 0);
    cr_assert_not(options.no_chain);
    cr_assert_eq(options.pin_cpus.count, 0);
}

Test(options, the_default_state_limit_is_half_of_the_memory)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    cr_assert_leq(options.state_limit_bytes, memory / 2);
    cr_assert_geq(options.state_limit_bytes, memory / 2 - 1);
}

Test(options, every_option_has_help_a_group_and_a_value_that_its_own_text_gives_back)
{
    static struct job_options again;
    for (size_t i = 0; option_at(i) != NULL; i++) {
        const struct option *option = option_at(i);
        char text[PATH_MAX], second[PATH_MAX];
        cr_assert(option->help != NULL && strlen(option->help) > 10, "--%s has no help", option->name);
        cr_assert(option->group != NULL, "--%s has no group", option->name);
        cr_assert((option->type == OPTION_FLAG) == (option->placeholder == NULL), "--%s: placeholder", option->name);
        cr_assert_eq(option_find(option->name), option, "--%s stands twice in the table", option->name);
        option_format(&options, option, text, sizeof text);
        if (text[0] == 0)
            continue;
        job_options_init(&again);
        cr_assert_eq(job_options_set(&again, option->name, text, OPTION_FROM_USER, &failure), WEIR_OK, "--%s=%s: %s", option->name,
                     text, failure.text);
        cr_assert_str_eq(option_format(&again, option, second, sizeof second), text);
        job_options_free(&again);
    }
}

Test(options, durations_are_taken_with_their_units)
{
    cr_assert_eq(set("checkpoint-interval", "2ms"), WEIR_OK);
    cr_assert_eq(options.checkpoint_interval_ns, 2000000);
    cr_assert_eq(set("checkpoint-interval", "1.5s"), WEIR_OK);
    cr_assert_eq(options.checkpoint_interval_ns, 1500000000);
    cr_assert_eq(set("checkpoint-interval", "10min"), WEIR_OK);
    cr_assert_eq(options.checkpoint_interval_ns, INT64_C(600000000000));
    cr_assert_eq(set("batch-time", "250us"), WEIR_OK);
    cr_assert_eq(options.batch_time_ns, 250000);
}

Test(options, an_interval_can_be_switched_off_by_word_or_by_zero)
{
    cr_assert_eq(set("checkpoint-interval", "off"), WEIR_OK);
    cr_assert_eq(options.checkpoint_interval_ns, 0);
    cr_assert_eq(set("checkpoint-interval", "5s"), WEIR_OK);
    cr_assert_eq(set("checkpoint-interval", "0"), WEIR_OK);
    cr_assert_eq(options.checkpoint_interval_ns, 0);
}

Test(options, a_value_out_of_range_names_the_option_the_value_and_the_range)
{
    cr_assert_eq(set("checkpoint-interval", "1ms"), WEIR_EINVAL);
    cr_assert(says("--checkpoint-interval"));
    cr_assert(says("'1ms'"));
    cr_assert(says("from 2ms to 1d"));
    cr_assert(says("off"));
    cr_assert_eq(options.checkpoint_interval_ns, NS_PER_S, "a value that is refused changes nothing");
}

Test(options, ring_sizes_are_powers_of_two_within_bounds)
{
    cr_assert_eq(set("ring-size", "64KiB"), WEIR_OK);
    cr_assert_eq(options.ring_bytes, 65536);
    cr_assert_eq(set("ring-size", "1GiB"), WEIR_OK);
    cr_assert_eq(options.ring_bytes, 1073741824);
    cr_assert_eq(set("ring-size", "4096"), WEIR_EINVAL);
    cr_assert_eq(set("ring-size", "2GiB"), WEIR_EINVAL);
    cr_assert_eq(set("ring-size", "100k"), WEIR_EINVAL);
    cr_assert(says("a power of two"));
    cr_assert_eq(options.ring_bytes, 1073741824);
}

Test(options, malformed_numbers_are_refused)
{
    static const char *const wrong[] = {"", " ", "1", "ms", "-5s", "1 s", "1s ", "1..5s", "1.s", ".5s", "1e3s", "0x10s", "9999999999999999999s",
                                        "18446744073709551616ns", "1.0000000001s", "1sec", "1S", "nan", "inf"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(set("checkpoint-timeout", wrong[i]), WEIR_EINVAL, "'%s' was taken", wrong[i]);
    static const char *const wrong_counts[] = {"", "-1", "1.5", "1.0001k", "+1", "99999999999999999999", "1kk", "0x1"};
    for (size_t i = 0; i < sizeof wrong_counts / sizeof wrong_counts[0]; i++)
        cr_assert_eq(set("batch-records", wrong_counts[i]), WEIR_EINVAL, "'%s' was taken", wrong_counts[i]);
    cr_assert_eq(options.checkpoint_timeout_ns, 60 * NS_PER_S);
    cr_assert_eq(options.batch_records, 1024);
}

Test(options, choices_list_what_they_take)
{
    cr_assert_eq(set("guarantee", "at-least-once"), WEIR_OK);
    cr_assert_eq(options.guarantee, OPTION_AT_LEAST_ONCE);
    cr_assert_eq(set("guarantee", "twice"), WEIR_EINVAL);
    cr_assert(says("exactly-once, at-least-once, none"));
    cr_assert_eq(set("restart", "failure-rate"), WEIR_OK);
    cr_assert_eq(options.restart, OPTION_RESTART_FAILURE_RATE);
    cr_assert_eq(set("on-poison", "dead-letter"), WEIR_OK);
    cr_assert_eq(options.on_poison, OPTION_POISON_DEAD_LETTER);
}

Test(options, flags_take_no_value_or_true_or_false)
{
    cr_assert_eq(set("no-chain", NULL), WEIR_OK);
    cr_assert(options.no_chain);
    cr_assert_eq(set("no-chain", "false"), WEIR_OK);
    cr_assert_not(options.no_chain);
    cr_assert_eq(set("no-chain", "yes"), WEIR_EINVAL);
}

Test(options, a_missing_value_is_refused) { cr_assert_eq(set("ring-size", NULL), WEIR_EINVAL); }

Test(options, an_unknown_option_gets_a_suggestion)
{
    cr_assert_eq(set("checkpoint-intervall", "1s"), WEIR_EINVAL);
    cr_assert(says("did you mean 'checkpoint-interval'"));
    cr_assert_eq(set("qqqqqqqqqqqq", "1s"), WEIR_EINVAL);
    cr_assert_not(says("did you mean"));
}

Test(options, unlimited_is_a_count)
{
    cr_assert_eq(set("checkpoint-tolerated-failures", "unlimited"), WEIR_OK);
    cr_assert_eq(options.checkpoint_tolerated_failures, OPTION_UNLIMITED);
    cr_assert_eq(set("restart-attempts", "unlimited"), WEIR_OK);
    cr_assert_eq(options.restart_attempts, OPTION_UNLIMITED);
}

Test(options, shares_of_memory_are_for_the_state_limit_only)
{
    cr_assert_eq(set("state-limit", "100%"), WEIR_OK);
    cr_assert_eq(options.state_limit_bytes, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    cr_assert_eq(set("state-limit", "101%"), WEIR_EINVAL);
    cr_assert_eq(set("state-limit", "100.5%"), WEIR_EINVAL);
    cr_assert_eq(set("overflow-limit", "50%"), WEIR_EINVAL);
}

Test(options, cpu_lists_take_ranges)
{
    cr_assert_eq(set("pin-cpus", "0,2,4-6"), WEIR_OK);
    cr_assert_eq(options.pin_cpus.count, 5);
    cr_assert_eq(options.pin_cpus.cpu[0], 0);
    cr_assert_eq(options.pin_cpus.cpu[1], 2);
    cr_assert_eq(options.pin_cpus.cpu[4], 6);
    cr_assert_eq(set("pin-cpus", "auto"), WEIR_OK);
    cr_assert(options.pin_cpus.automatic);
    static const char *const wrong[] = {"", ",", "1,", "3-1", "a", "0-100000", "0-1000", "1--2", "-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(set("pin-cpus", wrong[i]), WEIR_EINVAL, "'%s' was taken", wrong[i]);
}

Test(options, job_parameters_are_kept_by_name_and_the_last_one_counts)
{
    cr_assert_eq(set("set", "input=/a=b"), WEIR_OK);
    cr_assert_eq(set("set.output", "here"), WEIR_OK);
    cr_assert_eq(set("set", "input=again"), WEIR_OK);
    cr_assert_str_eq(job_options_param(&options, "input"), "again");
    cr_assert_str_eq(job_options_param(&options, "output"), "here");
    cr_assert_null(job_options_param(&options, "none"));
    cr_assert_eq(options.param_count, 2);
    cr_assert_eq(set("set", "novalue"), WEIR_EINVAL);
    cr_assert_eq(set("set", "=x"), WEIR_EINVAL);
    cr_assert_eq(set("set", "bad name=x"), WEIR_EINVAL);
    cr_assert_eq(set("set", "empty="), WEIR_OK);
    cr_assert_str_eq(job_options_param(&options, "empty"), "");
}

Test(options, more_parameters_than_the_bound_are_refused)
{
    char text[64];
    for (int i = 0; i < OPTION_PARAMS_MAX; i++) {
        snprintf(text, sizeof text, "p%d=%d", i, i);
        cr_assert_eq(set("set", text), WEIR_OK);
    }
    cr_assert_eq(set("set", "one-more=1"), WEIR_ELIMIT);
    cr_assert_str_eq(job_options_param(&options, "p255"), "255");
}

Test(options, the_user_outweighs_the_environment_and_that_the_job)
{
    cr_assert_eq(job_options_set(&options, "io", "uring", OPTION_FROM_JOB, &failure), WEIR_OK);
    cr_assert_eq(options.io, OPTION_IO_URING);
    setenv("WEIR_IO", "pwrite", 1);
    cr_assert_eq(job_options_set_environment(&options, &failure), WEIR_OK);
    cr_assert_eq(options.io, OPTION_IO_PWRITE);
    cr_assert_eq(set("io", "auto"), WEIR_OK);
    cr_assert_eq(job_options_set(&options, "io", "uring", OPTION_FROM_JOB, &failure), WEIR_OK);
    cr_assert_eq(options.io, OPTION_IO_AUTO, "the job's default comes last, and is the weaker one");
    unsetenv("WEIR_IO");
}

Test(options, a_wrong_value_of_a_weaker_source_is_still_an_error)
{
    cr_assert_eq(set("io", "auto"), WEIR_OK);
    cr_assert_eq(job_options_set(&options, "io", "floppy", OPTION_FROM_JOB, &failure), WEIR_EINVAL);
    setenv("WEIR_IO", "floppy", 1);
    cr_assert_eq(job_options_set_environment(&options, &failure), WEIR_EINVAL);
    cr_assert(says("WEIR_IO"));
    unsetenv("WEIR_IO");
}

Test(options, the_directory_follows_xdg_and_home)
{
    setenv("XDG_STATE_HOME", "/state", 1);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_OK);
    cr_assert_str_eq(options.directory, "/state/weir/orders");
    cr_assert_str_eq(options.dead_letter, "/state/weir/orders/dead-letter.jsonl");
    job_options_free(&options);
    job_options_init(&options);
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", "/home/someone", 1);
    cr_assert_eq(set("name", "other"), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_OK);
    cr_assert_str_eq(options.directory, "/home/someone/.local/state/weir/other");
}

Test(options, relative_paths_become_absolute)
{
    char expected[PATH_MAX + 16], here[PATH_MAX];
    cr_assert_eq(set("directory", "ck/one"), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_OK);
    snprintf(expected, sizeof expected, "%s/ck/one", getcwd(here, sizeof here));
    cr_assert_str_eq(options.directory, expected);
}

Test(options, a_path_that_is_too_long_is_refused)
{
    static char path[PATH_MAX + 10];
    memset(path, 'a', PATH_MAX);
    cr_assert_eq(set("directory", path), WEIR_EINVAL);
    path[PATH_MAX - 1] = 0;
    cr_assert_eq(set("directory", path), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_EINVAL, "with the current directory before it, it is too long");
}

Test(options, options_that_exclude_each_other_are_refused)
{
    cr_assert_eq(set("from-scratch", NULL), WEIR_OK);
    cr_assert_eq(set("restore", "7"), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_EINVAL);
    cr_assert(says("--from-scratch"));
    cr_assert_eq(set("restore", "newest"), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_OK);
    cr_assert_eq(set("restart-delay", "2min"), WEIR_OK);
    cr_assert_eq(job_options_finish(&options, "orders", &failure), WEIR_EINVAL);
}

Test(options, names_that_are_no_names_are_refused)
{
    static const char *const wrong[] = {"", "-a", "a b", "a/b", "..", "a.b", "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(set("name", wrong[i]), WEIR_EINVAL, "'%s' was taken", wrong[i]);
    cr_assert_eq(set("name", "A_1-b"), WEIR_OK);
}
