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

/* Bit i: lane i of a is larger, or NaN */
static inline unsigned vec_beats(vec a, vec b)
{
    unsigned bits = 0;
    LANES
    bits |= (unsigned)(a.lane[i] > b.lane[i] || a.lane[i] != a.lane[i]) << i;
    return bits;
}

static inline unsigned vec_equal(vec a, vec b)
{
    unsigned bits = 0;
    LANES
    bits |= (unsigned)(a.lane[i] == b.lane[i]) << i;
    return bits;
}

/* Lanes of a whose bit is set; the others of b */
static inline vec vec_choose(unsigned bits, vec a, vec b)
{
    LANES
    b.lane[i] = bits >> i & 1 ? a.lane[i] : b.lane[i];
    return b;
}

static inline vec vec_load_bytes(const uint8_t *p)
{
    vec v;
    LANES
    v.lane[i] = p[i];
    return v;
}

/* Lanes that are whole numbers, 0 to 255 */
static inline void vec_store_bytes(uint8_t *p, vec v)
{
    LANES
    p[i] = (uint8_t)v.lane[i];
}

#define ELEM_RECORD nyb_elem_ref
#define ELEM_NAME   "ref"
#define ELEM_NEEDS  0
#include "op/elem_kernels.h"
