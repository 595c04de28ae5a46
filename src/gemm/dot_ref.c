/* Products with few rows in portable C: the specification. */
#include "gemm/dot.h"

static uint8_t unit(const nyb_dot_args *args, size_t flat)
{
    const uint8_t byte =
        args->codes[flat / NYB_BLOCK_CODES * NYB_BLOCK_BYTES + flat % NYB_BLOCK_BYTES];

    return args->lut[flat % NYB_BLOCK_CODES < NYB_BLOCK_BYTES ? byte & 15 : byte >> 4];
}

static void run(const nyb_dot_args *args)
{
    for (size_t n = 0; n < args->cols; n++) {
        int32_t *c = args->c + n;

        for (size_t m = 0; m < args->rows; m++)
            c[m * NYB_TILE_COLS] = args->start[m];
        for (size_t k = 0; k < args->pitch; k++) {
            const int32_t b = unit(args, args->first + n * args->pitch + k);

            for (size_t m = 0; m < args->rows; m++) {
                int32_t *sum = c + m * NYB_TILE_COLS;

                *sum = (int32_t)((uint32_t)*sum + (uint32_t)(args->a[m * args->lda + k] * b));
            }
        }
    }
}

const nyb_dot_kernel nyb_dot_ref = {
    .name = "ref", .needs = 0, .max_product = INT32_MAX, .run = run};
