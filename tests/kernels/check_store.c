/* Epilogues: every variant against plain loops, also with rows left out and narrow blocks. */
#include <math.h>
#include <string.h>

#include "../unit/bf16.h"
#include "base/base.h"
#include "check.h"
#include "gemm/store.h"
#include "gemm/tile.h"

#define ROWS NYB_TILE_ROWS
#define COLS NYB_TILE_COLS

/* Output rows in any order in one piece of memory, what must come of it, and whether a row is
 * wanted at all. */
typedef struct outputs {
    size_t pitch, n;
    float *f32, *want;
    uint16_t *bf16, *want_bf16;
    void *to[ROWS];
} outputs;

static outputs make_outputs(ck *c, const nyb_store_args *args)
{
    outputs o = {.pitch = args->n_valid + ck_range(c, 0, 1) * ck_range(c, 0, 9)};

    o.n = (args->rows - 1) * o.pitch + args->n_valid;
    o.want = ck_guard(c, o.n * sizeof(float), true);
    o.want_bf16 = ck_guard(c, o.n * sizeof(uint16_t), true);
    if (args->half)
        o.bf16 = ck_guard(c, o.n * sizeof(uint16_t), ck_range(c, 0, 1));
    else
        o.f32 = ck_guard(c, o.n * sizeof(float), ck_range(c, 0, 1));
    for (size_t i = 0; i < o.n; i++) {
        o.want[i] = ck_float(c);
        o.want_bf16[i] = (uint16_t)ck_rand(c);
        if (args->half)
            o.bf16[i] = o.want_bf16[i];
        else
            o.f32[i] = o.want[i];
    }
    for (size_t m = 0; m < args->rows; m++)
        o.to[m] = ck_range(c, 0, 7) ? nyb_store_at(args->half ? (void *)o.bf16 : o.f32, args->half,
                                                   (args->rows - 1 - m) * o.pitch)
                                    : NULL;
    return o;
}

static void want(const nyb_store_args *args, outputs *o, size_t m, size_t n, float sum)
{
    const size_t at = (args->rows - 1 - m) * o->pitch + n;
    const nyb_store_lines *l = args->lines;
    float t = sum * (l ? l->scale[m] : args->scale);

    if (!o->to[m] || n >= args->n_valid)
        return;
    if (l && l->of[m]) {
        const float plus = l->of[m][n] * l->plus[m];
        t = t + plus;
    }
    if (l && l->cols)
        t = t * l->cols[n];
    if (args->bias)
        t = t + args->bias[n];
    o->want[at] = args->add ? o->want[at] + t : t;
    o->want_bf16[at] = stored_bf16(t, args->draws, at);
}

/* One NaN is as good as another. */
static void join_nans(outputs *o)
{
    for (size_t i = 0; i < o->n; i++) {
        if (isnan(o->want[i]))
            o->want[i] = NAN;
        if (o->f32 && isnan(o->f32[i]))
            o->f32[i] = NAN;
        if (o->bf16 && (o->bf16[i] & 0x7fff) > 0x7f80)
            o->bf16[i] = 0x7fc0;
        if ((o->want_bf16[i] & 0x7fff) > 0x7f80)
            o->want_bf16[i] = 0x7fc0;
    }
}

static const float *random_row(ck *c, size_t n)
{
    float *row = ck_guard(c, n * sizeof *row, ck_range(c, 0, 1));

    for (size_t i = 0; i < n; i++)
        row[i] = ck_float(c);
    return row;
}

static nyb_store_lines random_lines(ck *c, size_t n_valid)
{
    const float *some = random_row(c, n_valid);
    nyb_store_lines lines = {.cols = ck_range(c, 0, 1) ? random_row(c, n_valid) : NULL};

    for (size_t m = 0; m < ROWS; m++) {
        lines.scale[m] = ck_float(c);
        lines.plus[m] = ck_float(c);
        lines.of[m] = ck_range(c, 0, 2) ? some : NULL;
    }
    return lines;
}

