/*
 * test_undo_steps.c - a process that keeps an undo log, looked at behind every single one of its instructions (ptrace): whoever
 * took over there would find the state of the last batch that was committed.
 */
#include "shm/layout.h"
#include "shm/region.h"
#include "state/undo.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_BYTES UINT64_C(4096)
#define MEMORY_BYTES 512u
#define BATCHES 3u /* after the first, which is committed before the process begins */
#define STEPS_MIN 200u
#define STEPS_MAX 1000000u

TestSuite(undo_steps, .timeout = 1200);

/* What the processes share. */
struct shared {
    _Atomic uint64_t committed;
    _Alignas(64) unsigned char memory[MEMORY_BYTES];
};

/* One value by itself, others together, one of them a second time. log NULL: only the changes. */
static void run_batch(struct undo_log *log, unsigned char *memory, uint64_t batch)
{
    if (log != NULL)
        undo_note(log, 8 * batch, memory + 8 * batch, 24);
    memset(memory + 8 * batch, (int)(batch + 1), 24);
    static const size_t sizes[] = {8, 16, 20};
    void *places[] = {memory + 8 * batch, memory + 200, memory + 304 - 8 * batch};
    size_t size_bytes = sizes[batch % 3];
    if (log != NULL)
        undo_note_all(log, memory, places, 3, size_bytes);
    for (unsigned i = 0; i < 3; i++)
        memset(places[i], (int)(0x40 + 3 * batch + i), size_bytes);
    if (log != NULL)
        undo_note(log, 400, memory + 400, 7);
    memset(memory + 400, (int)(0x80 + batch), 7);
}

/* As a task does it: the changes, the commit, the log is the next batch's. */
static _Noreturn void traced(struct undo_log *log, struct shared *shared)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(2);
    raise(SIGSTOP);
    for (uint64_t batch = 2; batch < 2 + BATCHES; batch++) {
        undo_begin(log, batch);
        run_batch(log, shared->memory, batch);
        atomic_signal_fence(memory_order_seq_cst);
        atomic_store_explicit(&shared->committed, batch, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst);
    }
    _exit(0);
}

/* On copies: the process goes on. */
static void check(const struct undo_log *log, const struct shared *shared, unsigned char (*wanted)[MEMORY_BYTES], uint64_t step)
{
    static _Alignas(64) unsigned char log_bytes[2 * LOG_BYTES + 4096], memory[MEMORY_BYTES];
    struct weir_error err = {0};
    uint64_t undone_bytes = 0;
    uint64_t committed = atomic_load(&shared->committed);
    cr_assert_leq(log->file_bytes, sizeof log_bytes);
    memcpy(log_bytes, log, log->file_bytes);
    memcpy(memory, shared->memory, MEMORY_BYTES);
    int code = undo_apply((struct undo_log *)(void *)log_bytes, memory, MEMORY_BYTES, committed, &undone_bytes, &err);
    cr_assert_eq(code, WEIR_OK, "behind instruction %llu, batch %llu: %s", (unsigned long long)step,
                 (unsigned long long)committed, err.text);
    cr_assert_arr_eq(memory, wanted[committed], MEMORY_BYTES, "behind instruction %llu: not the state of batch %llu",
                     (unsigned long long)step, (unsigned long long)committed);
}

static struct shared *make_shared(void)
{
    int fd;
    void *address;
    cr_assert_eq(region_create("test", SHM_PAGE_BYTES, true, &fd, NULL), WEIR_OK);
    cr_assert_eq(region_map(fd, 0, SHM_PAGE_BYTES, &address, NULL), WEIR_OK);
    close(fd);
    return address;
}

Test(undo_steps, behind_every_instruction_the_last_committed_batch_can_be_had_again)
{
    static unsigned char wanted[2 + BATCHES][MEMORY_BYTES];
    struct undo_log *log = NULL;
    struct shared *shared = make_shared();
    cr_assert_eq(undo_create("test", LOG_BYTES, &log, NULL), WEIR_OK);
    undo_begin(log, 1);
    run_batch(log, shared->memory, 1); /* what it has logged is void, and must stay so */
    atomic_store(&shared->committed, 1);
    memcpy(wanted[1], shared->memory, MEMORY_BYTES);
    for (uint64_t batch = 2; batch < 2 + BATCHES; batch++) {
        memcpy(wanted[batch], wanted[batch - 1], MEMORY_BYTES);
        run_batch(NULL, wanted[batch], batch);
    }
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        traced(log, shared);
    int status;
    uint64_t step = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        cr_skip_test("ptrace is not permitted here");
    for (; WIFSTOPPED(status) && step < STEPS_MAX; step++) {
        check(log, shared, wanted, step);
        cr_assert_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_geq(step, STEPS_MIN);
    cr_assert_eq(atomic_load(&shared->committed), 1 + BATCHES);
    undo_unmap(log);
    region_unmap(shared, SHM_PAGE_BYTES);
}
