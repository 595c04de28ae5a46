#include "base/vec_avx512.h"
#include "gemm/accumulate.h"

static inline vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* The second operand of min and max is the result if there is a NaN. */
static inline vec vec_clamp(vec x, float max)
{
    return _mm512_max_ps(_mm512_set1_ps(-max), _mm512_min_ps(_mm512_set1_ps(max), x));
}

static inline vec vec_exponent(vec x, uint32_t least)
{
    const __m512i e = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7f800000));

    return _mm512_castsi512_ps(_mm512_max_epi32(e, _mm512_set1_epi32((int)least)));
}

static inline vec vec_round_bits(vec x, uint32_t dropped, bool ties_away)
{
    const __m512i b = _mm512_castps_si512(x);
    const __m512i half = _mm512_set1_epi32(1 << (dropped - 1));
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i odd = _mm512_and_si512(_mm512_srl_epi32(b, _mm_cvtsi32_si128((int)dropped)), one);
    const __m512i up = ties_away ? half : _mm512_add_epi32(_mm512_sub_epi32(half, one), odd);
    const __m512i kept = _mm512_set1_epi32((int)~((2u << (dropped - 1)) - 1));
    const __m512i y = _mm512_and_si512(_mm512_add_epi32(b, up), kept);

    return _mm512_castsi512_ps(y);
}

static inline vec vec_load_bits(const uint32_t *p)
{
    return _mm512_castsi512_ps(_mm512_loadu_si512(p));
}

static inline void vec_store_bits(uint32_t *p, vec v)
{
    _mm512_storeu_si512(p, _mm512_castps_si512(v));
}

static inline vec vec_xorshift(vec x)
{
    __m512i z = _mm512_castps_si512(x);

    z = _mm512_xor_si512(z, _mm512_slli_epi32(z, 13));
    z = _mm512_xor_si512(z, _mm512_srli_epi32(z, 17));
    return _mm512_castsi512_ps(_mm512_xor_si512(z, _mm512_slli_epi32(z, 5)));
}

static inline vec vec_carry(vec x, vec z, uint32_t dropped, uint32_t random)
{
    const __m512i top =
        _mm512_srl_epi32(_mm512_castps_si512(z), _mm_cvtsi32_si128(32 - (int)dropped));
    const __m512i more = _mm512_and_si512(top, _mm512_set1_epi32((int)random));
    const __m512i kept = _mm512_set1_epi32((int)~((1u << dropped) - 1));

    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), more), kept));
}

static inline vec vec_base(vec x, float base)
{
    const __mmask16 low = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(base), _CMP_LT_OQ);
    const __m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f));

    return _mm512_maskz_or_ps(low, sign, _mm512_set1_ps(base));
}

static inline vec vec_but_nan(vec y, vec x)
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

static inline vec vec_above(vec x, float least)
{
    const __m512 size = _mm512_abs_ps(x);

    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(size, _mm512_set1_ps(least), _CMP_NLT_UQ), x);
}

static inline vec vec_gap(vec y, vec x, float least)
{
    const __m512 size = _mm512_abs_ps(x), limit = _mm512_set1_ps(least);
    const __mmask16 up = _mm512_cmp_ps_mask(size, _mm512_set1_ps(least / 2), _CMP_GT_OQ);
    const __m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f));

    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(size, limit, _CMP_LT_OQ),
                              _mm512_maskz_or_ps(up, sign, limit));
}

#define ACCUM_RECORD nyb_accum_avx512
#define ACCUM_NAME   "avx512"
#define ACCUM_NEEDS  NYB_CPU_AVX512
#define ACCUM_SUMS   8
#define ACCUM_VECS   2
extern const nyb_accum_kernel nyb_accum_avx512;
#include "gemm/accumulate_kernels.h"
