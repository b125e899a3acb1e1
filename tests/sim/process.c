/*
 * process.c - simulated processes. All run on one stack, at the same addresses: who gives the processor away has its part of the stack
 * copied aside. So fork() is what it is elsewhere: the child goes on from the same place, with a stack of its own, and pointers
 * into it hold.
 */
#include "sim/sim.h"

#include "base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define STACK_BYTES (512u << 10)
#define SWITCHES_MAX 3000000u /* a seed that takes more does not end */

enum request { REQUEST_YIELD, REQUEST_FORK, REQUEST_EXIT };

static unsigned char *stack_base;
static void *scheduler_sp;
static struct proc *on_stack; /* whose bytes lie on the stack now */
static enum request request;
static int request_status;
static int request_parent;
static unsigned char *spare_stacks[SIM_PROCS_MAX];
static struct proc *spare_procs[SIM_PROCS_MAX];
static unsigned spare_stack_count, spare_proc_count;

/* Saves the registers that a call keeps, changes stacks, takes the other's. */
void sim_switch(void **save_sp, void *load_sp);
__asm__(".text\n.globl sim_switch\n.type sim_switch, @function\n"
        "sim_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n.size sim_switch, .-sim_switch\n");

bool proc_is(const struct proc *proc, const char *prefix) { return strncmp(proc->name, prefix, strlen(prefix)) == 0; }

struct proc *proc_find(int pid)
{
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (sim.procs[i]->pid == pid)
            return sim.procs[i];
    return NULL;
}

/* ---- making and ending ---- */

static struct proc *add_proc(int parent)
{
    if (sim.proc_count == SIM_PROCS_MAX)
        sim_fail("%d processes at once: nobody ends them", SIM_PROCS_MAX);
    if (sim.failed)
        return NULL;
    struct proc *proc = spare_proc_count > 0 ? spare_procs[--spare_proc_count] : malloc(sizeof *proc);
    *proc = (struct proc){.pid = sim.next_pid++, .parent = parent, .run = sim.run};
    sim.procs[sim.proc_count++] = proc;
    return proc;
}

static void drop_stack(struct proc *proc)
{
    if (on_stack == proc)
        on_stack = NULL;
    if (proc->stack != NULL && spare_stack_count < SIM_PROCS_MAX && proc->stack_capacity == 32768)
        spare_stacks[spare_stack_count++] = proc->stack;
    proc->stack = NULL;
    proc->stack_capacity = 0;
}

static void reserve_stack(struct proc *proc, size_t size)
{
    if (size <= proc->stack_capacity)
        return;
    drop_stack(proc);
    if (size <= 32768 && spare_stack_count > 0) {
        proc->stack = spare_stacks[--spare_stack_count];
        proc->stack_capacity = 32768;
        return;
    }
    proc->stack_capacity = size <= 32768 ? 32768 : STACK_BYTES;
    proc->stack = malloc(proc->stack_capacity);
}

static void begin_here(void)
{
    sim.current->main_fn();
    proc_exit(0);
}

struct proc *proc_start(void (*main_fn)(void), int parent)
{
    struct proc *proc = add_proc(parent);
    if (proc == NULL)
        return NULL;
    proc->main_fn = main_fn;
    /* The first frame: six registers, and begin_here() to return to, with the stack as after a call. */
    const size_t frame = 10 * sizeof(void *);
    void *image[10] = {0};
    void (*entry)(void) = begin_here;
    memcpy(&image[6], &entry, sizeof entry);
    reserve_stack(proc, frame);
    memcpy(proc->stack, image, sizeof image);
    proc->stack_bytes = sizeof image;
    proc->sp = stack_base + STACK_BYTES - sizeof image;
    return proc;
}

static void remove_proc(struct proc *proc)
{
    unsigned i = 0;
    while (i < sim.proc_count && sim.procs[i] != proc)
        i++;
    CHECK(i < sim.proc_count);
    sim.proc_count--;
    memmove(&sim.procs[i], &sim.procs[i + 1], (sim.proc_count - i) * sizeof sim.procs[0]); /* the order stays: it is part of the story */
    drop_stack(proc);
    if (spare_proc_count < SIM_PROCS_MAX)
        spare_procs[spare_proc_count++] = proc;
}

