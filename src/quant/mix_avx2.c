/* mix_ref.c's vocabulary. */
#include <float.h>
#include <math.h>

#include "base/vec_avx2.h"
#include "quant/mix.h"

/* p: the partners' lanes; hi: the lanes that subtract. */
#define STAGE(v, p, hi) _mm256_blend_ps(_mm256_add_ps(v, p), _mm256_sub_ps(p, v), hi)

static inline __m256 stage(__m256 v, int len)
{
    if (len == 1) {
        const __m256 p = _mm256_permute_ps(v, 0xb1);
        return STAGE(v, p, 0xaa);
    }
    if (len == 2) {
        const __m256 p = _mm256_permute_ps(v, 0x4e);
        return STAGE(v, p, 0xcc);
    }
    const __m256 p = _mm256_permute2f128_ps(v, v, 1);
    return STAGE(v, p, 0xf0);
}

static inline vec vec_stage(vec v, int len)
{
    if (len == 8)
        return (vec){_mm256_add_ps(v.lo, v.hi), _mm256_sub_ps(v.lo, v.hi)};
    return (vec){stage(v.lo, len), stage(v.hi, len)};
}

/* All ones in finite lanes. */
static inline __m256 is_finite(__m256 v)
{
    const __m256 abs = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);

    return _mm256_cmp_ps(abs, _mm256_set1_ps(FLT_MAX), _CMP_LE_OQ);
}

static inline vec vec_finite(vec v)
{
    return (vec){_mm256_and_ps(v.lo, is_finite(v.lo)), _mm256_and_ps(v.hi, is_finite(v.hi))};
}

#define MIX_RECORD nyb_mix_avx2
#define MIX_NAME   "avx2"
#define MIX_NEEDS  NYB_CPU_AVX2
#include "quant/mix_kernels.h"
