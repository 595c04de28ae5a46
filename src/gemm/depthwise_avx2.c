/* depthwise_kernels.h's vocabulary on AVX2 and FMA. */
#include "base/base.h"
#include "base/rng_avx2.h"
#include "base/vec_avx2.h"
#include "gemm/depthwise_kernel.h"
#include "gemm/store.h"

#define WORDS  16
#define PIXELS 4 /* of two registers each: 8 chains hide the latency of an FMA */
#define CHAINS 2

typedef __m256i words;

static inline words words_zero(void)
{
    return _mm256_setzero_si256();
}

static inline words words_add_products(words sum, words a, words b)
{
    return _mm256_add_epi16(sum, _mm256_mullo_epi16(a, b));
}

static inline words words_of_bytes(const uint8_t *p, size_t n, bool is_unsigned)
{
    const __m128i bytes = _mm_loadu_si128((const void *)p);

    (void)n;
    return is_unsigned ? _mm256_cvtepu8_epi16(bytes) : _mm256_cvtepi8_epi16(bytes);
}

static inline words words_load(const int16_t *p, size_t n)
{
    (void)n;
    return _mm256_loadu_si256((const void *)p);
}

typedef struct ivec {
    __m256i lo, hi;
} ivec;

static inline ivec ivec_zero(void)
{
    return (ivec){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

static inline ivec ivec_load(const int32_t *p)
{
    return (ivec){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 8))};
}

static inline void ivec_store(int32_t *p, ivec v)
{
    _mm256_storeu_si256((void *)p, v.lo);
    _mm256_storeu_si256((void *)(p + 8), v.hi);
}

static inline ivec ivec_add_words(ivec v, words w, int g)
{
    const __m128i low = _mm256_castsi256_si128(w), high = _mm256_extracti128_si256(w, 1);

    (void)g;
    return (ivec){_mm256_add_epi32(v.lo, _mm256_cvtepi16_epi32(low)),
                  _mm256_add_epi32(v.hi, _mm256_cvtepi16_epi32(high))};
}

static inline vec vec_of_ivec(ivec v)
{
    return (vec){_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)};
}

#define DEPTHWISE_RECORD nyb_depthwise_avx2
#define DEPTHWISE_NAME   "avx2"
#define DEPTHWISE_NEEDS  NYB_CPU_AVX2
#include "gemm/depthwise_kernels.h"
