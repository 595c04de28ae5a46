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

/* The next n blocks, at most 4: the rounds of one wait for each other, those of several do not. */
static inline __attribute__((always_inline)) void rng_blocks(rng *r, int n, __m128i *out)
{
    const __m128i one = _mm_set_epi64x(0, 1);
    __m128i c[4];

    for (int i = 0; i < n; i++, r->counter = _mm_add_epi64(r->counter, one))
        c[i] = _mm_xor_si128(r->counter, r->key[0]);
    for (int round = 1; round < 5; round++)
        for (int i = 0; i < n; i++)
            c[i] = _mm_aesenc_si128(c[i], r->key[round]);
    for (int i = 0; i < n; i++)
        out[i] = _mm_aesenclast_si128(c[i], r->key[5]);
}

/* Fields of a block's 8 draws of 16 bits: U16 << 7 | 64. */
static inline __attribute__((always_inline)) __m256i rng_fields_16(__m128i block)
{
    return _mm256_or_si256(_mm256_slli_epi32(_mm256_cvtepu16_epi32(block), 7),
                           _mm256_set1_epi32(64));
}

/* Fields of two blocks' 8 draws of 32 bits: U32 >> 9. */
static inline __attribute__((always_inline)) __m256i rng_fields_32(const __m128i blocks[2])
{
    return _mm256_srli_epi32(_mm256_set_m128i(blocks[1], blocks[0]), 9);
}

/* rng_ref.h's. */
static inline __attribute__((always_inline)) void rng_draws_32(const nyb_stream *s, uint64_t q,
                                                               uint16_t draws[32])
{
    rng r = rng_begin(s, q);
    __m128i blocks[4];

    rng_blocks(&r, 4, blocks);
    for (int i = 0; i < 4; i++)
        _mm_storeu_si128((void *)(draws + 8 * i), blocks[i]);
}

#endif
