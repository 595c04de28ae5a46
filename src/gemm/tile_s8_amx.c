/* The s8 tile on AMX: 32 x 32 outputs in four tiles, fed by two of A and two of B.
 *
 *              tmm6: b n 0..15   tmm7: b n 16..31
 *     tmm4: a      tmm0              tmm1             rows 0..15
 *     tmm5: a      tmm2              tmm3             rows rows-16 .. rows-1 */
#include <immintrin.h>

#include "gemm/tile_amx.h"
#include "gemm/tile_pack.h"

#define TILES_OF_64_BYTES                                                                          \
    {                                                                                              \
        64, 64, 64, 64, 64, 64, 64, 64                                                             \
    }

static const nyb_tile_config full_config = {
    .palette = 1,
    .row_bytes = TILES_OF_64_BYTES,
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

static void begin(void)
{
    NYB_TILE_CONFIG(&full_config);
}

static void end(void)
{
    NYB_TILE_RELEASE();
}

/* 16 < rows <= 32. The lower tiles hold the last 16 rows; rows that lie in both are computed twice,
 * to the same sums, which is cheaper than another configuration. */
static void run_32(const nyb_tile_s8_args *args)
{
    const size_t c_stride = NYB_TILE_COLS * sizeof(int32_t), lda = args->lda;
    const size_t n_steps = args->n_steps, lower = args->rows - 16;
    int32_t *c0 = args->c, *c1 = args->c + lower * NYB_TILE_COLS;
    const uint8_t *a0 = args->a, *a1 = args->a + lower * lda;
    const uint32_t *a_step = args->a_step;
    if (args->accumulate) {
        NYB_TILE_LOAD(0, c0, c_stride);
        NYB_TILE_LOAD(1, c0 + 16, c_stride);
        NYB_TILE_LOAD(2, c1, c_stride);
        NYB_TILE_LOAD(3, c1 + 16, c_stride);
    } else {
        NYB_TILE_ZERO(0);
        NYB_TILE_ZERO(1);
        NYB_TILE_ZERO(2);
        NYB_TILE_ZERO(3);
    }
    for (size_t i = 0; i < n_steps; i++) {
        const int8_t *b = nyb_tile_step_of_b(args, i);
        NYB_TILE_LOAD_STREAM(6, b, (size_t)64);
        NYB_TILE_LOAD(4, a0 + a_step[i], lda);
        NYB_TILE_LOAD_STREAM(7, b + 1024, (size_t)64);
        NYB_TILE_LOAD(5, a1 + a_step[i], lda);
        NYB_TILE_DOT(0, 4, 6);
        NYB_TILE_DOT(1, 4, 7);
        NYB_TILE_DOT(2, 5, 6);
        NYB_TILE_DOT(3, 5, 7);
    }
    NYB_TILE_STORE(0, c0, c_stride);
    NYB_TILE_STORE(1, c0 + 16, c_stride);
    NYB_TILE_STORE(2, c1, c_stride);
    NYB_TILE_STORE(3, c1 + 16, c_stride);
}

/* The left half of run_32: tiles 0 and 2. */
static void run_32_narrow(const nyb_tile_s8_args *args)
{
    const size_t c_stride = NYB_TILE_COLS * sizeof(int32_t), lda = args->lda;
    const size_t lower = args->rows - 16;
    int32_t *c0 = args->c, *c1 = args->c + lower * NYB_TILE_COLS;
    if (args->accumulate) {
        NYB_TILE_LOAD(0, c0, c_stride);
        NYB_TILE_LOAD(2, c1, c_stride);
    } else {
        NYB_TILE_ZERO(0);
        NYB_TILE_ZERO(2);
    }
    for (size_t i = 0; i < args->n_steps; i++) {
        const uint8_t *a = args->a + args->a_step[i];
        const int8_t *b = nyb_tile_step_of_b(args, i);
        NYB_TILE_LOAD_STREAM(6, b, (size_t)64);
        NYB_TILE_LOAD(4, a, lda);
        NYB_TILE_LOAD(5, a + lower * lda, lda);
        NYB_TILE_DOT(0, 4, 6);
        NYB_TILE_DOT(2, 5, 6);
    }
    NYB_TILE_STORE(0, c0, c_stride);
    NYB_TILE_STORE(2, c1, c_stride);
}

/* rows <= 16, the height that tiles 0, 1 and 4 are configured for. */
static void run_16(const nyb_tile_s8_args *args)
{
    const size_t c_stride = NYB_TILE_COLS * sizeof(int32_t);
    if (args->accumulate) {
        NYB_TILE_LOAD(0, args->c, c_stride);
        NYB_TILE_LOAD(1, args->c + 16, c_stride);
    } else {
        NYB_TILE_ZERO(0);
        NYB_TILE_ZERO(1);
    }
    for (size_t i = 0; i < args->n_steps; i++) {
        const int8_t *b = nyb_tile_step_of_b(args, i);
        NYB_TILE_LOAD(4, args->a + args->a_step[i], args->lda);
        NYB_TILE_LOAD_STREAM(6, b, (size_t)64);
        NYB_TILE_LOAD_STREAM(7, b + 1024, (size_t)64);
        NYB_TILE_DOT(0, 4, 6);
        NYB_TILE_DOT(1, 4, 7);
    }
    NYB_TILE_STORE(0, args->c, c_stride);
    NYB_TILE_STORE(1, args->c + 16, c_stride);
}

/* rows = 16, columns 0..15: one tile of C would wait for itself at every step (52 cycles), so four
 * take turns. */
static void run_16_narrow(const nyb_tile_s8_args *args)
{
    const size_t c_stride = NYB_TILE_COLS * sizeof(int32_t), lda = args->lda;
    const uint8_t *a = args->a;
    const uint32_t *a_step = args->a_step;
    _Alignas(64) int32_t part[3][16][16];
    if (args->accumulate)
        NYB_TILE_LOAD(0, args->c, c_stride);
    else
        NYB_TILE_ZERO(0);
    NYB_TILE_ZERO(1);
    NYB_TILE_ZERO(2);
    NYB_TILE_ZERO(3);
    size_t i = 0;
    for (; i + 4 <= args->n_steps; i += 4) {
        NYB_TILE_LOAD(4, a + a_step[i], lda);
        NYB_TILE_LOAD_STREAM(6, nyb_tile_step_of_b(args, i), (size_t)64);
        NYB_TILE_DOT(0, 4, 6);
        NYB_TILE_LOAD(5, a + a_step[i + 1], lda);
        NYB_TILE_LOAD_STREAM(7, nyb_tile_step_of_b(args, i + 1), (size_t)64);
        NYB_TILE_DOT(1, 5, 7);
        NYB_TILE_LOAD(4, a + a_step[i + 2], lda);
        NYB_TILE_LOAD_STREAM(6, nyb_tile_step_of_b(args, i + 2), (size_t)64);
        NYB_TILE_DOT(2, 4, 6);
        NYB_TILE_LOAD(5, a + a_step[i + 3], lda);
        NYB_TILE_LOAD_STREAM(7, nyb_tile_step_of_b(args, i + 3), (size_t)64);
        NYB_TILE_DOT(3, 5, 7);
    }
    for (; i < args->n_steps; i++) {
        NYB_TILE_LOAD(4, a + a_step[i], lda);
        NYB_TILE_LOAD_STREAM(6, nyb_tile_step_of_b(args, i), (size_t)64);
        NYB_TILE_DOT(0, 4, 6);
    }
    NYB_TILE_STORE(0, args->c, c_stride);
    NYB_TILE_STORE(1, part[0], (size_t)64);
    NYB_TILE_STORE(2, part[1], (size_t)64);
    NYB_TILE_STORE(3, part[2], (size_t)64);
    for (size_t m = 0; m < 16; m++) {
        __m512i sum = _mm512_load_si512(args->c + m * NYB_TILE_COLS);
        for (size_t p = 0; p < 3; p++)
            sum = _mm512_add_epi32(sum, _mm512_load_si512(part[p][m]));
        _mm512_store_si512(args->c + m * NYB_TILE_COLS, sum);
    }
}

static void run(const nyb_tile_s8_args *args)
{
    const uint8_t rows = (uint8_t)args->rows;
    if (rows > 16 && args->narrow) {
        run_32_narrow(args);
    } else if (rows > 16) {
        run_32(args);
    } else if (rows == 16 && args->narrow) {
        run_16_narrow(args);
    } else if (rows == 16) {
        run_16(args);
    } else {
        /* About 50 ns; only the last block of a matrix is this low. */
        const nyb_tile_config low_config = {
            .palette = 1,
            .row_bytes = TILES_OF_64_BYTES,
            .rows = {rows, rows, 16, 16, rows, 16, 16, 16},
        };
        NYB_TILE_CONFIG(&low_config);
        run_16(args);
        NYB_TILE_CONFIG(&full_config);
    }
}

const nyb_tile_s8 nyb_tile_s8_amx = {
    .name = "amx",
    .needs = NYB_CPU_AMX | NYB_CPU_AVX512,
    .row_piece = 16,
    .k_piece = NYB_TILE_STEP,
    .macs = 1024,
    .a_biased = false,
    .max_product = INT32_MAX,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = nyb_tile_unpack_avx512,
    .pack_rows = nyb_tile_pack_rows_avx512,
    .pack_cols = nyb_tile_pack_cols_avx512,
    .transpose = nyb_tile_transpose_avx512,
};
