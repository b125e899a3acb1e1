/*
 * replay.c - a main() for any fuzzer without libFuzzer: `fuzz_NAME_replay [--mutations N] [--seconds N] FILE_OR_DIRECTORY...` runs
 * each file, and N deterministic mutations of it (flips, truncations, overwrites), through LLVMFuzzerTestOneInput(); with --seconds
 * it goes on with random mutations, round after round, until the time is up, and prints the seed first (WEIR_TEST_SEED). It
 * ends by itself; a finding is a crash. Nothing guides it to new branches, as libFuzzer would.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* One to four changes; interesting values at random places. */
static size_t mutate(unsigned char *bytes, size_t size_bytes, uint64_t *random)
{
    static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff, 0x10};
    for (uint64_t changes = next_random(random) % 4 + 1; changes > 0 && size_bytes > 0; changes--) {
        size_t at = next_random(random) % size_bytes;
        switch (next_random(random) % 4) {
        case 0:
            bytes[at] ^= (unsigned char)(1u << next_random(random) % 8);
            break;
        case 1:
            bytes[at] = values[next_random(random) % sizeof values];
            break;
        case 2:
            memset(bytes + at, values[next_random(random) % sizeof values], size_bytes - at < 8 ? size_bytes - at : 8);
            break;
        default:
            if (next_random(random) % 8 == 0)
                size_bytes = at;
        }
    }
    return size_bytes;
}

#define ROUND 200 /* mutations of each file */

static struct {
    uint64_t seed; /* 0: the mutations follow from the file alone */
    unsigned long inputs;
} run;

static int run_file(const char *path, unsigned long mutations)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t capacity = 1 << 20;
    unsigned char *bytes = malloc(2 * capacity);
    if (bytes == NULL) {
        fclose(file);
        return 1;
    }
    size_t size_bytes = fread(bytes, 1, capacity, file);
    fclose(file);
    unsigned char *copy = bytes + capacity;
    uint64_t random = size_bytes + run.seed;
    LLVMFuzzerTestOneInput(bytes, size_bytes);
    for (unsigned long i = 0; i < mutations; i++) {
        memcpy(copy, bytes, size_bytes);
        LLVMFuzzerTestOneInput(copy, mutate(copy, size_bytes, &random));
    }
    free(bytes);
    run.inputs += 1 + mutations;
    if (run.seed == 0)
        printf("%s: %zu bytes, %lu mutations\n", path, size_bytes, mutations);
    return 0;
}

static int run_path(const char *path, unsigned long mutations)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return run_file(path, mutations);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        perror(path);
        return 1;
    }
    int failures = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char text[4096];
        snprintf(text, sizeof text, "%s/%s", path, entry->d_name);
        if (stat(text, &info) == 0 && S_ISREG(info.st_mode))
            failures += run_file(text, mutations);
    }
    closedir(directory);
    return failures;
}

static int run_paths(int argc, char **argv, unsigned long mutations, int *ret_paths)
{
    int failures = 0;
    *ret_paths = 0;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            i++;
        else {
            failures += run_path(argv[i], mutations);
            ++*ret_paths;
        }
    return failures;
}

static unsigned long option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoul(argv[i + 1], NULL, 10);
    return 0;
}

/* Rounds until the time is up: the clock is for how much is done, nothing is asserted of it. */
static int run_for(int argc, char **argv, unsigned long seconds)
{
    struct timespec begun, now;
    int failures = 0, paths;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    const char *given = getenv("WEIR_TEST_SEED");
    run.seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)begun.tv_nsec + 1;
    printf("seed: WEIR_TEST_SEED=%llu\n", (unsigned long long)run.seed);
    fflush(stdout);
    do {
        failures += run_paths(argc, argv, ROUND, &paths);
        run.seed += UINT64_C(1) << 32; /* each round's own */
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (failures == 0 && now.tv_sec - begun.tv_sec < (time_t)seconds);
    return failures;
}

int main(int argc, char **argv)
{
    int paths;
    int failures = run_paths(argc, argv, option(argc, argv, "--mutations"), &paths);
    if (paths == 0)
        fprintf(stderr, "usage: %s [--mutations N] [--seconds N] FILE_OR_DIRECTORY...\n", argv[0]);
    unsigned long seconds = option(argc, argv, "--seconds");
    if (paths > 0 && failures == 0 && seconds > 0)
        failures = run_for(argc, argv, seconds);
    printf("inputs: %lu\n", run.inputs);
    return failures > 0 || paths == 0;
}
