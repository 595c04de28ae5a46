/* Sixteen lanes of f32 in plain C: the specification of the vocabulary that kernels of one source
 * are written in. `n` lanes are in memory; the others read as +0 and are not written. */
#ifndef NYB_VEC_REF_H
#define NYB_VEC_REF_H

#include "base/base.h"

#define LANES for (int i = 0; i < 16; i++)

typedef struct vec {
    float lane[16];
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
    LANES
    a.lane[i] = a.lane[i] + b.lane[i];
    return a;
}

static inline vec vec_sub(vec a, vec b)
{
    LANES
    a.lane[i] = a.lane[i] - b.lane[i];
    return a;
}

static inline vec vec_mul(vec a, vec b)
{
    LANES
    a.lane[i] = a.lane[i] * b.lane[i];
    return a;
}

#endif
