/* Scale rules: from the statistics of a tensor to the largest magnitude that is kept. */
#include "quant/round.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

/* The largest scale: its reciprocal is a normal number, and no value is infinite. */
static float scale_limit(const nyb_format *format)
{
    const float largest = nyb_format_largest(format), s = FLT_MAX / largest;
    /* The quotient may be rounded up. */
    const float finite = s * largest <= FLT_MAX ? s : nyb_float_of(nyb_bits_of(s) - 1);

    return finite < 0x1p126f ? finite : 0x1p126f;
}

/* ---- absmax --------------------------------------------------------------------------------- */

static float absmax_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    (void)format;
    (void)state;
    return moments->absmax;
}

static void absmax_group(const nyb_format *format, const nyb_level *level,
                         const nyb_group_stats *stats, const float *params, int trial,
                         nyb_group_scale *scale)
{
    (void)level;
    (void)params;
    (void)trial;
    nyb_group_scale_set(scale, nyb_scale_of_clip(format, stats->absmax));
}

static void absmax_blocks(const nyb_format *format, const nyb_level *level, const float absmax[16],
                          float scale[16], float inv[16])
{
    const float reach = nyb_format_reach(format), limit = scale_limit(format);

    (void)level;
    for (size_t i = 0; i < 16; i++) {
        const float quotient = absmax[i] / reach, s = quotient < limit ? quotient : limit;

        scale[i] = s >= FLT_MIN ? s : 0.0f;
        inv[i] = s >= FLT_MIN ? 1.0f / s : 0.0f;
    }
}

static bool any_group(nyb_group group)
{
    (void)group;
    return true;
}

static const nyb_scale_rule absmax = {
    .name = "absmax",
    .about = "the largest magnitude of the tensor or group: nothing is clipped",
    .source = "Chmiel et al., ICLR 2023, eq. 11 (docs/numerics.md 1.5)",
    .choose = absmax_choose,
    .group = absmax_group,
    .blocks = absmax_blocks,
    .absmax_only = true,
    .groups = any_group,
};

/* ---- hindsight ------------------------------------------------------------------------------ */

/* The clip of this step comes from earlier steps; the state is the estimate for the next. A state
 * of 0 is the beginning: the first step uses its own maximum. */
static float hindsight_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    float m = state[0] > 0.0f ? state[0] : moments->absmax;

    (void)format;
    if (moments->n == moments->n_nan + moments->n_inf)
        return 0.0f;
    state[0] = 0.1f * moments->absmax + 0.9f * m;
    return m;
}

static const nyb_scale_rule hindsight = {
    .name = "hindsight",
    .about = "0.9 / 0.1 moving average of the maxima of earlier steps; the first step its own",
    .source =
        "Chmiel et al., ICLR 2023, eq. 18; Fournarakis and Nagel, 2021 (docs/numerics.md 1.5)",
    .n_state = 1,
    .choose = hindsight_choose,
    .lags = true,
};

/* ---- delayed -------------------------------------------------------------------------------- */

/* The state is the maxima of the last steps, the newest first; 0 before there were any. Only where
 * all of them are 0 (the first step; a tensor that was zero so far) does a step use its own. */
#define HISTORY NYB_SCALE_STATE_MAX

static float delayed_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    float clip = 0.0f;

    (void)format;
    if (moments->n == moments->n_nan + moments->n_inf)
        return 0.0f;
    for (size_t i = 0; i < HISTORY; i++)
        clip = fmaxf(clip, state[i]);
    memmove(state + 1, state, (HISTORY - 1) * sizeof *state);
    state[0] = moments->absmax;
    return clip > 0.0f ? clip : moments->absmax;
}

static const nyb_scale_rule delayed = {
    .name = "delayed",
    .about = "the largest maximum of the last 16 steps, not of this one; the first step its own. "
             "Clips what outgrows it, so stochastic rounding is biased",
    .source = "Micikevicius et al., 2022; NVIDIA Transformer Engine, delayed scaling with history "
              "16, algorithm max, margin 0 (docs/numerics.md 3.5)",
    .n_state = HISTORY,
    .choose = delayed_choose,
    .lags = true,
};

/* ---- powers of two -------------------------------------------------------------------------- */

/* The least max * 2^e that is not below clip: the scale is a power of two, and nothing that clip
 * keeps is lost. max * 2^e is exact. Where it would be infinite the power below is taken. */
static float ceil_pow2(const nyb_format *format, float clip)
{
    float power, up;

    if (!(clip > 0.0f))
        return 0.0f;
    power = nyb_float_of(nyb_bits_of(clip / format->max) & 0x7f800000);
    if (format->max * power >= clip)
        return format->max * power;
    up = format->max * (2.0f * power);
    return up <= FLT_MAX ? up : format->max * power;
}

static float pow2_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    return ceil_pow2(format, absmax_choose(format, moments, state));
}

static void pow2_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    (void)level;
    (void)params;
    (void)trial;
    nyb_group_scale_set(scale, nyb_scale_of_clip(format, ceil_pow2(format, stats->absmax)));
}

