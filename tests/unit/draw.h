/* Random numbers of tests: the same in every run, from `seed` on. */
#ifndef DRAW_H
#define DRAW_H

#include <stddef.h>
#include <stdint.h>

static uint64_t seed;

static inline uint32_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* lo .. hi, both included. */
static inline size_t pick(size_t lo, size_t hi)
{
    return lo + draw() % (hi - lo + 1);
}

#endif
