/* The numbers that golden files are made from; make_resnet14.py states the formula. */
#ifndef FORMULA_H
#define FORMULA_H

#include <stdint.h>

static inline uint32_t formula_bits(uint32_t t, uint32_t i)
{
    uint32_t x = i + t * 0x9e3779b9u;

    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Element i of tensor t: 24 bits in [-1, 1). */
static inline float formula_wide(uint32_t t, uint32_t i)
{
    return (float)((int32_t)(formula_bits(t, i) >> 8) - (1 << 23)) * 0x1p-23f;
}

/* 12 bits in [-1, 1). */
static inline float formula_narrow(uint32_t t, uint32_t i)
{
    return (float)((int32_t)(formula_bits(t, i) >> 20) - 2048) * 0x1p-11f;
}

#endif
