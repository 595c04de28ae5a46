/* Two-level scales: an FP8 scale per block, an f32 scale per tensor (NVFP4 and its descendants). */
#include "quant/round.h"

#include <float.h>
#include <math.h>

#include "format/format.h"

/* NUMERICS 7.4 and 7.7. The tensor's scale puts the largest block scale at the top of E4M3:
 *
 *     value = grid * sb * s_dec,   sb in E4M3,   s_dec = absmax of the tensor / (val_max * top)
 *
 * val_max is the magnitude that a block's largest element is brought to: the format's maximum,
 * or less where a rule leaves room. */

#define E4M3_MAX 448.0f

/* ---- E4M3 of the OCP, non-negative half -------------------------------------------------------
 */

/* To nearest, ties to even; saturating. v >= 0. Below 2^-6 the steps are 2^-9. */
static float e4m3_nearest(float v)
{
    const uint32_t bits = nyb_bits_of(v);

    if (v < 0x1p-6f)
        return rintf(v * 0x1p9f) * 0x1p-9f;
    if (v >= E4M3_MAX)
        return E4M3_MAX;
    return nyb_float_of((bits + 0x7ffff + (bits >> 20 & 1)) & ~0xfffffu);
}

static float e4m3_below(float v)
{
    if (v < 0x1p-6f)
        return floorf(v * 0x1p9f) * 0x1p-9f;
    return v >= E4M3_MAX ? E4M3_MAX : nyb_float_of(nyb_bits_of(v) & ~0xfffffu);
}

/* The next value above one on the grid; the largest stays. */
static float e4m3_next(float v)
{
    if (v < 0x1p-6f)
        return v + 0x1p-9f;
    return v >= E4M3_MAX ? E4M3_MAX : nyb_float_of(nyb_bits_of(v) + 0x100000);
}

/* ---- what the rules share ---------------------------------------------------------------------
 */

static bool is_fp4(const nyb_format *format)
{
    return format->grid != NYB_GRID_REAL && nyb_format_bits(format) == 4;
}

static bool is_e2m1(const nyb_format *format)
{
    return format == &nyb_format_e2m1;
}

static bool below_tensor(nyb_group group)
{
    return group != NYB_GROUP_TENSOR;
}

static bool is_block(nyb_group group)
{
    return group == NYB_GROUP_BLOCK16 || group == NYB_GROUP_BLOCK32 || group == NYB_GROUP_BLOCK64;
}

/* Groups whose elements are at hand for trials. */
static bool is_small(nyb_group group)
{
    return is_block(group) || group == NYB_GROUP_TILE16;
}

/* The tensor's scale and its reciprocal in aux; 0 for one whose blocks would be subnormal. Near
 * FLT_MAX it stops where the largest value, or 1 / (sb s_dec), would leave the normal numbers. */
static void set_level(const nyb_format *format, float s_enc, float s_dec, nyb_level *level)
{
    const float most =
        fminf(0x1p126f, FLT_MAX / nyb_format_largest(format)) / E4M3_MAX * 0x1.fffffcp-1f;

    if (s_dec > most) {
        s_dec = most;
        s_enc = 1.0f / most;
    }
    *level = (nyb_level){.scale = s_dec >= FLT_MIN ? s_dec : 0.0f, .aux = s_enc};
}

/* s_enc = val_max * top / absmax as NVIDIA computes it: the reciprocals, not the quotients. */
static void nv_level(const nyb_format *format, float val_max, float top,
                     const nyb_group_stats *tensor, nyb_level *level)
{
    float s_enc = tensor->absmax > 0.0f ? val_max * top / tensor->absmax : 1.0f;

    s_enc = s_enc < FLT_MAX ? s_enc : FLT_MAX;
    s_enc = s_enc > 0.0f ? s_enc : 1.0f;
    set_level(format, s_enc, 1.0f / s_enc, level);
}

