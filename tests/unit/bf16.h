/* The nearest bf16 number, found without the library's way: by comparing distances. */
#ifndef BF16_H
#define BF16_H

#include <math.h>

#include "base/base.h"

/* Bits of x to the nearest bf16, ties to even; any NaN is 0x7fc0. */
static inline uint16_t nearest_bf16(float x)
{
    const uint32_t bits = nyb_bits_of(x) & 0xffff0000;
    /* As if the exponent went on: the number after the largest is as far from it as any. */
    const double low = fabs((double)nyb_float_of(bits)),
                 up_step = ldexp(1, ilogb(fmax(low, 0x1p-126)) - 7);
    const double above = low + up_step - fabs((double)x), below = fabs((double)x) - low;

    if (isnan(x))
        return 0x7fc0;
    if (isinf(x) || below < above || (below == above && !(bits & 0x10000)))
        return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16) + 1);
}

#endif
