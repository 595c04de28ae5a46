/* The grouped tile in portable C: the specification that every other one equals bit for bit. */
#include <math.h>

#include "gemm/group.h"

static void begin(size_t group)
{
    (void)group;
}

static void end(void)
{
}

/* The 32 exact sums of one row and one group. */
static void sum_group(const nyb_group_args *args, size_t m, size_t g, int32_t sum[NYB_TILE_COLS])
{
    memcpy(sum, args->start + g * NYB_TILE_COLS, NYB_TILE_COLS * sizeof *sum);
    for (size_t k = g * args->group; k < (g + 1) * args->group; k++) {
        const int8_t *step = args->b + k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES;
        const int32_t a = (int8_t)args->a[m * args->lda + k];
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            sum[n] += a * step[nyb_tile_s8_offset(k % NYB_TILE_STEP, n)];
    }
}

static void run(const nyb_group_args *args)
{
    for (size_t m = 0; m < args->rows; m++) {
        float *c = args->c + m * NYB_TILE_COLS;
        if (!args->accumulate)
            memset(c, 0, NYB_TILE_COLS * sizeof *c);
        for (size_t g = 0; g < args->n_groups; g++) {
            const float sa = args->sa[m * args->lds + g], *sb = args->sb + g * NYB_TILE_COLS;
            int32_t sum[NYB_TILE_COLS];
            sum_group(args, m, g, sum);
            for (size_t n = 0; n < NYB_TILE_COLS; n++)
                c[n] = fmaf((float)sum[n], sa * sb[n], c[n]);
        }
    }
}

static void store(const float *c, size_t rows, size_t n_valid, float scale, const float *bias,
                  bool add, float *const *out)
{
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; out[m] && n < n_valid; n++) {
            float t = c[m * NYB_TILE_COLS + n] * scale;
            if (bias)
                t = t + bias[n];
            if (add)
                t = out[m][n] + t;
            out[m][n] = t;
        }
    }
}

const nyb_group_kernel nyb_group_ref = {
    .name = "ref",
    .needs = 0,
    .tile = &nyb_tile_s8_ref,
    .begin = begin,
    .end = end,
    .run = run,
    .store = store,
};
