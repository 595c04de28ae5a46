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

static inline vec vec_load_bf16(const uint16_t *p)
{
    const __m512i half = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}

static inline vec vec_round_bf16(vec v)
{
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i chosen = _mm512_mask_mov_epi32(_mm512_add_epi32(bits, up),
                                                 _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);

    return _mm512_castsi512_ps(_mm512_and_si512(chosen, _mm512_set1_epi32((int)0xffff0000)));
}

static inline void vec_store_bf16(uint16_t *p, vec v)
{
    const __m512i half = _mm512_srli_epi32(_mm512_castps_si512(v), 16);

    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(half));
}

#define ELEM_RECORD nyb_elem_avx512
#define ELEM_NAME   "avx512"
#define ELEM_NEEDS  NYB_CPU_AVX512
#include "op/elem_kernels.h"
