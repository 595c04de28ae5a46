/* Block scales that are powers of two: the rules of the OCP MX formats (E8M0 scales). */
#include "quant/round.h"

#include <float.h>
#include <math.h>

#include "format/format.h"

/* scale = 2^e, from the exponent of absmax and that of the format's largest value, 2^emax (1 + ..):
 * e2m1 2, e3m2 4, e2m3 2, e4m3fn 8, e5m2 15 (NUMERICS 7.1; OCP MX v1.0, 6.3). int8 stands for
 * MXINT8, whose step 2^-6 is part of the scale here. The rules differ only in how absmax is rounded
 * to a power of two. */

static int floor_log2(float x)
{
    return (int)(nyb_bits_of(x) >> 23 & 0xff) - 127;
}

static uint32_t mantissa(float x)
{
    return nyb_bits_of(x) & 0x7fffff;
}

/* E8M0 reaches from 2^-127 to 2^127: here 2^-127 and below are zeros (binding resolution 1), and it
 * stops where the largest magnitude or the scale's reciprocal would leave the normal numbers. */
static int most_power(const nyb_format *format)
{
    const int top = floor_log2(nyb_format_largest(format));

    return top > 1 ? 127 - top : 126;
}

/* The scale of a block whose absmax was rounded to 2^e. */
static void set_power(const nyb_format *format, float absmax, int e, nyb_group_scale *scale)
{
    const int emax = floor_log2(format->max), most = most_power(format);

    e = e - emax < most ? e - emax : most;
    nyb_group_scale_set(
        scale, e < -126 || !(absmax > 0.0f) ? 0.0f : nyb_float_of((uint32_t)(e + 127) << 23));
}

/* The same for 16 blocks, the exponent being that of bits + bump. nyb_group_scale_set changes none
 * of these powers: they are normal, 2^126 at most, and their reciprocals exact. */
static void set_powers(const nyb_format *format, const float absmax[16], uint32_t bump,
                       float scale[16], float inv[16])
{
    const int emax = floor_log2(format->max), most = most_power(format) + 127;
    int e[16];

    for (size_t i = 0; i < 16; i++)
        e[i] = (int)((nyb_bits_of(absmax[i]) + bump) >> 23) - emax;
    for (size_t i = 0; i < 16; i++) {
        const int low = e[i] < most ? e[i] : most;
        const uint32_t keep = -(uint32_t)(low >= 1 && absmax[i] > 0.0f);

        scale[i] = nyb_float_of((uint32_t)low << 23 & keep);
        inv[i] = nyb_float_of((uint32_t)(254 - low) << 23 & keep);
    }
}

static bool is_element(const nyb_format *format)
{
    return format->grid != NYB_GRID_REAL && format->bits <= 8 && format->max < 0x1p64f;
}

static bool below_tensor(nyb_group group)
{
    return group != NYB_GROUP_TENSOR;
}

/* ---- floor: the specification's ---------------------------------------------------------------
 */

static void floor_group(const nyb_format *format, const nyb_level *level,
                        const nyb_group_stats *stats, const float *params, int trial,
                        nyb_group_scale *scale)
{
    (void)level;
    (void)params;
    (void)trial;
    set_power(format, stats->absmax, floor_log2(stats->absmax), scale);
}

static void floor_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                         float scale[16], float inv[16])
{
    (void)level;
    set_powers(format, absmax, 0, scale, inv);
}

const nyb_scale_rule nyb_scale_e8m0 = {
    .name = "e8m0",
    .pow2 = true,
    .about = "2^(floor(log2 absmax) - emax); clips the top of a binade, so stochastic rounding is "
             "biased there",
    .source = "OCP Microscaling Formats v1.0, 6.3 (docs/numerics.md 7.1: FLOOR)",
    .fits = is_element,
    .group = floor_group,
    .blocks = floor_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- ceil -------------------------------------------------------------------------------------
 */

static void ceil_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    const int e = floor_log2(stats->absmax) + (mantissa(stats->absmax) != 0);

    (void)level;
    (void)params;
    (void)trial;
    set_power(format, stats->absmax, e, scale);
}

static void ceil_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                        float scale[16], float inv[16])
{
    (void)level;
    set_powers(format, absmax, 0x7fffff, scale, inv);
}

