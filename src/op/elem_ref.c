/* The specification of the vocabulary that elem_kernels.h is written in: base/vec_ref.h and these.
 */
#include <math.h>

#include "base/vec_ref.h"
#include "op/elem.h"

/* Bit i: !(lane i <= 0) */
static inline unsigned vec_above_zero(vec v)
{
    unsigned bits = 0;
    LANES
    bits |= (unsigned)!(v.lane[i] <= 0) << i;
    return bits;
}

/* Lanes whose bit is set; the others +0 */
static inline vec vec_keep(vec v, unsigned bits)
{
    LANES
    v.lane[i] = bits >> i & 1 ? v.lane[i] : 0;
    return v;
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    vec v;
    LANES
    v.lane[i] = nyb_float_of((uint32_t)p[i] << 16);
    return v;
}

/* To the nearest bf16, ties to even; NaN stays one. */
static inline vec vec_round_bf16(vec v)
{
    LANES
    {
        const uint32_t bits = nyb_bits_of(v.lane[i]);
        const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
        const bool nan = (bits & 0x7fffffff) > 0x7f800000;
        v.lane[i] = nyb_float_of((nan ? bits | 0x400000 : rounded) & 0xffff0000);
    }
    return v;
}

/* Lanes that are bf16 numbers */
static inline void vec_store_bf16(uint16_t *p, vec v)
{
    LANES
    p[i] = (uint16_t)(nyb_bits_of(v.lane[i]) >> 16);
}

#define ELEM_RECORD nyb_elem_ref
#define ELEM_NAME   "ref"
#define ELEM_NEEDS  0
#include "op/elem_kernels.h"
