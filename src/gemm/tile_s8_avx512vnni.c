/* The s8 tile on AVX-512 VNNI: register blocks of up to 12 rows x 32 or 16 rows x 16 columns. */
#include "gemm/asm_avx512.h"
#include "gemm/tile_pack.h"
#include "gemm/tile_unroll.h"

#define WIDE_ROWS   12 /* 24 accumulators, 2 vectors of b, 1 of a: 27 of 32 registers */
#define NARROW_ROWS 16

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

/* Rows first_row .. first_row + n_rows - 1, columns 0 .. 16 n_halves - 1: constants where this is
 * inlined. */
static inline __attribute__((always_inline)) void run_rows(const nyb_tile_s8_args *args,
                                                           const __m512i less[2], size_t first_row,
                                                           size_t n_rows, size_t n_halves)
{
    const size_t lda = args->lda, n_steps = args->n_steps;
    const uint8_t *a0 = args->a + first_row * lda;
    const uint32_t *a_step = args->a_step;
    int32_t *c = args->c + first_row * NYB_TILE_COLS;
    __m512i acc[NARROW_ROWS][2];

    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        NYB_UNROLL
        for (size_t h = 0; h < n_halves; h++) {
            acc[m][h] = less[h];
            if (args->accumulate)
                acc[m][h] =
                    _mm512_add_epi32(less[h], _mm512_load_si512(c + m * NYB_TILE_COLS + 16 * h));
        }
    }
    for (size_t i = 0; i < n_steps; i++) {
        const uint8_t *a = a0 + a_step[i];
        const int8_t *b = nyb_tile_step_of_b(args, i);
        for (size_t k4 = 0, end = nyb_tile_lines(args, i); k4 < end; k4 += 4, a += 16) {
            NYB_UNROLL
            for (size_t j = 0; j < 4; j++) {
                __m512i line[2];
                NYB_UNROLL
                for (size_t h = 0; h < n_halves; h++)
                    line[h] = _mm512_load_si512(b + 1024 * h + (k4 + j) * 64);
                NYB_UNROLL
                for (size_t m = 0; m < n_rows; m++) {
                    const __m512i four = broadcast_4(a + m * lda + 4 * j);
                    NYB_UNROLL
                    for (size_t h = 0; h < n_halves; h++)
                        NYB_DOT_512(acc[m][h], four, line[h]);
                }
            }
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        NYB_UNROLL
        for (size_t h = 0; h < n_halves; h++)
            _mm512_store_si512(c + m * NYB_TILE_COLS + 16 * h, acc[m][h]);
    }
}

typedef void run_block(const nyb_tile_s8_args *args, const __m512i less[2], size_t row);

#define RUN_ROWS(name, n_rows, n_halves)                                                           \
    static void name(const nyb_tile_s8_args *args, const __m512i less[2], size_t row)              \
    {                                                                                              \
        run_rows(args, less, row, n_rows, n_halves);                                               \
    }
RUN_ROWS(wide_1, 1, 2)
RUN_ROWS(wide_2, 2, 2)
RUN_ROWS(wide_3, 3, 2)
RUN_ROWS(wide_4, 4, 2)
RUN_ROWS(wide_5, 5, 2)
RUN_ROWS(wide_6, 6, 2)
RUN_ROWS(wide_7, 7, 2)
RUN_ROWS(wide_8, 8, 2)
RUN_ROWS(wide_9, 9, 2)
RUN_ROWS(wide_10, 10, 2)
RUN_ROWS(wide_11, 11, 2)
RUN_ROWS(wide_12, 12, 2)
RUN_ROWS(narrow_1, 1, 1)
RUN_ROWS(narrow_2, 2, 1)
RUN_ROWS(narrow_4, 4, 1)
RUN_ROWS(narrow_8, 8, 1)
RUN_ROWS(narrow_16, 16, 1)

/* Equal heights: a low last block would wait for its accumulators. */
static void run_wide(const nyb_tile_s8_args *args, const __m512i less[2])
{
    static run_block *const blocks[WIDE_ROWS] = {wide_1, wide_2, wide_3, wide_4,  wide_5,  wide_6,
                                                 wide_7, wide_8, wide_9, wide_10, wide_11, wide_12};

    for (size_t row = 0, left = nyb_div_up(args->rows, WIDE_ROWS); left; left--) {
        const size_t n_rows = nyb_div_up(args->rows - row, left);
        blocks[n_rows - 1](args, less, row);
        row += n_rows;
    }
}

static void run_narrow(const nyb_tile_s8_args *args, const __m512i less[2])
{
    static run_block *const blocks[] = {narrow_16, narrow_8, narrow_4, narrow_2, narrow_1};
    size_t row = 0;

    for (size_t i = 0, n_rows = NARROW_ROWS; n_rows; i++, n_rows /= 2)
        for (; row + n_rows <= args->rows; row += n_rows)
            blocks[i](args, less, row);
}

static void run(const nyb_tile_s8_args *args)
{
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
    if (args->narrow)
        run_narrow(args, less);
    else
        run_wide(args, less);
}

const nyb_tile_s8 nyb_tile_s8_avx512vnni = {
    .name = "avx512vnni",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI,
    .row_piece = 1,
    .k_piece = NYB_TILE_PIECE,
    .macs = 64,
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
