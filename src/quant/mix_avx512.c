/* mix_ref.c's vocabulary. */
#include <float.h>
#include <math.h>

#include "base/vec_avx512.h"
#include "quant/mix.h"

/* k: the partners' lanes; hi: the lanes that subtract. */
#define STAGE(k, hi) _mm512_mask_sub_ps(_mm512_add_ps(v, k), hi, k, v)

static inline vec vec_stage(vec v, int len)
{
    if (len == 1) {
        const vec p = _mm512_permute_ps(v, 0xb1);
        return STAGE(p, 0xaaaa);
    }
    if (len == 2) {
        const vec p = _mm512_permute_ps(v, 0x4e);
        return STAGE(p, 0xcccc);
    }
    if (len == 4) {
        const vec p = _mm512_shuffle_f32x4(v, v, 0xb1);
        return STAGE(p, 0xf0f0);
    }
    const vec p = _mm512_shuffle_f32x4(v, v, 0x4e);
    return STAGE(p, 0xff00);
}

static inline __mmask16 is_finite(vec v)
{
    return _mm512_cmp_ps_mask(_mm512_abs_ps(v), _mm512_set1_ps(FLT_MAX), _CMP_LE_OQ);
}

static inline vec vec_finite(vec v)
{
    return _mm512_maskz_mov_ps(is_finite(v), v);
}

#define MIX_RECORD nyb_mix_avx512
#define MIX_NAME   "avx512"
#define MIX_NEEDS  NYB_CPU_AVX512
#include "quant/mix_kernels.h"
