/* test_process.c - chaos/process.c: a signal reaches the process that is meant, or nobody. */
#include "chaos/process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

/* A child of this name, in its sleep once this returns. */
static void begin(void)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "snapshot:count/0");
        if (write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
}

static void end(void)
{
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}
TestSuite(process, .init = begin, .fini = end, .timeout = 240);

Test(process, a_child_is_listed_by_the_beginning_of_its_name)
{
    struct process_entry entries[4];
    cr_assert_eq(process_children(getpid(), entries, 4), 1);
    cr_assert_eq(entries[0].pid, child);
    cr_assert_str_eq(entries[0].comm, "snapshot:count/");
    cr_assert(process_may_be(entries[0].comm, "snapshot:count/0"));
    cr_assert_not(process_may_be(entries[0].comm, "snapshot:other/0"));
    cr_assert_not(process_may_be(entries[0].comm, "snapshot"));
}

Test(process, the_signal_arrives)
{
    struct process process;
    struct weir_error err = {0};
    int status;
    cr_assert_eq(process_open_child(child, getpid(), "snapshot:count/0", &process, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(process_signal(&process, SIGTERM, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    child = 0;
    cr_assert_eq(process_signal(&process, SIGTERM, &err), WEIR_ENOENT, "reaped: whoever has its number now is safe");
    process_close(&process);
    cr_assert_eq(process.fd, -1);
}

Test(process, a_process_of_another_name_or_parent_is_not_opened)
{
    struct process process;
    struct weir_error err = {0};
    cr_assert_eq(process_open_child(child, getpid(), "count/0", &process, &err), WEIR_ENOENT);
    cr_assert_eq(process_open_child(child, getppid(), "snapshot:count/0", &process, &err), WEIR_ENOENT);
    cr_assert_eq(process_open_child(0, getpid(), "snapshot:count/0", &process, &err), WEIR_ENOENT);
    cr_assert_eq(process_open_child(-5, getpid(), "snapshot:count/0", &process, &err), WEIR_ENOENT);
}

Test(process, one_that_has_ended_is_not_opened)
{
    struct process process;
    siginfo_t info;
    kill(child, SIGKILL);
    cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie, that still has its number */
    cr_assert_eq(process_open_child(child, getpid(), "snapshot:count/0", &process, NULL), WEIR_ENOENT);
    struct process_entry entries[4];
    cr_assert_eq(process_children(getpid(), entries, 4), 0);
}

Test(process, no_job_has_no_launcher)
{
    struct process process;
    struct weir_error err = {0};
    cr_assert_eq(process_open_launcher("/proc/self", 10, &process, &err), WEIR_ENOENT, "%s", err.text);
}
