/* The grouped tile on AVX2: vpmaddubsw into int16 partial sums, which become int32 before they
 * overflow, at the latest with the group. */
#include <immintrin.h>

#include "gemm/group.h"
#include "gemm/tile_unroll.h"

#define ROWS 3 /* x 16 columns: 6 int16 and 6 float sums */

/* Bytes of a that one pass multiplies: whole, or, where 2 * max_a * max_b is beyond int16, their
 * low and then their high four bits: 2 * 15 * 128 = 3840. */
typedef enum part { PART_WHOLE, PART_LOW, PART_HIGH } part;

static void begin(size_t group)
{
    (void)group;
}

static void end(void)
{
}

/* Dots of 4 k that an int16 takes: 1, 2, 4 or 8 (their pair sums are at most INT16_MAX), or all 16
 * of the largest group. */
static size_t dots_that_fit(int32_t max_a, int32_t max_b)
{
    const int32_t pair = 2 * max_a * max_b;
    const size_t fit = pair > 0 ? (size_t)(INT16_MAX / pair) : 16;
    size_t n = 16;
    while (n > 1 && n > fit)
        n /= 2;
    return n;
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

/* sum += n_k4 dots of 4 k each; which is a constant where this is inlined. */
static inline __attribute__((always_inline)) void sum_dots(const uint8_t *a, size_t lda,
                                                           const int8_t *b, size_t n_k4, part which,
                                                           __m256i sum[ROWS][2])
{
    const __m256i weight = _mm256_set1_epi16(which == PART_HIGH ? 16 : 1);
    __m256i pairs[ROWS][2];

    NYB_UNROLL
    for (size_t m = 0; m < ROWS; m++)
        pairs[m][0] = pairs[m][1] = _mm256_setzero_si256();
    for (size_t k4 = 0; k4 < n_k4; k4++, b += 64, a += 4) {
        const __m256i b0 = _mm256_load_si256((const void *)b);
        const __m256i b1 = _mm256_load_si256((const void *)(b + 32));
        NYB_UNROLL
        for (size_t m = 0; m < ROWS; m++) {
            const __m256i four = broadcast_4(a + m * lda, which);
            pairs[m][0] = _mm256_add_epi16(pairs[m][0], _mm256_maddubs_epi16(four, b0));
            pairs[m][1] = _mm256_add_epi16(pairs[m][1], _mm256_maddubs_epi16(four, b1));
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < ROWS; m++) {
        sum[m][0] = _mm256_add_epi32(sum[m][0], _mm256_madd_epi16(pairs[m][0], weight));
        sum[m][1] = _mm256_add_epi32(sum[m][1], _mm256_madd_epi16(pairs[m][1], weight));
    }
}

/* The sums of 3 rows, 16 columns and one group. */
static inline __attribute__((always_inline)) void sum_group(const nyb_group_args *args,
                                                            const uint8_t *a, const int8_t *b,
                                                            const int32_t *start, bool whole,
                                                            __m256i sum[ROWS][2])
{
    const size_t fit = dots_that_fit(whole ? args->max_a : 15, args->max_b);
    const size_t n_k4 = args->group / 4, at_once = nyb_min(fit, n_k4);

    NYB_UNROLL
    for (size_t m = 0; m < ROWS; m++) {
        sum[m][0] = _mm256_load_si256((const void *)start);
        sum[m][1] = _mm256_load_si256((const void *)(start + 8));
    }
    for (size_t k4 = 0; k4 < n_k4; k4 += at_once) {
        if (whole) {
            sum_dots(a + 4 * k4, args->lda, b + 64 * k4, at_once, PART_WHOLE, sum);
        } else {
            sum_dots(a + 4 * k4, args->lda, b + 64 * k4, at_once, PART_LOW, sum);
            sum_dots(a + 4 * k4, args->lda, b + 64 * k4, at_once, PART_HIGH, sum);
        }
    }
}

static inline __attribute__((always_inline)) void run_block(const nyb_group_args *args, size_t row,
                                                            size_t half, bool whole)
{
    const uint8_t *a = args->a + row * args->lda;
    const float *sa = args->sa + row * args->lds;
    float *c = args->c + row * NYB_TILE_COLS + half * 16;
    __m256 acc[ROWS][2];

    for (size_t m = 0; m < ROWS; m++)
        for (size_t j = 0; j < 2; j++)
            acc[m][j] = args->accumulate ? _mm256_load_ps(c + m * NYB_TILE_COLS + 8 * j)
                                         : _mm256_setzero_ps();
    for (size_t g = 0; g < args->n_groups; g++) {
        const size_t k = g * args->group, column = g * NYB_TILE_COLS + half * 16;
        const int8_t *b = args->b + k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES + half * 1024 +
                          k % NYB_TILE_STEP * 16;
        __m256i sum[ROWS][2];
        sum_group(args, a + k, b, args->start + column, whole, sum);
        NYB_UNROLL
        for (size_t m = 0; m < ROWS; m++) {
            const __m256 scale = _mm256_set1_ps(sa[m * args->lds + g]);
            NYB_UNROLL
            for (size_t j = 0; j < 2; j++) {
                const __m256 product =
                    _mm256_mul_ps(scale, _mm256_load_ps(args->sb + column + 8 * j));
                acc[m][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[m][j]), product, acc[m][j]);
            }
        }
    }
    for (size_t m = 0; m < ROWS; m++)
        for (size_t j = 0; j < 2; j++)
            _mm256_store_ps(c + m * NYB_TILE_COLS + 8 * j, acc[m][j]);
}

static void run(const nyb_group_args *args)
{
    const bool whole = args->max_a * args->max_b <= INT16_MAX / 2;

    for (size_t row = 0; row < args->rows; row += ROWS) {
        for (size_t half = 0; half < 2; half++) {
            if (whole)
                run_block(args, row, half, true);
            else
                run_block(args, row, half, false);
        }
    }
}

static void store(const float *c, size_t rows, size_t n_valid, float scale, const float *bias,
                  bool add, float *const *out)
{
    const __m256 factor = _mm256_set1_ps(scale);

    for (size_t m = 0; m < rows; m++, c += NYB_TILE_COLS) {
        float *to = out[m];
        size_t n = to ? 0 : n_valid;
        for (; n + 8 <= n_valid; n += 8) {
            __m256 t = _mm256_mul_ps(_mm256_load_ps(c + n), factor);
            if (bias)
                t = _mm256_add_ps(t, _mm256_loadu_ps(bias + n));
            if (add)
                t = _mm256_add_ps(_mm256_loadu_ps(to + n), t);
            _mm256_storeu_ps(to + n, t);
        }
        for (; n < n_valid; n++) {
            float t = c[n] * scale;
            if (bias)
                t = t + bias[n];
            if (add)
                t = to[n] + t;
            to[n] = t;
        }
    }
}

const nyb_group_kernel nyb_group_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .tile = &nyb_tile_s8_avx2,
    .begin = begin,
    .end = end,
    .run = run,
    .store = store,
};
