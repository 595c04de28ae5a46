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

static void decode(const uint8_t *codes, unsigned bits, const float *values, size_t first, size_t n,
                   float *out)
{
    for (size_t i = 0; i < n && bits != 4; i++)
        out[i] = values[codes[first + i]];
    for (size_t i = 0; i < n && bits == 4; i++) {
        const size_t at = first + i, in_block = at % NYB_BLOCK_CODES;
        const uint8_t pair =
            codes[at / NYB_BLOCK_CODES * NYB_BLOCK_BYTES + in_block % NYB_BLOCK_BYTES];

        out[i] = values[in_block < NYB_BLOCK_BYTES ? pair & 15 : pair >> 4];
    }
}

const nyb_tile_f32 nyb_tile_f32_ref = {
    .name = "ref",
    .needs = 0,
    .run = run,
    .transpose = transpose,
    .decode = decode,
};
