/* Tables of codes for the kernels of codes.h. */
#include "quant/codes.h"

#include <math.h>

/* Units whose integers are below 2^6. */
#define REACH_NEAREST 15
#define REACH_DRAWN   31

/* Of two codes the lower. */
static uint8_t code_of(const nyb_format *format, int units)
{
    for (unsigned code = 0; code < format->n_codes; code++)
        if (format->units[code] == units)
            return (uint8_t)code;
    return 0;
}

static int nearest_units(const nyb_format *format, float t)
{
    float y;

    nyb_round_ref.round(format, NYB_ROUND_NEAREST, &t, NULL, 1, &y);
    return (int)(y / format->unit);
}

/* The largest value of the format not beyond v, towards zero. */
static int units_towards_zero(const nyb_format *format, int v)
{
    int best = 0;

    for (unsigned code = 0; code < format->n_codes; code++) {
        const int u = format->units[code], m = u < 0 ? -u : u;
        if ((u > 0) == (v > 0) && m <= (v < 0 ? -v : v) && m <= format->max_unit &&
            m > (best < 0 ? -best : best))
            best = u;
    }
    return best;
}

/* Evenly spaced up to `least`, then by the exponent. */
static bool can_draw(const nyb_spec *spec)
{
    const nyb_format *f = spec->format;

    return spec->rounding == NYB_ROUND_STOCHASTIC &&
           (f->grid == NYB_GRID_INT || (f->grid == NYB_GRID_FLOAT && f->fp.subnormals &&
                                        f->unit == ldexpf(1.0f, 1 - f->fp.bias - f->fp.man_bits)));
}

bool nyb_codes_plan_init(const nyb_spec *spec, nyb_codes_plan *plan)
{
    const nyb_format *f = spec->format;
    const bool draws = nyb_rounding_draws(spec->rounding);

    if (f->bits != 4 || !f->units || f->max_unit <= 0 ||
        f->max_unit > (draws ? REACH_DRAWN : REACH_NEAREST) || f->multiples > 0 ||
        (draws ? !can_draw(spec) : spec->rounding != NYB_ROUND_NEAREST))
        return false;
    *plan = (nyb_codes_plan){
        .factor = (draws ? 1.0f : 2.0f) / f->unit, .draws = draws, .most = (float)f->max_unit};
    plan->ulp = f->grid == NYB_GRID_FLOAT ? ldexpf(1.0f, -f->fp.man_bits) : 0x1p-6f;
    plan->least = 1.0f / plan->ulp; /* magnitudes below it are one unit apart */
    for (int i = -64; i < 64; i++)
        plan->codes[i & 127] = code_of(f, draws ? units_towards_zero(f, i)
                                                : nearest_units(f, (float)i * 0.25f * f->unit));
    return true;
}

extern const nyb_codes_kernel nyb_codes_avx512, nyb_codes_avx2;

const nyb_codes_kernel *const nyb_codes_kernels[] = {
#if NYB_SIMD
    &nyb_codes_avx512,
    &nyb_codes_avx2,
#endif
    NULL,
};

const nyb_codes_kernel *nyb_codes_kernel_choose(uint32_t cpu)
{
    const nyb_codes_kernel *const *k = nyb_codes_kernels;

    while (*k && ((*k)->needs & ~cpu))
        k++;
    return *k;
}
