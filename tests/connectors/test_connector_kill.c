/*
 * A source and a file sink in one process that is SIGKILLed at random, hundreds of times, with checkpoints that persist
 * in a forked child: the finished part files, in order of their numbers, hold the input's lines once each and in order.
 *
 * The stand-in's "manifest" is memory shared with the test: two images of each instance, and the index of the complete
 * pair, switched by one store, as a rename would be.
 */
#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINES 40000u
#define KILLS 20u /* at least; where a busy machine gives the job more time between two of them, a longer one is killed */

struct manifest {
    _Atomic unsigned current; /* which of the two is complete */
    struct host_image source[2], sink[2];
    char failure[1024];
};

static struct manifest *manifest;

static void set_up(void)
{
    test_directory_make();
    manifest = mmap(NULL, sizeof(*manifest), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(manifest, MAP_FAILED);
}

static void tear_down(void)
{
    test_directory_remove();
    munmap(manifest, sizeof(*manifest));
}

TestSuite(connector_kill, .init = set_up, .fini = tear_down, .timeout = 1200);

static int hand_on(struct weir_ctx *ctx, void *sink, const void *data, size_t size_bytes)
{
    (void)ctx;
    return host_write(sink, data, size_bytes);
}

static void stop_unless(bool good, const struct weir_ctx *ctx, const char *what)
{
    if (good)
        return;
    snprintf(manifest->failure, sizeof(manifest->failure), "%s: %.900s", what, ctx->error.text);
    _exit(3);
}

static void take_checkpoint(struct weir_ctx *source, struct weir_ctx *sink, uint64_t *checkpoint, uint64_t *seed)
{
    unsigned next = 1 - atomic_load(&manifest->current);
    ++*checkpoint;
    stop_unless(host_cut(source, *checkpoint, &manifest->source[next]) == WEIR_OK, source, "position");
    stop_unless(host_cut(sink, *checkpoint, &manifest->sink[next]) == WEIR_OK, sink, "prepare");
    if (test_random(seed) % 4 == 0)
        return; /* this checkpoint fails */
    stop_unless(host_persist(sink, &manifest->sink[next]) == 0, sink, "persist");
    atomic_store(&manifest->current, next);
    stop_unless(host_commit(sink, &manifest->sink[next]) == WEIR_OK, sink, "commit");
    stop_unless(host_commit(source, &manifest->source[next]) == WEIR_OK, source, "on_committed");
}

/* One life of the job's only process. Exits with 0 when the input has ended and the last checkpoint is complete. */
static void live(struct weir_ctx *source, struct weir_ctx *sink, uint64_t generation)
{
    uint64_t seed = generation;
    unsigned current = atomic_load(&manifest->current);
    uint64_t checkpoint = manifest->source[current].checkpoint;
    source->generation = sink->generation = generation;
    strcpy(source->job_directory, test_path("job"));
    stop_unless(host_start(source, &manifest->source[current]) == WEIR_OK, source, "open");
    stop_unless(host_start(sink, &manifest->sink[current]) == WEIR_OK, sink, "open");
    source->on_emit = hand_on;
    source->on_emit_user = sink;
    for (;;) {
        int result = source->source->poll(source, (uint32_t)(1 + test_random(&seed) % 50));
        stop_unless(result >= 0, source, "poll");
        if (test_random(&seed) % 8 == 0 || result == WEIR_END)
            take_checkpoint(source, sink, &checkpoint, &seed);
        if (result == WEIR_END && manifest->source[atomic_load(&manifest->current)].checkpoint == checkpoint)
            _exit(0);
    }
}

/* Runs lives of the process until one ends by itself; returns how many were killed. */
static unsigned run_killed(const struct weir_source *source, const void *source_arg,
                           const struct weir_file_sink_options *options)
{
    uint64_t seed = 21;
    for (unsigned kills = 0;; kills++) {
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
            live(host_new_source(source, source_arg), host_new_sink(&weir_file_sink, options), kills + 1);
        /* Anything from before open() to a few checkpoints; later ones get longer and longer, so that it ends on any machine. */
        uint64_t longest_ns = kills < 300 ? 6000000 : UINT64_C(60000000) * (1 + (kills - 300) / 20);
        uint64_t pause_ns = test_random(&seed) % longest_ns;
        struct timespec pause = {.tv_sec = (time_t)(pause_ns / 1000000000), .tv_nsec = (long)(pause_ns % 1000000000)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            cr_assert_eq(WEXITSTATUS(status), 0, "%s", manifest->failure);
            return kills;
        }
    }
}

static size_t write_line(char *line, unsigned number)
{
    return (size_t)sprintf(line, "line %u%.*s\n", number, (int)(number % 60),
                           "............................................................");
}

/* All lines in order: the oracle. */
static char *all_lines(unsigned count, size_t *ret_size_bytes)
{
    char *text = malloc((size_t)count * 80);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++)
        at += write_line(text + at, i);
    *ret_size_bytes = at;
    return text;
}

