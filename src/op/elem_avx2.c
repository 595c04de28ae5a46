/* elem_ref.c's vocabulary. */
#include "base/vec_avx2.h"
#include "op/elem.h"

/* A bit for each lane, all of whose bits are the same. */
static inline unsigned bits_of(__m256 lo, __m256 hi)
{
    return (unsigned)_mm256_movemask_ps(lo) | (unsigned)_mm256_movemask_ps(hi) << 8;
}

/* The inverse. */
static inline vec lanes_of(unsigned bits)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i lo = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 255)), bit);
    const __m256i hi = _mm256_and_si256(_mm256_set1_epi32((int)(bits >> 8)), bit);

    return (vec){_mm256_castsi256_ps(_mm256_cmpeq_epi32(lo, bit)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(hi, bit))};
}

static inline unsigned vec_above_zero(vec v)
{
    const __m256 zero = _mm256_setzero_ps();

    return bits_of(_mm256_cmp_ps(v.lo, zero, _CMP_NLE_UQ), _mm256_cmp_ps(v.hi, zero, _CMP_NLE_UQ));
}

static inline vec vec_keep(vec v, unsigned bits)
{
    const vec lanes = lanes_of(bits);

    return (vec){_mm256_and_ps(v.lo, lanes.lo), _mm256_and_ps(v.hi, lanes.hi)};
}

static inline __m256 beats(__m256 a, __m256 b)
{
    return _mm256_or_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}

static inline unsigned vec_beats(vec a, vec b)
{
    return bits_of(beats(a.lo, b.lo), beats(a.hi, b.hi));
}

static inline unsigned vec_equal(vec a, vec b)
{
    return bits_of(_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ));
}

static inline vec vec_choose(unsigned bits, vec a, vec b)
{
    const vec lanes = lanes_of(bits);

    return (vec){_mm256_blendv_ps(b.lo, a.lo, lanes.lo), _mm256_blendv_ps(b.hi, a.hi, lanes.hi)};
}

static inline vec vec_load_bytes(const uint8_t *p)
{
    const __m128i bytes = _mm_loadu_si128((const void *)p);

    return (vec){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                 _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}

static inline void vec_store_bytes(uint8_t *p, vec v)
{
    const __m256i lo = _mm256_cvtps_epi32(v.lo), hi = _mm256_cvtps_epi32(v.hi);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);

    _mm_storeu_si128((void *)p, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                 _mm256_extracti128_si256(words, 1)));
}

#define ELEM_RECORD nyb_elem_avx2
#define ELEM_NAME   "avx2"
#define ELEM_NEEDS  NYB_CPU_AVX2
#include "op/elem_kernels.h"
