/* Packing and epilogue of the s8 tiles on AVX2. Edges go through a zeroed block on the stack. */
#include "gemm/tile_avx2.h"
#include "gemm/tile_pack.h"

void nyb_tile_unpack_avx2(const uint8_t *codes, size_t first, size_t n, const uint8_t lut[16],
                          uint8_t *out)
{
    const __m128i values = _mm_loadu_si128((const void *)lut);
    const __m256i values2 = _mm256_broadcastsi128_si256(values);
    const __m256i low = _mm256_set1_epi8(15);
    while (n) {
        const uint8_t *byte = codes + first / 128 * 64 + first % 64;
        if (first % 128 == 0 && n >= 128) {
            for (size_t i = 0; i < 64; i += 32) {
                const __m256i v = _mm256_loadu_si256((const void *)(byte + i));
                const __m256i lo = _mm256_and_si256(v, low);
                const __m256i hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
                _mm256_storeu_si256((void *)(out + i), _mm256_shuffle_epi8(values2, lo));
                _mm256_storeu_si256((void *)(out + 64 + i), _mm256_shuffle_epi8(values2, hi));
            }
            first += 128, n -= 128, out += 128;
            continue;
        }
        const __m128i shift = _mm_cvtsi32_si128(first % 128 < 64 ? 0 : 4);
        const __m128i v = _mm_srl_epi16(_mm_loadu_si128((const void *)byte), shift);
        const __m128i code = _mm_and_si128(v, _mm256_castsi256_si128(low));
        _mm_storeu_si128((void *)out, _mm_shuffle_epi8(values, code));
        first += 16, n -= 16, out += 16;
    }
}

/* The sums of a step, eight columns at a time. Pair sums are at most 256 in magnitude, so that the
 * 16 of a step fit int16. */
static void write_sums(const int8_t *step, nyb_tile_sums *sums)
{
    const __m256i ones = _mm256_set1_epi8(1);
    for (size_t part = 0; part < 4; part++) {
        const int8_t *line = step + part / 2 * 1024 + part % 2 * 32;
        __m256i pairs = _mm256_setzero_si256();
        for (size_t k4 = 0; k4 < 16; k4++, line += 64)
            pairs = _mm256_add_epi16(
                pairs, _mm256_maddubs_epi16(ones, _mm256_load_si256((const void *)line)));
        _mm256_store_si256((void *)sums->of[8 * part], pairs);
    }
}

void nyb_tile_pack_rows_avx2(const int8_t *src, size_t ld, const uint32_t *src_step,
                             const uint8_t *valid, size_t n_steps, size_t n_valid, int8_t *panel,
                             nyb_tile_sums *sums)
{
    _Alignas(32) int8_t edge[NYB_TILE_COLS][NYB_TILE_STEP];
    for (size_t i = 0; i < n_steps; i++) {
        const int8_t *rows = src + src_step[i];
        size_t lds = ld;
        if (n_valid < NYB_TILE_COLS || valid[i] < NYB_TILE_STEP) {
            memset(edge, 0, sizeof edge);
            for (size_t n = 0; n < n_valid; n++)
                memcpy(edge[n], rows + n * ld, valid[i]);
            rows = edge[0];
            lds = NYB_TILE_STEP;
        }
        for (size_t n = 0; n < NYB_TILE_COLS; n += 8) {
            int8_t *out = panel + i * NYB_TILE_STEP_BYTES + n / 16 * 1024 + n % 16 * 4;
            for (size_t k4 = 0; k4 < 16; k4 += 8) {
                __m256i r[8];
                for (size_t j = 0; j < 8; j++)
                    r[j] = _mm256_loadu_si256((const void *)(rows + (n + j) * lds + 4 * k4));
                nyb_transpose_8x8(r);
                for (size_t j = 0; j < 8; j++)
                    _mm256_store_si256((void *)(out + (k4 + j) * 64), r[j]);
            }
        }
        if (sums)
            write_sums(panel + i * NYB_TILE_STEP_BYTES, sums + i);
    }
}

