#include <math.h>

#include "op/elem.h"

/* Sixteen lanes in plain C: the specification of the vocabulary that elem_kernels.h is written in.
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

/* a * b + c, one rounding */
static inline vec vec_fma(vec a, vec b, vec c)
{
    LANES
    a.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

/* Bit i: !(lane i <= 0) */
static inline unsigned vec_above_zero(vec v)
{
    unsigned bits = 0;
    LANES
    bits |= (unsigned)!(v.lane[i] <= 0) << i;
    return bits;
}

/* Lanes whose bit is set; the others +0 */
static inline vec vec_keep(vec v, unsigned bits)
{
    LANES
    v.lane[i] = bits >> i & 1 ? v.lane[i] : 0;
    return v;
}

#define ELEM_RECORD nyb_elem_ref
#define ELEM_NAME   "ref"
#define ELEM_NEEDS  0
#include "op/elem_kernels.h"
