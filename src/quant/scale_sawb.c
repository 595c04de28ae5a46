/* SAWB: the clip of least squared error, from two moments and a table of constants. */
#include <math.h>

#include "quant/round.h"

/* clip = c1 sqrt(E x^2) - c2 E|x|, fitted so that the mean squared error of six standard densities
 * is least (Gauss, Laplace, logistic, uniform, triangle, von Mises): Choi et al., SysML 2019. Per
 * number of levels between -clip and clip, NUMERICS 1.6 and 6.2: `ibm` published with
 * fms-model-optimizer (keys 103, 403, 703, 803; 2, 3, 4, 5, 8), `fit` our own fits to the same
 * densities. A grid 0..hi takes the constants of its mirror image -hi..hi. */
typedef struct sawb_pair {
    double c1, c2; /* 0: there is none */
} sawb_pair;

typedef struct sawb_levels {
    int n;
    sawb_pair ibm, fit;
} sawb_levels;

/* Odd: zero is a level. */
static const sawb_levels sawb_aligned[] = {
    {3, {2.6, 1.71}, {2.532, 1.611}},        {7, {0, 0}, {6.943, 6.305}},
    {15, {12.035, 12.03}, {11.823, 11.859}}, {17, {0, 0}, {12.678, 12.848}},
    {31, {0, 0}, {16.925, 17.807}},          {63, {0, 0}, {22.173, 23.994}},
    {127, {28.24, 30.81}, {27.508, 30.319}}, {255, {31.76, 35.04}, {32.886, 36.716}},
    {511, {0, 0}, {38.113, 42.943}},         {0},
};

/* Even: the levels are the odd multiples of clip / (n - 1). */
static const sawb_levels sawb_between[] = {
    {4, {3.12, 2.064}, {3.114, 2.05}},      {8, {7.509, 6.892}, {7.366, 6.738}},
    {16, {12.68, 12.8}, {12.097, 12.165}},  {32, {17.74, 18.64}, {17.093, 18.001}},
    {64, {0, 0}, {22.274, 24.113}},         {128, {0, 0}, {27.57, 30.392}},
    {256, {31.76, 35.04}, {32.882, 36.71}}, {0},
};

/* LUQ takes the constants of 16 levels for -7..7 (NUMERICS 1.6). */
static const sawb_pair sawb_luq_int4 = {12.1, 12.2};

static const sawb_levels *sawb_find(const sawb_levels *table, int n)
{
    for (; table->n; table++)
        if (table->n == n)
            return table;
    return NULL;
}

/* The odd integers between -max and max. */
static bool sawb_is_odd(const nyb_format *format)
{
    const unsigned n = format->n_codes;

    return format->grid == NYB_GRID_TABLE && format->ascending && format->units &&
           format->units[0] == 1 - (int)n && format->units[n - 1] == (int)n - 1;
}

/* The constants of a format's levels; NULL: there are none. */
static const sawb_levels *sawb_of(const nyb_format *format)
{
    const bool mirrored = format->lo == 0, symmetric = format->lo == -format->hi;

    if (sawb_is_odd(format))
        return sawb_find(sawb_between, (int)format->n_codes);
    if (format->grid != NYB_GRID_INT || !(mirrored || symmetric))
        return NULL;
    return sawb_find(sawb_aligned, 2 * format->hi + 1);
}

static bool sawb_fits(const nyb_format *format)
{
    return sawb_of(format) != NULL;
}

static bool sawb_ibm_fits(const nyb_format *format)
{
    return sawb_of(format) && (sawb_of(format)->ibm.c1 > 0.0 || format->hi == 15);
}

/* Published constants where there are any, but for int4. */
static sawb_pair sawb_default(const nyb_format *format)
{
    const sawb_levels *levels = sawb_of(format);

    if (format->is_signed && levels->n == 15)
        return sawb_luq_int4;
    return format->is_signed && levels->ibm.c1 > 0.0 ? levels->ibm : levels->fit;
}

static float sawb_clip(sawb_pair pair, const nyb_moments *moments, uint64_t n)
{
    double rms, mean;
    float clip;

    if (n == 0)
        return 0.0f;
    rms = sqrt(moments->sum_sq / (double)n);
    mean = moments->sum_abs / (double)n;
    clip = (float)(pair.c1 * rms - pair.c2 * mean);
    return clip > 0.0f && clip < moments->absmax ? clip : moments->absmax;
}

static float sawb_clip_on(const nyb_format *format, sawb_pair pair, const nyb_moments *moments)
{
    /* Zeros of a rectified tensor say nothing of its tail (binding resolution 6). */
    return sawb_clip(pair, moments,
                     format->is_signed ? moments->n - moments->n_nan - moments->n_inf
                                       : moments->n_nonzero);
}

