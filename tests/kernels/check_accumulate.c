/* Accumulate kernels: every variant against the reference, in every mode, with strides and runs. */
#include <stdlib.h>

#include "check.h"
#include "gemm/accumulate.h"

#define MAX_K 150

static float value(ck *c, bool integers, bool wild, bool coarse)
{
    if (coarse) /* a multiple of 2^-15 */
        return (float)(int32_t)(ck_rand(c) % 4095 - 2047) * 0x1p-15f;
    if (integers)
        return (float)(int32_t)(ck_rand(c) % 255) - 127.0f;
    if (wild && ck_rand(c) % 64 == 0) /* a NaN whose next bits are no NaN's */
        return nyb_float_of(0x7fffffff);
    return wild ? ck_float(c) : (float)(int32_t)(ck_rand(c) & 0xfff00000) * 0x1p-30f;
}

static nyb_accum_grid random_grid(ck *c)
{
    static const nyb_accum_grid grids[] = {
        {.mode = NYB_ACCUM_MAGIC,
         .max = 0x1.ff8p32f,
         .least_exponent = 0x30800000u,
         .magic = 0x1.8p14f,
         .fuses = true}, /* e6m9 */
        {.mode = NYB_ACCUM_MAGIC,
         .max = 57344,
         .least_exponent = 0x38800000u,
         .magic = 0x1.8p21f,
         .fuses = true},                                                                 /* e5m2 */
        {.mode = NYB_ACCUM_EVEN, .max = 0x1.fep127f, .dropped = 16, .least = 0x1p-126f}, /* bf16 */
        {.mode = NYB_ACCUM_GAP, .max = 98304, .dropped = 21, .least = 0x1.4p-15f, .fuses = true},
        {.mode = NYB_ACCUM_AWAY,
         .max = 8573157376,
         .dropped = 14,
         .least = 0x1.008p-31f,
         .fuses = true}, /* dlfloat16 */
        {.mode = NYB_ACCUM_DRAWN,
         .max = 0x1.ff8p32f,
         .dropped = 14,
         .least = 0x1p-126f,
         .random = 0x3fff,
         .base = 0x1p-30f,
         .fuses = true}, /* e6m9 */
        {.mode = NYB_ACCUM_DRAWN,
         .max = 0x1.fep127f,
         .dropped = 16,
         .least = 0x1p-126f,
         .random = 0xff00}, /* bf16, 8 random bits */
        {.mode = NYB_ACCUM_INT, .max = 127, .fuses = true},
        {.mode = NYB_ACCUM_INT, .max = 32767, .fuses = true},
    };
    return grids[ck_range(c, 0, sizeof grids / sizeof *grids - 1)];
}

/* NaNs differ in their payload: which operand's survives is the instruction's choice. */
static void join_nans(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != x[i])
            x[i] = nyb_float_of(0x7fc00000);
}

static void check_case(ck *c, const nyb_accum_kernel *kernel)
{
    const nyb_accum_grid grid = random_grid(c);
    const bool integers = grid.mode == NYB_ACCUM_INT, wild = !integers && ck_rand(c) % 4 == 0;
    const size_t k = ck_range(c, 1, MAX_K), rows = ck_range(c, 1, 32);
    const bool by_row = ck_rand(c) % 2; /* else a is [k][lda] */
    const size_t lda = by_row ? k + ck_range(c, 0, 3) : 1;
    const size_t a_step = by_row ? 1 : rows + ck_range(c, 0, 3);
    const size_t n_a = (rows - 1) * lda + (k - 1) * a_step + 1;
    const uint32_t cut = (uint32_t)ck_range(c, 0, k);
    const uint32_t run_off[2] = {0, cut * (uint32_t)a_step}, run_len[2] = {cut, (uint32_t)k - cut};
    const size_t n = rows * NYB_ACCUM_COLS;
    float *a = ck_guard(c, n_a * sizeof *a, ck_rand(c) % 2);
    float *b = ck_guard(c, k * NYB_ACCUM_COLS * sizeof *b, ck_rand(c) % 2);
    float *state[2][2];
    uint32_t *z[2] = {ck_guard(c, n * sizeof **z, ck_rand(c) % 2),
                      ck_guard(c, n * sizeof **z, ck_rand(c) % 2)};
    nyb_accum_args args = {
        .grid = &grid,
        .chunk = ck_rand(c) % 4 ? ck_range(c, 1, 40) : SIZE_MAX,
        .last = ck_rand(c) % 2,
        /* Of sums of at most 150 products below 4: far from the largest; factors of 12 bits. */
        .fused = integers || (grid.fuses && !wild && ck_rand(c) % 2),
        .free = !integers && !wild && ck_rand(c) % 2,
        .narrow = ck_rand(c) % 2,
        .rows = rows,
        .a = a,
        .lda = lda,
        .a_step = a_step,
        .n_runs = 2,
        .run_off = run_off,
        .run_len = run_len,
        .b = b,
    };

    const bool coarse = !integers && !wild && ck_rand(c) % 4 == 0;
    args.at = ck_range(c, 0, nyb_min(args.chunk - 1, 100));
    if (grid.mode == NYB_ACCUM_DRAWN) /* chunks of one sum each may grow most */
        args.free = args.free && nyb_accum_is_free(&grid, 0, k + 250, 4);
    args.normal = coarse && args.free && nyb_accum_is_normal(&grid, 0x1p-30);
    for (size_t i = 0; i < n_a; i++)
        a[i] = value(c, integers, wild, coarse);
    for (size_t i = 0; i < k * NYB_ACCUM_COLS; i++)
        b[i] = value(c, integers, wild, coarse);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            state[i][j] = ck_guard(c, n * sizeof(float), ck_rand(c) % 2);
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < 2; j++)
            state[0][j][i] = state[1][j][i] =
                integers ? (float)(int32_t)(ck_rand(c) % 255) - 127.0f : (float)(ck_rand(c) % 4);
    for (size_t i = 0; i < n; i++)
        z[0][i] = z[1][i] = ck_rand(c);
    args.z = z[0];
    args.s = state[0][0];
    args.tot = state[0][1];
    nyb_accum_kernel_choose(0)->run(&args);
    args.z = z[1];
    args.s = state[1][0];
    args.tot = state[1][1];
    kernel->run(&args);
    for (size_t m = 0; m < rows; m++)
        if (!ck_same(c, "z", z[0] + m * NYB_ACCUM_COLS, z[1] + m * NYB_ACCUM_COLS,
                     (args.narrow ? 16 : 32) * sizeof **z))
            ck_fail(c, "mode %d, row %zu of %zu", (int)grid.mode, m, rows);
    for (int j = 0; j < 2; j++) {
        for (size_t m = 0; m < rows; m++) {
            float *want = state[0][j] + m * NYB_ACCUM_COLS, *got = state[1][j] + m * NYB_ACCUM_COLS;
            const size_t cols = args.narrow ? 16 : 32;
            join_nans(want, cols);
            join_nans(got, cols);
            if (!ck_same(c, j ? "tot" : "s", want, got, cols * sizeof *want))
                ck_fail(c,
                        "mode %d, max %g, k %zu, row %zu of %zu, chunk %zu at %zu, fused %d, free "
                        "%d, normal %d, wild %d",
                        (int)grid.mode, (double)grid.max, k, m, rows, args.chunk, args.at,
                        args.fused, args.free, args.normal, wild);
        }
    }
}

