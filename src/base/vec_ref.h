/* Sixteen lanes of f32 in plain C: the specification of the vocabulary that kernels of one source
 * are written in. `n` lanes are in memory; the others read as +0 and are not written. */
#ifndef NYB_VEC_REF_H
#define NYB_VEC_REF_H

#include <math.h>

#include "base/base.h"

#define LANES for (int i = 0; i < 16; i++)

/* `all` is for the compiler's sake: operations on the whole compile in a third of the time that it
 * takes over sixteen floats each. */
typedef union vec {
    float lane[16];
    float all __attribute__((vector_size(64)));
} vec;

static inline vec vec_set(float x)
{
    vec v;
    LANES
    v.lane[i] = x;
    return v;
}

static inline vec vec_load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vec vec_load_n(const float *p, size_t n)
{
    vec v = {{0}};
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static inline void vec_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

static inline vec vec_add(vec a, vec b)
{
    a.all = a.all + b.all;
    return a;
}

static inline vec vec_sub(vec a, vec b)
{
    a.all = a.all - b.all;
    return a;
}

static inline vec vec_mul(vec a, vec b)
{
    a.all = a.all * b.all;
    return a;
}

/* a * b + c, one rounding */
static inline vec vec_fma(vec a, vec b, vec c)
{
    LANES
    a.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    vec v;
    LANES
    v.lane[i] = nyb_float_of((uint32_t)p[i] << 16);
    return v;
}

/* To bf16: up is added to the 16 bits that are dropped, and carries or not. NaN stays one. */
static inline float cut_bf16(float x, uint32_t up)
{
    const uint32_t bits = nyb_bits_of(x);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;

    return nyb_float_of((nan ? bits | 0x400000 : bits + up) & 0xffff0000);
}

/* To the nearest, ties to even. */
static inline float round_bf16(float x)
{
    return cut_bf16(x, 0x7fff + (nyb_bits_of(x) >> 16 & 1));
}

static inline vec vec_round_bf16(vec v)
{
    LANES
    v.lane[i] = round_bf16(v.lane[i]);
    return v;
}

/* By chance, lane i by draws[i]: 16 random bits for the 16 that are dropped, so that the mean over
 * all draws is the number itself, exactly. */
static inline vec vec_draw_bf16(vec v, const uint16_t *draws)
{
    LANES
    v.lane[i] = cut_bf16(v.lane[i], draws[i]);
    return v;
}

/* Lanes that are bf16 numbers */
static inline void vec_store_bf16(uint16_t *p, vec v)
{
    LANES
    p[i] = (uint16_t)(nyb_bits_of(v.lane[i]) >> 16);
}

#endif
