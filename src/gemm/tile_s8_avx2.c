/* The s8 tile on AVX2: vpmaddubsw into int16 partial sums, flushed to int32 before they overflow.
 */
#include <immintrin.h>

#include "gemm/tile_pack.h"

#define ROWS 4 /* x 16 columns: 8 accumulators, 2 vectors of b, 1 of a, 2 products */

/* acc += pairs of unsigned a times signed b, in int16. As a statement, so that gcc 12 keeps the
 * accumulators in registers. */
#define DOT(acc, a, b)                                                                             \
    do {                                                                                           \
        __m256i product;                                                                           \
        __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"                                       \
                : "+x"(acc), "=&x"(product)                                                        \
                : "x"(a), "x"(b));                                                                 \
    } while (0)

/* How many dots one int16 takes: each adds at most 2 * max_a * max_b <= 32766. Either whole steps
 * of 16, or 1, 2, 4 or 8 of them. */
typedef struct flush {
    size_t n_steps, n_k4;
} flush;

static flush flush_plan(const nyb_tile_s8_args *args)
{
    const int32_t product = 2 * args->max_a * args->max_b;
    const size_t n_dots = product > 0 ? (size_t)(INT16_MAX / product) : INT16_MAX;
    flush plan = {.n_steps = 1, .n_k4 = 16};
    if (n_dots >= 16)
        plan.n_steps = n_dots / 16;
    while (plan.n_k4 > 1 && plan.n_k4 > n_dots)
        plan.n_k4 /= 2;
    return plan;
}

static void begin(void)
{
}

static void end(void)
{
}

static inline __m256i broadcast_4(const uint8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}

/* n_rows x 16 columns; n_rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
run_block(const nyb_tile_s8_args *args, flush plan, size_t first_row, size_t half, size_t n_rows)
{
    const size_t lda = args->lda, n_steps = args->n_steps;
    const int8_t *b = args->b + half * 1024;
    int32_t *c = args->c + first_row * NYB_TILE_COLS + half * 16;
    __m256i acc[ROWS][2];

    /* a is unit + bias: start at -bias * sum of b (all modulo 2^32). */
    const __m256i bias = _mm256_set1_epi32(-args->bias);
    const int8_t *tail = args->b + n_steps * NYB_TILE_STEP_BYTES + half * 64;
    for (size_t j = 0; j < 2; j++) {
        const __m256i sum = _mm256_load_si256((const void *)(tail + 32 * j));
        const __m256i less = _mm256_mullo_epi32(bias, sum);
        for (size_t m = 0; m < n_rows; m++) {
            __m256i *to = (void *)(c + m * NYB_TILE_COLS + 8 * j);
            *to = args->accumulate ? _mm256_add_epi32(*to, less) : less;
        }
    }
    for (size_t i = 0; i < n_steps;) {
        const size_t stop = nyb_min(n_steps, i + plan.n_steps);
        for (size_t k0 = 0; k0 < 16; k0 += plan.n_k4) {
#pragma GCC unroll 4
            for (size_t m = 0; m < n_rows; m++)
                acc[m][0] = acc[m][1] = _mm256_setzero_si256();
            for (size_t step = i; step < stop; step++) {
                const int8_t *line = b + step * NYB_TILE_STEP_BYTES + k0 * 64;
                const uint8_t *a = args->a + first_row * lda + args->a_step[step] + k0 * 4;
                for (size_t k4 = 0; k4 < plan.n_k4; k4++, line += 64, a += 4) {
                    const __m256i b0 = _mm256_load_si256((const void *)line);
                    const __m256i b1 = _mm256_load_si256((const void *)(line + 32));
#pragma GCC unroll 4
                    for (size_t m = 0; m < n_rows; m++) {
                        const __m256i four = broadcast_4(a + m * lda);
                        DOT(acc[m][0], four, b0);
                        DOT(acc[m][1], four, b1);
                    }
                }
            }
#pragma GCC unroll 4
            for (size_t m = 0; m < n_rows; m++) {
                __m256i *to = (void *)(c + m * NYB_TILE_COLS);
                const __m256i ones = _mm256_set1_epi16(1);
                to[0] = _mm256_add_epi32(to[0], _mm256_madd_epi16(acc[m][0], ones));
                to[1] = _mm256_add_epi32(to[1], _mm256_madd_epi16(acc[m][1], ones));
            }
        }
        i = stop;
    }
}

static void run(const nyb_tile_s8_args *args)
{
    const flush plan = flush_plan(args);
    const size_t rows = args->rows;
    for (size_t half = 0; half < 2; half++) {
        size_t row = 0;
        for (; row + ROWS <= rows; row += ROWS)
            run_block(args, plan, row, half, ROWS);
        for (; row < rows; row++)
            run_block(args, plan, row, half, 1);
    }
}

const nyb_tile_s8 nyb_tile_s8_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .a_biased = true,
    .max_product = INT16_MAX / 2,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = nyb_tile_unpack_avx2,
    .pack_rows = nyb_tile_pack_rows_avx2,
    .pack_cols = nyb_tile_pack_cols_avx2,
    .transpose = nyb_tile_transpose_avx2,
    .store = nyb_tile_store_avx2,
};
