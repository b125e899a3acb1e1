/* main.c - seeds, one after another: what each is like, whether it held, and its story where somebody wants to read it. */
#include "sim/sim.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct sim sim;

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t sim_random(void)
{
    uint64_t z = sim.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- the story ---- */

static void print_line(const char *text)
{
    const struct proc *proc = sim.current;
    fprintf(sim.trace_to, "%12.3f us %5d %-18s %s\n", (double)sim.now_ns / 1000, proc != NULL ? proc->pid : 0,
            proc != NULL ? proc->name : "", text);
}

void sim_note(const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (const char *at = text; *at != 0; at++)
        sim.hash = (sim.hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    sim.hash ^= (uint64_t)sim.now_ns;
    if (sim.trace_to != NULL)
        print_line(text);
}

void sim_print(const char *format, ...)
{
    char text[768];
    va_list args;
    if (sim.trace_to == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_line(text);
}

void sim_fail(const char *format, ...)
{
    va_list args;
    if (!sim.failed) {
        va_start(args, format);
        vsnprintf(sim.reason, sizeof sim.reason, format, args);
        va_end(args);
        sim.failed = true;
        sim_note("FAILED: %s", sim.reason);
    }
    while (sim.current != NULL)
        proc_yield(); /* for good */
}

/* ---- a seed ---- */

static void draw_profile(struct profile *profile)
{
    static const char *const takeovers[] = {"on", "on", "on", "on", "cold", "off"};
    static const char *const rollback_memories[] = {"256MiB", "256MiB", "256MiB", "64KiB", "0"};
    static const int64_t bursts[] = {60, 200, 600, 2000};
    *profile = (struct profile){
        .sources = 1 + (unsigned)sim_one_in(3),
        .counts = 1 + (unsigned)sim_below(2),
        .sinks = 1 + (unsigned)sim_one_in(4),
        .records = 60 + (uint32_t)sim_below(120),
        .keys = 1 + (uint32_t)sim_below(40),
        .fat = sim_one_in(4) ? SIM_FAT_BYTES_MAX >> sim_below(4) : 0,
        .fat_state = 1 + (sim_one_in(3) ? 2500 : 0),
        .no_chain = sim_one_in(2),
        .cpus = sim_one_in(5) ? 16 : 2,
        .takeover = takeovers[sim_below(6)],
        .rollback_memory = rollback_memories[sim_below(5)],
        .eager = sim_one_in(4),
        .retained = 1 + sim_below(3),
        .burst = bursts[sim_below(4)],
        .faults = (unsigned)sim_below(sim_one_in(4) ? 12 : 5),
        .point_faults = (unsigned)sim_below(sim_one_in(4) ? 12 : 5),
        .point_odds = 20 + (unsigned)sim_below(400),
        .power_cuts = sim_one_in(2),
        .launcher_kills = sim_one_in(2),
        .disk_errors = sim_one_in(5),
        .slow_disk = sim_one_in(4),
        .fork_errors = sim_one_in(8),
        .no_children_file = sim_one_in(16),
        .fault_gap_ns = (int64_t)(1 + sim_below(15)) * NS_PER_MS,
    };
    snprintf(profile->interval, sizeof profile->interval, "%ums", 2 + (unsigned)sim_below(12));
}

bool sim_run_seed(uint64_t seed, FILE *trace_to)
{
    sim = (struct sim){.seed = seed, .random = seed * UINT64_C(0xd1342543de82ef95) + 1, .trace_to = trace_to};
    sim.next_pid = 100;
    sim.now_ns = NS_PER_S;
    sim.hash = UINT64_C(0xcbf29ce484222325);
    sim.start_at_ns = sim.now_ns;
    memory_begin_seed();
    draw_profile(&sim.profile);
    proc_begin_seed();
    kernel_begin_seed();
    disk_begin_seed();
    job_begin_seed();
    judge_begin_seed();
    faults_begin_seed();
    proc_run_all();
    if (!sim.failed)
        judge_end();
    return !sim.failed;
}

/* The engine's code has gone astray, and took us with it: a failure like another. */
static void astray(int signal_number)
{
    char text[SIM_NAME_BYTES + 128];
    int size = snprintf(text, sizeof text, "FAILED seed %llu: signal %d in process %s; its story: sim --seed %llu --trace\n",
                        (unsigned long long)sim.seed, signal_number, sim.current != NULL ? sim.current->name : "none",
                        (unsigned long long)sim.seed);
    sim.current = NULL; /* from here on it is the real kernel that answers */
    if (size > 0 && write(STDOUT_FILENO, text, (size_t)size) < 0)
        _exit(2);
    _exit(1);
}

int __real_sigaction(int signal_number, const struct sigaction *action, struct sigaction *ret_old);

static void catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action = {.sa_handler = astray};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        __real_sigaction(signals[i], &action, NULL);
}

/* ---- many ---- */

struct arguments {
    uint64_t first, count;
    bool trace, twice, verbose, brief;
    unsigned jobs;
};

struct totals {
    uint64_t seeds, failed, faults[16], takeovers, rollbacks, completed, aborted, runs, runs_failed, accesses, switches;
};

static void add_seed(struct totals *totals)
{
    totals->seeds++;
    totals->failed += sim.failed;
    for (unsigned i = 0; i < 16; i++)
        totals->faults[i] += sim.counts_of_faults[i];
    totals->takeovers += sim.takeovers;
    totals->rollbacks += sim.rollbacks;
    totals->completed += sim.completed;
    totals->aborted += sim.aborted;
    totals->runs += (uint64_t)sim.run;
    totals->runs_failed += sim.runs_failed;
    totals->accesses += sim.accesses;
    totals->switches += sim.switches;
}

#define STORY_LINES 60

/* The end of the story of a seed that failed: it is played again. */
static void tell(uint64_t seed)
{
    char *text = NULL;
    size_t size = 0;
    FILE *story = open_memstream(&text, &size);
    if (story == NULL)
        return;
    sim_run_seed(seed, story);
    fclose(story);
    const char *from = text + size;
    for (unsigned lines = 0; from > text && (from[-1] != '\n' || lines++ < STORY_LINES);)
        from--;
    printf("%s\n--- all of it: sim --seed %llu --trace\n", from, (unsigned long long)seed);
    free(text);
}

static bool play(const struct arguments *arguments, uint64_t seed, struct totals *totals)
{
    bool held = sim_run_seed(seed, arguments->trace ? stdout : NULL);
    uint64_t hash = sim.hash;
    add_seed(totals);
    if (!held)
        printf("FAILED seed %llu: %s\n", (unsigned long long)seed, sim.reason);
    if (arguments->verbose)
        printf("seed %llu: %016llx %llu accesses %llu switches %d runs %.1f ms\n", (unsigned long long)seed, (unsigned long long)hash,
               (unsigned long long)sim.accesses, (unsigned long long)sim.switches, sim.run, (double)(sim.now_ns - NS_PER_S) / 1e6);
    if (!held && !arguments->trace && !arguments->brief)
        tell(seed);
    if (arguments->twice) {
        sim_run_seed(seed, arguments->trace ? stdout : NULL);
        if (sim.hash != hash) {
            printf("FAILED seed %llu: played twice, it is not the same: %016llx and %016llx\n", (unsigned long long)seed,
                   (unsigned long long)hash, (unsigned long long)sim.hash);
            held = false;
            totals->failed++;
        }
    }
    fflush(stdout);
    return held;
}

static void print_totals(const struct totals *totals, double cpu_s)
{
    double seeds = totals->seeds > 0 ? (double)totals->seeds : 1;
    printf("%llu seeds, %llu failed; %.1f ms of processor time each: %.0f a core-minute\n", (unsigned long long)totals->seeds,
           (unsigned long long)totals->failed, 1000 * cpu_s / seeds, 60 * seeds / (cpu_s > 0 ? cpu_s : 1));
    printf("checkpoints %llu, aborted %llu; takeovers %llu, rollbacks %llu; commands %llu, of which failed %llu; %.0f accesses and %.0f "
           "switches a seed\nfaults:",
           (unsigned long long)totals->completed, (unsigned long long)totals->aborted, (unsigned long long)totals->takeovers,
           (unsigned long long)totals->rollbacks, (unsigned long long)totals->runs, (unsigned long long)totals->runs_failed,
           (double)totals->accesses / seeds, (double)totals->switches / seeds);
    for (unsigned i = 0; faults_name(i) != NULL; i++)
        printf(" %s %llu;", faults_name(i), (unsigned long long)totals->faults[i]);
    printf("\n");
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Every jobs-th seed. The totals go to the parent. */
static int play_share(const struct arguments *arguments, unsigned share, int totals_fd)
{
    struct totals totals = {0};
    double begun_s = cpu_seconds();
    for (uint64_t i = share; i < arguments->count; i += arguments->jobs)
        if (!play(arguments, arguments->first + i, &totals) && arguments->brief)
            break;
    double cpu_s = cpu_seconds() - begun_s;
    if (totals_fd < 0) {
        print_totals(&totals, cpu_s);
        return totals.failed != 0;
    }
    if (write(totals_fd, &totals, sizeof totals) != (ssize_t)sizeof totals || write(totals_fd, &cpu_s, sizeof cpu_s) != (ssize_t)sizeof cpu_s)
        return 2;
    return totals.failed != 0;
}

static int collect(const int *fds, unsigned jobs)
{
    struct totals all = {0};
    double all_s = 0;
    int code = 0;
    for (unsigned i = 0; i < jobs; i++) {
        struct totals totals;
        double cpu_s;
        if (read(fds[i], &totals, sizeof totals) != (ssize_t)sizeof totals || read(fds[i], &cpu_s, sizeof cpu_s) != (ssize_t)sizeof cpu_s) {
            printf("FAILED: a share of the seeds died\n");
            code = 2;
            continue;
        }
        const uint64_t *from = (const uint64_t *)&totals;
        for (size_t j = 0; j < sizeof all / sizeof *from; j++)
            ((uint64_t *)&all)[j] += from[j];
        all_s += cpu_s;
    }
    print_totals(&all, all_s);
    return code != 0 ? code : all.failed != 0;
}

static int play_all(const struct arguments *arguments)
{
    if (arguments->jobs <= 1)
        return play_share(arguments, 0, -1);
    int fds[64];
    for (unsigned i = 0; i < arguments->jobs; i++) {
        int ends[2];
        if (pipe(ends) != 0)
            return 2;
        pid_t pid = fork();
        if (pid < 0)
            return 2;
        if (pid == 0)
            _exit(play_share(arguments, i, ends[1]));
        close(ends[1]);
        fds[i] = ends[0];
    }
    int code = collect(fds, arguments->jobs);
    for (unsigned i = 0; i < arguments->jobs; i++) {
        int status;
        if (waitpid(-1, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
            code = code != 0 ? code : 2;
    }
    return code;
}

static const char usage[] =
    "sim [--first SEED] [--count N] [--count-from VARIABLE] [--jobs N] [--twice] [--brief] [--verbose]\n"
    "sim --seed SEED [--trace]\n"
    "  --count-from  the environment variable that says how many seeds, where it is set\n"
    "  --twice       plays each seed twice and compares the two stories\n"
    "  --trace       prints the story\n"
    "  --brief       ends at the first seed that fails, without its story\n"
    "  --verbose     a line for each seed\n";

static bool parse_one(struct arguments *arguments, const char *name, const char *value)
{
    const char *text = strcmp(name, "--count-from") == 0 ? getenv(value) : value;
    uint64_t number = text != NULL ? strtoull(text, NULL, 0) : 0;
    if (strcmp(name, "--first") == 0)
        arguments->first = number;
    else if (strcmp(name, "--count") == 0)
        arguments->count = number;
    else if (strcmp(name, "--count-from") == 0)
        arguments->count = text != NULL ? number : arguments->count;
    else if (strcmp(name, "--jobs") == 0)
        arguments->jobs = (unsigned)number;
    else if (strcmp(name, "--seed") == 0)
        arguments->first = number, arguments->count = 1, arguments->jobs = 1;
    else
        return false;
    return true;
}

static bool parse(int argc, char **argv, struct arguments *arguments)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0)
            arguments->trace = true;
        else if (strcmp(argv[i], "--twice") == 0)
            arguments->twice = true;
        else if (strcmp(argv[i], "--brief") == 0)
            arguments->brief = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            arguments->verbose = true;
        else if (i + 1 == argc || !parse_one(arguments, argv[i], argv[i + 1]))
            return false;
        else
            i++;
    }
    return arguments->jobs >= 1 && arguments->jobs <= 64;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.first = 1, .count = 100, .jobs = 1};
    if (!parse(argc, argv, &arguments)) {
        fputs(usage, stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    return play_all(&arguments);
}
