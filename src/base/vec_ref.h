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

#endif
