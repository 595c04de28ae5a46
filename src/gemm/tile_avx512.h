/* What the AVX-512 tiles share: lane masks, the transpose of 16 x 16 dwords, the f32 tile. */
#ifndef NYB_TILE_AVX512_H
#define NYB_TILE_AVX512_H

#include <immintrin.h>

#include "base/base.h"
#include "gemm/tile.h"
#include "gemm/tile_unroll.h"

/* Masks of the first n lanes, 0 <= n; all of them from n = 64, resp. 16. */
static inline __mmask64 nyb_mask64(size_t n)
{
    return n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
}

static inline __mmask16 nyb_mask16(size_t n)
{
    return (__mmask16)nyb_mask64(nyb_min(n, 16));
}

/* tile_f32_avx512.c, as in tile.h */
void nyb_tile_f32_run_avx512(const nyb_tile_f32_args *args);
void nyb_tile_f32_transpose_avx512(const float *src, size_t lds, size_t rows, size_t cols,
                                   float *dst, size_t ldd);
void nyb_tile_f32_decode_avx512(const uint8_t *codes, unsigned bits, const float *values,
                                size_t first, size_t n, float *out);

/* r[i] dword j becomes r[j] dword i: pairs, fours, then the 128-bit lanes. */
static inline __attribute__((always_inline)) void nyb_transpose_16x16(__m512i r[16])
{
    __m512i t[16];
    NYB_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    /* r[4 i + j], lane l: rows 4 i .. 4 i + 3 of column 4 l + j */
    NYB_UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    NYB_UNROLL
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    }
    NYB_UNROLL
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
        r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
        r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
    }
}

#endif
