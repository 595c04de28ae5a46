/* The reference of rounding to a grid: format/encode.c says what every value must be. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

/* Subnormals of f32 are zeros, NaN counts as zero (NUMERICS, binding resolutions 1 and 3), and
 * zeros are +0. */
static float normal_or_zero(float x)
{
    return fabsf(x) >= FLT_MIN ? x : 0;
}

static float round_one(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    if (f->grid == NYB_GRID_REAL)
        return t;
    return normal_or_zero(
        nyb_format_decode(f, nyb_format_encode(f, normal_or_zero(t), rounding, r23, true)));
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

static bool range(const float *x, size_t n, float *min, float *max)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        const float v = fabsf(x[i]) >= FLT_MIN ? x[i] : 0;

        if (!isfinite(x[i]))
            continue;
        *min = any && *min <= v ? *min : v;
        *max = any && *max >= v ? *max : v;
        any = true;
    }
    return any;
}

static void scale(const float *x, size_t n, float offset, float inv, float *t)
{
    for (size_t i = 0; i < n; i++)
        t[i] = (offset == 0 ? x[i] : isnan(x[i]) ? -offset : x[i] - offset) * inv;
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
    .range = range,
    .scale = scale,
    .unscale = unscale,
};
