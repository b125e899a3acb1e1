/* test_doorbell.c - parking and waking, between threads and between processes. */
#include "base/clock.h"
#include "shm/doorbell.h"
#include "shm/region.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_NS INT64_C(30000000000)

TestSuite(doorbell, .timeout = 240);

struct shared {
    struct doorbell bell;
    struct doorbell answer;
    _Atomic uint64_t number;
    _Atomic uint64_t seen;
};

static struct shared *make_shared(void)
{
    void *address;
    int fd;
    cr_assert_eq(region_create("test", SHM_PAGE_BYTES, true, &fd, NULL), WEIR_OK);
    cr_assert_eq(region_map(fd, 0, SHM_PAGE_BYTES, &address, NULL), WEIR_OK);
    close(fd);
    return address;
}

Test(doorbell, a_wait_without_a_ring_ends_with_its_timeout)
{
    struct shared *shared = make_shared();
    doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
    cr_assert_not(doorbell_wait(&shared->bell, 1000000));
    cr_assert_eq(atomic_load(&shared->bell.state), (uint32_t)DOORBELL_AWAKE);
}

Test(doorbell, a_ring_between_prepare_and_wait_is_not_lost)
{
    struct shared *shared = make_shared();
    doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
    doorbell_ring(&shared->bell, -1);
    cr_assert(doorbell_wait(&shared->bell, LONG_NS));
}

Test(doorbell, a_ring_before_prepare_is_for_what_the_owner_looks_at_and_does_not_count)
{
    struct shared *shared = make_shared();
    doorbell_ring(&shared->bell, -1);
    doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
    cr_assert_not(doorbell_wait(&shared->bell, 1000000));
}

Test(doorbell, a_cancelled_owner_is_awake)
{
    struct shared *shared = make_shared();
    doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
    doorbell_cancel(&shared->bell);
    cr_assert_eq(atomic_load(&shared->bell.state), (uint32_t)DOORBELL_AWAKE);
    cr_assert(doorbell_wait(&shared->bell, LONG_NS), "and does not sleep");
}

Test(doorbell, a_polling_owner_is_rung_by_its_descriptor_once)
{
    struct shared *shared = make_shared();
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t rings = 0;
    doorbell_ring(&shared->bell, fd);
    cr_assert_lt(read(fd, &rings, sizeof rings), 0, "nothing is written while it is awake");
    doorbell_prepare(&shared->bell, DOORBELL_POLLING);
    doorbell_ring(&shared->bell, fd);
    doorbell_ring(&shared->bell, fd);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&wait, 1, 30000), 1);
    cr_assert_eq(read(fd, &rings, sizeof rings), (ssize_t)sizeof rings);
    cr_assert_eq(rings, 1u, "the second one found it awake");
    close(fd);
}

/* As doorbell_ring() leaves it where it is killed between its two steps. */
Test(doorbell, who_follows_a_ringer_that_died_between_its_two_steps_wakes_the_sleeper)
{
    struct shared *shared = make_shared();
    pid_t sleeper = fork();
    if (sleeper == 0) {
        doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
        atomic_store(&shared->number, 1);
        _exit(doorbell_wait(&shared->bell, INT64_MAX / 2) ? 0 : 1);
    }
    while (atomic_load(&shared->number) == 0)
        usleep(1000);
    usleep(100000); /* it sleeps by now, almost always; where it does not, it finds the bell rung */
    atomic_store(&shared->bell.state, DOORBELL_AWAKE);
    doorbell_ring(&shared->bell, -1);
    cr_assert_eq(waitpid(sleeper, NULL, WNOHANG), 0, "an ordinary ring takes it for awake");
    doorbell_ring_for_dead(&shared->bell, -1);
    int status;
    cr_assert_eq(waitpid(sleeper, &status, 0), sleeper); /* else the test hangs, and is stopped */
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t rings = 0;
    doorbell_prepare(&shared->bell, DOORBELL_POLLING);
    atomic_store(&shared->bell.state, DOORBELL_AWAKE);
    doorbell_ring_for_dead(&shared->bell, fd);
    cr_assert_eq(read(fd, &rings, sizeof rings), (ssize_t)sizeof rings, "and one that polls");
    close(fd);
}

/* Waits until *number reaches `wanted`. False at the deadline. */
static bool wait_for(struct doorbell *bell, _Atomic uint64_t *number, uint64_t wanted)
{
    while (atomic_load_explicit(number, memory_order_acquire) < wanted) {
        doorbell_prepare(bell, DOORBELL_SLEEPING);
        if (atomic_load_explicit(number, memory_order_acquire) >= wanted)
            doorbell_cancel(bell);
        else if (!doorbell_wait(bell, LONG_NS) && atomic_load(number) < wanted)
            return false; /* a lost wake-up, or a dead partner */
    }
    return true;
}

/* Answers each number by the same one. */
static bool answer(struct shared *shared, uint64_t rounds)
{
    for (uint64_t i = 1; i <= rounds; i++) {
        if (!wait_for(&shared->bell, &shared->number, i))
            return false;
        atomic_store_explicit(&shared->seen, i, memory_order_release);
        doorbell_ring(&shared->answer, -1);
    }
    return true;
}

/* As many rounds; where the machine is so busy that each takes long, as many as fit into some seconds, and the rest at once. */
static bool ask(struct shared *shared, uint64_t rounds)
{
    int64_t enough_ns = clock_monotonic_ns() + 20 * NS_PER_S;
    for (uint64_t i = 1; i <= rounds; i++) {
        if (clock_monotonic_ns() > enough_ns)
            i = rounds;
        atomic_store_explicit(&shared->number, i, memory_order_release);
        doorbell_ring(&shared->bell, -1);
        if (!wait_for(&shared->answer, &shared->seen, i))
            return false;
    }
    return true;
}

#define ROUNDS 20000

static void *answer_thread(void *arg) { return answer(arg, ROUNDS) ? arg : NULL; }

Test(doorbell, no_wake_up_is_lost_between_threads)
{
    struct shared *shared = make_shared();
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, answer_thread, shared), 0);
    cr_assert(ask(shared, ROUNDS));
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq(result, shared);
}

Test(doorbell, no_wake_up_is_lost_between_processes)
{
    struct shared *shared = make_shared();
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(answer(shared, ROUNDS) ? 0 : 1);
    bool asked = ask(shared, ROUNDS);
    if (!asked)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    cr_assert(asked);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(doorbell, a_signal_does_not_make_a_wait_count_as_rung)
{
    struct shared *shared = make_shared();
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_IGN);
        doorbell_prepare(&shared->bell, DOORBELL_SLEEPING);
        atomic_store(&shared->seen, 1);
        _exit(doorbell_wait(&shared->bell, 200000000) ? 1 : 0);
    }
    while (atomic_load(&shared->seen) == 0)
        sched_yield();
    kill(pid, SIGSTOP);
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
