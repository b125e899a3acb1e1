/* What the machine itself can do, for the other figures to be held against. A program of its own: it shares no code with Weir.
 *   limits memcpy BYTES     GB/s copied by memcpy from one buffer to another, BYTES each, both warm
 *   limits fill BYTES       GB/s written by memset
 *   limits trip LINES       ns, p50 of blocks of round trips of a number between two pinned processes: 1 cache line that both write, or 2, one each
 *   limits wake WAY         us, p50 of a round trip in which both sides sleep in futex(): WAY is `apart` (two processors) or `together` (one)
 *   limits gaps SECONDS     a spinning thread that looks at the clock: how long one who comes at a random moment waits for it, us at p50, p99, p99.9
 *                           and p99.99; the longest time in which it did not look; percent of the time lost in gaps of over 10 us
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, BLOCK = 100, BLOCKS = 4000, WAKES = 5000, LOOP_NS = 1000, LOST_NS = 10000 };

struct shared {
    _Alignas(LINE) _Atomic uint32_t there;
    _Alignas(LINE) _Atomic uint32_t back; /* with one line: not used */
};

static void fail(const char *what)
{
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000U + (uint64_t)at.tv_nsec;
}

/* Pins the calling process to the number-th of the processors that it may use. */
static void pin(size_t number)
{
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        fail("sched_getaffinity");
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || number-- != 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0)
            fail("sched_setaffinity");
        return;
    }
    fprintf(stderr, "limits: this needs two processors\n");
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double median(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    size_t middle = count / 2;
    return (double)values[middle];
}

static void *memory(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    memset(at, 1, bytes);
    return at;
}

static int bandwidth(size_t bytes, int copies)
{
    char *from = memory(bytes), *to = memory(bytes);
    uint64_t moved = 0, begun = now_ns(), spent = 0;
    for (int round = 0; spent < 500000000U; round++) {
        if (copies)
            memcpy(to, from, bytes);
        else
            memset(to, round, bytes);
        __asm__ volatile("" : : "r"(to) : "memory");
        moved += bytes;
        spent = now_ns() - begun;
    }
    printf("%.3f\n", (double)moved / (double)spent);
    return 0;
}

/* The other side has ended: where it failed, this one would spin for ever. */
static void on_child_end(int number)
{
    (void)number;
    int status = 0;
    if (waitpid(-1, &status, WNOHANG) > 0 && status != 0)
        _exit(1);
}

static struct shared *shared_memory(void)
{
    void *at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

/* The other side as a process of its own, which dies with this one. */
static void other_side(void (*run)(struct shared *, int), struct shared *shared, int argument)
{
    struct sigaction on_end = {.sa_handler = on_child_end, .sa_flags = SA_RESTART};
    if (sigaction(SIGCHLD, &on_end, NULL) != 0)
        fail("sigaction");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(shared, argument);
        _exit(0);
    }
}

static void answer(struct shared *shared, int lines)
{
    pin(1);
    _Atomic uint32_t *back = lines == 1 ? &shared->there : &shared->back;
    for (uint32_t next = 1; next < 2U * BLOCK * BLOCKS; next += 2) {
        while (atomic_load_explicit(&shared->there, memory_order_acquire) != next)
            ;
        atomic_store_explicit(back, next + 1, memory_order_release);
    }
}

static int trip(int lines)
{
    static uint64_t blocks[BLOCKS];
    struct shared *shared = shared_memory();
    _Atomic uint32_t *back = lines == 1 ? &shared->there : &shared->back;
    other_side(answer, shared, lines);
    pin(0);
    uint32_t next = 1;
    for (int block = 0; block < BLOCKS; block++) {
        uint64_t begun = now_ns();
        for (int i = 0; i < BLOCK; i++, next += 2) {
            atomic_store_explicit(&shared->there, next, memory_order_release);
            while (atomic_load_explicit(back, memory_order_acquire) != next + 1)
                ;
        }
        blocks[block] = now_ns() - begun;
    }
    printf("%.1f\n", median(blocks, BLOCKS) / BLOCK);
    return 0;
}

static void sleep_until(_Atomic uint32_t *word, uint32_t wanted)
{
    for (;;) {
        uint32_t seen = atomic_load_explicit(word, memory_order_acquire);
        if (seen == wanted)
            return;
        if (syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0) != 0 && errno != EAGAIN && errno != EINTR)
            fail("futex");
    }
}

static void set_and_wake(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    if (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
        fail("futex");
}

static void answer_asleep(struct shared *shared, int processor)
{
    pin((size_t)processor);
    for (uint32_t next = 1; next <= WAKES; next++) {
        sleep_until(&shared->there, next);
        set_and_wake(&shared->back, next);
    }
}

static int wake(const char *way)
{
    static uint64_t trips[WAKES];
    struct shared *shared = shared_memory();
    other_side(answer_asleep, shared, strcmp(way, "apart") == 0);
    pin(0);
    for (uint32_t next = 1; next <= WAKES; next++) {
        uint64_t begun = now_ns();
        set_and_wake(&shared->there, next);
        sleep_until(&shared->back, next);
        trips[next - 1] = now_ns() - begun;
    }
    printf("%.2f\n", median(trips, WAKES) / 1000);
    return 0;
}

/* The wait w that a share of all moments exceeds: one who comes at a random moment of a gap g waits longer than w with probability (g - w) / g, so
 * that of all the time the sum of (g - w), over the gaps above w, does. Gaps in order, shortest first. */
static double wait_exceeded_by(const uint64_t *gaps, size_t count, double exceeding_ns)
{
    double sum = 0;
    for (size_t longest = 1; longest <= count; longest++) {
        sum += (double)gaps[count - longest];
        double wait = (sum - exceeding_ns) / (double)longest;
        if (longest == count || wait >= (double)gaps[count - longest - 1])
            return wait > 0 ? wait : 0;
    }
    return 0;
}

static int gaps(double seconds)
{
    enum { MOST = 1 << 22 };
    uint64_t *list = memory(MOST * sizeof *list);
    uint64_t begun = now_ns(), last = begun, end = begun + (uint64_t)(seconds * 1e9), lost = 0;
    size_t count = 0;
    while (last < end) {
        uint64_t at = now_ns(), gap = at - last;
        if (gap >= LOOP_NS && count < MOST)
            list[count++] = gap;
        lost += gap > LOST_NS ? gap : 0;
        last = at;
    }
    double total = (double)(last - begun), shares[] = {0.5, 0.99, 0.999, 0.9999};
    qsort(list, count, sizeof *list, by_size);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        printf("%.2f ", wait_exceeded_by(list, count, (1 - shares[i]) * total) / 1000);
    printf("%.2f %.4f\n", count > 0 ? (double)list[count - 1] / 1000 : 0.0, 100 * (double)lost / total);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && (strcmp(argv[1], "memcpy") == 0 || strcmp(argv[1], "fill") == 0))
        return bandwidth(strtoull(argv[2], NULL, 10), argv[1][0] == 'm');
    if (argc == 3 && strcmp(argv[1], "trip") == 0)
        return trip(atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "wake") == 0)
        return wake(argv[2]);
    if (argc == 3 && strcmp(argv[1], "gaps") == 0)
        return gaps(atof(argv[2]));
    fprintf(stderr, "usage: limits memcpy BYTES | fill BYTES | trip LINES | wake apart|together | gaps SECONDS\n");
    return 2;
}
