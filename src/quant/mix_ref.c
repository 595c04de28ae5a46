#include <float.h>
#include <math.h>

#include "quant/mix.h"

/* Sixteen lanes in plain C: the specification of the vocabulary that mix_kernels.h is written in.
 * `n` lanes are in memory; the others read as +0 and are not written. */
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

/* A butterfly stage between the lanes of one vector, len 1, 2, 4 or 8. */
static inline vec vec_stage(vec v, int len)
{
    vec y;
    LANES
    y.lane[i] = i & len ? v.lane[i ^ len] - v.lane[i] : v.lane[i] + v.lane[i ^ len];
    return y;
}

static inline vec vec_finite(vec v)
{
    LANES
    v.lane[i] = fabsf(v.lane[i]) <= FLT_MAX ? v.lane[i] : 0.0f;
    return v;
}

/* Lanes of x that are not finite leave least as it is. */
static inline vec vec_min_finite(vec least, vec x)
{
    LANES
    if (fabsf(x.lane[i]) <= FLT_MAX && x.lane[i] < least.lane[i])
        least.lane[i] = x.lane[i];
    return least;
}

static inline vec vec_max_finite(vec most, vec x)
{
    LANES
    if (fabsf(x.lane[i]) <= FLT_MAX && x.lane[i] > most.lane[i])
        most.lane[i] = x.lane[i];
    return most;
}

#define MIX_RECORD nyb_mix_ref
#define MIX_NAME   "ref"
#define MIX_NEEDS  0
#include "quant/mix_kernels.h"
