/* The multiplication-free tile in a vocabulary of 32 int16 lanes that the including file defines:
 * vec, vec_zero, vec_add, vec_sub, vec_shift (left, by a count in a 16-byte vector; 16 and more:
 * 0), expand and flush. No include guard: each ISA has its own copy.
 *
 * The FP7 product 2^(l+e-1) 1.f of m = 2^l 1.f is m shifted left by e - 1: what the cast to FP7
 * takes apart, the cast back to an integer puts together again. Rows of b lie ready with either
 * sign, so that a product is one shift, and its sum one addition. */

#include "gemm/tile_pack.h"

#define HALF 32 /* k whose products of up to 960 an int16 can sum: 30720 */

/* Count of each e3m0 exponent code; the code of zero shifts everything out. */
static const uint64_t counts[8][2] = {{16, 0}, {0, 0}, {1, 0}, {2, 0},
                                      {3, 0},  {4, 0}, {5, 0}, {6, 0}};

/* Rows of b, and of -b, as int16. */
typedef struct panel {
    vec row[2][HALF];
} panel;

static void run(const nyb_tile_s8_args *args)
{
    panel p;

    if (!args->accumulate)
        memset(args->c, 0, args->rows * NYB_TILE_COLS * sizeof *args->c);
    for (size_t i = 0; i < 2 * args->n_steps; i++) {
        const size_t first = i % 2 * HALF;
        const int8_t *b = nyb_tile_step_of_b(args, i / 2) + first * 16;

        for (size_t k = 0; k < HALF; k += 4)
            expand(b + k * 16, &p.row[0][k]);
        for (size_t k = 0; k < HALF; k++)
            p.row[1][k] = vec_sub(vec_zero(), p.row[0][k]);
        for (size_t m = 0; m < args->rows; m++) {
            const uint8_t *a = args->a + m * args->lda + args->a_step[i / 2] + first;
            vec sum = vec_zero();

            for (size_t k = 0; k < HALF; k++) {
                const __m128i count = _mm_loadu_si128((const __m128i *)counts[a[k] & 7]);
                sum = vec_add(sum, vec_shift(p.row[a[k] >> 7][k], count));
            }
            flush(sum, args->c + m * NYB_TILE_COLS);
        }
    }
}

static void nothing(void)
{
}
