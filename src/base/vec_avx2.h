/* vec_ref.h's vocabulary on two ymm registers. */
#ifndef NYB_VEC_AVX2_H
#define NYB_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vec {
    __m256 lo, hi;
} vec;

/* All ones in the lanes below n. */
static inline __m256i lanes_below(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec vec_set(float x)
{
    return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline vec vec_load(const float *p)
{
    return (vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

/* A masked-off lane is not touched, even if its page is not there. */
static inline vec vec_load_n(const float *p, size_t n)
{
    return (vec){_mm256_maskload_ps(p, lanes_below((int)n)),
                 _mm256_maskload_ps(p + 8, lanes_below((int)n - 8))};
}

static inline void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    _mm256_maskstore_ps(p, lanes_below((int)n), v.lo);
    _mm256_maskstore_ps(p + 8, lanes_below((int)n - 8), v.hi);
}

static inline vec vec_add(vec a, vec b)
{
    return (vec){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

static inline vec vec_sub(vec a, vec b)
{
    return (vec){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

static inline vec vec_mul(vec a, vec b)
{
    return (vec){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return (vec){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
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

static inline __m256 cut_bf16(__m256 x, __m256i up)
{
    const __m256i bits = _mm256_castps_si256(x), top = _mm256_set1_epi32((int)0xffff0000);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 chosen =
        _mm256_blendv_ps(_mm256_castsi256_ps(_mm256_add_epi32(bits, up)),
                         _mm256_castsi256_ps(quiet), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));

    return _mm256_and_ps(chosen, _mm256_castsi256_ps(top));
}

static inline __m256 round_bf16(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));

    return cut_bf16(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}

static inline vec vec_round_bf16(vec v)
{
    return (vec){round_bf16(v.lo), round_bf16(v.hi)};
}

static inline vec vec_draw_bf16(vec v, const uint16_t *draws)
{
    const __m128i lo = _mm_loadu_si128((const void *)draws);
    const __m128i hi = _mm_loadu_si128((const void *)(draws + 8));

    return (vec){cut_bf16(v.lo, _mm256_cvtepu16_epi32(lo)),
                 cut_bf16(v.hi, _mm256_cvtepu16_epi32(hi))};
}

static inline void vec_store_bf16(uint16_t *p, vec v)
{
    const __m256i lo = _mm256_srli_epi32(_mm256_castps_si256(v.lo), 16);
    const __m256i hi = _mm256_srli_epi32(_mm256_castps_si256(v.hi), 16);

    _mm256_storeu_si256((void *)p, _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8));
}

#endif
