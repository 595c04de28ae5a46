/* The specification of the vocabulary that store_kernels.h is written in: base/vec_ref.h,
 * base/rng_ref.h and this. */
#include "base/rng_ref.h"
#include "base/vec_ref.h"
#include "gemm/store.h"
#include "gemm/tile.h"

/* Each rounded to the nearest f32 */
static inline vec vec_of_int(const int32_t *p)
{
    vec v;
    LANES
    v.lane[i] = (float)p[i];
    return v;
}

#define STORE_RECORD nyb_store_ref
#define STORE_NAME   "ref"
#define STORE_NEEDS  0
#include "gemm/store_kernels.h"
