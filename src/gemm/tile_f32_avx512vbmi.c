/* f32 tile for AVX-512 with VBMI: codes of 8 bits are looked up 64 at a time. */
#include "gemm/tile.h"
#include "gemm/tile_avx512.h"

/* r[i] lane j becomes r[j] lane i. */
static inline __attribute__((always_inline)) void transpose_lanes(__m512i r[4])
{
    const __m512i a = _mm512_shuffle_i32x4(r[0], r[1], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(r[0], r[1], 0xee);
    const __m512i c = _mm512_shuffle_i32x4(r[2], r[3], 0x44);
    const __m512i d = _mm512_shuffle_i32x4(r[2], r[3], 0xee);

    r[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    r[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    r[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    r[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

/* plane[q][p]: byte p of the values of codes 64 q .. 64 q + 63. */
static inline __attribute__((always_inline)) void split_values(const float *values,
                                                               __m512i plane[4][4])
{
    _Alignas(64) uint8_t lane_of_byte[64]; /* lane p: bytes p of 16 floats */

    for (size_t i = 0; i < 64; i++)
        lane_of_byte[i] = (uint8_t)(i % 16 * 4 + i / 16);
    const __m512i order = _mm512_load_si512(lane_of_byte);
    for (size_t q = 0; q < 4; q++) {
        for (size_t i = 0; i < 4; i++)
            plane[q][i] = _mm512_permutexvar_epi8(
                order, _mm512_loadu_si512((const void *)(values + 64 * q + 16 * i)));
        transpose_lanes(plane[q]);
    }
}

/* Dword 4 l + j is taken from 4 j + l: what unpacking spreads over lanes is in order again. */
static inline __attribute__((always_inline)) __m512i spread(__m512i codes)
{
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
}

static void decode(const uint8_t *codes, unsigned bits, const float *values, size_t first, size_t n,
                   float *out)
{
    __m512i plane[4][4];

    if (bits != 8) {
        nyb_tile_f32_decode_avx512(codes, bits, values, first, n, out);
        return;
    }
    split_values(values, plane);
    for (size_t i = 0; i < n; i += 64) {
        const __m512i c = spread(_mm512_maskz_loadu_epi8(nyb_mask64(n - i), codes + first + i));
        const __mmask64 upper = _mm512_movepi8_mask(c);
        __m512i byte[4], four[4];

        NYB_UNROLL
        for (size_t p = 0; p < 4; p++)
            byte[p] =
                _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(plane[0][p], c, plane[1][p]),
                                       _mm512_permutex2var_epi8(plane[2][p], c, plane[3][p]));
        const __m512i low01 = _mm512_unpacklo_epi8(byte[0], byte[1]);
        const __m512i high01 = _mm512_unpackhi_epi8(byte[0], byte[1]);
        const __m512i low23 = _mm512_unpacklo_epi8(byte[2], byte[3]);
        const __m512i high23 = _mm512_unpackhi_epi8(byte[2], byte[3]);
        four[0] = _mm512_unpacklo_epi16(low01, low23);
        four[1] = _mm512_unpackhi_epi16(low01, low23);
        four[2] = _mm512_unpacklo_epi16(high01, high23);
        four[3] = _mm512_unpackhi_epi16(high01, high23);
        for (size_t j = 0; j < 4 && i + 16 * j < n; j++)
            _mm512_storeu_si512((void *)(out + i + 16 * j), four[j]);
    }
}

const nyb_tile_f32 nyb_tile_f32_avx512vbmi = {
    .name = "avx512vbmi",
    .needs = NYB_CPU_AVX512 | NYB_CPU_VAES,
    .run = nyb_tile_f32_run_avx512,
    .transpose = nyb_tile_f32_transpose_avx512,
    .decode = decode,
};