/* ---- benchmark: a block of 32 x 32 over k = 576 ------------------------------------------------
 */

#define BENCH_K 576

typedef struct bench {
    const nyb_accum_kernel *kernel;
    nyb_accum_grid grid;
    bool fused, free, normal;
    float a[32 * BENCH_K], b[BENCH_K * 32], s[1024], tot[1024];
    uint32_t z[1024];
} bench;

static void run_bench(void *arg)
{
    bench *w = arg;
    const uint32_t run_off = 0, run_len = BENCH_K;
    const nyb_accum_args args = {
        .grid = &w->grid,
        .chunk = 64,
        .last = true,
        .fused = w->fused,
        .free = w->free,
        .normal = w->normal,
        .rows = 32,
        .a = w->a,
        .lda = BENCH_K,
        .a_step = 1,
        .n_runs = 1,
        .run_off = &run_off,
        .run_len = &run_len,
        .b = w->b,
        .s = w->s,
        .tot = w->tot,
        .z = w->z,
    };

    memset(w->s, 0, sizeof w->s);
    memset(w->tot, 0, sizeof w->tot);
    w->kernel->run(&args);
}

static void bench_variant(ck *c, const nyb_accum_kernel *kernel)
{
    bench *w = calloc(1, sizeof *w);

    if (!w)
        return;
    w->kernel = kernel;
    w->grid = (nyb_accum_grid){.mode = NYB_ACCUM_MAGIC,
                               .max = 0x1.ff8p32f,
                               .least_exponent = 0x30800000u,
                               .magic = 0x1.8p14f};
    for (size_t i = 0; i < 32 * BENCH_K; i++)
        w->a[i] = w->b[i] = (float)(i % 7) - 3.0f;
    for (size_t i = 0; i < 1024; i++)
        w->z[i] = (uint32_t)i + 1;
    ck_bench(c, "e6m9", 1024.0 * BENCH_K, "MAC", run_bench, w);
    w->fused = w->free = true;
    ck_bench(c, "e6m9, fused and free", 1024.0 * BENCH_K, "MAC", run_bench, w);
    nyb_accum accum = {.format = nyb_format_find("e6m9"), .rounding = NYB_ROUND_STOCHASTIC};
    nyb_accum_grid_init(&w->grid, &accum);
    w->free = false;
    ck_bench(c, "e6m9, drawn and fused", 1024.0 * BENCH_K, "MAC", run_bench, w);
    w->free = true;
    ck_bench(c, "e6m9, drawn, fused and free", 1024.0 * BENCH_K, "MAC", run_bench, w);
    w->normal = true;
    ck_bench(c, "e6m9, drawn, fused and normal", 1024.0 * BENCH_K, "MAC", run_bench, w);
    free(w);
}

void check_accumulate(ck *c)
{
    for (const nyb_accum_kernel *const *k = nyb_accum_kernels; k[1]; k++) {
        if (!ck_begin(c, "accumulate", (*k)->name, (*k)->needs))
            continue;
        const uint32_t former = nyb_cpu_fp_enter();
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                check_case(c, *k);
        bench_variant(c, *k);
        nyb_cpu_fp_restore(former);
        ck_end(c);
    }
}
