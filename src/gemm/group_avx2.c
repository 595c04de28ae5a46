/* The grouped tile on AVX2: vpmaddubsw into int16 where those hold the sums of a whole group, else
 * vpmaddwd on bytes widened to int16. */

#include "gemm/group.h"
#include "gemm/tile_avx2.h"

#define ROWS 3 /* x 16 columns: 6 int16 and 6 float sums */

/* k that pass by all rows at once: their 16 columns of b, 8 KB, stay in L1. */
#define PART_K 512

static void begin(size_t group)
{
    (void)group;
}

static void end(void)
{
}

/* Where group g of B begins, 16 columns of it. */
static inline const int8_t *group_b(const nyb_group_args *args, size_t g, size_t half)
{
    return args->b + nyb_group_offset(g * args->group) + half * 1024;
}

/* 3 rows, 16 columns; the group has 4 n_k4 codes, a constant where this is inlined. */
static inline __attribute__((always_inline)) void run_bytes(const nyb_group_args *args, size_t row,
                                                            size_t half, size_t n_k4)
{
    const __m256i low = _mm256_set1_epi32(0xffff), ones = _mm256_set1_epi16(1);
    const size_t lda = args->lda, lds = args->lds;
    const uint8_t *a = args->a + row * lda;
    const float *sa = args->sa + row * lds, *sb = args->sb + half * 16;
    const int32_t *start = args->start + half * 16;
    float *c = args->c + row * NYB_TILE_COLS + half * 16;
    __m256 acc[ROWS][2];

    NYB_UNROLL
    for (size_t m = 0; m < ROWS; m++)
        for (size_t j = 0; j < 2; j++)
            acc[m][j] = args->accumulate ? _mm256_load_ps(c + m * NYB_TILE_COLS + 8 * j)
                                         : _mm256_setzero_ps();
    for (size_t g = 0; g < args->n_groups; g++) {
        const int8_t *b = group_b(args, g, half);
        __m256i sum[ROWS][2];
        /* start fits the lower int16 of its sum */
        sum[0][0] = _mm256_and_si256(_mm256_load_si256((const void *)start), low);
        sum[0][1] = _mm256_and_si256(_mm256_load_si256((const void *)(start + 8)), low);
        NYB_UNROLL
        for (size_t m = 1; m < ROWS; m++) {
            sum[m][0] = sum[0][0];
            sum[m][1] = sum[0][1];
        }
        NYB_UNROLL
        for (size_t k4 = 0; k4 < n_k4; k4++) {
            const __m256i b0 = _mm256_load_si256((const void *)(b + 64 * k4));
            const __m256i b1 = _mm256_load_si256((const void *)(b + 64 * k4 + 32));
            NYB_UNROLL
            for (size_t m = 0; m < ROWS; m++) {
                const __m256i four = nyb_broadcast_4(a + m * lda + 4 * k4);
                NYB_DOT_BYTES(sum[m][0], four, b0);
                NYB_DOT_BYTES(sum[m][1], four, b1);
            }
        }
        NYB_UNROLL
        for (size_t m = 0; m < ROWS; m++) {
            const __m256 scale = _mm256_set1_ps(sa[m * lds]);
            NYB_UNROLL
            for (size_t j = 0; j < 2; j++) {
                const __m256 product = _mm256_mul_ps(scale, _mm256_load_ps(sb + 8 * j));
                const __m256i exact = _mm256_madd_epi16(sum[m][j], ones);
                acc[m][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact), product, acc[m][j]);
            }
        }
        a += 4 * n_k4;
        sa++;
        sb += NYB_TILE_COLS;
        start += NYB_TILE_COLS;
    }
    NYB_UNROLL
    for (size_t m = 0; m < ROWS; m++)
        for (size_t j = 0; j < 2; j++)
            _mm256_store_ps(c + m * NYB_TILE_COLS + 8 * j, acc[m][j]);
}

static void run_bytes_16(const nyb_group_args *args, size_t row, size_t half)
{
    run_bytes(args, row, half, 4);
}

static void run_bytes_32(const nyb_group_args *args, size_t row, size_t half)
{
    run_bytes(args, row, half, 8);
}

static void run_bytes_64(const nyb_group_args *args, size_t row, size_t half)
{
    run_bytes(args, row, half, 16);
}

