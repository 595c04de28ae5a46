/* Random bits with AES-NI: rng.c's ARS-5, block by block, and its draws as fields of 23 bits. */
#ifndef NYB_RNG_AVX2_H
#define NYB_RNG_AVX2_H

#include <immintrin.h>

#include "base/rng.h"

typedef struct rng {
    __m128i key[6]; /* whitening, then one per round */
    __m128i counter;
} rng;

/* Block q comes first. */
static inline __attribute__((always_inline)) rng rng_begin(const nyb_stream *s, uint64_t q)
{
    const __m128i weyl =
        _mm_set_epi64x((long long)0xBB67AE8584CAA73B, (long long)0x9E3779B97F4A7C15);
    const uint64_t low = (q & 0xffffffffff) | (uint64_t)s->sample << 40 | (uint64_t)s->role << 48;
    const uint64_t high = s->tensor | (uint64_t)s->step << 32;
    rng r;

    r.key[0] = _mm_set_epi64x(0, (long long)s->seed);
    for (int i = 1; i < 6; i++)
        r.key[i] = _mm_add_epi64(r.key[i - 1], weyl);
    r.counter = _mm_set_epi64x((long long)high, (long long)low);
    return r;
}

/* The block that lies `ahead` blocks on. */
static inline __attribute__((always_inline)) __m128i rng_block(const rng *r, int ahead)
{
    __m128i c = _mm_add_epi64(r->counter, _mm_set_epi64x(0, ahead));

    c = _mm_xor_si128(c, r->key[0]);
    c = _mm_aesenc_si128(c, r->key[1]);
    c = _mm_aesenc_si128(c, r->key[2]);
    c = _mm_aesenc_si128(c, r->key[3]);
    c = _mm_aesenc_si128(c, r->key[4]);
    return _mm_aesenclast_si128(c, r->key[5]);
}

static inline __attribute__((always_inline)) void rng_skip(rng *r, int n_blocks)
{
    r->counter = _mm_add_epi64(r->counter, _mm_set_epi64x(0, n_blocks));
}

/* Fields 8 i .. 8 i + 7 of draws of 16 bits: U16 << 7 | 64. */
static inline __attribute__((always_inline)) __m256i rng_fields_16(const rng *r, int i)
{
    return _mm256_or_si256(_mm256_slli_epi32(_mm256_cvtepu16_epi32(rng_block(r, i)), 7),
                           _mm256_set1_epi32(64));
}

/* The same of draws of 32 bits: U32 >> 9. */
static inline __attribute__((always_inline)) __m256i rng_fields_32(const rng *r, int i)
{
    return _mm256_srli_epi32(_mm256_set_m128i(rng_block(r, 2 * i + 1), rng_block(r, 2 * i)), 9);
}

#endif
