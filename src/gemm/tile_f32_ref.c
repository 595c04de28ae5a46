/* The f32 tile in portable C: the specification that every other f32 tile equals bit for bit. */
#include <math.h>

#include "gemm/tile.h"
#include "packed/packed.h"

static void run(const nyb_tile_f32_args *args)
{
    for (size_t m = 0; m < args->rows; m++) {
        float *c = args->c + m * NYB_TILE_COLS;
        const float *b = args->b;
        float sum[NYB_TILE_COLS] = {0};
        if (args->resume)
            memcpy(sum, c, sizeof sum);
        for (size_t i = 0; i < args->n_runs; i++) {
            const float *a = args->a + m * args->lda + args->run_off[i];
            for (size_t k = 0; k < args->run_len[i]; k++, b += NYB_TILE_COLS)
                for (size_t n = 0; n < NYB_TILE_COLS; n++)
                    sum[n] = fmaf(a[k], b[n], sum[n]);
        }
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            c[n] = args->accumulate ? c[n] + sum[n] : sum[n];
    }
}

static void transpose(const float *src, size_t lds, size_t rows, size_t cols, float *dst,
                      size_t ldd)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            dst[col * ldd + row] = src[row * lds + col];
}

const uint8_t nyb_tile_codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void decode(const uint8_t *codes, unsigned bits, const float *values, size_t first, size_t n,
                   float *out)
{
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        const size_t m = nyb_min(n - i, NYB_BLOCK_CODES);
        const uint8_t *part = codes + first + i;
        uint8_t unpacked[NYB_BLOCK_CODES];

        if (bits == 4) {
            nyb_tile_s8_ref.unpack(codes, first + i, m, nyb_tile_codes, unpacked);
            part = unpacked;
        }
        for (size_t j = 0; j < m; j++)
            out[i + j] = values[part[j]];
    }
}

const nyb_tile_f32 nyb_tile_f32_ref = {
    .name = "ref",
    .needs = 0,
    .run = run,
    .transpose = transpose,
    .decode = decode,
};
