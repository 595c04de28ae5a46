/* Random bits with VAES: rng.c's ARS-5, four blocks a register, and its draws as fields of 23 bits.
 */
#ifndef NYB_RNG_AVX512_H
#define NYB_RNG_AVX512_H

#include <immintrin.h>

#include "base/rng.h"

typedef struct rng {
    __m512i key[6];  /* whitening, then one per round */
    __m512i counter; /* blocks q, q+1, q+2, q+3 */
} rng;

/* Block q comes first. */
static inline __attribute__((always_inline)) rng rng_begin(const nyb_stream *s, uint64_t q)
{
    const __m512i weyl = _mm512_broadcast_i32x4(
        _mm_set_epi64x((long long)0xBB67AE8584CAA73B, (long long)0x9E3779B97F4A7C15));
    const uint64_t low = (q & 0xffffffffff) | (uint64_t)s->sample << 40 | (uint64_t)s->role << 48;
    const uint64_t high = s->tensor | (uint64_t)s->step << 32;
    rng r;

    r.key[0] = _mm512_broadcast_i32x4(_mm_set_epi64x(0, (long long)s->seed));
    for (int i = 1; i < 6; i++)
        r.key[i] = _mm512_add_epi64(r.key[i - 1], weyl);
    r.counter =
        _mm512_add_epi64(_mm512_broadcast_i32x4(_mm_set_epi64x((long long)high, (long long)low)),
                         _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0));
    return r;
}

/* The four blocks from `ahead` blocks on. */
static inline __attribute__((always_inline)) __m512i rng_blocks(const rng *r, int ahead)
{
    __m512i c = _mm512_add_epi64(r->counter, _mm512_set4_epi64(0, ahead, 0, ahead));

    c = _mm512_xor_si512(c, r->key[0]);
    c = _mm512_aesenc_epi128(c, r->key[1]);
    c = _mm512_aesenc_epi128(c, r->key[2]);
    c = _mm512_aesenc_epi128(c, r->key[3]);
    c = _mm512_aesenc_epi128(c, r->key[4]);
    return _mm512_aesenclast_epi128(c, r->key[5]);
}

static inline __attribute__((always_inline)) void rng_skip(rng *r, int n_blocks)
{
    r->counter = _mm512_add_epi64(r->counter, _mm512_set4_epi64(0, n_blocks, 0, n_blocks));
}

/* Fields of 16 of the 32 draws of 16 bits in four blocks: the first or the second half. They go to
 * the upper halves of words whose lower halves are 0x8000: a shift by 9 makes U16 << 7 | 64. */
static inline __attribute__((always_inline)) __m512i rng_fields_16(__m512i blocks, int half)
{
    const __m512i at = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0,
                                        6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);

    return _mm512_srli_epi32(
        _mm512_mask_permutexvar_epi16(_mm512_set1_epi32(0x8000), 0xAAAAAAAA,
                                      _mm512_add_epi16(at, _mm512_set1_epi16((short)(16 * half))),
                                      blocks),
        9);
}

/* Of 16 draws of 32 bits: U32 >> 9. */
static inline __attribute__((always_inline)) __m512i rng_fields_32(__m512i blocks)
{
    return _mm512_srli_epi32(blocks, 9);
}

#endif
