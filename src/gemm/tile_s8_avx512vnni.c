/* The s8 tile on AVX-512 VNNI: register blocks of up to 12 rows x 32 columns. */
#include "gemm/asm_avx512.h"
#include "gemm/tile_pack.h"
#include "gemm/tile_unroll.h"

#define MAX_ROWS 12 /* 24 accumulators, 2 vectors of b, 1 of a: 27 of 32 registers */

static void begin(void)
{
}

static void end(void)
{
}

static inline __m512i broadcast_4(const uint8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm512_set1_epi32(four);
}

/* Rows first_row .. first_row + n_rows - 1; n_rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
run_rows(const nyb_tile_s8_args *args, const __m512i less[2], size_t first_row, size_t n_rows)
{
    const size_t lda = args->lda, n_steps = args->n_steps;
    const uint8_t *a0 = args->a + first_row * lda;
    const uint32_t *a_step = args->a_step;
    int32_t *c = args->c + first_row * NYB_TILE_COLS;
    __m512i acc[MAX_ROWS][2];

    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        acc[m][0] = less[0];
        acc[m][1] = less[1];
        if (args->accumulate) {
            const int32_t *row = c + m * NYB_TILE_COLS;
            acc[m][0] = _mm512_add_epi32(less[0], _mm512_load_si512(row));
            acc[m][1] = _mm512_add_epi32(less[1], _mm512_load_si512(row + 16));
        }
    }
    for (size_t i = 0; i < n_steps; i++) {
        const uint8_t *a = a0 + a_step[i];
        const int8_t *b = nyb_tile_step_of_b(args, i);
        for (size_t k4 = 0, end = nyb_tile_lines(args, i); k4 < end; k4 += 4, a += 16) {
            NYB_UNROLL
            for (size_t j = 0; j < 4; j++) {
                const __m512i b0 = _mm512_load_si512(b + (k4 + j) * 64);
                const __m512i b1 = _mm512_load_si512(b + 1024 + (k4 + j) * 64);
                NYB_UNROLL
                for (size_t m = 0; m < n_rows; m++) {
                    const __m512i four = broadcast_4(a + m * lda + 4 * j);
                    NYB_DOT_512(acc[m][0], four, b0);
                    NYB_DOT_512(acc[m][1], four, b1);
                }
            }
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        _mm512_store_si512(c + m * NYB_TILE_COLS, acc[m][0]);
        _mm512_store_si512(c + m * NYB_TILE_COLS + 16, acc[m][1]);
    }
}

#define RUN_ROWS(n)                                                                                \
    static void run_rows_##n(const nyb_tile_s8_args *args, const __m512i less[2], size_t row)      \
    {                                                                                              \
        run_rows(args, less, row, n);                                                              \
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

static void run(const nyb_tile_s8_args *args)
{
    static void (*const run_block[])(const nyb_tile_s8_args *, const __m512i *, size_t) = {
        run_rows_1, run_rows_2, run_rows_3, run_rows_4,  run_rows_5,  run_rows_6,
        run_rows_7, run_rows_8, run_rows_9, run_rows_10, run_rows_11, run_rows_12,
    };
    /* a is unit + bias: sums start at -bias * sum of b (all modulo 2^32). */
    __m512i less[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; args->bias && i < args->n_steps; i++) {
        const nyb_tile_sums *sums = args->sums + args->b_step[i];
        for (size_t half = 0; half < 2; half++) {
            const __m512i pairs = _mm512_load_si512(sums->of[16 * half]);
            less[half] =
                _mm512_add_epi32(less[half], _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        }
    }
    less[0] = _mm512_mullo_epi32(_mm512_set1_epi32(-args->bias), less[0]);
    less[1] = _mm512_mullo_epi32(_mm512_set1_epi32(-args->bias), less[1]);
    /* Equal heights: a low last block would wait for its accumulators. */
    for (size_t row = 0, left = (args->rows + MAX_ROWS - 1) / MAX_ROWS; left; left--) {
        const size_t n_rows = (args->rows - row + left - 1) / left;
        run_block[n_rows - 1](args, less, row);
        row += n_rows;
    }
}

const nyb_tile_s8 nyb_tile_s8_avx512vnni = {
    .name = "avx512vnni",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI,
    .a_biased = true,
    .max_product = INT32_MAX,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = nyb_tile_unpack_avx512,
    .pack_rows = nyb_tile_pack_rows_avx512,
    .pack_cols = nyb_tile_pack_cols_avx512,
    .transpose = nyb_tile_transpose_avx512,
};
