/* test_kill_point.c - what WEIR_KILL means: when a row fires, in which process, and what it does there. */
#include "base/kill_point.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef WEIR_KILL_POINTS

static void init(const char *list)
{
    struct weir_error err = {0};
    setenv("WEIR_KILL", list, 1);
    cr_assert_eq(kill_point_init(&err), WEIR_OK, "%s", err.text);
}

TestSuite(kill_point, .timeout = 240);

Test(kill_point, without_the_variable_nothing_is_armed)
{
    unsetenv("WEIR_KILL");
    cr_assert_eq(kill_point_init(NULL), WEIR_OK);
    cr_assert_not(kill_point_armed());
    cr_assert_not(KILL_POINT_ERROR(s1));
    cr_assert_eq(kill_point_fired_count(), 0u);
}

Test(kill_point, a_row_fires_the_nth_time_and_once)
{
    init("s1:3:error");
    cr_assert_not(KILL_POINT_ERROR(s1));
    cr_assert_not(KILL_POINT_ERROR(s2), "another point does not count");
    cr_assert_not(KILL_POINT_ERROR(s1));
    cr_assert(KILL_POINT_ERROR(s1));
    cr_assert_eq(kill_point_fired_count(), 1u);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_not(KILL_POINT_ERROR(s1));
}

Test(kill_point, rows_fire_one_after_another)
{
    init("s1:1:error,s2:2:error,s1:1:error");
    cr_assert_not(KILL_POINT_ERROR(s2), "the second row does not count yet");
    cr_assert(KILL_POINT_ERROR(s1));
    cr_assert_not(KILL_POINT_ERROR(s1), "the third one waits for the second");
    cr_assert_not(KILL_POINT_ERROR(s2));
    cr_assert(KILL_POINT_ERROR(s2));
    cr_assert(KILL_POINT_ERROR(s1));
    cr_assert_eq(kill_point_fired_count(), 3u);
}

Test(kill_point, a_process_name_restricts_a_row)
{
    init("b2:1:error@count");
    kill_point_set_process("counter/0");
    cr_assert_not(KILL_POINT_ERROR(b2));
    kill_point_set_process("snapshot:count/0");
    cr_assert_not(KILL_POINT_ERROR(b2));
    kill_point_set_process("count/1");
    cr_assert(KILL_POINT_ERROR(b2));
}

Test(kill_point, counts_are_shared_by_all_processes)
{
    init("c1:4:error");
    for (unsigned i = 0; i < 3; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0)
            _exit(KILL_POINT_ERROR(c1));
        waitpid(pid, &status, 0);
        cr_assert_eq(status, 0);
    }
    cr_assert(KILL_POINT_ERROR(c1), "the fourth time of all");
}

Test(kill_point, kill_is_the_default_and_is_sigkill)
{
    int status;
    init("h4");
    pid_t pid = fork();
    if (pid == 0) {
        KILL_POINT(h4);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == 9);
    cr_assert_eq(kill_point_fired_count(), 1u, "seen by those who live");
}

Test(kill_point, stop_stops)
{
    int status;
    init("h4:1:stop");
    pid_t pid = fork();
    if (pid == 0) {
        KILL_POINT(h4);
        _exit(7);
    }
    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    cr_assert(WIFSTOPPED(status));
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

Test(kill_point, delay_waits_at_least_so_long)
{
    struct timespec begun, ended;
    init("k1:1:delay=50");
    clock_gettime(CLOCK_MONOTONIC, &begun);
    cr_assert_not(KILL_POINT_ERROR(k1));
    clock_gettime(CLOCK_MONOTONIC, &ended);
    cr_assert_geq((ended.tv_sec - begun.tv_sec) * 1000000000L + ended.tv_nsec - begun.tv_nsec, 50000000L);
}

Test(kill_point, what_is_no_list_is_refused_with_words)
{
    static const char *const wrong[] = {"nothing", "s1:0", "s1:x", "s1:1:explode", "s1:1:error,zz"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct weir_error err = {0};
        setenv("WEIR_KILL", wrong[i], 1);
        cr_assert_eq(kill_point_init(&err), WEIR_EINVAL, "'%s'", wrong[i]);
        cr_assert_not_null(strstr(err.text, "WEIR_KILL"), "%s", err.text);
    }
}

Test(kill_point, more_can_be_armed_at_run_time)
{
    unsetenv("WEIR_KILL");
    cr_assert_eq(kill_point_init(NULL), WEIR_OK);
    cr_assert_eq(kill_point_arm("p3:1:error", NULL), WEIR_OK);
    cr_assert(KILL_POINT_ERROR(p3));
    cr_assert_eq(kill_point_arm("p4:1:error", NULL), WEIR_OK);
    cr_assert(KILL_POINT_ERROR(p4));
    cr_assert_eq(kill_point_fired_count(), 2u);
}

Test(kill_point, what_is_armed_at_run_time_counts_in_processes_that_live_already)
{
    int to_child[2], status;
    char byte = 0;
    unsetenv("WEIR_KILL");
    cr_assert_eq(kill_point_init(NULL), WEIR_OK);
    cr_assert_eq(pipe(to_child), 0);
    pid_t child = fork();
    if (child == 0) {
        if (read(to_child[0], &byte, 1) != 1)
            _exit(2);
        KILL_POINT(b1);
        _exit(1);
    }
    cr_assert_eq(kill_point_arm("b1", NULL), WEIR_OK);
    cr_assert_eq(write(to_child[1], &byte, 1), 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(kill_point_fired_count(), 1u);
}

Test(kill_point, rows_that_have_fired_make_room)
{
    struct weir_error err = {0};
    unsetenv("WEIR_KILL");
    cr_assert_eq(kill_point_init(NULL), WEIR_OK);
    for (unsigned i = 1; i <= 100; i++) {
        cr_assert_eq(kill_point_arm("s2:2:error", &err), WEIR_OK, "%s", err.text);
        cr_assert_not(KILL_POINT_ERROR(s2));
        cr_assert(KILL_POINT_ERROR(s2));
        cr_assert_eq(kill_point_fired_count(), i);
    }
    cr_assert_eq(kill_point_arm("s1:1:error,zz", &err), WEIR_EINVAL);
    cr_assert_not(KILL_POINT_ERROR(s1), "a list with a wrong row arms none of its rows");
}

#endif

Test(kill_point, every_point_has_a_name_of_its_own_and_says_where_it_is)
{
    unsigned count = 0;
    for (; kill_point_name(count) != NULL; count++) {
        cr_assert_gt(strlen(kill_point_where(count)), 5u);
        for (unsigned i = 0; i < count; i++)
            cr_assert_str_neq(kill_point_name(i), kill_point_name(count));
    }
    cr_assert_eq(count, (unsigned)KILL_POINT_COUNT);
    cr_assert_null(kill_point_where(count));
}
