/* The grouped tile on AVX-512 VNNI: 6 x 32, or 12 x 16, integer sums of one group and as many float
 * sums. */
#include "gemm/asm_avx512.h"
#include "gemm/group.h"
#include "gemm/group_avx512.h"

#define ROWS        6 /* 12 + 12 sums, 2 vectors of b, 1 of a, scales: 30 of 32 registers */
#define ROWS_NARROW 12

static void begin(size_t group)
{
    (void)group;
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

/* rows, and halves of 16 columns, are constants where these are inlined. */
static inline __attribute__((always_inline)) void add_group(const nyb_group_args *args,
                                                            const uint8_t *a, const float *sa,
                                                            size_t g, size_t rows, size_t halves,
                                                            __m512 acc[][2])
{
    const size_t k = g * args->group, lda = args->lda;
    const int8_t *b = args->b + nyb_group_offset(k);
    const int32_t *start = args->start + g * NYB_TILE_COLS;
    __m512i sum[ROWS_NARROW][2];

    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        NYB_UNROLL
        for (size_t j = 0; j < halves; j++)
            sum[m][j] = _mm512_load_si512(start + 16 * j);
    }
    a += k;
    for (size_t k4 = 0; k4 < args->group; k4 += 16, b += 256, a += 16) {
        NYB_UNROLL
        for (size_t j = 0; j < 4; j++) {
            const __m512i b0 = _mm512_load_si512(b + j * 64);
            const __m512i b1 = halves > 1 ? _mm512_load_si512(b + 1024 + j * 64) : b0;
            NYB_UNROLL
            for (size_t m = 0; m < rows; m++) {
                const __m512i four = broadcast_4(a + m * lda + 4 * j);
                NYB_DOT_512(sum[m][0], four, b0);
                if (halves > 1)
                    NYB_DOT_512(sum[m][1], four, b1);
            }
        }
    }
    const float *sb = args->sb + g * NYB_TILE_COLS;
    const __m512 sb0 = _mm512_load_ps(sb), sb1 = halves > 1 ? _mm512_load_ps(sb + 16) : sb0;
    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        const __m512 scale = _mm512_set1_ps(sa[m * args->lds + g]);
        NYB_UNROLL
        for (size_t j = 0; j < halves; j++)
            acc[m][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m][j]),
                                        _mm512_mul_ps(scale, j ? sb1 : sb0), acc[m][j]);
    }
}

static inline __attribute__((always_inline)) void run_rows(const nyb_group_args *args, size_t rows,
                                                           size_t halves)
{
    for (size_t row = 0; row < args->rows; row += rows) {
        float *c = args->c + row * NYB_TILE_COLS;
        __m512 acc[ROWS_NARROW][2];

        nyb_group_start(c, rows, halves, args->accumulate, acc);
        for (size_t g = 0; g < args->n_groups; g++)
            add_group(args, args->a + row * args->lda, args->sa + row * args->lds, g, rows, halves,
                      acc);
        nyb_group_finish(c, rows, halves, acc);
    }
}

static void run(const nyb_group_args *args)
{
    if (args->narrow)
        run_rows(args, ROWS_NARROW, 1);
    else
        run_rows(args, ROWS, 2);
}

const nyb_group_kernel nyb_group_avx512vnni = {
    .name = "avx512vnni",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI,
    .tile = &nyb_tile_s8_avx512vnni,
    .begin = begin,
    .end = end,
    .run = run,
};
