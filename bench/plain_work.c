/*
 * plain_work.c - the work of work.c in one plain loop over the mapped file, to compare results with, and for what no engine can
 * beat on one core:
 *
 *     plain_work w0|w1|w2 FILE COPIES KEYS
 *
 * prints number of results, sum of prices, sum of counts, and the seconds that the loops took. The file is gone through COPIES
 * times, as where a job reads it under so many names. Auctions are below KEYS.
 */
#include "count.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct plain_state {
    uint64_t count;
    uint64_t price_max;
};

struct plain_sums {
    uint64_t count;
    uint64_t price_sum;
    uint64_t count_sum;
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pass_through(const struct bid *bids, size_t count, struct plain_sums *sums)
{
    for (size_t i = 0; i < count; i++)
        sums->price_sum += bids[i].price;
    sums->count += count;
}

static void pass_some(const struct bid *bids, size_t count, struct plain_sums *sums)
{
    for (size_t i = 0; i < count; i++) {
        if (bids[i].auction % 123 != 0)
            continue;
        sums->count++;
        sums->price_sum += bids[i].price;
    }
}

static void count_each(const struct bid *bids, size_t count, struct plain_state *states, struct plain_sums *sums)
{
    for (size_t i = 0; i < count; i++) {
        struct plain_state *state = &states[bids[i].auction];
        state->count++;
        if (bids[i].price > state->price_max)
            state->price_max = bids[i].price;
        sums->count_sum += state->count;
        sums->price_sum += state->price_max;
    }
    sums->count += count;
}

static const struct bid *map_bids(const char *path, size_t *ret_count)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *address = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        address = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (address == MAP_FAILED)
        return NULL;
    *ret_count = (size_t)st.st_size / sizeof(struct bid);
    return address;
}

static bool are_below(const struct bid *bids, size_t count, uint64_t keys)
{
    for (size_t i = 0; i < count; i++)
        if (bids[i].auction >= keys)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    static const char *const works[] = {"w0", "w1", "w2"};
    unsigned work = 0;
    while (argc == 5 && work < 3 && strcmp(argv[1], works[work]) != 0)
        work++;
    uint64_t copies = argc == 5 ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t keys = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
    if (copies == 0 || keys == 0 || work == 3) {
        fprintf(stderr, "usage: plain_work w0|w1|w2 FILE COPIES KEYS\n");
        return 2;
    }
    size_t count = 0;
    const struct bid *bids = map_bids(argv[2], &count);
    struct plain_state *states = calloc(keys, sizeof *states);
    if (bids == NULL || states == NULL) {
        perror(argv[2]);
        return 1;
    }
    if (!are_below(bids, count, keys)) {
        fprintf(stderr, "%s has auctions beyond %llu\n", argv[2], (unsigned long long)keys);
        return 1;
    }
    struct plain_sums sums = {0};
    double begun = seconds();
    for (uint64_t i = 0; i < copies; i++) {
        if (work == 0)
            pass_through(bids, count, &sums);
        else if (work == 1)
            pass_some(bids, count, &sums);
        else
            count_each(bids, count, states, &sums);
    }
    printf("%llu %llu %llu %.6f\n", (unsigned long long)sums.count, (unsigned long long)sums.price_sum,
           (unsigned long long)sums.count_sum, seconds() - begun);
    return 0;
}
