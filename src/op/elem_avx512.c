/* elem_ref.c's vocabulary. */
#include "base/vec_avx512.h"
#include "op/elem.h"

static inline unsigned vec_above_zero(vec v)
{
    return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NLE_UQ);
}

static inline vec vec_keep(vec v, unsigned bits)
{
    return _mm512_maskz_mov_ps((__mmask16)bits, v);
}

static inline unsigned vec_beats(vec a, vec b)
{
    return (unsigned)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) | _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

static inline unsigned vec_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

static inline vec vec_choose(unsigned bits, vec a, vec b)
{
    return _mm512_mask_mov_ps(b, (__mmask16)bits, a);
}

static inline vec vec_load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}

static inline void vec_store_bytes(uint8_t *p, vec v)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

#define ELEM_RECORD nyb_elem_avx512
#define ELEM_NAME   "avx512"
#define ELEM_NEEDS  NYB_CPU_AVX512
#include "op/elem_kernels.h"
