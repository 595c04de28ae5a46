/* Products with few rows on AVX-512 VNNI: up to 8 rows by 8, 4 or 2 columns in registers. */
#include "gemm/asm_avx512.h"
#include "gemm/dot_lanes.h"

#define MOST_ROWS 8
#define MOST_COLS 8

/* The sums of four vectors' dwords. */
static inline __m128i sums_of_4(const __m512i v[4])
{
    __m128i s[4];

    NYB_UNROLL
    for (size_t i = 0; i < 4; i++) {
        const __m256i half =
            _mm256_add_epi32(_mm512_castsi512_si256(v[i]), _mm512_extracti64x4_epi64(v[i], 1));
        s[i] = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    }
    return _mm_hadd_epi32(_mm_hadd_epi32(s[0], s[1]), _mm_hadd_epi32(s[2], s[3]));
}

/* Blocks from .. end - 1 of n_cols columns, which begin at the same place of a block (together) or
 * not; constants but for `from` and `end` where this is inlined. acc: those of a row are `width`
 * apart from the next's. */
static inline __attribute__((always_inline)) void
add_blocks(const nyb_dot_args *args, const dot_column *col, size_t row, size_t n_rows,
           size_t n_cols, bool together, size_t from, size_t end, __m512i *acc, size_t width)
{
    const __m512i lut = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)args->lut));
    const __m512i low = _mm512_set1_epi8(15);

    for (size_t i = from; i < end; i++) {
        __m512i b[MOST_COLS][2];
        NYB_UNROLL
        for (size_t n = 0; n < n_cols; n++) {
            const __m512i v = _mm512_loadu_si512(col[n].block + i * NYB_BLOCK_BYTES);
            const __m512i hi = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
            b[n][0] = _mm512_shuffle_epi8(lut, _mm512_and_si512(v, low));
            b[n][1] = _mm512_shuffle_epi8(lut, hi);
        }
        NYB_UNROLL
        for (size_t m = 0; m < n_rows; m++) {
            NYB_UNROLL
            for (size_t half = 0; half < 2; half++) {
                const size_t at = (row + m) * args->lda + i * NYB_BLOCK_CODES + 64 * half;
                __m512i a = _mm512_loadu_si512(col[0].a + at);
                NYB_UNROLL
                for (size_t n = 0; n < n_cols; n++) {
                    if (!together && n > 0)
                        a = _mm512_loadu_si512(col[n].a + at);
                    NYB_DOT_512(acc[m * width + n], b[n][half], a);
                }
            }
        }
    }
}

/* Rows from `row`, columns from `first` on; their numbers are constants where this is inlined. */
static inline __attribute__((always_inline)) void
run_block(const nyb_dot_args *args, size_t row, size_t first, size_t n_rows, size_t n_cols)
{
    __m512i acc[MOST_ROWS * 2];
    dot_column col[MOST_COLS];
    size_t common = SIZE_MAX;

    NYB_UNROLL
    for (size_t i = 0; i < n_rows * n_cols; i++)
        acc[i] = _mm512_setzero_si512();
    for (size_t n = 0; n < n_cols; n++) {
        col[n] = dot_column_of(args, nyb_min(first + n, args->cols - 1));
        common = nyb_min(common, col[n].n_blocks);
    }
    if (args->pitch % NYB_BLOCK_CODES == 0)
        add_blocks(args, col, row, n_rows, n_cols, true, 0, common, acc, n_cols);
    else
        add_blocks(args, col, row, n_rows, n_cols, false, 0, common, acc, n_cols);
    NYB_UNROLL
    for (size_t n = 0; n < n_cols; n++)
        add_blocks(args, col + n, row, n_rows, 1, true, common, col[n].n_blocks, acc + n, n_cols);
    int32_t sums[MOST_ROWS * 2];
    NYB_UNROLL
    for (size_t i = 0; i + 4 <= n_rows * n_cols; i += 4)
        _mm_storeu_si128((void *)(sums + i), sums_of_4(acc + i));
    if (n_rows * n_cols % 4) { /* of two columns and an odd number of rows */
        const size_t i = n_rows * n_cols - 2;
        const __m512i two[4] = {acc[i], acc[i + 1], acc[i], acc[i + 1]};
        _mm_storel_epi64((void *)(sums + i), sums_of_4(two));
    }
    for (size_t m = 0; m < n_rows; m++)
        for (size_t n = 0; n < n_cols; n++)
            args->c[(row + m) * NYB_TILE_COLS + first + n] =
                (int32_t)((uint32_t)args->start[row + m] + (uint32_t)sums[m * n_cols + n]);
}

typedef void run_fn(const nyb_dot_args *args, size_t row, size_t first);

#define RUN(rows, cols)                                                                            \
    static void run_##rows##x##cols(const nyb_dot_args *args, size_t row, size_t first)            \
    {                                                                                              \
        run_block(args, row, first, rows, cols);                                                   \
    }
RUN(1, 8)
RUN(1, 4)
RUN(2, 4)
RUN(3, 4)
RUN(4, 4)
RUN(5, 2)
RUN(6, 2)
RUN(7, 2)
RUN(8, 2)

static void run(const nyb_dot_args *args)
{
    static run_fn *const blocks[] = {NULL,    run_1x8, run_2x4, run_3x4, run_4x4,
                                     run_5x2, run_6x2, run_7x2, run_8x2};
    static const size_t widths[] = {0, 8, 4, 4, 4, 2, 2, 2, 2};
    /* Columns that begin at places of their own have two addresses each: not for 8 at a time. */
    const bool apart = args->pitch % NYB_BLOCK_CODES != 0;

    for (size_t row = 0, left = nyb_div_up(args->rows, MOST_ROWS); left; left--) {
        const size_t n_rows = nyb_div_up(args->rows - row, left);

        run_fn *const block = n_rows == 1 && apart ? run_1x4 : blocks[n_rows];
        const size_t width = n_rows == 1 && apart ? 4 : widths[n_rows];

        for (size_t n = 0; n < args->cols; n += width)
            block(args, row, n);
        row += n_rows;
    }
}

const nyb_dot_kernel nyb_dot_avx512vnni = {
    .name = "avx512vnni",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI,
    .max_product = INT32_MAX,
    .run = run,
};
