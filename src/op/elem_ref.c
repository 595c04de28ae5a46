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

#define ELEM_RECORD nyb_elem_ref
#define ELEM_NAME   "ref"
#define ELEM_NEEDS  0
#include "op/elem_kernels.h"