static void expect_output(const char *expected, size_t size)
{
    size_t at = 0, got = 0;
    char name[64];
    char *part;
    for (unsigned number = 0;; number++, free(part)) {
        snprintf(name, sizeof(name), "out/part-0-%u", number);
        part = test_read(test_path(name), &got);
        if (part == NULL)
            break;
        cr_assert_leq(at + got, size, "%s: more than was put in", name);
        cr_assert_eq(memcmp(part, expected + at, got), 0, "%s differs", name);
        at += got;
    }
    cr_assert_eq(at, size, "something is missing");
    char *staged = test_names(test_path("out"), ".part");
    cr_assert_str_eq(staged, "", "nothing is left over");
    free(staged);
}

/* Returns the kills. */
typedef unsigned (*run)(const char *expected, size_t size);

static void run_until_killed_often(run run_one)
{
    unsigned kills = 0;
    for (unsigned count = LINES; kills <= KILLS; count *= 2) {
        size_t size;
        char *expected = all_lines(count, &size);
        cr_assert_leq(count, 64 * LINES, "%u kills", kills);
        tear_down();
        set_up();
        kills = run_one(expected, size);
        expect_output(expected, size);
        free(expected);
    }
}

static unsigned kill_readers_of_a_file(const char *expected, size_t size)
{
    test_write(test_path("in"), expected, size);
    const struct weir_file_source_options source = {.path = test_path("in")};
    const struct weir_file_sink_options sink = {.directory = test_path("out"), .roll_bytes = 3000};
    return run_killed(&weir_file_source, &source, &sink);
}

Test(connector_kill, lines_of_a_file_are_exactly_once_through_sigkill) { run_until_killed_often(kill_readers_of_a_file); }

/* Feeds standard input of the processes; itself it is never killed. */
static pid_t start_feeder(const char *text, size_t size)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t feeder = fork();
    if (feeder == 0) {
        uint64_t seed = 22;
        for (size_t at = 0; at < size;) {
            size_t piece = 1 + test_random(&seed) % 3000;
            ssize_t n = write(ends[1], text + at, piece < size - at ? piece : size - at);
            if (n < 0)
                _exit(1);
            at += (size_t)n;
        }
        _exit(0);
    }
    close(ends[1]);
    cr_assert_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    return feeder;
}

static unsigned kill_readers_of_a_pipe(const char *expected, size_t size)
{
    pid_t feeder = start_feeder(expected, size);
    const struct weir_line_source_options source = {
        .address = "-", .journal = true, .line_bytes_max = 200, .journal_bytes_max = 1 << 20};
    const struct weir_file_sink_options sink = {.directory = test_path("out"), .roll_bytes = 3000};
    unsigned kills = run_killed(&weir_line_source, &source, &sink);
    int status;
    cr_assert_eq(waitpid(feeder, &status, 0), feeder);
    return kills;
}

Test(connector_kill, journaled_lines_of_a_pipe_are_exactly_once_through_sigkill) { run_until_killed_often(kill_readers_of_a_pipe); }
