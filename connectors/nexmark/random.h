/*
 * random.h - java.util.Random as its documentation defines it: a 48-bit linear congruential generator. Inline, because
 * an event draws up to some 300 numbers.
 */
#ifndef WEIR_CONNECTORS_NEXMARK_RANDOM_H
#define WEIR_CONNECTORS_NEXMARK_RANDOM_H

#include <stdint.h>

#define RANDOM_MULTIPLIER UINT64_C(0x5DEECE66D)
#define RANDOM_MASK ((UINT64_C(1) << 48) - 1)

/* The bits above the 48th are whatever the arithmetic left there: only what is drawn is masked. */
struct random {
    uint64_t state;
};

static inline struct random random_seed(uint64_t seed)
{
    return (struct random){.state = seed ^ RANDOM_MULTIPLIER};
}

/* The upper `bits` of the next state: 1 .. 32. */
static inline uint32_t random_bits(struct random *random, unsigned bits)
{
    random->state = random->state * RANDOM_MULTIPLIER + 0xB;
    return (uint32_t)((random->state & RANDOM_MASK) >> (48 - bits));
}

/* nextInt(bound), bound 1 .. 2^31 - 1. With a constant bound the division becomes a multiplication. */
static inline uint32_t random_below(struct random *random, uint32_t bound)
{
    uint32_t bits = random_bits(random, 31);
    if ((bound & (bound - 1)) == 0)
        return (uint32_t)(((uint64_t)bound * bits) >> 31);

    /* The last, incomplete multiple of bound below 2^31 would favour small numbers: draw again. */
    uint32_t value = bits % bound;
    while (__builtin_expect(bits - value + (bound - 1) > INT32_MAX, 0)) {
        bits = random_bits(random, 31);
        value = bits % bound;
    }
    return value;
}

/* nextDouble(): 0 <= x < 1, 53 bits. */
static inline double random_double(struct random *random)
{
    uint64_t high = random_bits(random, 26);
    uint64_t low = random_bits(random, 27);
    return (double)((high << 27) + low) * 0x1p-53;
}

#endif