/* Four rows of 32 bytes -> two lines of 16 columns of four. */
static inline void interleave_4x32(const int8_t *row, size_t ld, int8_t *out)
{
    const __m256i r0 = _mm256_loadu_si256((const void *)row);
    const __m256i r1 = _mm256_loadu_si256((const void *)(row + ld));
    const __m256i r2 = _mm256_loadu_si256((const void *)(row + 2 * ld));
    const __m256i r3 = _mm256_loadu_si256((const void *)(row + 3 * ld));
    const __m256i lo01 = _mm256_unpacklo_epi8(r0, r1), hi01 = _mm256_unpackhi_epi8(r0, r1);
    const __m256i lo23 = _mm256_unpacklo_epi8(r2, r3), hi23 = _mm256_unpackhi_epi8(r2, r3);
    /* lane 0: columns 4 j .. 4 j + 3; lane 1: the same + 16 */
    const __m256i q0 = _mm256_unpacklo_epi16(lo01, lo23), q1 = _mm256_unpackhi_epi16(lo01, lo23);
    const __m256i q2 = _mm256_unpacklo_epi16(hi01, hi23), q3 = _mm256_unpackhi_epi16(hi01, hi23);
    _mm256_store_si256((void *)out, _mm256_permute2x128_si256(q0, q1, 0x20));
    _mm256_store_si256((void *)(out + 32), _mm256_permute2x128_si256(q2, q3, 0x20));
    _mm256_store_si256((void *)(out + 1024), _mm256_permute2x128_si256(q0, q1, 0x31));
    _mm256_store_si256((void *)(out + 1056), _mm256_permute2x128_si256(q2, q3, 0x31));
}

void nyb_tile_pack_cols_avx2(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid,
                             size_t n_steps, int8_t *panel, nyb_tile_sums *sums)
{
    _Alignas(32) int8_t edge[NYB_TILE_STEP][NYB_TILE_COLS];
    for (size_t i = 0; i < n_steps; i++) {
        const size_t k0 = i * NYB_TILE_STEP;
        const size_t n_rows = k_valid > k0 ? nyb_min(k_valid - k0, NYB_TILE_STEP) : 0;
        const int8_t *rows = src + k0 * ld;
        size_t lds = ld;
        if (n_rows < NYB_TILE_STEP || n_valid < NYB_TILE_COLS) {
            memset(edge, 0, sizeof edge);
            for (size_t k = 0; k < n_rows; k++)
                memcpy(edge[k], rows + k * ld, n_valid);
            rows = edge[0];
            lds = NYB_TILE_COLS;
        }
        for (size_t k4 = 0; k4 < 16; k4++)
            interleave_4x32(rows + 4 * k4 * lds, lds, panel + i * NYB_TILE_STEP_BYTES + k4 * 64);
        if (sums)
            write_sums(panel + i * NYB_TILE_STEP_BYTES, sums + i);
    }
}

/* 32 rows of 16 bytes -> 16 rows of 32 bytes: two 16 x 16 transposes side by side. Each pass
 * interleaves vector i with vector i + 8, which after four passes is the transpose. */
static inline __attribute__((always_inline)) void transpose_32x16(const uint8_t *src, size_t lds,
                                                                  __m256i r[16])
{
    __m256i t[16];
    NYB_UNROLL
    for (size_t i = 0; i < 16; i++)
        t[i] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const void *)(src + i * lds))),
            _mm_loadu_si128((const void *)(src + (16 + i) * lds)), 1);
    NYB_UNROLL
    for (int pass = 0; pass < 2; pass++) {
        NYB_UNROLL
        for (int i = 0; i < 8; i++) {
            r[2 * i] = _mm256_unpacklo_epi8(t[i], t[i + 8]);
            r[2 * i + 1] = _mm256_unpackhi_epi8(t[i], t[i + 8]);
        }
        NYB_UNROLL
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm256_unpacklo_epi8(r[i], r[i + 8]);
            t[2 * i + 1] = _mm256_unpackhi_epi8(r[i], r[i + 8]);
        }
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

void nyb_tile_transpose_avx2(const uint8_t *src, size_t lds, size_t rows, size_t cols, uint8_t *dst,
                             size_t ldd)
{
    __m256i t[16];
    uint8_t edge[32][16];
    for (size_t row = 0; row < rows; row += 32) {
        for (size_t col = 0; col < cols; col += 16) {
            const uint8_t *block = src + row * lds + col;
            uint8_t *out = dst + col * ldd + row;
            const size_t n_rows = nyb_min(rows - row, 32), n_cols = nyb_min(cols - col, 16);
            if (n_rows == 32 && n_cols == 16) {
                transpose_32x16(block, lds, t);
                for (size_t i = 0; i < 16; i++)
                    _mm256_storeu_si256((void *)(out + i * ldd), t[i]);
                continue;
            }
            memset(edge, 0, sizeof edge);
            for (size_t i = 0; i < n_rows; i++)
                memcpy(edge[i], block + i * lds, n_cols);
            transpose_32x16(edge[0], 16, t);
            for (size_t i = 0; i < n_cols; i++)
                memcpy(out + i * ldd, &t[i], n_rows);
        }
    }
}