void proc_reaped(struct proc *proc)
{
    CHECK(proc->state == PROC_ZOMBIE);
    remove_proc(proc);
}

static void orphans_of(const struct proc *dead)
{
    for (unsigned i = 0; i < sim.proc_count; i++) {
        struct proc *proc = sim.procs[i];
        if (proc->parent != dead->pid)
            continue;
        proc->parent = 1;
        if (proc->state == PROC_ZOMBIE) {
            remove_proc(proc);
            i--;
        } else if (proc->dies_with_parent) {
            proc_kill(proc, SIGKILL);
            i = (unsigned)-1; /* the list has changed */
        }
    }
}

/* It never runs again. */
static void die(struct proc *proc, int status)
{
    sim_note("%d %s ends: %s %d", proc->pid, proc->name, WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    proc->state = PROC_ZOMBIE;
    proc->exit_status = status;
    static const uint64_t teardown_ns[] = {200, 2000, 60000, 60000, 3000000}; /* its memory is given back first */
    proc->reapable_ns = sim.now_ns + (int64_t)sim_below(teardown_ns[sim_below(5)]);
    drop_stack(proc);
    kernel_died(proc);
    disk_died(proc->pid);
    orphans_of(proc);
    if (proc->parent == 1)
        remove_proc(proc);
}

void proc_kill(struct proc *proc, int status)
{
    if (proc->state == PROC_ZOMBIE)
        return;
    if (proc == sim.current) { /* by itself */
        request = REQUEST_EXIT;
        request_status = status;
        sim_switch(&proc->sp, scheduler_sp);
    }
    die(proc, status);
}

_Noreturn void proc_exit(int status)
{
    request = REQUEST_EXIT;
    request_status = W_EXITCODE(status, 0);
    sim_switch(&sim.current->sp, scheduler_sp);
    abort();
}

void proc_drop_all(void)
{
    while (sim.proc_count > 0) {
        disk_died(sim.procs[sim.proc_count - 1]->pid);
        remove_proc(sim.procs[sim.proc_count - 1]);
    }
}

/* ---- giving the processor away ---- */

static void switch_away(void)
{
    int saved = errno;
    sim_switch(&sim.current->sp, scheduler_sp);
    errno = saved;
}

void proc_yield(void)
{
    if (sim.current == NULL) { /* the scheduler and the judge read the engine's memory, by its own functions */
        sim_budget = INT64_MAX;
        return;
    }
    request = REQUEST_YIELD;
    switch_away();
}

bool proc_block(enum wait_kind kind, const void *address, uint64_t fds, int64_t deadline_ns)
{
    struct proc *proc = sim.current;
    proc->state = PROC_BLOCKED;
    proc->wait = kind;
    proc->wait_address = address;
    proc->wait_fds = fds;
    proc->deadline_ns = deadline_ns;
    proc->woken = false;
    request = REQUEST_YIELD;
    switch_away();
    return proc->woken;
}

int proc_fork(int parent)
{
    request = REQUEST_FORK;
    request_parent = parent;
    sim.current->fork_result = 0;
    switch_away();
    return sim.current->fork_result;
}

/* ---- the scheduler ---- */

static void save_stack(struct proc *proc)
{
    proc->stack_bytes = (size_t)(stack_base + STACK_BYTES - (unsigned char *)proc->sp);
    reserve_stack(proc, proc->stack_bytes);
    memcpy(proc->stack, proc->sp, proc->stack_bytes);
}

static void finish_fork(struct proc *parent)
{
    if (on_stack == parent)
        save_stack(parent);
    struct proc *child = add_proc(request_parent);
    if (child == NULL)
        return;
    int pid = child->pid, run = child->run;
    *child = *parent;
    child->pid = pid;
    child->run = run;
    child->parent = request_parent;
    child->dies_with_parent = false;
    child->fork_result = 0;
    child->doomed_in = 0;
    child->stack = NULL;
    child->stack_capacity = 0;
    child->name[0] = 0;
    reserve_stack(child, parent->stack_bytes);
    memcpy(child->stack, parent->stack, parent->stack_bytes);
    parent->fork_result = pid;
    sim_note("%d %s forks %d", parent->pid, parent->name, pid);
}

static void run(struct proc *proc)
{
    if (on_stack != proc) {
        if (on_stack != NULL)
            save_stack(on_stack);
        memcpy(proc->sp, proc->stack, proc->stack_bytes);
        on_stack = proc;
    }
    int64_t burst = 1 + (int64_t)sim_below((uint64_t)(sim_one_in(4) ? 20 : 2 * sim.profile.burst));
    bool doomed = proc->doomed_in > 0;
    if (doomed && proc->doomed_in < burst)
        burst = proc->doomed_in;
    sim.current = proc;
    sim_budget = burst;
    request = REQUEST_YIELD;
    sim_switch(&scheduler_sp, proc->sp);
    int64_t used = burst - (sim_budget > 0 ? sim_budget : 0);
    sim_budget = INT64_MAX;
    sim.current = NULL;
    proc->ran_ns = sim.now_ns;
    sim.accesses += (uint64_t)used;
    sim.now_ns += 50 + 2 * used;
    sim.hash = (sim.hash ^ (uint64_t)proc->pid ^ (uint64_t)used << 20) * UINT64_C(0x100000001b3);
    if (request == REQUEST_EXIT) {
        die(proc, request_status);
        return;
    }
    if (request == REQUEST_FORK)
        finish_fork(proc);
    if (!doomed && proc->doomed_in > 0) /* since now: counted from where it is */
        return;
    if (doomed && (proc->doomed_in -= used) <= 0) {
        sim_note("%d %s: doomed", proc->pid, proc->name);
        proc->doomed_in = 0;
        sim.last_fault_ns = sim.now_ns;
        proc_kill(proc, SIGKILL);
    }
}

static bool is_ready(struct proc *proc)
{
    if (proc->state == PROC_ZOMBIE || proc->stopped_until_ns > sim.now_ns)
        return false;
    if (proc->state == PROC_RUNNABLE)
        return true;
    bool woken = proc->woken;
    if (proc->wait == WAIT_MUTEX)
        woken = kernel_mutex_is_free(proc->wait_address);
    else if (proc->wait == WAIT_FDS)
        woken = kernel_fds_ready(proc->wait_fds);
    if (!woken && proc->deadline_ns > sim.now_ns)
        return false;
    proc->woken = woken;
    proc->state = PROC_RUNNABLE;
    return true;
}

static struct proc *choose(void)
{
    struct proc *ready[SIM_PROCS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (is_ready(sim.procs[i]))
            ready[count++] = sim.procs[i];
    return count > 0 ? ready[sim_below(count)] : NULL;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* Nobody can run: to the next moment at which somebody may. */
static void advance_clock(void)
{
    int64_t next = earlier(sim.next_fault_ns, sim.start_at_ns);
    for (unsigned i = 0; i < sim.proc_count; i++) {
        const struct proc *proc = sim.procs[i];
        if (proc->state == PROC_ZOMBIE)
            next = earlier(next, proc->reapable_ns > sim.now_ns ? proc->reapable_ns : INT64_MAX);
        else if (proc->stopped_until_ns > sim.now_ns)
            next = earlier(next, proc->stopped_until_ns);
        else
            next = earlier(next, proc->deadline_ns);
    }
    if (next == INT64_MAX)
        sim_fail("nobody can run, and nobody waits for a time: all are asleep for ever");
    else if (next > sim.now_ns)
        sim.now_ns = next;
}

void proc_run_all(void)
{
    while (!sim.over && !sim.failed) {
        faults_tick();
        if (sim.over || sim.failed)
            break;
        if (sim.start_at_ns <= sim.now_ns) {
            sim.start_at_ns = INT64_MAX;
            sim.run++;
            struct proc *command = proc_start(job_command_main, 1);
            sim.launcher_pid = command != NULL ? command->pid : 0;
            if (command != NULL)
                sim_note("%d is the command, for the %d. time", command->pid, sim.run);
        }
        struct proc *proc = choose();
        if (proc == NULL) {
            advance_clock();
            continue;
        }
        run(proc);
        judge_shared();
        if (++sim.switches > SWITCHES_MAX)
            sim_fail("no end after %u switches", SWITCHES_MAX);
    }
}

void proc_begin_seed(void)
{
    if (stack_base == NULL) {
        stack_base = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(stack_base != MAP_FAILED);
    }
    sim.proc_count = 0;
    on_stack = NULL;
    spare_stack_count = spare_proc_count = 0; /* they were of the last seed's heap */
}
