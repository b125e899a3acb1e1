/*
 * gaps.c - the machine's own gaps, beside a latency: a process that does nothing but look at the clock. Events are due at it
 * every microsecond; each waits until the next look, which a machine that never took the processor away would make within some
 * 30 ns.
 *
 *     gaps SECONDS [CPU]
 *
 * prints the number of events, and p50, p99, p99.9, p99.99 and the longest of their waits in ns. With CPU it runs on that one
 * only. It ends early on SIGTERM.
 */
#include "histogram.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#define EVERY_NS 1000

int main(int argc, char **argv)
{
    static struct histogram waits;
    double seconds = argc >= 2 ? strtod(argv[1], NULL) : 0;
    if (seconds <= 0 || argc > 3) {
        fprintf(stderr, "usage: gaps SECONDS [CPU]\n");
        return 2;
    }
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (argc == 3)
        CPU_SET(strtoul(argv[2], NULL, 10), &cpus);
    if (argc == 3 && sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        perror("gaps: cannot bind to the CPU");
        return 1;
    }
    signal(SIGTERM, stop);
    int64_t begun_ns = monotonic_ns(), due_ns = begun_ns;
    while (stopped == 0) {
        int64_t now_ns = monotonic_ns();
        for (; due_ns <= now_ns; due_ns += EVERY_NS)
            histogram_add(&waits, (uint64_t)(now_ns - due_ns));
        if (now_ns - begun_ns > (int64_t)(seconds * 1e9))
            break;
    }
    histogram_print(&waits, stdout);
    return 0;
}
