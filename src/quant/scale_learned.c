/* Scale rules whose clip or step is a parameter that the optimizer trains: PACT, PACT+, LSQ, LSQ+.
 * NUMERICS 6.3 and 6.4.
 *
 * All of them round to value = offset + scale * q, q = rint((x - offset) / scale) in lo..hi, the
 * format's integers, and differ in what they learn: the clip alpha = scale * hi (PACT), the scale
 * (LSQ), the scale and the offset (LSQ+). The gradient is that of the straight-through estimator:
 * rint is taken as the identity when x moves, and as a constant when a parameter moves. */
#include <math.h>

#include "quant/round.h"

/* Parameter 0 of every rule is a scale or a clip. Training keeps it positive (train/step.c); a
 * user's file may not. What is used then is this, so that everything saturates; the parameter
 * itself stays what it is. The other end keeps reciprocals normal. */
#define SCALE_MIN 0x1p-100f
#define SCALE_MAX 0x1p100f

/* PACT's clip before there is any data (Choi et al., 2018). */
#define ALPHA_START 10.0f

static float usable(float scale)
{
    if (!(scale > SCALE_MIN)) /* NaN too */
        return SCALE_MIN;
    return scale < SCALE_MAX ? scale : SCALE_MAX;
}

static nyb_group_scale of_scale(float scale, float offset)
{
    const float s = usable(scale);

    return (nyb_group_scale){
        .scale = s, .inv = 1.0f / s, .offset = isfinite(offset) ? offset : 0.0f};
}

static bool is_integer(const nyb_format *format)
{
    return format->grid == NYB_GRID_INT && format->lo <= 0 && format->hi > 0;
}

/* ---- sums over a tensor --------------------------------------------------------------------- */

/* What an element contributes to the gradient of a parameter, times the gradient of its value. */
typedef struct terms {
    nyb_group_scale s;
    float bottom, top; /* x - offset at and beyond which x is clipped: scale * lo, scale * hi */
    float low, high;   /* terms of elements clipped below and above */
    float residual;    /* those inside: this times (q - t), t = (x - offset) / scale */
} terms;

#define LANES 16
#define BLOCK (256 * LANES)
#define PART  512 /* elements of one buffer; a multiple of LANES */
/* Adding and taking it away rounds |t| < 2^22 to nearest, ties to even. */
#define RINT_BIAS 0x1.8p+23f

/* All ones, or 0: selections without branches, which compilers turn into vectors. */
static inline uint32_t mask(bool yes)
{
    return 0 - (uint32_t)yes;
}

/* What n elements add to the two sums; those clipped, or NaN, get no gradient. */
static void find_terms(const terms *k, const float *restrict x, float *restrict dx, size_t n,
                       float *restrict sum, float *restrict outside)
{
    const terms c = *k;

    for (size_t j = 0; j < n; j++) {
        const float y = x[j] - c.s.offset, t = y * c.s.inv;
        const float q = (t + RINT_BIAS) - RINT_BIAS;
        const uint32_t above = mask(y >= c.top), below = mask(y <= c.bottom);
        const uint32_t inside = mask(y > c.bottom) & mask(y < c.top), d = nyb_bits_of(dx[j]);
        const uint32_t term = (nyb_bits_of(c.high) & above) | (nyb_bits_of(c.low) & below) |
                              (nyb_bits_of(c.residual * (q - t)) & inside);

        sum[j] = dx[j] * nyb_float_of(term);
        outside[j] = nyb_float_of(d & (above | below));
        dx[j] = nyb_float_of(d & inside);
    }
}

/* lane[j] += v[j], v[j + LANES] ... in this order. */
static void add_rows(const float *v, size_t n, float lane[LANES])
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += v[i + j];
    for (size_t j = 0; i + j < n; j++)
        lane[j] += v[i + j];
}

static float fold(float lane[LANES])
{
    for (size_t w = LANES / 2; w > 0; w /= 2)
        for (size_t j = 0; j < w; j++)
            lane[j] += lane[j + w];
    return lane[0];
}

/* Masks dx, and returns the sum of the terms; *outside is that of the clipped elements' dx. In the
 * order of NUMERICS, binding resolution 4, of a flat vector. */
static double add_up(const terms *k, const float *x, float *dx, size_t n, double *outside)
{
    double total = 0.0;

    *outside = 0.0;
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t end = nyb_min(at + BLOCK, n);
        float lane[LANES] = {0}, beyond[LANES] = {0};

        for (size_t i = at; i < end; i += PART) {
            const size_t m = nyb_min(PART, end - i);
            float sum[PART], clipped[PART];

            find_terms(k, x + i, dx + i, m, sum, clipped);
            add_rows(sum, m, lane);
            add_rows(clipped, m, beyond);
        }
        total += (double)fold(lane);
        *outside += (double)fold(beyond);
    }
    return total;
}

