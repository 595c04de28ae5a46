/* The nearest bf16 number, and that which a draw chooses, found without the library's way: by
 * comparing distances. */
#ifndef BF16_H
#define BF16_H

#include <math.h>

#include "base/base.h"
#include "base/rng.h"

/* Where a finite x lies between its neighbours in bf16, 0 .. 1 away from zero. As if the exponent
 * went on: the number after the largest is as far from it as any. */
static inline double place_in_bf16(float x)
{
    const double low = fabs((double)nyb_float_of(nyb_bits_of(x) & 0xffff0000));

    return (fabs((double)x) - low) / ldexp(1, ilogb(fmax(low, 0x1p-126)) - 7);
}

/* The bits of the neighbour away from zero, or of the other; any NaN is 0x7fc0. */
static inline uint16_t neighbour_bf16(float x, bool up)
{
    if (isnan(x))
        return 0x7fc0;
    return (uint16_t)((nyb_bits_of(x) >> 16) + (up && !isinf(x)));
}

/* Bits of x to the nearest bf16, ties to even. */
static inline uint16_t nearest_bf16(float x)
{
    const double place = isfinite(x) ? place_in_bf16(x) : 0;
    const bool odd = nyb_bits_of(x) & 0x10000;

    return neighbour_bf16(x, place > 0.5 || (place == 0.5 && odd));
}

/* By element i of a stream's draws of 16 bits; NULL: to the nearest. */
static inline uint16_t stored_bf16(float x, const nyb_stream *draws, uint64_t i)
{
    if (!draws)
        return nearest_bf16(x);
    return neighbour_bf16(x,
                          isfinite(x) && place_in_bf16(x) + nyb_rng_u16(draws, i) * 0x1p-16 >= 1);
}

#endif
