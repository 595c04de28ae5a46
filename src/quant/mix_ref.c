/* The specification of the vocabulary that mix_kernels.h is written in: base/vec_ref.h and these.
 */
#include <float.h>
#include <math.h>

#include "base/vec_ref.h"
#include "quant/mix.h"

/* A butterfly stage between the lanes of one vector, len 1, 2, 4 or 8. */
static inline vec vec_stage(vec v, int len)
{
    vec y;
    LANES
    y.lane[i] = i & len ? v.lane[i ^ len] - v.lane[i] : v.lane[i] + v.lane[i ^ len];
    return y;
}

static inline vec vec_finite(vec v)
{
    LANES
    v.lane[i] = fabsf(v.lane[i]) <= FLT_MAX ? v.lane[i] : 0.0f;
    return v;
}

#define MIX_RECORD nyb_mix_ref
#define MIX_NAME   "ref"
#define MIX_NEEDS  0
#include "quant/mix_kernels.h"