static float sawb_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    (void)state;
    return sawb_clip_on(format, sawb_default(format), moments);
}

/* Nothing is published for 31 levels: the pair of 32 (their key 5). */
static float sawb_ibm_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    const sawb_levels *levels = sawb_of(format);

    (void)state;
    if (levels->ibm.c1 == 0.0)
        levels = sawb_find(sawb_between, levels->n + 1);
    return sawb_clip_on(format, levels->ibm, moments);
}

static float sawb_fit_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    (void)state;
    return sawb_clip_on(format, sawb_of(format)->fit, moments);
}

static nyb_moments moments_of(const nyb_group_stats *stats)
{
    return (nyb_moments){.absmax = stats->absmax,
                         .sum_abs = stats->sum_abs,
                         .sum_sq = stats->sum_sq,
                         .n = stats->n,
                         .n_nonzero = stats->n_nonzero};
}

#define SAWB_GROUP(rule)                                                                           \
    static void rule##_group(const nyb_format *format, const nyb_level *level,                     \
                             const nyb_group_stats *stats, const float *params, int trial,         \
                             nyb_group_scale *scale)                                               \
    {                                                                                              \
        const nyb_moments moments = moments_of(stats);                                             \
                                                                                                   \
        (void)level;                                                                               \
        (void)params;                                                                              \
        (void)trial;                                                                               \
        nyb_group_scale_set(scale,                                                                 \
                            nyb_scale_of_clip(format, rule##_choose(format, &moments, NULL)));     \
    }

SAWB_GROUP(sawb)
SAWB_GROUP(sawb_ibm)
SAWB_GROUP(sawb_fit)

float nyb_scale_sawb_clip(const nyb_format *format, const nyb_group_stats *stats)
{
    const nyb_moments moments = moments_of(stats);

    return sawb_fits(format) ? sawb_choose(format, &moments, NULL) : stats->absmax;
}

/* Per output channel for weights. */
static bool sawb_groups(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW || group == NYB_GROUP_CHANNEL;
}

const nyb_scale_rule nyb_scale_sawb = {
    .name = "sawb",
    .about = "c1 sqrt(E x^2) - c2 E|x|, at most absmax: least squared error of common densities",
    .source = "Choi et al., SysML 2019; constants of docs/numerics.md 1.6",
    .fits = sawb_fits,
    .choose = sawb_choose,
    .group = sawb_group,
    .groups = sawb_groups,
};

const nyb_scale_rule nyb_scale_sawb_ibm = {
    .name = "sawb_ibm",
    .about = "sawb with the constants of IBM's code only",
    .source = "fms-model-optimizer, SAWB keys 2, 103, 403, 703, 803 (docs/numerics.md 6.2)",
    .fits = sawb_ibm_fits,
    .choose = sawb_ibm_choose,
    .group = sawb_ibm_group,
    .groups = sawb_groups,
};

const nyb_scale_rule nyb_scale_sawb_fit = {
    .name = "sawb_fit",
    .about = "sawb with constants fitted to exactly the grid's levels",
    .source = "docs/numerics.md 6.2: six densities, least squares",
    .fits = sawb_fits,
    .choose = sawb_fit_choose,
    .group = sawb_fit_group,
    .groups = sawb_groups,
};

/* Grids without a zero: the codes 0..2^b-1 with an offset of -clip, and steps of 2 clip / (2^b-1).
 */
static bool sawb_zeroless_fits(const nyb_format *format)
{
    return format->grid == NYB_GRID_INT && format->lo == 0 &&
           sawb_find(sawb_between, format->hi + 1);
}

static void sawb_zeroless_group(const nyb_format *format, const nyb_level *level,
                                const nyb_group_stats *stats, const float *params, int trial,
                                nyb_group_scale *scale)
{
    const sawb_levels *levels = sawb_find(sawb_between, format->hi + 1);
    const nyb_moments moments = moments_of(stats);
    const float clip =
        sawb_clip(levels->ibm.c1 > 0.0 ? levels->ibm : levels->fit, &moments, stats->n);

    (void)level;
    (void)params;
    (void)trial;
    nyb_group_scale_set(scale, nyb_scale_of_clip(format, 2.0f * clip));
    if (scale->scale > 0.0f)
        scale->offset = -clip;
}

const nyb_scale_rule nyb_scale_sawb_zeroless = {
    .name = "sawb_zeroless",
    .about = "sawb on -clip..clip in 2^bits levels, none of them zero; codes of unsigned formats",
    .source =
        "Choi et al., SysML 2019; fms-model-optimizer, keys 2, 3, 4, 5, 8 (docs/numerics.md 6.2)",
    .fits = sawb_zeroless_fits,
    .group = sawb_zeroless_group,
    .affine = true,
    .groups = sawb_groups,
};
