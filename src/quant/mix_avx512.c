#include <immintrin.h>

#include <float.h>
#include <math.h>

#include "quant/mix.h"

/* mix_ref.c's vocabulary on one zmm register. */
typedef __m512 vec;

static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec vec_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

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

static inline vec vec_min_finite(vec least, vec x)
{
    return _mm512_mask_min_ps(least, is_finite(x), x, least);
}

static inline vec vec_max_finite(vec most, vec x)
{
    return _mm512_mask_max_ps(most, is_finite(x), x, most);
}

#define MIX_RECORD nyb_mix_avx512
#define MIX_NAME   "avx512"
#define MIX_NEEDS  NYB_CPU_AVX512
#include "quant/mix_kernels.h"
