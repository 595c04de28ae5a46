#include "base/vec_avx2.h"
#include "gemm/accumulate.h"

static inline vec vec_fnma(vec a, vec b, vec c)
{
    return (vec){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

/* The second operand of min and max is the result if there is a NaN. */
static inline __m256 clamp(__m256 x, float max)
{
    return _mm256_max_ps(_mm256_set1_ps(-max), _mm256_min_ps(_mm256_set1_ps(max), x));
}

static inline vec vec_clamp(vec x, float max)
{
    return (vec){clamp(x.lo, max), clamp(x.hi, max)};
}

static inline __m256 exponent(__m256 x, uint32_t least)
{
    const __m256i e = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7f800000));

    return _mm256_castsi256_ps(_mm256_max_epi32(e, _mm256_set1_epi32((int)least)));
}

static inline vec vec_exponent(vec x, uint32_t least)
{
    return (vec){exponent(x.lo, least), exponent(x.hi, least)};
}

static inline __m256 round_bits(__m256 x, uint32_t dropped, bool ties_away)
{
    const __m256i b = _mm256_castps_si256(x);
    const __m256i half = _mm256_set1_epi32(1 << (dropped - 1));
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srl_epi32(b, _mm_cvtsi32_si128((int)dropped)), one);
    const __m256i up = ties_away ? half : _mm256_add_epi32(_mm256_sub_epi32(half, one), odd);
    const __m256i kept = _mm256_set1_epi32((int)~((2u << (dropped - 1)) - 1));
    const __m256i y = _mm256_and_si256(_mm256_add_epi32(b, up), kept);

    return _mm256_castsi256_ps(y);
}

static inline vec vec_round_bits(vec x, uint32_t dropped, bool ties_away)
{
    return (vec){round_bits(x.lo, dropped, ties_away), round_bits(x.hi, dropped, ties_away)};
}

static inline vec vec_load_bits(const uint32_t *p)
{
    return (vec){_mm256_castsi256_ps(_mm256_loadu_si256((const void *)p)),
                 _mm256_castsi256_ps(_mm256_loadu_si256((const void *)(p + 8)))};
}

static inline void vec_store_bits(uint32_t *p, vec v)
{
    _mm256_storeu_si256((void *)p, _mm256_castps_si256(v.lo));
    _mm256_storeu_si256((void *)(p + 8), _mm256_castps_si256(v.hi));
}

static inline __m256 xorshift(__m256 x)
{
    __m256i z = _mm256_castps_si256(x);

    z = _mm256_xor_si256(z, _mm256_slli_epi32(z, 13));
    z = _mm256_xor_si256(z, _mm256_srli_epi32(z, 17));
    return _mm256_castsi256_ps(_mm256_xor_si256(z, _mm256_slli_epi32(z, 5)));
}

static inline vec vec_xorshift(vec z)
{
    return (vec){xorshift(z.lo), xorshift(z.hi)};
}

static inline __m256 carry(__m256 x, __m256 z, uint32_t dropped, uint32_t random)
{
    const __m256i top =
        _mm256_srl_epi32(_mm256_castps_si256(z), _mm_cvtsi32_si128(32 - (int)dropped));
    const __m256i more = _mm256_and_si256(top, _mm256_set1_epi32((int)random));
    const __m256i kept = _mm256_set1_epi32((int)~((1u << dropped) - 1));

    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(x), more), kept));
}

static inline vec vec_carry(vec x, vec z, uint32_t dropped, uint32_t random)
{
    return (vec){carry(x.lo, z.lo, dropped, random), carry(x.hi, z.hi, dropped, random)};
}

static inline __m256 signed_base(__m256 x, float base)
{
    const __m256 minus = _mm256_set1_ps(-0.0f), b = _mm256_set1_ps(base);
    const __m256 low = _mm256_cmp_ps(_mm256_andnot_ps(minus, x), b, _CMP_LT_OQ);

    return _mm256_and_ps(low, _mm256_or_ps(_mm256_and_ps(x, minus), b));
}

static inline vec vec_base(vec x, float base)
{
    return (vec){signed_base(x.lo, base), signed_base(x.hi, base)};
}

static inline vec vec_but_nan(vec y, vec x)
{
    return (vec){_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q)),
                 _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q))};
}

static inline __m256 above(__m256 x, float least)
{
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);

    return _mm256_and_ps(x, _mm256_cmp_ps(size, _mm256_set1_ps(least), _CMP_NLT_UQ));
}

static inline vec vec_above(vec x, float least)
{
    return (vec){above(x.lo, least), above(x.hi, least)};
}

static inline __m256 gap(__m256 y, __m256 x, float least)
{
    const __m256 minus = _mm256_set1_ps(-0.0f), limit = _mm256_set1_ps(least);
    const __m256 size = _mm256_andnot_ps(minus, x);
    const __m256 up = _mm256_cmp_ps(size, _mm256_set1_ps(least / 2), _CMP_GT_OQ);
    const __m256 low = _mm256_and_ps(up, _mm256_or_ps(_mm256_and_ps(x, minus), limit));

    return _mm256_blendv_ps(y, low, _mm256_cmp_ps(size, limit, _CMP_LT_OQ));
}

static inline vec vec_gap(vec y, vec x, float least)
{
    return (vec){gap(y.lo, x.lo, least), gap(y.hi, x.hi, least)};
}

#define ACCUM_RECORD nyb_accum_avx2
#define ACCUM_NAME   "avx2"
#define ACCUM_NEEDS  NYB_CPU_AVX2
#define ACCUM_SUMS   4
#define ACCUM_VECS   1
extern const nyb_accum_kernel nyb_accum_avx2;
#include "gemm/accumulate_kernels.h"