/* The same for any codes; c holds the float sums, for want of registers. */
static void run_words(const nyb_group_args *args, size_t row, size_t half)
{
    const __m256i even = _mm256_set1_epi16(0xff);
    const size_t lda = args->lda, lds = args->lds;
    float *c = args->c + row * NYB_TILE_COLS + half * 16;

    for (size_t m = 0; m < ROWS && !args->accumulate; m++)
        memset(c + m * NYB_TILE_COLS, 0, 16 * sizeof *c);
    for (size_t g = 0; g < args->n_groups; g++) {
        const int8_t *b = group_b(args, g, half), *b_end = b + args->group * 16;
        const uint8_t *a = args->a + row * lda + g * args->group;
        const size_t column = g * NYB_TILE_COLS + half * 16;
        __m256i sum[ROWS][2];
        NYB_UNROLL
        for (size_t m = 0; m < ROWS; m++) {
            sum[m][0] = _mm256_load_si256((const void *)(args->start + column));
            sum[m][1] = _mm256_load_si256((const void *)(args->start + column + 8));
        }
        for (; b < b_end; b += 64, a += 4) {
            const __m256i b0 = _mm256_load_si256((const void *)b);
            const __m256i b1 = _mm256_load_si256((const void *)(b + 32));
            const __m256i even0 = _mm256_srai_epi16(_mm256_slli_epi16(b0, 8), 8);
            const __m256i even1 = _mm256_srai_epi16(_mm256_slli_epi16(b1, 8), 8);
            const __m256i odd0 = _mm256_srai_epi16(b0, 8), odd1 = _mm256_srai_epi16(b1, 8);
            NYB_UNROLL
            for (size_t m = 0; m < ROWS; m++) {
                const __m256i four = nyb_broadcast_4(a + m * lda);
                const __m256i a_even = _mm256_and_si256(four, even);
                const __m256i a_odd = _mm256_srli_epi16(four, 8);
                NYB_DOT_WORDS(sum[m][0], a_even, even0);
                NYB_DOT_WORDS(sum[m][1], a_even, even1);
                NYB_DOT_WORDS(sum[m][0], a_odd, odd0);
                NYB_DOT_WORDS(sum[m][1], a_odd, odd1);
            }
        }
        NYB_UNROLL
        for (size_t m = 0; m < ROWS; m++) {
            const __m256 scale = _mm256_set1_ps(args->sa[(row + m) * lds + g]);
            NYB_UNROLL
            for (size_t j = 0; j < 2; j++) {
                float *to = c + m * NYB_TILE_COLS + 8 * j;
                const __m256 product =
                    _mm256_mul_ps(scale, _mm256_load_ps(args->sb + column + 8 * j));
                _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[m][j]), product,
                                                    _mm256_load_ps(to)));
            }
        }
    }
}

/* An int16 sums half of a group, bytes times b; the lower one also takes start, -bias * (sum of all
 * b), which leaves units times its own b minus bias times the other b. Either is bounded by half a
 * group of (|unit| + bias) * |b|, and bias is at most half of the bytes there are; sums may wrap
 * on the way. */
static bool bytes_fit(const nyb_group_args *args)
{
    return ((int64_t)args->max_a + 1) * args->max_b * (int64_t)args->group <= 2 * INT16_MAX;
}

static void run(const nyb_group_args *args)
{
    void (*run_rows)(const nyb_group_args *, size_t, size_t) = run_words;
    nyb_group_args part = *args;

    if (bytes_fit(args))
        run_rows = args->group == 16   ? run_bytes_16
                   : args->group == 32 ? run_bytes_32
                                       : run_bytes_64;
    for (size_t left = args->n_groups; left > 0; left -= part.n_groups) {
        part.n_groups = nyb_min(left, PART_K / args->group);
        for (size_t half = 0; half < (args->narrow ? 1 : 2); half++)
            for (size_t row = 0; row < args->rows; row += ROWS)
                run_rows(&part, row, half);
        part.a += PART_K;
        part.b += PART_K / NYB_TILE_STEP * NYB_TILE_STEP_BYTES;
        part.sa += part.n_groups;
        part.sb += part.n_groups * NYB_TILE_COLS;
        part.start += part.n_groups * NYB_TILE_COLS;
        part.accumulate = true;
    }
}

const nyb_group_kernel nyb_group_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .tile = &nyb_tile_s8_avx2,
    .begin = begin,
    .end = end,
    .run = run,
};
