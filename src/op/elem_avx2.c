/* elem_ref.c's vocabulary. */
#include "base/vec_avx2.h"
#include "op/elem.h"

static inline unsigned vec_above_zero(vec v)
{
    const __m256 zero = _mm256_setzero_ps();
    const unsigned lo = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v.lo, zero, _CMP_NLE_UQ));
    const unsigned hi = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v.hi, zero, _CMP_NLE_UQ));

    return lo | hi << 8;
}

static inline vec vec_keep(vec v, unsigned bits)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i lo = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 255)), bit);
    const __m256i hi = _mm256_and_si256(_mm256_set1_epi32((int)(bits >> 8)), bit);

    return (vec){_mm256_and_ps(v.lo, _mm256_castsi256_ps(_mm256_cmpeq_epi32(lo, bit))),
                 _mm256_and_ps(v.hi, _mm256_castsi256_ps(_mm256_cmpeq_epi32(hi, bit)))};
}

static inline __m256 from_bf16(__m128i half)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    return (vec){from_bf16(_mm_loadu_si128((const void *)p)),
                 from_bf16(_mm_loadu_si128((const void *)(p + 8)))};
}

static inline __m256 round_bf16(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x), top = _mm256_set1_epi32((int)0xffff0000);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 chosen =
        _mm256_blendv_ps(_mm256_castsi256_ps(_mm256_add_epi32(bits, up)),
                         _mm256_castsi256_ps(quiet), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));

    return _mm256_and_ps(chosen, _mm256_castsi256_ps(top));
}

static inline vec vec_round_bf16(vec v)
{
    return (vec){round_bf16(v.lo), round_bf16(v.hi)};
}

static inline void vec_store_bf16(uint16_t *p, vec v)
{
    const __m256i lo = _mm256_srli_epi32(_mm256_castps_si256(v.lo), 16);
    const __m256i hi = _mm256_srli_epi32(_mm256_castps_si256(v.hi), 16);

    _mm256_storeu_si256((void *)p, _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8));
}

#define ELEM_RECORD nyb_elem_avx2
#define ELEM_NAME   "avx2"
#define ELEM_NEEDS  NYB_CPU_AVX2
#include "op/elem_kernels.h"
