/* Sixteen lanes or fewer, in the vocabulary of vec_ref.h, which the including file has brought: n
 * is the constant 16 or what is left of a row. Inlined always, so that each caller's loop is
 * compiled for both. */
#ifndef NYB_VEC_LANES_H
#define NYB_VEC_LANES_H

#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE vec load(const float *p, size_t n)
{
    return n == 16 ? vec_load(p) : vec_load_n(p, n);
}

static ALWAYS_INLINE void store(float *p, vec v, size_t n)
{
    if (n == 16)
        vec_store(p, v);
    else
        vec_store_n(p, v, n);
}

static ALWAYS_INLINE vec load_half(const uint16_t *p, size_t n)
{
    uint16_t some[16] = {0};

    if (n == 16)
        return vec_load_bf16(p);
    memcpy(some, p, n * sizeof *some);
    return vec_load_bf16(some);
}

/* Lanes that are bf16 numbers. */
static ALWAYS_INLINE void store_half(uint16_t *p, vec v, size_t n)
{
    uint16_t some[16];

    vec_store_bf16(n == 16 ? p : some, v);
    if (n < 16)
        memcpy(p, some, n * sizeof *some);
}

#endif
