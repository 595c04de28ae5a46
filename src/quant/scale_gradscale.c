/* GradScale of the radix-4 FP4: a power of two per layer that follows the gradient's maximum. */
#include "quant/quant.h"

#include <math.h>

#include "format/format.h"

/* NUMERICS 2.3. Gradients are multiplied by 2^kappa before rounding; kappa moves by one where the
 * scaled maximum leaves [32, 128). Both phases of the format share the scale, so their magnitudes
 * end at 64 (even) and at 128 (odd): the scale is 2^-kappa, the clip max 2^-kappa. */

#define KAPPA_MAX 118

static bool ends_at_64_or_128(const nyb_format *format)
{
    return format->grid != NYB_GRID_REAL && nyb_format_bits(format) == 4 &&
           (format->max == 64.0f || format->max == 128.0f);
}

static float clamp_kappa(float kappa)
{
    return fminf(fmaxf(kappa, -(float)KAPPA_MAX), (float)KAPPA_MAX);
}

/* 2^e for -126 <= e <= 127. */
static float power(float e)
{
    return nyb_float_of((uint32_t)((int)e + 127) << 23);
}

/* 6 - floor(log2(absmax)): puts it in [64, 128). absmax > 0. */
static float kappa_of(float absmax)
{
    return clamp_kappa((float)(6 - ((int)(nyb_bits_of(absmax) >> 23) - 127)));
}

/* state[0]: kappa; state[1]: 1 once there was a tensor with an element. This step's kappa is used
 * before it learns of this step's maximum: saturation is accepted, as in loss scaling. */
static float gradscale_choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    float kappa, m;

    if (!(moments->absmax > 0.0f))
        return 0.0f;
    kappa = state[1] > 0.0f ? state[0] : kappa_of(moments->absmax);
    m = moments->absmax * power(kappa);
    state[0] = m >= 128.0f ? kappa - 1.0f : m < 32.0f ? kappa + 1.0f : kappa;
    state[0] = clamp_kappa(state[0]);
    state[1] = 1.0f;
    return format->max * power(-kappa);
}

const nyb_scale_rule nyb_scale_gradscale = {
    .name = "gradscale",
    .pow2 = true,
    .about = "a power of two that moves by one when the scaled maximum leaves [32, 128); lags one "
             "step and clips, so stochastic rounding is biased",
    .source = "Sun et al., NeurIPS 2020 (docs/numerics.md 2.3)",
    .n_state = 2,
    .fits = ends_at_64_or_128,
    .choose = gradscale_choose,
};

static float gradscale_exact_choose(const nyb_format *format, const nyb_moments *moments,
                                    float *state)
{
    (void)state;
    if (!(moments->absmax > 0.0f))
        return 0.0f;
    return format->max * power(-kappa_of(moments->absmax));
}

const nyb_scale_rule nyb_scale_gradscale_exact = {
    .name = "gradscale_exact",
    .pow2 = true,
    .about = "the power of two that brings this step's maximum to [64, 128), the radix-4 top cell",
    .source = "Sun et al., NeurIPS 2020 (docs/numerics.md 2.3: option exact)",
    .fits = ends_at_64_or_128,
    .choose = gradscale_exact_choose,
};
