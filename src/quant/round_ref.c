/* The reference of rounding to a grid: this file says what every value must be. In double, where
 * every step below is exact; the SIMD variants work on f32 and on integer fields, and agree. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

/* Subnormals are zeros whatever MXCSR says, and NaN counts as zero (NUMERICS, binding resolutions
 * 1 and 3). */
static double magnitude(float t)
{
    return fabsf(t) >= FLT_MIN ? fabs((double)t) : 0;
}

static double least_of(double a, double b)
{
    return a < b ? a : b;
}

/* Where a magnitude lies: at `part` of the way from low to low + gap. */
typedef struct place {
    double low, gap, part;
    bool odd; /* the code of low is odd */
} place;

static bool goes_up(nyb_rounding rounding, bool ties_away, place p, uint32_t r23)
{
    if (nyb_rounding_draws(rounding))
        return r23 + (uint32_t)(p.part * 0x1p23) >= 1u << 23;
    return p.part > 0.5 || (p.part == 0.5 && (ties_away || p.odd));
}

/* Zeros are +0. */
static float with_sign(double y, float t)
{
    return (float)(signbit(t) && y != 0 ? -y : y);
}

/* ---- INT ------------------------------------------------------------------------------------ */

static float round_int(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    const double a = least_of(magnitude(t), signbit(t) ? -f->lo : f->hi);
    const int k = (int)a;
    const place p = {k, 1, a - k, k % 2 != 0};

    return with_sign(k + goes_up(rounding, false, p, r23), t);
}

/* ---- FLOAT ---------------------------------------------------------------------------------- */

/* 2^e in double, e of a normal number. */
static double power(int e)
{
    const uint64_t bits = (uint64_t)(e + 1023) << 52;
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Without subnormals code 1 (2^-bias (1 + 2^-man_bits); 2^(1-bias) if it has no mantissa) is next
 * to zero. */
static double least_normal(const nyb_float_grid *g)
{
    return g->man_bits > 0 ? power(-g->bias) * (1 + power(-g->man_bits)) : power(1 - g->bias);
}

/* a <= max, so that low + gap is on the grid, or part is 0. */
static place float_place(const nyb_float_grid *g, double a)
{
    const int lowest = g->subnormals ? 1 - g->bias : -g->bias;
    const double least = least_normal(g);
    int e = (int)(nyb_bits_of((float)a) >> 23) - 127;
    uint32_t k;

    if (a == 0 || (!g->subnormals && a < least))
        return (place){0, least, a / least, false};
    e = e > lowest ? e : lowest;
    a *= power(g->man_bits - e); /* in steps of the last place */
    k = (uint32_t)a;
    /* codes without a mantissa are exponents: 2^e has code e + bias, below 2^lowest is code 0 */
    return (place){k * power(e - g->man_bits), power(e - g->man_bits), a - k,
                   g->man_bits > 0 ? k % 2 != 0 : k > 0 && (e + g->bias) % 2 != 0};
}

/* DLFloat16's adder rounds as if 2^-bias were a number, and takes what becomes it to zero (NUMERICS
 * 3.3). */
static double float_away_with_gap(const nyb_float_grid *g, double a)
{
    const int e = (int)(nyb_bits_of((float)a) >> 23) - 127 - g->man_bits;
    const double y = (double)(uint32_t)(a * power(-e) + 0.5) * power(e); /* 0 for 0 */

    return y < least_normal(g) ? 0 : y;
}

static float round_float(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    const double a = least_of(magnitude(t), (double)f->max);

    if (f->fp.ties_away && !f->fp.subnormals && !nyb_rounding_draws(rounding))
        return with_sign(float_away_with_gap(&f->fp, a), t);

    const place p = float_place(&f->fp, a);

    return with_sign(p.low + (goes_up(rounding, f->fp.ties_away, p, r23) ? p.gap : 0), t);
}

/* ---- the variant ---------------------------------------------------------------------------- */

static float round_one(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    const nyb_spec spec = {.format = f, .rounding = rounding, .sr_bits = 32};

    switch (f->grid) {
    case NYB_GRID_REAL:
        return t;
    case NYB_GRID_INT:
        return round_int(f, rounding, t, r23);
    case NYB_GRID_LOG2:
    case NYB_GRID_TABLE:
        return nyb_format_decode(f, nyb_encode_one(&spec, 1.0f, t, r23));
    case NYB_GRID_FLOAT:
        return round_float(f, rounding, t, r23);
    }
    return 0;
}

static void round_all(const nyb_format *format, nyb_rounding rounding, const float *t,
                      const uint32_t *r23, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = round_one(format, rounding, t[i], nyb_rounding_draws(rounding) ? r23[i] : 0);
}

static void draw(const nyb_stream *stream, int sr_bits, uint64_t first, size_t n, uint32_t *r23)
{
    const unsigned per_block = sr_bits == 16 ? 8 : 4;
    uint32_t word[4] = {0};

    for (size_t i = 0; i < n; i++) {
        const unsigned at = (unsigned)((first + i) % per_block);

        if (i == 0 || at == 0)
            nyb_rng_block(stream, (first + i) / per_block, word);
        r23[i] = sr_bits == 16 ? (word[at / 2] >> (at % 2 * 16) & 0xffff) << 7 | 64 : word[at] >> 9;
    }
}

/* ---- scales --------------------------------------------------------------------------------- */

/* The larger of most and |x|, unless x counts as nothing. */
static float larger(float most, float x)
{
    const float a = fabsf(x);

    return a >= FLT_MIN && a <= FLT_MAX && a > most ? a : most;
}

static void block_stats(const float *x, size_t n_blocks, size_t length, size_t stride,
                        float *absmax)
{
    for (size_t i = 0; i < n_blocks; i++) {
        absmax[i] = 0;
        for (size_t j = 0; j < length; j++)
            absmax[i] = larger(absmax[i], x[i * stride + j]);
    }
}

static void column_absmax(const float *x, size_t rows, size_t cols, size_t ld, float *absmax)
{
    for (size_t j = 0; j < cols; j++) {
        absmax[j] = 0;
        for (size_t r = 0; r < rows; r++)
            absmax[j] = larger(absmax[j], x[r * ld + j]);
    }
}

static void scale(const float *x, size_t n, float inv, float *t)
{
    for (size_t i = 0; i < n; i++)
        t[i] = x[i] * inv;
}

static void unscale(const float *grid, size_t n, float group_scale, float level_scale, float offset,
                    float *values)
{
    for (size_t i = 0; i < n; i++) {
        const float v = grid[i] * group_scale * level_scale;

        values[i] = offset != 0 ? offset + v : v;
    }
}

const nyb_round_kernel nyb_round_ref = {
    .name = "ref",
    .needs = 0,
    .round = round_all,
    .draw = draw,
    .block_stats = block_stats,
    .column_absmax = column_absmax,
    .scale = scale,
    .unscale = unscale,
};
