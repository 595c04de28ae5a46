/* vec_ref.h's vocabulary on two ymm registers. */
#ifndef NYB_VEC_AVX2_H
#define NYB_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>

typedef struct vec {
    __m256 lo, hi;
} vec;

/* All ones in the lanes first .. 7 that lie below n. */
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

#endif
