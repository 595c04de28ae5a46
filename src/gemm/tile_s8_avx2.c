/* The s8 tile on AVX2: vpmaddubsw into int16 partial sums, flushed to int32 before they overflow.
 */
#include <immintrin.h>

#include "gemm/tile_pack.h"
#include "gemm/tile_unroll.h"

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

/* Bytes of a that one pass multiplies: whole, or, where 2 * max_a * max_b is beyond int16, their
 * low and then their high four bits: 2 * 15 * 128 = 3840. */
typedef enum part { PART_WHOLE, PART_LOW, PART_HIGH } part;

/* How many dots one int16 takes: either whole steps of 16, or 1, 2, 4 or 8 dots of a step. */
typedef struct flush {
    size_t n_steps, n_k4;
} flush;

static flush flush_plan(int32_t max_a, int32_t max_b)
{
    const int32_t pair = 2 * max_a * max_b; /* largest that one dot adds */
    const size_t n_dots = pair > 0 ? (size_t)(INT16_MAX / pair) : INT16_MAX;
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

static inline __m256i broadcast_4(const uint8_t *a, part which)
{
    const __m256i low = _mm256_set1_epi8(15);
    int32_t four;
    memcpy(&four, a, sizeof four);
    const __m256i v = _mm256_set1_epi32(four);
    if (which == PART_WHOLE)
        return v;
    return _mm256_and_si256(which == PART_LOW ? v : _mm256_srli_epi16(v, 4), low);
}

/* n_rows x 16 int32 at c start at -bias * sum of b, because a is unit + bias (all modulo 2^32). */
static inline void start_block(const nyb_tile_s8_args *args, size_t half, size_t n_rows, int32_t *c)
{
    const int8_t *tail = args->b + args->n_steps * NYB_TILE_STEP_BYTES + half * 64;
    const __m256i bias = _mm256_set1_epi32(-args->bias);
    for (size_t j = 0; j < 2; j++) {
        const __m256i sum = _mm256_load_si256((const void *)(tail + 32 * j));
        const __m256i less = _mm256_mullo_epi32(bias, sum);
        for (size_t m = 0; m < n_rows; m++) {
            __m256i *to = (void *)(c + m * NYB_TILE_COLS + 8 * j);
            *to = args->accumulate ? _mm256_add_epi32(*to, less) : less;
        }
    }
}

/* n_rows x 16 columns; n_rows and which are constants where this is inlined. */
static inline __attribute__((always_inline)) void
run_block(const nyb_tile_s8_args *args, part which, size_t first_row, size_t half, size_t n_rows)
{
    const flush plan = flush_plan(which == PART_WHOLE ? args->max_a : 15, args->max_b);
    const __m256i weight = _mm256_set1_epi16(which == PART_HIGH ? 16 : 1);
    const size_t lda = args->lda, n_steps = args->n_steps;
    const int8_t *b = args->b + half * 1024;
    int32_t *c = args->c + first_row * NYB_TILE_COLS + half * 16;
    __m256i acc[ROWS][2];
    if (which != PART_HIGH)
        start_block(args, half, n_rows, c);
    for (size_t i = 0; i < n_steps;) {
        const size_t stop = nyb_min(n_steps, i + plan.n_steps);
        for (size_t k0 = 0; k0 < 16; k0 += plan.n_k4) {
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++)
                acc[m][0] = acc[m][1] = _mm256_setzero_si256();
            for (size_t step = i; step < stop; step++) {
                const int8_t *line = b + step * NYB_TILE_STEP_BYTES + k0 * 64;
                const uint8_t *a = args->a + first_row * lda + args->a_step[step] + k0 * 4;
                for (size_t k4 = 0; k4 < plan.n_k4; k4++, line += 64, a += 4) {
                    const __m256i b0 = _mm256_load_si256((const void *)line);
                    const __m256i b1 = _mm256_load_si256((const void *)(line + 32));
                    NYB_UNROLL
                    for (size_t m = 0; m < n_rows; m++) {
                        const __m256i four = broadcast_4(a + m * lda, which);
                        DOT(acc[m][0], four, b0);
                        DOT(acc[m][1], four, b1);
                    }
                }
            }
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++) {
                __m256i *to = (void *)(c + m * NYB_TILE_COLS);
                to[0] = _mm256_add_epi32(to[0], _mm256_madd_epi16(acc[m][0], weight));
                to[1] = _mm256_add_epi32(to[1], _mm256_madd_epi16(acc[m][1], weight));
            }
        }
        i = stop;
    }
}

static inline __attribute__((always_inline)) void run_part(const nyb_tile_s8_args *args, part which)
{
    const size_t rows = args->rows;
    for (size_t half = 0; half < 2; half++) {
        size_t row = 0;
        for (; row + ROWS <= rows; row += ROWS)
            run_block(args, which, row, half, ROWS);
        for (; row < rows; row++)
            run_block(args, which, row, half, 1);
    }
}

static void run(const nyb_tile_s8_args *args)
{
    if (args->max_a * args->max_b <= INT16_MAX / 2) {
        run_part(args, PART_WHOLE);
    } else {
        run_part(args, PART_LOW);
        run_part(args, PART_HIGH);
    }
}

const nyb_tile_s8 nyb_tile_s8_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .a_biased = true,
    .max_product = INT32_MAX,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = nyb_tile_unpack_avx2,
    .pack_rows = nyb_tile_pack_rows_avx2,
    .pack_cols = nyb_tile_pack_cols_avx2,
    .transpose = nyb_tile_transpose_avx2,
    .store = nyb_tile_store_avx2,
};
