/* The s8 tile in portable C: the specification that every other s8 tile equals bit for bit. */
#include "gemm/tile.h"

static void begin(void)
{
}

static void end(void)
{
}

static void run(const nyb_tile_s8_args *args)
{
    if (!args->accumulate)
        memset(args->c, 0, args->rows * NYB_TILE_COLS * sizeof *args->c);
    for (size_t i = 0; i < args->n_steps; i++) {
        const int8_t *step = nyb_tile_step_of_b(args, i);
        int16_t b[NYB_TILE_STEP][NYB_TILE_COLS];
        for (size_t k = 0; k < NYB_TILE_STEP; k++)
            for (size_t n = 0; n < NYB_TILE_COLS; n++)
                b[k][n] = step[nyb_tile_s8_offset(k, n)];
        for (size_t m = 0; m < args->rows; m++) {
            const uint8_t *a = args->a + m * args->lda + args->a_step[i];
            int32_t *c = args->c + m * NYB_TILE_COLS;
            /* Unsigned: sums are exact modulo 2^32, also where the caller's bound is broken. */
            for (size_t k = 0; k < NYB_TILE_STEP; k++)
                for (size_t n = 0; n < NYB_TILE_COLS; n++)
                    c[n] = (int32_t)((uint32_t)c[n] + (uint32_t)((int8_t)a[k] * b[k][n]));
        }
    }
}

static void unpack(const uint8_t *codes, size_t first, size_t n, const uint8_t lut[16],
                   uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const size_t flat = first + i;
        const uint8_t byte = codes[flat / 128 * 64 + flat % 64];
        out[i] = lut[flat % 128 < 64 ? byte & 15 : byte >> 4];
    }
}

static void write_sums(const int8_t *panel, size_t n_steps, nyb_tile_sums *sums)
{
    if (!sums)
        return;
    memset(sums, 0, n_steps * NYB_TILE_SUMS_BYTES);
    for (size_t i = 0; i < n_steps; i++, panel += NYB_TILE_STEP_BYTES)
        for (size_t k = 0; k < NYB_TILE_STEP; k++)
            for (size_t n = 0; n < NYB_TILE_COLS; n++)
                sums[i].of[n][k % 4 / 2] += panel[nyb_tile_s8_offset(k, n)];
}

static void pack_rows(const int8_t *src, size_t ld, const uint32_t *src_step, const uint8_t *valid,
                      size_t n_steps, size_t n_valid, int8_t *panel, nyb_tile_sums *sums)
{
    for (size_t i = 0; i < n_steps; i++)
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            for (size_t k = 0; k < NYB_TILE_STEP; k++)
                panel[i * NYB_TILE_STEP_BYTES + nyb_tile_s8_offset(k, n)] =
                    n < n_valid && k < valid[i] ? src[n * ld + src_step[i] + k] : 0;
    write_sums(panel, n_steps, sums);
}

static void pack_cols(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid, size_t n_steps,
                      int8_t *panel, nyb_tile_sums *sums)
{
    for (size_t k = 0; k < n_steps * NYB_TILE_STEP; k++)
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            panel[k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES +
                  nyb_tile_s8_offset(k % NYB_TILE_STEP, n)] =
                n < n_valid && k < k_valid ? src[k * ld + n] : 0;
    write_sums(panel, n_steps, sums);
}

static void transpose(const uint8_t *src, size_t lds, size_t rows, size_t cols, uint8_t *dst,
                      size_t ldd)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            dst[col * ldd + row] = src[row * lds + col];
}

const nyb_tile_s8 nyb_tile_s8_ref = {
    .name = "ref",
    .needs = 0,
    .row_piece = 1,
    .k_piece = NYB_TILE_PIECE,
    .macs = 1,
    .a_biased = false,
    .max_product = INT32_MAX,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = unpack,
    .pack_rows = pack_rows,
    .pack_cols = pack_cols,
    .transpose = transpose,
};
