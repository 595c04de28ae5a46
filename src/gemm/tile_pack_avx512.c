/* Packing and epilogue of the s8 tiles on AVX-512 (without VBMI). */
#include "gemm/asm_avx512.h"
#include "gemm/tile_avx512.h"
#include "gemm/tile_pack.h"

void nyb_tile_unpack_avx512(const uint8_t *codes, size_t first, size_t n, const uint8_t lut[16],
                            uint8_t *out)
{
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)lut));
    const __m512i low = _mm512_set1_epi8(15);
    while (n) {
        const uint8_t *byte = codes + first / 128 * 64 + first % 64;
        if (first % 128 == 0 && n >= 128) {
            const __m512i v = _mm512_loadu_si512(byte);
            const __m512i hi = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
            _mm512_storeu_si512(out, _mm512_shuffle_epi8(values, _mm512_and_si512(v, low)));
            _mm512_storeu_si512(out + 64, _mm512_shuffle_epi8(values, hi));
            first += 128, n -= 128, out += 128;
            continue;
        }
        /* Part of one half of a block: those nybbles of `count` adjacent bytes. */
        const size_t count = nyb_min(64 - first % 64, n);
        const __mmask64 mask = nyb_mask64(count);
        const __m512i v = _mm512_maskz_loadu_epi8(mask, byte);
        const __m128i shift = _mm_cvtsi32_si128(first % 128 < 64 ? 0 : 4);
        const __m512i code = _mm512_and_si512(_mm512_srl_epi16(v, shift), low);
        _mm512_mask_storeu_epi8(out, mask, _mm512_shuffle_epi8(values, code));
        first += count, n -= count, out += count;
    }
}

/* Sums of pairs of bytes over 16 vectors: they are at most 256 in magnitude, so that 16 of them fit
 * int16. */
static inline __m512i sum_lines(const __m512i line[16])
{
    __m512i pairs = _mm512_setzero_si512();
    for (int i = 0; i < 16; i++)
        pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(_mm512_set1_epi8(1), line[i]));
    return pairs;
}

void nyb_tile_pack_rows_avx512(const int8_t *src, size_t ld, const uint32_t *src_step,
                               const uint8_t *valid, size_t n_steps, size_t n_valid, int8_t *panel,
                               nyb_tile_sums *sums)
{
    for (size_t half = 0; half < 2; half++) {
        const size_t n_rows = n_valid > 16 * half ? nyb_min(n_valid - 16 * half, 16) : 0;
        for (size_t i = 0; i < n_steps; i++) {
            const int8_t *row = src + src_step[i] + 16 * half * ld;
            __m512i r[16];
            if (n_rows == 16 && valid[i] == 64) {
                for (size_t n = 0; n < 16; n++)
                    r[n] = _mm512_loadu_si512(row + n * ld);
            } else {
                for (size_t n = 0; n < 16; n++)
                    r[n] = n < n_rows ? _mm512_maskz_loadu_epi8(nyb_mask64(valid[i]), row + n * ld)
                                      : _mm512_setzero_si512();
            }
            nyb_transpose_16x16(r);
            int8_t *out = panel + i * NYB_TILE_STEP_BYTES + half * 1024;
            for (size_t k4 = 0; k4 < 16; k4++)
                _mm512_store_si512(out + k4 * 64, r[k4]);
            if (sums)
                _mm512_store_si512(sums[i].of[half * 16], sum_lines(r));
        }
    }
}

/* Four rows of 16 bytes -> 16 dwords, each one column of the four. */
static inline __attribute__((always_inline)) __m512i interleave_4x16(const void *src, size_t ld)
{
    const uint8_t *row = src;
    const __m512i columns = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i bytes = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)row));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const void *)(row + ld)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const void *)(row + 2 * ld)));
    v = _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const void *)(row + 3 * ld)));
    v = _mm512_permutexvar_epi32(columns, v);
    NYB_KEEP_512(v); /* clang 14 would merge the two shuffles into many */
    return _mm512_shuffle_epi8(v, bytes);
}

void nyb_tile_pack_cols_avx512(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid,
                               size_t n_steps, int8_t *panel, nyb_tile_sums *sums)
{
    const __mmask32 columns = (__mmask32)nyb_mask64(nyb_min(n_valid, 32));
    _Alignas(64) int8_t edge[NYB_TILE_STEP][NYB_TILE_COLS];
    for (size_t i = 0; i < n_steps; i++) {
        const size_t k0 = i * NYB_TILE_STEP;
        const size_t n_rows = k_valid > k0 ? nyb_min(k_valid - k0, NYB_TILE_STEP) : 0;
        const int8_t *rows = src + k0 * ld;
        size_t lds = ld;
        if (n_rows < NYB_TILE_STEP || n_valid < NYB_TILE_COLS) {
            for (size_t k = 0; k < NYB_TILE_STEP; k++)
                _mm256_store_si256((void *)edge[k],
                                   _mm256_maskz_loadu_epi8(k < n_rows ? columns : 0,
                                                           k < n_rows ? rows + k * ld : edge[k]));
            rows = edge[0];
            lds = NYB_TILE_COLS;
        }
        __m512i pairs[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        int8_t *out = panel + i * NYB_TILE_STEP_BYTES;
        for (size_t k4 = 0; k4 < 16; k4++) {
            for (size_t half = 0; half < 2; half++) {
                const __m512i v = interleave_4x16(rows + 4 * k4 * lds + 16 * half, lds);
                _mm512_store_si512(out + half * 1024 + k4 * 64, v);
                /* At most 16 * 256 in magnitude, as in sum_lines. */
                pairs[half] =
                    _mm512_add_epi16(pairs[half], _mm512_maddubs_epi16(_mm512_set1_epi8(1), v));
            }
        }
        for (size_t half = 0; sums && half < 2; half++)
            _mm512_store_si512(sums[i].of[half * 16], pairs[half]);
    }
}

/* 64 rows of 16 bytes -> 16 rows of 64 bytes. */
static inline __attribute__((always_inline)) void transpose_64x16(const uint8_t *src, size_t lds,
                                                                  __m512i out[16])
{
    NYB_UNROLL
    for (size_t i = 0; i < 16; i++)
        out[i] = interleave_4x16(src + 4 * i * lds, lds);
    nyb_transpose_16x16(out);
}

void nyb_tile_transpose_avx512(const uint8_t *src, size_t lds, size_t rows, size_t cols,
                               uint8_t *dst, size_t ldd)
{
    __m512i t[16];
    uint8_t edge[64][16];
    for (size_t row = 0; row < rows; row += 64) {
        for (size_t col = 0; col < cols; col += 16) {
            const uint8_t *block = src + row * lds + col;
            uint8_t *out = dst + col * ldd + row;
            const size_t n_rows = nyb_min(rows - row, 64), n_cols = nyb_min(cols - col, 16);
            if (n_rows == 64 && n_cols == 16) {
                transpose_64x16(block, lds, t);
                for (size_t i = 0; i < 16; i++)
                    _mm512_storeu_si512(out + i * ldd, t[i]);
                continue;
            }
            for (size_t i = 0; i < 64; i++) {
                const __mmask16 mask = i < n_rows ? nyb_mask16(n_cols) : 0;
                const uint8_t *from = i < n_rows ? block + i * lds : edge[i];
                _mm_storeu_si128((void *)edge[i], _mm_maskz_loadu_epi8(mask, from));
            }
            transpose_64x16(edge[0], 16, t);
            for (size_t i = 0; i < n_cols; i++)
                _mm512_mask_storeu_epi8(out + i * ldd, nyb_mask64(n_rows), t[i]);
        }
    }
}