static const nyb_scale_rule pow2 = {
    .name = "pow2",
    .pow2 = true,
    .about = "absmax, its scale rounded up to a power of two",
    .source = "Chmiel et al., ICLR 2023, App. A.7 (docs/numerics.md 1.5)",
    .choose = pow2_choose,
    .group = pow2_group,
    .absmax_only = true,
    .groups = any_group,
};

static float hindsight_pow2_choose(const nyb_format *format, const nyb_moments *moments,
                                   float *state)
{
    return ceil_pow2(format, hindsight_choose(format, moments, state));
}

static const nyb_scale_rule hindsight_pow2 = {
    .name = "hindsight_pow2",
    .pow2 = true,
    .about = "hindsight, its scale rounded up to a power of two",
    .source = "docs/numerics.md 1.5: the two combined",
    .n_state = 1,
    .choose = hindsight_pow2_choose,
    .lags = true,
};

/* ---- unit ----------------------------------------------------------------------------------- */

static float unit_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    (void)state;
    return moments->absmax > 0.0f ? nyb_format_reach(format) : 0.0f;
}

const nyb_scale_rule nyb_scale_unit = {
    .name = "unit",
    .pow2 = true,
    .about = "no scale: values are those of the format itself",
    .source = "Wang et al., NeurIPS 2018; Sun et al., NeurIPS 2019 (docs/numerics.md 3)",
    .choose = unit_choose,
    .absmax_only = true,
};

/* ---- the list ------------------------------------------------------------------------------- */

const nyb_scale_rule *const nyb_scale_rules[] = {
    &absmax,
    &nyb_scale_sawb,
    &nyb_scale_sawb_ibm,
    &nyb_scale_sawb_fit,
    &nyb_scale_sawb_zeroless,
    &hindsight,
    &delayed,
    &pow2,
    &hindsight_pow2,
    &nyb_scale_unit,
    &nyb_scale_luq_ref,
    &nyb_scale_pact,
    &nyb_scale_pactplus,
    &nyb_scale_lsq,
    &nyb_scale_lsqplus,
    &nyb_scale_lsqplus_w,
    &nyb_scale_ptq_mse,
    &nyb_scale_percentile_2,
    &nyb_scale_percentile_3,
    &nyb_scale_percentile_4,
    &nyb_scale_percentile_5,
    &nyb_scale_e8m0,
    &nyb_scale_e8m0_ceil,
    &nyb_scale_e8m0_even,
    &nyb_scale_e8m0_rceil,
    &nyb_scale_e8m0_quest,
    &nyb_scale_e4m3,
    &nyb_scale_e4m3_over17,
    &nyb_scale_e4m3_46,
    &nyb_scale_ms_eden,
    &nyb_scale_hbfp,
    &nyb_scale_mean_abs,
    &nyb_scale_bitnet,
    &nyb_scale_twn,
    &nyb_scale_gradscale,
    &nyb_scale_gradscale_exact,
    &nyb_scale_ptq,
    &nyb_scale_ptq_ref,
    &nyb_scale_psq,
    NULL,
};

size_t nyb_scale_rule_count(void)
{
    return sizeof nyb_scale_rules / sizeof *nyb_scale_rules - 1;
}

const nyb_scale_rule *nyb_scale_rule_at(size_t i)
{
    return i < nyb_scale_rule_count() ? nyb_scale_rules[i] : NULL;
}

const nyb_scale_rule *nyb_scale_rule_find(const char *name)
{
    for (const nyb_scale_rule *const *r = nyb_scale_rules; name && *r; r++)
        if (strcmp((*r)->name, name) == 0)
            return *r;
    return NULL;
}

const char *nyb_scale_rule_name(const nyb_scale_rule *rule)
{
    return rule->name;
}

const char *nyb_scale_rule_about(const nyb_scale_rule *rule)
{
    return rule->about;
}

const char *nyb_scale_rule_source(const nyb_scale_rule *rule)
{
    return rule->source ? rule->source : "";
}

float nyb_scale_of_clip(const nyb_format *format, float clip)
{
    float scale;

    if (format->grid == NYB_GRID_REAL)
        return 1.0f;
    scale = clip / nyb_format_reach(format);
    if (!(scale >= FLT_MIN))
        return 0.0f;
    return fminf(scale, scale_limit(format));
}

void nyb_group_scale_set(nyb_group_scale *group, float scale)
{
    *group = (nyb_group_scale){0};
    if (!(scale >= FLT_MIN))
        return;
    group->scale = scale < 0x1p126f ? scale : 0x1p126f;
    group->inv = 1.0f / group->scale;
}

float nyb_scale_choose(const nyb_spec *spec, const nyb_moments *moments, float *state)
{
    if (spec->format->grid == NYB_GRID_REAL)
        return 1.0f;
    if (!spec->scale->choose)
        return 0.0f;
    return nyb_scale_of_clip(spec->format, spec->scale->choose(spec->format, moments, state));
}

float nyb_scale_lagging(const nyb_spec *spec, const float *state)
{
    const nyb_moments unknown = {.n = 1};
    float copy[NYB_SCALE_STATE_MAX];

    if (!spec->scale->lags)
        return 0.0f;
    memcpy(copy, state, sizeof copy);
    return nyb_scale_choose(spec, &unknown, copy);
}
