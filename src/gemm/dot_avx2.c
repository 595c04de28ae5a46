/* Products with few rows on AVX2: up to 4 rows by a column. Four products of pairs are added in
 * int16, which is exact for products below 2^12. */
#include <immintrin.h>

#include "gemm/dot_lanes.h"

#define MOST_ROWS 4

static inline int32_t sum_of(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

static inline __m256i pairs(__m256i b, const int8_t *a)
{
    return _mm256_maddubs_epi16(b, _mm256_loadu_si256((const void *)a));
}

/* n_rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void run_column(const nyb_dot_args *args, size_t row,
                                                             size_t n, size_t n_rows)
{
    const __m256i lut = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)args->lut));
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const dot_column col = dot_column_of(args, n);
    const int8_t *a = col.a + row * args->lda;
    __m256i acc[MOST_ROWS];

    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++)
        acc[m] = _mm256_setzero_si256();
    for (size_t i = 0; i < col.n_blocks; i++, a += NYB_BLOCK_CODES) {
        __m256i b[4]; /* in order of k */
        NYB_UNROLL
        for (size_t half = 0; half < 2; half++) {
            const __m256i v =
                _mm256_loadu_si256((const void *)(col.block + i * NYB_BLOCK_BYTES + 32 * half));
            const __m256i hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
            b[half] = _mm256_shuffle_epi8(lut, _mm256_and_si256(v, low));
            b[2 + half] = _mm256_shuffle_epi8(lut, hi);
        }
        NYB_UNROLL
        for (size_t m = 0; m < n_rows; m++) {
            const int8_t *of_row = a + m * args->lda;
            const __m256i first = _mm256_add_epi16(pairs(b[0], of_row), pairs(b[1], of_row + 32));
            const __m256i then =
                _mm256_add_epi16(pairs(b[2], of_row + 64), pairs(b[3], of_row + 96));
            acc[m] =
                _mm256_add_epi32(acc[m], _mm256_madd_epi16(_mm256_add_epi16(first, then), ones));
        }
    }
    for (size_t m = 0; m < n_rows; m++)
        args->c[(row + m) * NYB_TILE_COLS + n] =
            (int32_t)((uint32_t)args->start[row + m] + (uint32_t)sum_of(acc[m]));
}

static void run(const nyb_dot_args *args)
{
    for (size_t row = 0, left = nyb_div_up(args->rows, MOST_ROWS); left; left--) {
        const size_t n_rows = nyb_div_up(args->rows - row, left);

        for (size_t n = 0; n < args->cols; n++) {
            if (n_rows == 1)
                run_column(args, row, n, 1);
            else if (n_rows == 2)
                run_column(args, row, n, 2);
            else if (n_rows == 3)
                run_column(args, row, n, 3);
            else
                run_column(args, row, n, 4);
        }
        row += n_rows;
    }
}

const nyb_dot_kernel nyb_dot_avx2 = {
    .name = "avx2", .needs = NYB_CPU_AVX2, .max_product = 4095, .run = run};
