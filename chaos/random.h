/* random.h - numbers that follow from a seed: splitmix64 (Steele, Lea and Flood, OOPSLA 2014). Plain data; no state elsewhere. */
#ifndef WEIR_CHAOS_RANDOM_H
#define WEIR_CHAOS_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *random)
{
    uint64_t z = (random->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* One stream for each number below a seed. */
static inline struct random random_of(uint64_t seed, uint64_t number)
{
    struct random random = {seed};
    random.state = random_next(&random) ^ (number * UINT64_C(0xd1342543de82ef95));
    return random;
}

/* 0 .. bound - 1; bound > 0. A bias of bound / 2^64 does not matter here. */
static inline uint64_t random_below(struct random *random, uint64_t bound) { return random_next(random) % bound; }

/* 0 < x <= 1 */
static inline double random_unit(struct random *random) { return (double)((random_next(random) >> 11) + 1) * 0x1p-53; }

#endif