/* The E4M3 scale of a block whose largest element goes to val_max. */
static float nv_block(const nyb_level *level, float val_max, const nyb_group_stats *stats)
{
    return e4m3_nearest(fminf(stats->absmax * (level->aux * (1.0f / val_max)), E4M3_MAX));
}

/* sb as a group's scale, and what elements are multiplied by; none if a factor is subnormal. */
static void set_block(const nyb_level *level, float sb, nyb_group_scale *scale)
{
    const float both = sb * level->scale;

    *scale = (nyb_group_scale){0};
    if (both >= FLT_MIN)
        *scale = (nyb_group_scale){.scale = sb, .inv = fminf(1.0f / both, FLT_MAX)};
}

/* ---- e4m3: NVFP4 ------------------------------------------------------------------------------
 */

static void e4m3_level(const nyb_format *format, const nyb_group_stats *tensor, nyb_level *level)
{
    nv_level(format, format->max, E4M3_MAX, tensor, level);
}

static void e4m3_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    (void)params;
    (void)trial;
    set_block(level, nv_block(level, format->max, stats), scale);
}

/* e4m3_nearest without branches: below 2^-6 an addition rounds to multiples of 2^-9. */
static void e4m3_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                        float scale[16], float inv[16])
{
    const float factor = level->aux * (1.0f / format->max);

    for (size_t i = 0; i < 16; i++) {
        const float x = absmax[i] * factor, v = x < E4M3_MAX ? x : E4M3_MAX;
        const float small = (v + 0x1.8p14f) - 0x1.8p14f;
        const uint32_t bits = nyb_bits_of(v);
        const float large = nyb_float_of((bits + 0x7ffff + (bits >> 20 & 1)) & ~0xfffffu);
        const float sb = v < 0x1p-6f ? small : large, both = sb * level->scale;
        const float quotient = 1.0f / both, most = quotient < FLT_MAX ? quotient : FLT_MAX;

        scale[i] = both >= FLT_MIN ? sb : 0.0f;
        inv[i] = both >= FLT_MIN ? most : 0.0f;
    }
}

