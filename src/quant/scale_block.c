/* Scales of groups from few statistics: block floating point, binary and ternary weights. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

#include "format/format.h"

/* ---- hbfp -------------------------------------------------------------------------------------
 */

/* Integers -hi .. hi with hi = 2^m - 1. */
static bool is_symmetric_int(const nyb_format *format)
{
    return format->grid == NYB_GRID_INT && format->is_signed && format->lo == -format->hi &&
           (format->hi & (format->hi + 1)) == 0;
}

static bool below_tensor(nyb_group group)
{
    return group != NYB_GROUP_TENSOR;
}

/* e = ceil(log2(absmax + 1e-8)), in f32; interval 2^(e-m); values up to 2^e - interval. */
static void hbfp_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    const float a = fminf(stats->absmax + 1e-8f, FLT_MAX);
    const uint32_t bits = nyb_bits_of(a);
    const float floor_power = nyb_float_of(bits & 0x7f800000);
    float interval = floor_power / (float)(format->hi + 1);

    (void)level;
    (void)params;
    (void)trial;
    if (bits & 0x7fffff)
        interval *= 2.0f;
    nyb_group_scale_set(scale, stats->absmax > 0.0f ? interval : 0.0f);
}

static void hbfp_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                        float scale[16], float inv[16])
{
    const float steps = (float)(format->hi + 1);

    (void)level;
    for (size_t i = 0; i < 16; i++) {
        const float a = absmax[i] + 1e-8f < FLT_MAX ? absmax[i] + 1e-8f : FLT_MAX;
        const float power = nyb_float_of(nyb_bits_of(a) & 0x7f800000) / steps;
        const float up = nyb_bits_of(a) & 0x7fffff ? 2.0f * power : power;
        const float s = up < 0x1p126f ? up : 0x1p126f;
        const bool any = absmax[i] > 0.0f && s >= FLT_MIN;

        scale[i] = any ? s : 0.0f;
        inv[i] = any ? 1.0f / s : 0.0f;
    }
}

const nyb_scale_rule nyb_scale_hbfp = {
    .name = "hbfp",
    .pow2 = true,
    .about = "block floating point: 2^ceil(log2 absmax) / 2^(bits-1); clips what lies in the last "
             "interval, so stochastic rounding is biased there",
    .source = "Accuracy Booster, arXiv:2211.10737 (docs/numerics.md 7.11)",
    .fits = is_symmetric_int,
    .group = hbfp_group,
    .blocks = hbfp_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- weights of one sign or three values (NUMERICS 6.8) ---------------------------------------
 */

static bool is_sign(const nyb_format *format)
{
    return format->grid != NYB_GRID_REAL && format->max == 1.0f && format->n_codes <= 4;
}

/* With a zero: ternary, int2. */
static bool is_ternary(const nyb_format *format)
{
    bool zero = false;

    if (!is_sign(format) || format->n_codes < 3)
        return false;
    for (unsigned c = 0; c < format->n_codes; c++)
        zero = zero || nyb_format_decode(format, c) == 0.0f;
    return zero;
}

static bool per_tensor_or_channel(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW || group == NYB_GROUP_CHANNEL;
}

static bool per_tensor_or_row(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW;
}

static float mean_abs_of(const nyb_group_stats *stats)
{
    return stats->n > 0 ? (float)(stats->sum_abs / (double)stats->n) : 0.0f;
}

static float mean_abs_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    const uint64_t n = moments->n - moments->n_nan - moments->n_inf;

    (void)format;
    (void)state;
    return n > 0 ? (float)(moments->sum_abs / (double)n) : 0.0f;
}

static void mean_abs_group(const nyb_format *format, const nyb_level *level,
                           const nyb_group_stats *stats, const float *params, int trial,
                           nyb_group_scale *scale)
{
    (void)level;
    (void)params;
    (void)trial;
    nyb_group_scale_set(scale, nyb_scale_of_clip(format, mean_abs_of(stats)));
}

