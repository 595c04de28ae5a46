/* The specification of the vocabulary that accumulate_kernels.h is written in: base/vec_ref.h and
 * these. */
#include <math.h>

#include "base/vec_ref.h"
#include "gemm/accumulate.h"

/* -(a * b) + c, one rounding */
static inline vec vec_fnma(vec a, vec b, vec c)
{
    LANES
    a.lane[i] = fmaf(-a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

/* -max <= x <= max; NaN stays. */
static inline vec vec_clamp(vec x, float max)
{
    LANES
    x.lane[i] = x.lane[i] > max ? max : x.lane[i] < -max ? -max : x.lane[i];
    return x;
}

/* 2^floor(log2 |x|), and no less than the float whose bits are `least`. */
static inline vec vec_exponent(vec x, uint32_t least)
{
    LANES
    {
        const uint32_t e = nyb_bits_of(x.lane[i]) & 0x7f800000;
        x.lane[i] = nyb_float_of(e > least ? e : least);
    }
    return x;
}

/* The last `dropped` (>= 1) bits of the mantissa are rounded away, whatever the exponent. */
static inline vec vec_round_bits(vec x, uint32_t dropped, bool ties_away)
{
    LANES
    {
        const uint32_t b = nyb_bits_of(x.lane[i]), half = 1u << (dropped - 1);
        const uint32_t up = ties_away ? half : half - 1 + (b >> dropped & 1);
        x.lane[i] = nyb_float_of((b + up) & ~(2 * half - 1));
    }
    return x;
}

/* Lanes that are any 32 bits. */
static inline vec vec_load_bits(const uint32_t *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vec_store_bits(uint32_t *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline vec vec_xorshift(vec z)
{
    uint32_t bits[16];

    vec_store_bits(bits, z);
    LANES
    bits[i] = nyb_accum_next(bits[i]);
    return vec_load_bits(bits);
}

/* The last `dropped` bits of x's mantissa, plus the top ones of z under the mask `random`, carry
 * into the others, and go. */
static inline vec vec_carry(vec x, vec z, uint32_t dropped, uint32_t random)
{
    uint32_t bits[16], more[16];

    vec_store_bits(bits, x);
    vec_store_bits(more, z);
    LANES
    bits[i] = (bits[i] + (more[i] >> (32 - dropped) & random)) & ~((1u << dropped) - 1);
    return vec_load_bits(bits);
}

/* base with x's sign where |x| < base, else 0 */
static inline vec vec_base(vec x, float base)
{
    LANES
    x.lane[i] = fabsf(x.lane[i]) < base ? copysignf(base, x.lane[i]) : 0.0f;
    return x;
}

/* y, but x where that is NaN. */
static inline vec vec_but_nan(vec y, vec x)
{
    LANES
    y.lane[i] = isnan(x.lane[i]) ? x.lane[i] : y.lane[i];
    return y;
}

/* +0 where |x| < least. */
static inline vec vec_above(vec x, float least)
{
    LANES
    x.lane[i] = fabsf(x.lane[i]) < least ? 0.0f : x.lane[i];
    return x;
}

/* y, but where |x| < least: least with x's sign if |x| > least / 2, else +0. */
static inline vec vec_gap(vec y, vec x, float least)
{
    LANES
    {
        const float size = fabsf(x.lane[i]);
        if (size < least)
            y.lane[i] = size > least / 2 ? copysignf(least, x.lane[i]) : 0.0f;
    }
    return y;
}

#define ACCUM_RECORD nyb_accum_ref
#define ACCUM_NAME   "ref"
#define ACCUM_NEEDS  0
#define ACCUM_SUMS   1
#define ACCUM_VECS   1
extern const nyb_accum_kernel nyb_accum_ref;
#include "gemm/accumulate_kernels.h"
