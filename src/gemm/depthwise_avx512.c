/* depthwise_kernels.h's vocabulary on AVX-512. */
#include "base/base.h"
#include "base/rng_avx2.h"
#include "base/vec_avx512.h"
#include "gemm/depthwise_kernel.h"
#include "gemm/store.h"

#define WORDS  32
#define PIXELS 8 /* as many chains hide the latency of an FMA */
#define CHAINS 4

typedef __m512i words;

static inline words words_zero(void)
{
    return _mm512_setzero_si512();
}

static inline words words_add_products(words sum, words a, words b)
{
    return _mm512_add_epi16(sum, _mm512_mullo_epi16(a, b));
}

static inline words words_of_bytes(const uint8_t *p, size_t n, bool is_unsigned)
{
    const __m256i bytes = _mm256_maskz_loadu_epi8(n == WORDS ? 0xffffffffu : 0xffffu, p);

    return is_unsigned ? _mm512_cvtepu8_epi16(bytes) : _mm512_cvtepi8_epi16(bytes);
}

static inline words words_load(const int16_t *p, size_t n)
{
    return _mm512_maskz_loadu_epi32(n == WORDS ? 0xffff : 0xff, p);
}

typedef __m512i ivec;

static inline ivec ivec_zero(void)
{
    return _mm512_setzero_si512();
}

static inline ivec ivec_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}

static inline void ivec_store(int32_t *p, ivec v)
{
    _mm512_storeu_si512(p, v);
}

static inline ivec ivec_add_words(ivec v, words w, int g)
{
    const __m256i half = g ? _mm512_extracti64x4_epi64(w, 1) : _mm512_castsi512_si256(w);

    return _mm512_add_epi32(v, _mm512_cvtepi16_epi32(half));
}

static inline vec vec_of_ivec(ivec v)
{
    return _mm512_cvtepi32_ps(v);
}

#define DEPTHWISE_RECORD nyb_depthwise_avx512
#define DEPTHWISE_NAME   "avx512"
#define DEPTHWISE_NEEDS  NYB_CPU_AVX512
#include "gemm/depthwise_kernels.h"
