/* The grouped tile on AMX: each group's sums are one product of tiles, which goes through memory
 * (L1) to the vector unit, where 12 x 32 float sums stay in registers.
 *
 *                tmm4: b n 0..15   tmm5: b n 16..31     group / 4 lines
 *     tmm6: a      tmm0, tmm2        tmm1, tmm3         12 rows
 *
 * Groups alternate between tiles 0, 1 and 2, 3: the products and stores of one overlap the
 * conversion of the one before. Per 12 x 32 outputs and group the vector unit is busy for 72
 * operations on two ports, the tile unit for 24 cycles: what G = 16 and 32 reach is the vector
 * unit's. */
#include <immintrin.h>

#include "gemm/group.h"
#include "gemm/group_avx512.h"
#include "gemm/tile_amx.h"

static void begin(size_t group)
{
    const uint16_t a = (uint16_t)group;
    const uint8_t b = (uint8_t)(group / 4), m = NYB_GROUP_ROWS;
    const nyb_tile_config config = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, a, a},
        .rows = {m, m, m, m, b, b, m, m},
    };
    NYB_TILE_CONFIG(&config);
}

static void end(void)
{
    NYB_TILE_RELEASE();
}

typedef struct sums {
    _Alignas(64) int32_t half[2][NYB_GROUP_ROWS][16];
} sums;

/* The sums of group g, in tiles t0 and t1 (of 16 columns: t0). */
#define DOT_GROUP(args, a, g, halves, t0, t1)                                                      \
    do {                                                                                           \
        const size_t k_ = (g) * (args)->group;                                                     \
        const int8_t *b_ = (args)->b + nyb_group_offset(k_);                                       \
        NYB_TILE_ZERO(t0);                                                                         \
        NYB_TILE_LOAD(6, (a) + k_, (args)->lda);                                                   \
        NYB_TILE_LOAD(4, b_, (size_t)64);                                                          \
        NYB_TILE_DOT(t0, 6, 4);                                                                    \
        if ((halves) == 1)                                                                         \
            break;                                                                                 \
        NYB_TILE_ZERO(t1);                                                                         \
        NYB_TILE_LOAD(5, b_ + 1024, (size_t)64);                                                   \
        NYB_TILE_DOT(t1, 6, 5);                                                                    \
    } while (0)

#define STORE_SUMS(to, halves, t0, t1)                                                             \
    do {                                                                                           \
        NYB_TILE_STORE(t0, (to)->half[0], (size_t)64);                                             \
        if ((halves) > 1)                                                                          \
            NYB_TILE_STORE(t1, (to)->half[1], (size_t)64);                                         \
    } while (0)

/* Halves of 16 columns are a constant where these are inlined. */
static inline __attribute__((always_inline)) void add_group(const nyb_group_args *args,
                                                            const float *sa, size_t g,
                                                            const sums *from, size_t halves,
                                                            __m512 acc[NYB_GROUP_ROWS][2])
{
    const float *sb = args->sb + g * NYB_TILE_COLS;
    const __m512 sb0 = _mm512_load_ps(sb), sb1 = halves > 1 ? _mm512_load_ps(sb + 16) : sb0;
    NYB_UNROLL
    for (size_t m = 0; m < NYB_GROUP_ROWS; m++) {
        const __m512 scale = _mm512_set1_ps(sa[m * args->lds + g]);
        NYB_UNROLL
        for (size_t j = 0; j < halves; j++) {
            const __m512 x = _mm512_cvtepi32_ps(_mm512_load_si512(from->half[j][m]));
            acc[m][j] = _mm512_fmadd_ps(x, _mm512_mul_ps(scale, j ? sb1 : sb0), acc[m][j]);
        }
    }
}

static inline __attribute__((always_inline)) void run_block(const nyb_group_args *args, size_t row,
                                                            size_t halves)
{
    const uint8_t *a = args->a + row * args->lda;
    const float *sa = args->sa + row * args->lds;
    const size_t n = args->n_groups;
    float *c = args->c + row * NYB_TILE_COLS;
    __m512 acc[NYB_GROUP_ROWS][2];
    sums even, odd;

    nyb_group_start(c, NYB_GROUP_ROWS, halves, args->accumulate, acc);
    DOT_GROUP(args, a, 0, halves, 0, 1);
    size_t g = 0;
    for (; g + 2 < n; g += 2) {
        DOT_GROUP(args, a, g + 1, halves, 2, 3);
        STORE_SUMS(&even, halves, 0, 1);
        add_group(args, sa, g, &even, halves, acc);
        DOT_GROUP(args, a, g + 2, halves, 0, 1);
        STORE_SUMS(&odd, halves, 2, 3);
        add_group(args, sa, g + 1, &odd, halves, acc);
    }
    if (g + 1 < n)
        DOT_GROUP(args, a, g + 1, halves, 2, 3);
    STORE_SUMS(&even, halves, 0, 1);
    add_group(args, sa, g, &even, halves, acc);
    if (g + 1 < n) {
        STORE_SUMS(&odd, halves, 2, 3);
        add_group(args, sa, g + 1, &odd, halves, acc);
    }
    nyb_group_finish(c, NYB_GROUP_ROWS, halves, acc);
}

static void run(const nyb_group_args *args)
{
    for (size_t row = 0; row < args->rows; row += NYB_GROUP_ROWS) {
        if (args->narrow)
            run_block(args, row, 1);
        else
            run_block(args, row, 2);
    }
}

const nyb_group_kernel nyb_group_amx = {
    .name = "amx",
    .needs = NYB_CPU_AMX | NYB_CPU_AVX512,
    .tile = &nyb_tile_s8_amx,
    .begin = begin,
    .end = end,
    .run = run,
};
