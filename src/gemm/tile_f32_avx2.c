/* The f32 tile on AVX2 and FMA: register blocks of up to 6 rows x 16 columns. */
#include "gemm/tile.h"
#include "gemm/tile_avx2.h"
#include "gemm/tile_pack.h"
#include "packed/packed.h"

#define MAX_ROWS 6 /* 12 accumulators, 2 vectors of b, 1 of a: 15 of 16 registers */

/* One accumulator per output, k ascending, fused: the reference's order. As a statement, so that
 * gcc 12 keeps the accumulators in registers. */
#define FMA(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b))

/* Rows first_row .. first_row + n_rows - 1, columns 16 half .. 16 half + 15; n_rows is a constant
 * where this is inlined. */
static inline __attribute__((always_inline)) void
run_rows(const nyb_tile_f32_args *args, size_t first_row, size_t half, size_t n_rows)
{
    const size_t lda = args->lda, n_runs = args->n_runs;
    const uint32_t *run_off = args->run_off, *run_len = args->run_len;
    const float *b = args->b + 16 * half;
    __m256 acc[MAX_ROWS][2];
    float *c = args->c + first_row * NYB_TILE_COLS + 16 * half;
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        acc[m][0] = acc[m][1] = _mm256_setzero_ps();
        if (args->resume) {
            acc[m][0] = _mm256_loadu_ps(c + m * NYB_TILE_COLS);
            acc[m][1] = _mm256_loadu_ps(c + m * NYB_TILE_COLS + 8);
        }
    }
    for (size_t i = 0; i < n_runs; i++) {
        const float *a = args->a + first_row * lda + run_off[i];
        for (const float *a_end = a + run_len[i]; a < a_end; a++, b += NYB_TILE_COLS) {
            const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++) {
                const __m256 factor = _mm256_set1_ps(a[m * lda]);
                FMA(acc[m][0], factor, b0);
                FMA(acc[m][1], factor, b1);
            }
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++, c += NYB_TILE_COLS) {
        if (args->accumulate) {
            acc[m][0] = _mm256_add_ps(_mm256_loadu_ps(c), acc[m][0]);
            acc[m][1] = _mm256_add_ps(_mm256_loadu_ps(c + 8), acc[m][1]);
        }
        _mm256_storeu_ps(c, acc[m][0]);
        _mm256_storeu_ps(c + 8, acc[m][1]);
    }
}

#define RUN_ROWS(n)                                                                                \
    static void run_rows_##n(const nyb_tile_f32_args *args, size_t first_row, size_t half)         \
    {                                                                                              \
        run_rows(args, first_row, half, n);                                                        \
    }
RUN_ROWS(1)
RUN_ROWS(2)
RUN_ROWS(3)
RUN_ROWS(4)
RUN_ROWS(5)
RUN_ROWS(6)

static void run(const nyb_tile_f32_args *args)
{
    static void (*const run_block[])(const nyb_tile_f32_args *, size_t, size_t) = {
        run_rows_1, run_rows_2, run_rows_3, run_rows_4, run_rows_5, run_rows_6,
    };
    for (size_t half = 0; half < (args->narrow ? 1 : 2); half++) {
        for (size_t row = 0, left = nyb_div_up(args->rows, MAX_ROWS); left; left--) {
            const size_t n_rows = nyb_div_up(args->rows - row, left);
            run_block[n_rows - 1](args, row, half);
            row += n_rows;
        }
    }
}

static void transpose(const float *src, size_t lds, size_t rows, size_t cols, float *dst,
                      size_t ldd)
{
    const size_t full_rows = rows / 8 * 8, full_cols = cols / 8 * 8;
    for (size_t row = 0; row < full_rows; row += 8) {
        for (size_t col = 0; col < full_cols; col += 8) {
            __m256i r[8];
            for (size_t i = 0; i < 8; i++)
                r[i] = _mm256_loadu_si256((const void *)(src + (row + i) * lds + col));
            nyb_transpose_8x8(r);
            for (size_t i = 0; i < 8; i++)
                _mm256_storeu_si256((void *)(dst + (col + i) * ldd + row), r[i]);
        }
    }
    for (size_t row = 0; row < rows; row++)
        for (size_t col = row < full_rows ? full_cols : 0; col < cols; col++)
            dst[col * ldd + row] = src[row * lds + col];
}

/* Entries of a table of 16. */
static inline __m256 look_up(__m256i i, __m256 low, __m256 high)
{
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)); /* bit 3 is the sign */

    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, i), _mm256_permutevar8x32_ps(high, i),
                            upper);
}

static void decode(const uint8_t *codes, unsigned bits, const float *values, size_t first, size_t n,
                   float *out)
{
    if (bits != 4) { /* a gather would not be faster */
        nyb_tile_f32_ref.decode(codes, bits, values, first, n, out);
        return;
    }
    const __m256 low = _mm256_loadu_ps(values), high = _mm256_loadu_ps(values + 8);
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        const size_t m = nyb_min(n - i, NYB_BLOCK_CODES);
        uint8_t part[NYB_BLOCK_CODES];

        nyb_tile_unpack_avx2(codes, first + i, m, nyb_tile_codes, part);
        for (size_t j = 0; j < m; j += 16) {
            const __m128i c = _mm_loadu_si128((const void *)(part + j));

            _mm256_storeu_ps(out + i + j, look_up(_mm256_cvtepu8_epi32(c), low, high));
            _mm256_storeu_ps(out + i + j + 8,
                             look_up(_mm256_cvtepu8_epi32(_mm_srli_si128(c, 8)), low, high));
        }
    }
}

const nyb_tile_f32 nyb_tile_f32_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .run = run,
    .transpose = transpose,
    .decode = decode,
};
