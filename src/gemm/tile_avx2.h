/* What the AVX2 tiles share: dot products of bytes, the transpose of 8 x 8 dwords. */
#ifndef NYB_TILE_AVX2_H
#define NYB_TILE_AVX2_H

#include <immintrin.h>

#include "base/base.h"
#include "gemm/tile_unroll.h"

/* acc += sums of products of a and b: pairs of bytes in int16, pairs of int16 in int32. As
 * statements, so that gcc 12 keeps the accumulators in registers. */
#define NYB_DOT_BYTES(acc, a, b)                                                                   \
    do {                                                                                           \
        __m256i product;                                                                           \
        __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"                                       \
                : "+x"(acc), "=&x"(product)                                                        \
                : "x"(a), "x"(b));                                                                 \
    } while (0)
#define NYB_DOT_WORDS(acc, a, b)                                                                   \
    do {                                                                                           \
        __m256i product;                                                                           \
        __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"                                         \
                : "+x"(acc), "=&x"(product)                                                        \
                : "x"(a), "x"(b));                                                                 \
    } while (0)

static inline __m256i nyb_broadcast_4(const void *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}

/* r[i] dword j becomes r[j] dword i: pairs, fours, then the 128-bit lanes. */
static inline __attribute__((always_inline)) void nyb_transpose_8x8(__m256i r[8])
{
    __m256i t[8];
    NYB_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    /* r[4 i + j], lane l: rows 4 i .. 4 i + 3 of column 4 l + j */
    NYB_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    NYB_UNROLL
    for (int j = 0; j < 4; j++) {
        t[j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x20);
        t[4 + j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x31);
    }
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

#endif