/* ---- PACT ----------------------------------------------------------------------------------- */

/* 0..hi or -hi..hi. */
static bool pact_fits(const nyb_format *format)
{
    return is_integer(format) && (format->lo == 0 || format->lo == -format->hi);
}

/* The best clip known for such data: SAWB's where it has constants, else absmax. */
static void pact_init(const nyb_format *format, const nyb_group_stats *tensor, float *params)
{
    const float clip = nyb_scale_sawb_clip(format, tensor);

    params[0] = clip > 0.0f ? clip : ALPHA_START;
}

static nyb_group_scale pact_scale(const nyb_format *format, float alpha)
{
    return of_scale(alpha / (float)format->hi, 0.0f);
}

static void pact_group(const nyb_format *format, const nyb_level *level,
                       const nyb_group_stats *stats, const float *params, int trial,
                       nyb_group_scale *scale)
{
    float fresh[NYB_SCALE_PARAMS_MAX];

    (void)level;
    (void)trial;
    if (!params)
        pact_init(format, stats, fresh);
    *scale = pact_scale(format, params ? params[0] : fresh[0]);
}

/* d alpha = sum of dx over x >= alpha (minus that over x <= -alpha on symmetric grids); with the
 * residual, PACT+: plus sum of dx (q - t) / hi over those inside. No element is clipped at 0 from
 * above: dx is kept where 0 < x < alpha. */
static void pact_gradient(const nyb_format *format, const float *params, const float *x, float *dx,
                          size_t n, float residual, double *dparams)
{
    terms k = {.s = pact_scale(format, params[0]), .high = 1.0f, .residual = residual};
    double outside;

    k.top = usable(params[0]);
    k.bottom = format->lo < 0 ? -k.top : 0.0f;
    k.low = format->lo < 0 ? -1.0f : 0.0f;
    dparams[0] += add_up(&k, x, dx, n, &outside);
}

static void pact_backward(const nyb_format *format, const float *params, const float *x, float *dx,
                          size_t n, size_t n_features, double *dparams)
{
    (void)n_features;
    pact_gradient(format, params, x, dx, n, 0.0f, dparams);
}

static void pactplus_backward(const nyb_format *format, const float *params, const float *x,
                              float *dx, size_t n, size_t n_features, double *dparams)
{
    (void)n_features;
    pact_gradient(format, params, x, dx, n, 1.0f / (float)format->hi, dparams);
}

const nyb_scale_rule nyb_scale_pact = {
    .name = "pact",
    .about = "a learned clip; it grows with the gradient of clipped elements",
    .source = "Choi et al., 2018, PACT (docs/numerics.md 6.3)",
    .fits = pact_fits,
    .group = pact_group,
    .n_params = 1,
    .init = pact_init,
    .decays = true,
    .backward = pact_backward,
};

const nyb_scale_rule nyb_scale_pactplus = {
    .name = "pactplus",
    .about = "a learned clip, PACT's gradient and that of the rounding errors inside",
    .source = "fms-model-optimizer, PACTplus (docs/numerics.md 6.3)",
    .fits = pact_fits,
    .group = pact_group,
    .n_params = 1,
    .init = pact_init,
    .decays = true,
    .backward = pactplus_backward,
};

/* ---- LSQ ------------------------------------------------------------------------------------ */

/* s0 = 2 E|x| / sqrt(hi) */
static void lsq_init(const nyb_format *format, const nyb_group_stats *tensor, float *params)
{
    const double mean = tensor->n ? tensor->sum_abs / (double)tensor->n : 0.0;
    const float s = (float)(2.0 * mean / sqrt((double)format->hi));

    params[0] = s > 0.0f && isfinite(s) ? s : 1.0f;
}

static void lsq_group(const nyb_format *format, const nyb_level *level,
                      const nyb_group_stats *stats, const float *params, int trial,
                      nyb_group_scale *scale)
{
    float fresh[NYB_SCALE_PARAMS_MAX];

    (void)level;
    (void)trial;
    if (!params)
        lsq_init(format, stats, fresh);
    *scale = of_scale(params ? params[0] : fresh[0], 0.0f);
}

