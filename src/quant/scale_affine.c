/* Affine scales from the least and the largest element: StatQuant's PTQ and PSQ. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

/* Chen et al., NeurIPS 2020 (NUMERICS 5.1, 5.2). Codes 0 .. B of an unsigned integer format stand
 * for offset + code * scale. Nothing may be clipped, or stochastic rounding is biased, and rounding
 * errors of f32 are enough for that: the scale grows by ulps until the extremes, as the encoder
 * computes them, lie in 0 .. B. */

/* By which StatQuant widens a range. */
#define MARGIN 1e-8f

static bool fits(const nyb_format *format)
{
    return format->grid == NYB_GRID_INT && !format->is_signed && format->lo == 0;
}

/* scale and its reciprocal. At least the smallest normal number; at most 2^126, whose reciprocal is
 * one, too. */
static void set_scale(nyb_group_scale *s, float scale)
{
    s->scale = scale < FLT_MIN ? FLT_MIN : scale < 0x1p126f ? scale : 0x1p126f;
    s->inv = 1.0f / s->scale;
}

/* What the encoder rounds. */
static float position(const nyb_group_scale *s, float x)
{
    return (x - s->offset) * s->inv;
}

/* The next larger scale, `step` ulps above; false after too many: half of all steps of align do,
 * and span needs three. Ranges beyond the largest f32 never do: what is left saturates. */
#define STEPS_MAX 64

static bool grow(nyb_group_scale *s, uint32_t step, int *n_steps)
{
    if (++*n_steps > STEPS_MAX)
        return false;
    set_scale(s, nyb_float_of(nyb_bits_of(s->scale) + step));
    return true;
}

/* Where max is the largest f32, or nearly, top * scale has been rounded up beyond it. */
static void shrink_to_finite(nyb_group_scale *s, float top)
{
    while (top * s->scale > FLT_MAX)
        set_scale(s, nyb_float_of(nyb_bits_of(s->scale) - 1));
}

/* Codes 0 .. top for min .. max. */
static void span(float min, float max, float top, nyb_group_scale *s)
{
    int n_steps = 0;

    s->offset = min;
    set_scale(s, (float)(((double)max - (double)min) / (double)top));
    while (position(s, max) > top && grow(s, 1, &n_steps))
        continue;
    if (min > -1.0f)
        shrink_to_finite(s, top);
}

/* The least scale >= `scale`, of 16 significant bits, with which code `zero` (8 bits) is 0: the
 * offset is exact, and so is the position of 0. max is not above top. */
static void align(float scale, float zero, float max, float top, nyb_group_scale *s)
{
    int n_steps = 0;

    set_scale(s, nyb_float_of((nyb_bits_of(scale) + 0xff) & ~0xffu));
    do {
        s->offset = -(zero * s->scale);
    } while ((position(s, 0.0f) != zero || position(s, max) > top) && grow(s, 0x100, &n_steps));
    if (zero == 0.0f)
        shrink_to_finite(s, top);
}

/* a / b, not below the real quotient; a, b > 0. */
static float divide_up(float a, float b)
{
    const float q = a / b;

    return (double)q * (double)b < (double)a ? nyb_float_of(nyb_bits_of(q) + 1) : q;
}

/* 0 lies on the grid, at code floor(-min * B / (max - min)); the range grows for that. The floor
 * is 0 if no element is negative, or all that are lie within one code; the published code then
 * divides by zero. Here zero is code 0, or, so as not to clip the negative ones, code 1. */
static void ptq_group(const nyb_format *format, const nyb_level *level,
                      const nyb_group_stats *stats, const float *params, int trial,
                      nyb_group_scale *scale)
{
    const float top = (float)format->hi;
    const float min = stats->min < 0.0f ? stats->min - MARGIN : 0.0f;
    const float max = stats->max > 0.0f ? stats->max + MARGIN : 0.0f;

    (void)level, (void)params, (void)trial;
    *scale = (nyb_group_scale){0};
    if (min == max)
        return;
    const double width = (double)max - (double)min;
    const float zero = (float)floor(-(double)min * (double)top / width);
    if (min == 0.0f)
        align(divide_up(max, top), 0.0f, max, top, scale);
    else if (zero == 0.0f)
        align(divide_up(max, top - 1.0f), 1.0f, max, top, scale);
    else
        align(divide_up(-min, zero), zero, max, top, scale);
}

static void psq_group(const nyb_format *format, const nyb_level *level,
                      const nyb_group_stats *stats, const float *params, int trial,
                      nyb_group_scale *scale)
{
    (void)level, (void)params, (void)trial;
    if (stats->min == stats->max)
        *scale = (nyb_group_scale){.offset = stats->min};
    else
        span(stats->min - MARGIN, stats->max + MARGIN, (float)format->hi, scale);
}

static bool ptq_groups(nyb_group group)
{
    return group == NYB_GROUP_TENSOR;
}

static bool psq_groups(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW || group == NYB_GROUP_CHANNEL;
}

const nyb_scale_rule nyb_scale_ptq = {
    .name = "ptq",
    .about = "from the least to the largest element of the tensor -+ 1e-8, with 0 on the grid",
    .source = "Chen et al., NeurIPS 2020 (StatQuant), PTQ (docs/numerics.md 5.1)",
    .fits = fits,
    .group = ptq_group,
    .range_only = true,
    .affine = true,
    .zeroed = true,
    .groups = ptq_groups,
};

const nyb_scale_rule nyb_scale_ptq_ref = {
    .name = "ptq_ref",
    .about = "from the least to the largest element -+ 1e-8; 0 is not on the grid",
    .source = "Chen et al., NeurIPS 2020 (StatQuant), PTQ of activations (docs/numerics.md 5.1)",
    .fits = fits,
    .group = psq_group,
    .range_only = true,
    .affine = true,
    .groups = ptq_groups,
};

const nyb_scale_rule nyb_scale_psq = {
    .name = "psq",
    .about = "from the least to the largest element of each sample -+ 1e-8",
    .source = "Chen et al., NeurIPS 2020 (StatQuant), PSQ (docs/numerics.md 5.2)",
    .fits = fits,
    .group = psq_group,
    .range_only = true,
    .affine = true,
    .groups = psq_groups,
};
