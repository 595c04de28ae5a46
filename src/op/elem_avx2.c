#include <immintrin.h>

#include "op/elem.h"

/* elem_ref.c's vocabulary on two ymm registers. */
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
