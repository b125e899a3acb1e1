/*
 * child_assert.c - what happens when an assertion fails in a process that a test has forked. Criterion's runner does not know such a
 * process and never answers it, so the test would wait until its time is over. Linked into every test program: the failure goes to
 * standard error instead, and the process ends with CHILD_ASSERT_EXIT, which its parent sees.
 */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

enum { CHILD_ASSERT_EXIT = 113 };

static pid_t test_pid;

/* Criterion starts one process a test, which runs this program anew. */
__attribute__((constructor)) static void remember_process(void) { test_pid = getpid(); }

/* In place of Criterion's, which is called. */
void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (getpid() != test_pid) {
        if (stats->passed)
            return;
        dprintf(STDERR_FILENO, "%s:%u: in a process that the test forked: %s\n", stats->file, stats->line, stats->message);
        _exit(CHILD_ASSERT_EXIT);
    }
    void (*send)(struct criterion_assert_stats *) = NULL;
    *(void **)&send = dlsym(RTLD_NEXT, "criterion_send_assert");
    if (send == NULL) {
        dprintf(STDERR_FILENO, "%s:%u: %s (and this is no Criterion program)\n", stats->file, stats->line, stats->message);
        _exit(CHILD_ASSERT_EXIT);
    }
    send(stats);
}