const nyb_scale_rule nyb_scale_e8m0_ceil = {
    .name = "e8m0_ceil",
    .pow2 = true,
    .about = "2^(ceil(log2 absmax) - emax): nothing is clipped, an octave is lost to most blocks",
    .source = "torchao's ScaleCalculationMode.CEIL (docs/numerics.md 7.1)",
    .fits = is_element,
    .group = ceil_group,
    .blocks = ceil_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- even -------------------------------------------------------------------------------------
 */

/* Bits of the mantissa of the format's largest values: max = 2^emax (2 - 2^-bits), but where the
 * top code is a NaN the format must say. */
static int mantissa_bits(const nyb_format *format)
{
    const uint32_t m = mantissa(format->max);
    int bits = 0;

    if (format->grid == NYB_GRID_FLOAT)
        return format->fp.man_bits;
    while (bits < 22 && (m >> (22 - bits) & 1))
        bits++;
    return bits;
}

static void even_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    /* half of the last mantissa bit is added, the carry goes to the exponent */
    const uint32_t half = 1u << (22 - mantissa_bits(format));
    const int e = (int)((nyb_bits_of(stats->absmax) + half) >> 23) - 127;

    (void)level;
    (void)params;
    (void)trial;
    set_power(format, stats->absmax, e, scale);
}

static void even_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                        float scale[16], float inv[16])
{
    (void)level;
    set_powers(format, absmax, 1u << (22 - mantissa_bits(format)), scale, inv);
}

const nyb_scale_rule nyb_scale_e8m0_even = {
    .name = "e8m0_even",
    .pow2 = true,
    .about = "floor of absmax rounded to the format's mantissa; clips a little, so stochastic "
             "rounding is biased there",
    .source = "torchao's ScaleCalculationMode.EVEN (docs/numerics.md 7.1)",
    .fits = is_element,
    .group = even_group,
    .blocks = even_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- rceil ------------------------------------------------------------------------------------
 */

static void rceil_group(const nyb_format *format, const nyb_level *level,
                        const nyb_group_stats *stats, const float *params, int trial,
                        nyb_group_scale *scale)
{
    const int e = floor_log2(stats->absmax) + (mantissa(stats->absmax) > mantissa(format->max));

    (void)level;
    (void)params;
    (void)trial;
    set_power(format, stats->absmax, e, scale);
}

static void rceil_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                         float scale[16], float inv[16])
{
    (void)level;
    set_powers(format, absmax, 0x7fffff - mantissa(format->max), scale, inv);
}

const nyb_scale_rule nyb_scale_e8m0_rceil = {
    .name = "e8m0_rceil",
    .pow2 = true,
    .about = "the least power of two with absmax <= max 2^e: nothing is clipped",
    .source =
        "TetraJet, arXiv:2502.20853; torchao's ScaleCalculationMode.RCEIL (docs/numerics.md 7.1)",
    .fits = is_element,
    .group = rceil_group,
    .blocks = rceil_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- quest ------------------------------------------------------------------------------------
 */

/* The clip of least squared error of e2m1 on a Gaussian, in standard deviations. */
#define QUEST_CLIP 2.92247856

static bool is_e2m1(const nyb_format *format)
{
    return format == &nyb_format_e2m1;
}

/* In double, then its exponent. A block of equal elements has no deviation: it takes its root mean
 * square, so that the last block of one element is not lost. */
static void quest_group(const nyb_format *format, const nyb_level *level,
                        const nyb_group_stats *stats, const float *params, int trial,
                        nyb_group_scale *scale)
{
    const double n = stats->n > 0 ? (double)stats->n : 1.0, mean = stats->sum / n,
                 square = stats->sum_sq / n;
    const double variance = square - mean * mean;
    int e;

    (void)level;
    (void)params;
    (void)trial;
    frexp(QUEST_CLIP / 6.0 * sqrt(variance > 0.0 ? variance : square) + 1e-8, &e);
    set_power(format, stats->absmax, e - 1 + floor_log2(format->max), scale);
}

const nyb_scale_rule nyb_scale_e8m0_quest = {
    .name = "e8m0_quest",
    .pow2 = true,
    .open = true,
    .about = "2^floor(log2(2.92 sigma / 6 + 1e-8)): least squared error of Gaussian blocks; clips, "
             "so stochastic rounding is biased there",
    .source = "Quartet, arXiv:2505.14669 (docs/numerics.md 7.6)",
    .fits = is_e2m1,
    .group = quest_group,
    .groups = below_tensor,
};