/* ds = g sum of dx times (q - t) inside, lo below, hi above; d beta = g sum of dx outside. */
static void lsq_gradient(const nyb_format *format, nyb_group_scale s, const float *x, float *dx,
                         size_t n, size_t n_features, double *ds, double *dbeta)
{
    const double g = 1.0 / sqrt((double)nyb_max(n_features, 1) * (double)format->hi);
    const terms k = {.s = s,
                     .bottom = s.scale * (float)format->lo,
                     .top = s.scale * (float)format->hi,
                     .low = (float)format->lo,
                     .high = (float)format->hi,
                     .residual = 1.0f};
    double outside;

    *ds += g * add_up(&k, x, dx, n, &outside);
    *dbeta += g * outside;
}

static void lsq_backward(const nyb_format *format, const float *params, const float *x, float *dx,
                         size_t n, size_t n_features, double *dparams)
{
    double unused = 0.0;

    lsq_gradient(format, of_scale(params[0], 0.0f), x, dx, n, n_features, &dparams[0], &unused);
}

const nyb_scale_rule nyb_scale_lsq = {
    .name = "lsq",
    .about = "a learned step, from 2 E|x| / sqrt(hi); gradient of clipped and rounded elements",
    .source = "Esser et al., ICLR 2020, LSQ (docs/numerics.md 6.4)",
    .fits = is_integer,
    .group = lsq_group,
    .n_params = 1,
    .init = lsq_init,
    .backward = lsq_backward,
};

/* ---- LSQ+ ----------------------------------------------------------------------------------- */

/* Weights: LSQ with s0 = max |mean +- 3 sigma| / 2^(bits - 1), bits those of -hi-1 .. hi. */
static void lsqplus_w_init(const nyb_format *format, const nyb_group_stats *tensor, float *params)
{
    const double n = tensor->n ? (double)tensor->n : 1.0, mean = tensor->sum / n;
    const double variance = tensor->sum_sq / n - mean * mean;
    const double sigma = variance > 0.0 ? sqrt(variance) : 0.0;
    const float s = (float)((fabs(mean) + 3.0 * sigma) / ((double)format->hi + 1.0));

    params[0] = s > 0.0f && isfinite(s) ? s : 1.0f;
}

static void lsqplus_w_group(const nyb_format *format, const nyb_level *level,
                            const nyb_group_stats *stats, const float *params, int trial,
                            nyb_group_scale *scale)
{
    float fresh[NYB_SCALE_PARAMS_MAX];

    if (!params)
        lsqplus_w_init(format, stats, fresh);
    lsq_group(format, level, stats, params ? params : fresh, trial, scale);
}

const nyb_scale_rule nyb_scale_lsqplus_w = {
    .name = "lsqplus_w",
    .about = "lsq for weights, from the larger of |mean +- 3 sigma| / 2^(bits - 1)",
    .source = "Bhalgat et al., CVPRW 2020, LSQ+ (docs/numerics.md 6.4)",
    .fits = is_integer,
    .group = lsqplus_w_group,
    .n_params = 1,
    .init = lsqplus_w_init,
    .backward = lsq_backward,
};

/* Activations: the grid spans min..max at the start. */
static void lsqplus_init(const nyb_format *format, const nyb_group_stats *tensor, float *params)
{
    const double lo = (double)format->lo, hi = (double)format->hi;
    double s = ((double)tensor->max - (double)tensor->min) / (hi - lo);

    if (!(s > 0.0)) /* one value only, or none */
        s = tensor->absmax > 0.0f ? (double)tensor->absmax / hi : 1.0;
    params[0] = (float)s;
    params[1] = (float)((double)tensor->min - lo * s);
}

static void lsqplus_group(const nyb_format *format, const nyb_level *level,
                          const nyb_group_stats *stats, const float *params, int trial,
                          nyb_group_scale *scale)
{
    float fresh[NYB_SCALE_PARAMS_MAX];

    (void)level;
    (void)trial;
    if (!params) {
        lsqplus_init(format, stats, fresh);
        params = fresh;
    }
    *scale = of_scale(params[0], params[1]);
}

static void lsqplus_backward(const nyb_format *format, const float *params, const float *x,
                             float *dx, size_t n, size_t n_features, double *dparams)
{
    lsq_gradient(format, of_scale(params[0], params[1]), x, dx, n, n_features, &dparams[0],
                 &dparams[1]);
}

const nyb_scale_rule nyb_scale_lsqplus = {
    .name = "lsqplus",
    .about = "a learned step and a learned offset, for activations; from the range of the data",
    .source = "Bhalgat et al., CVPRW 2020, LSQ+ (docs/numerics.md 6.4)",
    .fits = is_integer,
    .group = lsqplus_group,
    .affine = true,
    .n_params = 2,
    .init = lsqplus_init,
    .backward = lsqplus_backward,
};
