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

/* Adds group g to all rows: sums of 32 columns at a time. */
static void add_group(const nyb_group_args *args, size_t g)
{
    const float *sb = args->sb + g * NYB_TILE_COLS;
    int16_t b[NYB_TILE_STEP][NYB_TILE_COLS];

    for (size_t i = 0; i < args->group; i++) {
        const size_t k = g * args->group + i;
        const int8_t *step = args->b + k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES;
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            b[i][n] = step[nyb_tile_s8_offset(k % NYB_TILE_STEP, n)];
    }
    for (size_t m = 0; m < args->rows; m++) {
        const int8_t *a = (const int8_t *)args->a + m * args->lda + g * args->group;
        const float sa = args->sa[m * args->lds + g];
        float *c = args->c + m * NYB_TILE_COLS;
        int32_t sum[NYB_TILE_COLS];
        memcpy(sum, args->start + g * NYB_TILE_COLS, sizeof sum);
        for (size_t i = 0; i < args->group; i++)
            for (size_t n = 0; n < NYB_TILE_COLS; n++)
                sum[n] += a[i] * b[i][n];
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            c[n] = fmaf((float)sum[n], sa * sb[n], c[n]);
    }
}

static void run(const nyb_group_args *args)
{
    if (!args->accumulate)
        memset(args->c, 0, args->rows * NYB_TILE_COLS * sizeof *args->c);
    for (size_t g = 0; g < args->n_groups; g++)
        add_group(args, g);
}

const nyb_group_kernel nyb_group_ref = {
    .name = "ref",
    .needs = 0,
    .tile = &nyb_tile_s8_ref,
    .begin = begin,
    .end = end,
    .run = run,
};
