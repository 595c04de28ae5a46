/* vec_ref.h's vocabulary on one zmm register. */
#ifndef NYB_VEC_AVX512_H
#define NYB_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 vec;

static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec vec_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    const __m512i half = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}

/* Cuts off what is below bf16 of `rounded`; NaNs of v stay such, quiet. */
static inline vec cut_bf16(vec v, __m512i rounded)
{
    const __m512i kept = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                                              _mm512_castps_si512(v), _mm512_set1_epi32(0x400000));

    return _mm512_castsi512_ps(_mm512_and_si512(kept, _mm512_set1_epi32((int)0xffff0000)));
}

static inline vec vec_round_bf16(vec v)
{
    const __m512i bits = _mm512_castps_si512(v);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i even = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));

    return cut_bf16(v, _mm512_mask_add_epi32(even, odd, bits, _mm512_set1_epi32(0x8000)));
}

static inline vec vec_draw_bf16(vec v, const uint16_t *draws)
{
    /* As they were stored a moment ago, a block each: a load of two would have to wait for both. */
    const __m128i lo = _mm_loadu_si128((const void *)draws);
    const __m128i hi = _mm_loadu_si128((const void *)(draws + 8));

    const __m512i up = _mm512_cvtepu16_epi32(_mm256_set_m128i(hi, lo));

    return cut_bf16(v, _mm512_add_epi32(_mm512_castps_si512(v), up));
}

static inline void vec_store_bf16(uint16_t *p, vec v)
{
    const __m512i half = _mm512_srli_epi32(_mm512_castps_si512(v), 16);

    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(half));
}

#endif
