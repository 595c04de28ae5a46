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

#define ELEM_RECORD nyb_elem_avx2
#define ELEM_NAME   "avx2"
#define ELEM_NEEDS  NYB_CPU_AVX2
#include "op/elem_kernels.h"
