/* The clip of LUQ's published code, for the recipe that reproduces it. */
#include "quant/quant.h"

#include <math.h>

/* Integer grids with their upper end at 8 (weights) or 15 (inputs). */
static bool fits(const nyb_format *format)
{
    return format->grid == NYB_GRID_INT && (format->hi == 8 || format->hi == 15);
}

/* scale = 2 clip / (Qp - Qn), clip = 12.1 sqrt(E x^2) - 12.2 E|x| over all elements, zeros
 * included, whatever the grid, and not capped: with Qn = 0 the top code stands for 2 clip. Here the
 * value of the top code is returned, 2 clip Qp / (Qp - Qn). */
static float choose(const nyb_format *format, const nyb_moments *moments, float *state)
{
    (void)state;
    uint64_t n = moments->n - moments->n_nan - moments->n_inf;
    if (n == 0)
        return 0.0f;
    double clip = 12.1 * sqrt(moments->sum_sq / (double)n) - 12.2 * (moments->sum_abs / (double)n);
    if (!(clip > 0.0))
        return moments->absmax;
    return (float)(2.0 * clip * (double)format->hi / (double)(format->hi - format->lo));
}

const nyb_scale_rule nyb_scale_luq_ref = {
    .name = "luq_ref",
    .about = "2 (12.1 sqrt(E x^2) - 12.2 E|x|) over the grid's width: LUQ's published code",
    .source = "code published with Chmiel et al., ICLR 2023",
    .fits = fits,
    .choose = choose,
};