const nyb_scale_rule nyb_scale_e4m3 = {
    .name = "e4m3",
    .about = "NVFP4: block absmax / max in E4M3, times an f32 scale per tensor; the rounded scale "
             "clips up to 1/17, so stochastic rounding is biased there",
    .source = "NVIDIA, arXiv:2509.25149 (docs/numerics.md 7.4)",
    .fits = is_fp4,
    .level = e4m3_level,
    .group = e4m3_group,
    .blocks = e4m3_blocks,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- e4m3_over17: room for the rounding of the scale ------------------------------------------
 */

/* To nearest, a scale loses at most 1/17 of itself. */
static float over17_max(const nyb_format *format)
{
    return format->max / (17.0f / 16.0f);
}

static void over17_level(const nyb_format *format, const nyb_group_stats *tensor, nyb_level *level)
{
    nv_level(format, over17_max(format), E4M3_MAX, tensor, level);
}

/* Subnormal scales lose more than 1/17; those take the next value above. */
static void over17_group(const nyb_format *format, const nyb_level *level,
                         const nyb_group_stats *stats, const float *params, int trial,
                         nyb_group_scale *scale)
{
    float sb = nv_block(level, over17_max(format), stats);

    (void)params;
    (void)trial;
    if (format->max * sb * level->scale < stats->absmax)
        sb = e4m3_next(sb);
    set_block(level, sb, scale);
}

const nyb_scale_rule nyb_scale_e4m3_over17 = {
    .name = "e4m3_over17",
    .about = "e4m3 with scales 17/16 larger: nothing is clipped, stochastic rounding is unbiased",
    .source = "TetraJet-v2 and NVIDIA's recipe in Quartet-II's code (docs/numerics.md 7.4)",
    .fits = is_fp4,
    .level = over17_level,
    .group = over17_group,
    .absmax_only = true,
    .groups = below_tensor,
};

/* ---- e4m3_46: four over six -------------------------------------------------------------------
 */

/* e2m1 has no 5: with the block's largest element at 4, its smaller ones fall on a finer grid. The
 * scales are then 3/2 as large, so at most 256 of E4M3 is used by the first trial. */
static void four_six_level(const nyb_format *format, const nyb_group_stats *tensor,
                           nyb_level *level)
{
    nv_level(format, format->max, 256.0f, tensor, level);
}

static void four_six_group(const nyb_format *format, const nyb_level *level,
                           const nyb_group_stats *stats, const float *params, int trial,
                           nyb_group_scale *scale)
{
    (void)params;
    set_block(level, nv_block(level, trial == 0 ? format->max : 4.0f, stats), scale);
}

const nyb_scale_rule nyb_scale_e4m3_46 = {
    .name = "e4m3_46",
    .about = "NVFP4 with the block's largest element at 6 or at 4, whichever has less squared "
             "error; clips as e4m3, so stochastic rounding is biased there",
    .source = "Four Over Six, in Quartet-II's code (docs/numerics.md 7.4)",
    .fits = is_e2m1,
    .level = four_six_level,
    .group = four_six_group,
    .n_trials = 2,
    .absmax_only = true,
    .groups = is_small,
};

/* ---- ms_eden ----------------------------------------------------------------------------------
 */

/* Nearest on a grid a little too small, then the block scales are multiplied by the factor S that
 * makes the projection on what was rounded right, and rounded stochastically. */
#define EDEN_OVERRIDE 0.988125f /* 17/16 * 0.93 */
#define EDEN_TOP      255.99f

static float eden_max(const nyb_format *format)
{
    return format->max / EDEN_OVERRIDE;
}

static void eden_level(const nyb_format *format, const nyb_group_stats *tensor, nyb_level *level)
{
    const float s_dec = tensor->absmax > 0.0f ? tensor->absmax / EDEN_TOP / eden_max(format) : 1.0f;

    set_level(format, 0.0f, s_dec, level);
}

static void eden_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    float sb;

    (void)params;
    (void)trial;
    *scale = (nyb_group_scale){0};
    if (!(stats->absmax > 0.0f && level->scale > 0.0f))
        return;
    sb = e4m3_nearest(stats->absmax / eden_max(format) / level->scale);
    set_block(level, sb > 0.0f ? sb : 1.0f, scale);
}

/* S = sum t^2 / sum t grid over what was mixed together, ascending in double. */
static void eden_finish(const nyb_format *format, const nyb_level *level, const float *t,
                        const float *grid, size_t length, size_t n_groups, const uint32_t *r23,
                        nyb_group_scale *scales)
{
    double squares = 0.0, products = 0.0;
    float factor;

    for (size_t i = 0; i < length * n_groups; i++) {
        squares += (double)t[i] * (double)t[i];
        products += (double)t[i] * (double)grid[i];
    }
    factor = products > 0.0 && squares > 0.0 ? (float)(squares / products) : 1.0f;
    for (size_t g = 0; g < n_groups; g++) {
        const float v = fminf(scales[g].scale * factor, E4M3_MAX);
        const float lo = e4m3_below(v), hi = e4m3_next(lo);
        const float part = hi > lo ? (v - lo) / (hi - lo) : 0.0f;
        float sb = (uint32_t)(part * 0x1p23f) + r23[g] >= 1u << 23 ? hi : lo;

        while (!(nyb_format_largest(format) * sb * level->scale <= FLT_MAX))
            sb *= 0.5f;
        scales[g].scale = sb;
    }
}

const nyb_scale_rule nyb_scale_ms_eden = {
    .name = "ms_eden",
    .about = "NVFP4 to nearest, the block scales corrected and rounded stochastically; with a "
             "random Hadamard mix unbiased to about 1%, not exactly",
    .source = "Quartet-II, 2026 (docs/numerics.md 7.7)",
    .fits = is_fp4,
    .level = eden_level,
    .group = eden_group,
    .finish = eden_finish,
    .absmax_only = true,
    .groups = is_block,
};
