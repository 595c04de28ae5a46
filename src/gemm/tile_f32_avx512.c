/* The f32 tile on AVX-512: register blocks of up to 12 rows x 32 columns. */
#include "gemm/asm_avx512.h"
#include "gemm/tile.h"
#include "gemm/tile_avx512.h"
#include "gemm/tile_pack.h"
#include "packed/packed.h"

#define MAX_ROWS 12 /* 24 accumulators, 2 vectors of b, 1 of a: 27 of 32 registers */

/* One accumulator per output, k ascending, fused: the reference's order. */

/* Rows first_row .. first_row + n_rows - 1; n_rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void run_rows(const nyb_tile_f32_args *args,
                                                           size_t first_row, size_t n_rows)
{
    const size_t lda = args->lda, n_runs = args->n_runs;
    const uint32_t *run_off = args->run_off, *run_len = args->run_len;
    const float *b = args->b;
    __m512 acc[MAX_ROWS][2];
    float *c = args->c + first_row * NYB_TILE_COLS;
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        const float *row = c + m * NYB_TILE_COLS;
        acc[m][0] = args->resume ? _mm512_loadu_ps(row) : _mm512_setzero_ps();
        acc[m][1] = args->resume ? _mm512_loadu_ps(row + 16) : _mm512_setzero_ps();
    }
    for (size_t i = 0; i < n_runs; i++) {
        const float *a = args->a + first_row * lda + run_off[i];
        for (const float *a_end = a + run_len[i]; a < a_end; a++, b += NYB_TILE_COLS) {
            const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++) {
                const __m512 factor = _mm512_set1_ps(a[m * lda]);
                NYB_FMA_512(acc[m][0], factor, b0);
                NYB_FMA_512(acc[m][1], factor, b1);
            }
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++, c += NYB_TILE_COLS) {
        if (args->accumulate) {
            acc[m][0] = _mm512_add_ps(_mm512_loadu_ps(c), acc[m][0]);
            acc[m][1] = _mm512_add_ps(_mm512_loadu_ps(c + 16), acc[m][1]);
        }
        _mm512_storeu_ps(c, acc[m][0]);
        _mm512_storeu_ps(c + 16, acc[m][1]);
    }
}

#define RUN_ROWS(n)                                                                                \
    static void run_rows_##n(const nyb_tile_f32_args *args, size_t first_row)                      \
    {                                                                                              \
        run_rows(args, first_row, n);                                                              \
    }
RUN_ROWS(1)
RUN_ROWS(2)
RUN_ROWS(3)
RUN_ROWS(4)
RUN_ROWS(5)
RUN_ROWS(6)
RUN_ROWS(7)
RUN_ROWS(8)
RUN_ROWS(9)
RUN_ROWS(10)
RUN_ROWS(11)
RUN_ROWS(12)

/* Columns 0..15 only: one vector of b, 16 accumulators, and a from memory in each FMA. */
#define NARROW_ROWS 16

static inline __attribute__((always_inline)) void run_narrow(const nyb_tile_f32_args *args,
                                                             size_t first_row, size_t n_rows)
{
    const size_t lda = args->lda;
    const float *b = args->b;
    float *c = args->c + first_row * NYB_TILE_COLS;
    __m512 acc[NARROW_ROWS];
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++)
        acc[m] = args->resume ? _mm512_loadu_ps(c + m * NYB_TILE_COLS) : _mm512_setzero_ps();
    for (size_t i = 0; i < args->n_runs; i++) {
        const float *a = args->a + first_row * lda + args->run_off[i];
        for (const float *a_end = a + args->run_len[i]; a < a_end; a++, b += NYB_TILE_COLS) {
            const __m512 b0 = _mm512_loadu_ps(b);
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++)
                NYB_FMA_512_BROADCAST(acc[m], a[m * lda], b0);
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++, c += NYB_TILE_COLS)
        _mm512_storeu_ps(c, args->accumulate ? _mm512_add_ps(_mm512_loadu_ps(c), acc[m]) : acc[m]);
}

static void run_narrow_16(const nyb_tile_f32_args *args, size_t first_row)
{
    run_narrow(args, first_row, 16);
}

static void run_narrow_4(const nyb_tile_f32_args *args, size_t first_row)
{
    run_narrow(args, first_row, 4);
}

static void run_narrow_1(const nyb_tile_f32_args *args, size_t first_row)
{
    run_narrow(args, first_row, 1);
}

static void run_all_narrow(const nyb_tile_f32_args *args)
{
    size_t row = 0;

    for (; row + 16 <= args->rows; row += 16)
        run_narrow_16(args, row);
    for (; row + 4 <= args->rows; row += 4)
        run_narrow_4(args, row);
    for (; row < args->rows; row++)
        run_narrow_1(args, row);
}

void nyb_tile_f32_run_avx512(const nyb_tile_f32_args *args)
{
    if (args->narrow) {
        run_all_narrow(args);
        return;
    }
    static void (*const run_block[])(const nyb_tile_f32_args *, size_t) = {
        run_rows_1, run_rows_2, run_rows_3, run_rows_4,  run_rows_5,  run_rows_6,
        run_rows_7, run_rows_8, run_rows_9, run_rows_10, run_rows_11, run_rows_12,
    };
    for (size_t row = 0, left = nyb_div_up(args->rows, MAX_ROWS); left; left--) {
        const size_t n_rows = nyb_div_up(args->rows - row, left);
        run_block[n_rows - 1](args, row);
        row += n_rows;
    }
}

void nyb_tile_f32_transpose_avx512(const float *src, size_t lds, size_t rows, size_t cols,
                                   float *dst, size_t ldd)
{
    for (size_t row = 0; row < rows; row += 16) {
        for (size_t col = 0; col < cols; col += 16) {
            const float *block = src + row * lds + col;
            float *out = dst + col * ldd + row;
            const size_t n_rows = nyb_min(rows - row, 16), n_cols = nyb_min(cols - col, 16);
            __m512i r[16];
            for (size_t i = 0; i < 16; i++)
                r[i] = i < n_rows ? _mm512_maskz_loadu_epi32(nyb_mask16(n_cols), block + i * lds)
                                  : _mm512_setzero_si512();
            nyb_transpose_16x16(r);
            for (size_t i = 0; i < n_cols; i++)
                _mm512_mask_storeu_epi32(out + i * ldd, nyb_mask16(n_rows), r[i]);
        }
    }
}

void nyb_tile_f32_decode_avx512(const uint8_t *codes, unsigned bits, const float *values,
                                size_t first, size_t n, float *out)
{
    if (bits != 4) { /* a gather would not be faster; tile_f32_avx512vbmi.c is */
        nyb_tile_f32_ref.decode(codes, bits, values, first, n, out);
        return;
    }
    const __m512i table = _mm512_castps_si512(_mm512_loadu_ps(values));
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        const size_t m = nyb_min(n - i, NYB_BLOCK_CODES);
        uint8_t part[NYB_BLOCK_CODES];

        nyb_tile_unpack_avx512(codes, first + i, m, nyb_tile_codes, part);
        for (size_t j = 0; j < m; j += 16) {
            const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(part + j)));

            _mm512_storeu_ps(out + i + j, _mm512_castsi512_ps(_mm512_permutexvar_epi32(c, table)));
        }
    }
}

const nyb_tile_f32 nyb_tile_f32_avx512 = {
    .name = "avx512",
    .needs = NYB_CPU_AVX512,
    .run = nyb_tile_f32_run_avx512,
    .transpose = nyb_tile_f32_transpose_avx512,
    .decode = nyb_tile_f32_decode_avx512,
};