static void random_store(ck *c, const nyb_store_kernel *kernel)
{
    const nyb_stream draws = {.seed = ck_rand(c), .step = ck_rand(c), .role = NYB_RNG_STORE_X};
    const bool of_int = ck_range(c, 0, 1);
    float *bias = NULL;
    nyb_store_args args = {.rows = ck_range(c, 1, ROWS),
                           .n_valid = ck_range(c, 0, 1) ? COLS : ck_range(c, 1, COLS),
                           .scale = ck_range(c, 0, 3) ? ck_float(c) : 1,
                           .half = ck_range(c, 0, 1)};

    if (!args.half && !ck_range(c, 0, 2)) { /* some blocks of columns before it */
        args.n_valid += COLS * ck_range(c, 1, 3);
        args.step = COLS * ck_range(c, ROWS, ROWS + 2);
    }
    const size_t n_sums = (args.n_valid - 1) / COLS * args.step + ROWS * COLS;
    int32_t *ints = ck_guard(c, n_sums * sizeof *ints, true);
    float *floats = ck_guard(c, n_sums * sizeof *floats, true);
    args.add = !args.half && ck_range(c, 0, 1);
    args.draws = args.half && ck_range(c, 0, 1) ? &draws : NULL;
    if (ck_range(c, 0, 1)) {
        bias = ck_guard(c, args.n_valid * sizeof *bias, ck_range(c, 0, 1));
        for (size_t n = 0; n < args.n_valid; n++)
            bias[n] = ck_float(c);
    }
    args.bias = bias;
    const nyb_store_lines lines = random_lines(c, args.n_valid);
    if (!ck_range(c, 0, 2))
        args.lines = &lines;
    outputs o = make_outputs(c, &args);
    args.out = o.to;
    args.origin = o.bf16;
    for (size_t i = 0; i < n_sums; i++) {
        ints[i] = (int32_t)ck_rand(c) >> ck_range(c, 0, 31);
        /* Now and then half way between two bf16 numbers. */
        floats[i] = ck_range(c, 0, 3) ? ck_float(c) : nyb_float_of(ck_rand(c) << 15);
    }
    for (size_t m = 0; m < args.rows; m++)
        for (size_t n = 0; n < args.n_valid; n++) {
            const size_t i = n / COLS * args.step + m * COLS + n % COLS;
            want(&args, &o, m, n, of_int ? (float)ints[i] : floats[i]);
        }
    if (of_int)
        kernel->of_int(ints, &args);
    else
        kernel->of_float(floats, &args);
    join_nans(&o);
    if (args.draws)
        ck_same(c, "draws to bf16", o.want_bf16, o.bf16, o.n * sizeof *o.bf16);
    else if (args.half)
        ck_same(c, of_int ? "of_int to bf16" : "of_float to bf16", o.want_bf16, o.bf16,
                o.n * sizeof *o.bf16);
    else
        ck_same(c, of_int ? "of_int" : "of_float", o.want, o.f32, o.n * sizeof *o.f32);
}

/* ---- benchmark: a whole block to rows that are far apart ------------------------------------- */

typedef struct bench {
    const nyb_store_kernel *kernel;
    nyb_store_args args;
    const int32_t *sums;
} bench;

static void bench_store(void *arg)
{
    const bench *b = arg;

    b->kernel->of_int(b->sums, &b->args);
}

static void time_store(ck *c, const nyb_store_kernel *kernel)
{
    static int32_t sums[ROWS * COLS];
    static float out[ROWS * 256];
    const nyb_stream draws = {.seed = 1};
    void *to[ROWS];
    bench b = {kernel, {.rows = ROWS, .n_valid = COLS, .scale = 0.5f, .out = to}, sums};

    for (size_t m = 0; m < ROWS; m++)
        to[m] = out + m * 256;
    ck_bench(c, "of_int", ROWS * COLS, "value", bench_store, &b);
    b.args.half = true;
    ck_bench(c, "of_int to bf16", ROWS * COLS, "value", bench_store, &b);
    b.args.draws = &draws;
    b.args.origin = out;
    ck_bench(c, "of_int draws bf16", ROWS * COLS, "value", bench_store, &b);
}

void check_store(ck *c)
{
    for (const nyb_store_kernel *const *k = nyb_store_kernels; *k; k++) {
        if (!ck_begin(c, "store", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                random_store(c, *k);
        time_store(c, *k);
        ck_end(c);
    }
}