const nyb_scale_rule nyb_scale_mean_abs = {
    .name = "mean_abs",
    .about = "E|x|: the best scale of signs (binary weights); clips, so stochastic rounding is "
             "biased",
    .source = "Rastegari et al., XNOR-Net, ECCV 2016 (docs/numerics.md 6.8)",
    .fits = is_sign,
    .choose = mean_abs_choose,
    .group = mean_abs_group,
    .groups = per_tensor_or_channel,
};

/* clip(rint(x / (gamma + 1e-5))), gamma = E|x|: what is divided by is not quite the scale. */
static void bitnet_group(const nyb_format *format, const nyb_level *level,
                         const nyb_group_stats *stats, const float *params, int trial,
                         nyb_group_scale *scale)
{
    mean_abs_group(format, level, stats, params, trial, scale);
    if (scale->scale > 0.0f)
        scale->inv = 1.0f / (scale->scale + 1e-5f);
}

const nyb_scale_rule nyb_scale_bitnet = {
    .name = "bitnet",
    .about = "E|x|, elements divided by E|x| + 1e-5: ternary weights of BitNet b1.58; clips, so "
             "stochastic rounding is biased",
    .source = "Ma et al., BitNet b1.58, arXiv:2402.17764 (docs/numerics.md 6.8)",
    .fits = is_ternary,
    .group = bitnet_group,
    .divides = true,
    .groups = per_tensor_or_channel,
};

/* The sum of the finite magnitudes above delta, and how many they are: element i in lane i % LANES,
 * lanes in order. */
#define LANES 16
static void sum_above(const float *x, size_t n, float delta, double *sum, double *count)
{
    const uint32_t least = nyb_bits_of(delta), most = nyb_bits_of(FLT_MAX);
    double lane[LANES] = {0};
    uint64_t n_above = 0;

    for (size_t i = 0; i < n; i += LANES) {
        uint32_t bits[LANES] = {0}, some = 0;
        float a[LANES];

        memcpy(bits, x + i, nyb_min(LANES, n - i) * sizeof *bits);
        for (size_t j = 0; j < LANES; j++) {
            const uint32_t m = bits[j] & 0x7fffffff, counts = m > least && m <= most;

            some += counts;
            bits[j] = m & (0 - counts);
        }
        memcpy(a, bits, sizeof a);
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)a[j];
        n_above += some;
    }
    for (size_t j = 0; j < LANES; j++)
        *sum += lane[j];
    *count = (double)n_above;
}

/* Magnitudes above delta = 0.7 E|x| become alpha, their mean; the others 0. Rounding to nearest
 * splits at 1/2, hence inv = 1 / (2 delta), up to whose rounding elements fall on their side. */
static void twn_search(const nyb_format *format, const nyb_round_kernel *kernel, const float *x,
                       size_t n, const nyb_group_stats *stats, nyb_group_scale *scale)
{
    const float delta = 0.7f * mean_abs_of(stats);
    double sum = 0.0, count = 0.0;

    (void)kernel;
    *scale = (nyb_group_scale){0};
    if (!(delta >= FLT_MIN))
        return;
    sum_above(x, n, delta, &sum, &count);
    if (count > 0.0)
        nyb_group_scale_set(scale, nyb_scale_of_clip(format, (float)(sum / count)));
    if (scale->scale > 0.0f)
        scale->inv = fminf(fmaxf(0.5f / delta, FLT_MIN), 0x1p126f);
}

const nyb_scale_rule nyb_scale_twn = {
    .name = "twn",
    .about = "ternary weights: the mean of the magnitudes above 0.7 E|x|; the others are 0; clips, "
             "so stochastic rounding is biased",
    .source = "Li et al., Ternary Weight Networks, arXiv:1605.04711 (docs/numerics.md 6.8)",
    .fits = is_ternary,
    .search = twn_search,
    .divides = true,
    .groups = per_tensor_or_row,
};
