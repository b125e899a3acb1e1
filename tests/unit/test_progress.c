#include "cli/progress.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct job_progress running = {
    .state = "running",
    .uptime_ns = INT64_C(4500000000),
    .records_in = 1234567,
    .records_out = 45600,
    .records_in_per_s = 250000,
    .lag_records = 12,
    .checkpoints_completed = 4,
    .checkpoint_last = 4,
    .checkpoint_last_duration_ns = 2340000,
    .checkpoint_last_bytes = 3 << 20,
};

Test(progress, the_line_has_rate_lag_and_checkpoints)
{
    char text[512];
    progress_format("orders", &running, 200, text, sizeof text);
    cr_assert_str_eq(text, "orders: running 4.50 s, in 1.23 M (250 k/s), out 45.6 k, lag 12, checkpoints 4 (last 2.34 ms, 3.00 MiB)");
}

Test(progress, failures_and_recoveries_are_shown_when_there_are_some)
{
    char text[512];
    struct job_progress now = running;
    now.checkpoints_failed = 2;
    now.restarts = 3;
    progress_format("orders", &now, 300, text, sizeof text);
    cr_assert_not_null(strstr(text, ", 2 failed"));
    cr_assert_not_null(strstr(text, ", recoveries 3"));
}

Test(progress, a_narrow_terminal_still_shows_rate_lag_and_checkpoints)
{
    char text[512];
    progress_format("orders", &running, 80, text, sizeof text);
    cr_assert_str_eq(text, "orders: running 4.50 s, in 1.23 M (250 k/s), lag 12, checkpoints 4");
}

Test(progress, the_line_never_fills_the_terminal)
{
    char text[512];
    progress_format("orders", &running, 40, text, sizeof text);
    cr_assert_eq(strlen(text), 39, "one column is left, so that no terminal goes to the next line");
}

Test(progress, the_last_line_is_whole_and_has_the_rate_of_the_whole_run)
{
    char text[512];
    struct job_progress now = running;
    now.ended = true;
    now.state = "finished";
    progress_format("orders", &now, 40, text, sizeof text);
    cr_assert_gt(strlen(text), 60);
    cr_assert_not_null(strstr(text, "(274 k/s)"), "1234567 records in 4.5 s: %s", text);
}
