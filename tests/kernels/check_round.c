/* Rounding to grids and drawing fields: every variant against the reference. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/grids.h"
#include "quant/round.h"

#define N_MAX 300

/* ---- what can be rounded ----------------------------------------------------------------------
 */

typedef struct way {
    nyb_format format;
    nyb_rounding rounding;
} way;

#define WAYS_MAX 1024

/* Every format and every grid of grids.h, with every rounding that it allows. */
static size_t all_ways(way ways[WAYS_MAX])
{
    nyb_format grids[GRIDS_MAX];
    const size_t n_grids = grids_make(grids);
    size_t n = 0;

    for (size_t i = 0; i < n_grids + nyb_format_count(); i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++) {
            const nyb_format *f = i < n_grids ? &grids[i] : nyb_format_at(i - n_grids);
            const nyb_spec s = {.format = f,
                                .scale = nyb_scale_rule_at(0),
                                .rounding = (nyb_rounding)r,
                                .sr_bits = 16};

            if (f->grid != NYB_GRID_REAL && nyb_spec_check(&s, NULL) == NYB_OK && n < WAYS_MAX)
                ways[n++] = (way){*f, (nyb_rounding)r};
        }
    return n;
}

/* ---- inputs -----------------------------------------------------------------------------------
 */

/* A point of the grid, or a tie between two, or a value between that its draw decides. */
static float near_grid(ck *c, const nyb_format *f, float t, uint32_t r23)
{
    const float low = fabsf(t);
    float a, b, v;

    nyb_round_ref.round(f, NYB_ROUND_STOCHASTIC, &low, &(uint32_t){0}, 1, &a);
    nyb_round_ref.round(f, NYB_ROUND_STOCHASTIC, &low, &(uint32_t){(1u << 23) - 1}, 1, &b);
    switch (ck_rand(c) % 3) {
    case 0:
        v = a;
        break;
    case 1:
        v = a + 0.5f * (b - a);
        break;
    default:
        v = (float)((double)a + ((double)b - (double)a) * (double)((1u << 23) - r23) * 0x1p-23);
        break;
    }
    if (v > FLT_MIN && v < FLT_MAX)
        v = nyb_float_of(nyb_bits_of(v) + ck_rand(c) % 3 - 1);
    return ck_rand(c) % 2 ? v : -v;
}

/* The exponents of a format: from below its least value to beyond its largest. */
static float in_range(ck *c, const nyb_format *f)
{
    const int top = (int)(nyb_bits_of(f->max) >> 23) + 1;
    const int span = f->grid == NYB_GRID_FLOAT ? (1 << f->fp.exp_bits) + f->fp.man_bits + 3 : 20;
    const size_t e =
        ck_range(c, top > span ? (size_t)(top - span) : 0, top < 254 ? (size_t)top : 254);

    return nyb_float_of((uint32_t)e << 23 | (ck_rand(c) >> 9) | (ck_rand(c) & 0x80000000));
}

static void fill(ck *c, const nyb_format *f, float *t, uint32_t *r23, size_t n)
{
    const uint32_t kind = ck_rand(c) % 8;

    for (size_t i = 0; i < n; i++) {
        r23[i] = ck_rand(c) % 16 ? ck_rand(c) >> 9 : ck_rand(c) % 2 ? 0 : (1u << 23) - 1;
        if (kind == 0) /* anything at all */
            t[i] = ck_float(c);
        else if (kind == 1) /* evenly */
            t[i] = 1.5f * f->max * (float)(int32_t)ck_rand(c) * 0x1p-31f;
        else
            t[i] = ck_rand(c) % 64 ? in_range(c, f) : ck_float(c);
        if (kind > 4)
            t[i] = near_grid(c, f, t[i], r23[i]);
    }
}

/* ---- round ------------------------------------------------------------------------------------
 */

static void round_case(ck *c, const nyb_round_kernel *k, const way *w)
{
    const size_t n = ck_range(c, 0, ck_rand(c) % 4 ? 40 : N_MAX);
    const bool end = ck_rand(c) % 2, draws = nyb_rounding_draws(w->rounding);
    float *t = ck_guard(c, n * sizeof *t, end), *got = t, want[N_MAX];
    uint32_t *r23 = ck_guard(c, n * sizeof *r23, end);

    fill(c, &w->format, t, r23, n);
    nyb_round_ref.round(&w->format, w->rounding, t, draws ? r23 : NULL, n, want);
    if (ck_rand(c) % 2) /* else in place */
        got = ck_guard(c, n * sizeof *got, end);
    k->round(&w->format, w->rounding, t, draws ? r23 : NULL, n, got);
    for (size_t i = 0; i < n; i++)
        if (nyb_bits_of(want[i]) != nyb_bits_of(got[i])) {
            ck_fail(c, "%s, rounding %d, element %zu of %zu%s: %a, want %a (r23 %u)",
                    w->format.name, (int)w->rounding, i, n, got == t ? " in place" : "",
                    (double)got[i], (double)want[i], (unsigned)r23[i]);
            return;
        }
}

/* ---- draw -------------------------------------------------------------------------------------
 */

static void draw_case(ck *c, const nyb_round_kernel *k)
{
    const size_t n = ck_range(c, 0, N_MAX);
    const int bits = ck_rand(c) % 2 ? 16 : 32;
    const nyb_stream s = {.seed = (uint64_t)ck_rand(c) << 32 | ck_rand(c),
                          .step = ck_rand(c),
                          .tensor = ck_rand(c),
                          .role = (uint8_t)ck_range(c, 0, 15),
                          .sample = (uint8_t)ck_rand(c)};
    uint32_t want[N_MAX], *got = ck_guard(c, n * sizeof *got, ck_rand(c) % 2);
    uint64_t first = (uint64_t)ck_rand(c) * (ck_rand(c) % 2 ? 16 : 1);

    if (ck_rand(c) % 4 == 0) /* the counter's low word overflows within the call */
        first = ((uint64_t)1 << (bits == 16 ? 35 : 34)) - ck_range(c, 0, n);
    nyb_round_ref.draw(&s, bits, first, n, want);
    k->draw(&s, bits, first, n, got);
    ck_same(c, "draw", want, got, n * sizeof *got);
}

/* ---- scales -----------------------------------------------------------------------------------
 */

static float *floats(ck *c, size_t n, bool end, bool wild)
{
    float *p = ck_guard(c, n * sizeof *p, end);

    for (size_t i = 0; i < n; i++)
        p[i] = wild || ck_rand(c) % 256 == 0 ? ck_float(c) : (float)(int32_t)ck_rand(c) * 0x1p-30f;
    return p;
}

static void absmax_case(ck *c, const nyb_round_kernel *k)
{
    const bool end = ck_rand(c) % 2, columns = ck_rand(c) % 2;
    const size_t rows = ck_range(c, 0, columns ? 70 : 20), cols = ck_range(c, 0, 70);
    const size_t ld = cols + (ck_rand(c) % 2 ? ck_range(c, 0, 20) : 0), n = columns ? cols : rows;
    const float *x = floats(c, rows > 0 ? (rows - 1) * ld + cols : 0, end, ck_rand(c) % 4 == 0);
    float want[70], *got = ck_guard(c, n * sizeof *got, end);

    if (columns) {
        nyb_round_ref.column_absmax(x, rows, cols, ld, want);
        k->column_absmax(x, rows, cols, ld, got);
    } else {
        nyb_round_ref.block_stats(x, rows, cols, ld, want);
        k->block_stats(x, rows, cols, ld, got);
    }
    ck_same(c, columns ? "column_absmax" : "block_stats", want, got, n * sizeof *got);
}

static void range_case(ck *c, const nyb_round_kernel *k)
{
    const size_t n = ck_range(c, 0, N_MAX);
    float *x = floats(c, n, ck_rand(c) % 2, ck_rand(c) % 4 == 0);
    float want[3] = {0}, got[3] = {0};

    for (size_t i = 0, some = ck_rand(c) % 4; some == 0 && i < n; i++)
        x[i] = ck_rand(c) % 8 == 0 ? ck_float(c) : ck_rand(c) % 2 ? NAN : -INFINITY;
    want[2] = nyb_round_ref.range(x, n, &want[0], &want[1]);
    got[2] = k->range(x, n, &got[0], &got[1]);
    ck_same(c, "range", want, got, sizeof got);
}

/* All NaNs are one: which payload survives an operation is the hardware's choice. */
static void join_nans(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            x[i] = NAN;
}

static void scale_case(ck *c, const nyb_round_kernel *k)
{
    const bool end = ck_rand(c) % 2, back = ck_rand(c) % 2;
    const size_t n = ck_range(c, 0, N_MAX);
    float *x = floats(c, n, end, ck_rand(c) % 4 == 0), want[N_MAX], *got = x;
    const float a = ck_float(c), b = ck_float(c), offset = ck_rand(c) % 2 ? ck_float(c) : 0;

    if (back)
        nyb_round_ref.unscale(x, n, a, b, offset, want);
    else
        nyb_round_ref.scale(x, n, offset, a, want);
    if (ck_rand(c) % 2) /* else in place */
        got = ck_guard(c, n * sizeof *got, end);
    if (back)
        k->unscale(x, n, a, b, offset, got);
    else
        k->scale(x, n, offset, a, got);
    join_nans(want, n);
    join_nans(got, n);
    ck_same(c, back ? "unscale" : "scale", want, got, n * sizeof *got);
}

/* ---- timings: in L1, in calls of 16 and of 2048 ------------------------------------------------
 */

#define N_BENCH 2048

typedef struct timing {
    const nyb_round_kernel *kernel;
    const nyb_format *format;
    nyb_rounding rounding;
    size_t n_call;
    float t[N_BENCH], y[N_BENCH];
    uint32_t r23[N_BENCH];
} timing;

static void time_round(void *arg)
{
    timing *t = arg;
    const nyb_stream s = {.seed = 1};

    for (size_t i = 0; i < N_BENCH; i += t->n_call) {
        if (nyb_rounding_draws(t->rounding))
            t->kernel->draw(&s, 16, i, t->n_call, t->r23 + i);
        t->kernel->round(t->format, t->rounding, t->t + i, t->r23 + i, t->n_call, t->y + i);
    }
}

static void time_blocks(void *arg)
{
    timing *t = arg;

    t->kernel->block_stats(t->t, N_BENCH / t->n_call, t->n_call, t->n_call, t->y);
}

static void time_columns(void *arg)
{
    timing *t = arg;

    t->kernel->column_absmax(t->t, N_BENCH / t->n_call, t->n_call, t->n_call, t->y);
}

static void bench(ck *c, const nyb_round_kernel *k)
{
    const nyb_format grids[] = {
        grid_float("e4m3", (nyb_float_grid){4, 3, 7, true, false, NYB_SPECIAL_FN}),
        grid_float("dlfloat16", (nyb_float_grid){6, 9, 31, false, true, NYB_SPECIAL_MERGED}),
        grid_float("bf16", (nyb_float_grid){8, 7, 127, true, false, NYB_SPECIAL_IEEE}),
        nyb_format_int4,
        nyb_format_e3m0,
        nyb_format_e3m0r4,
        nyb_format_nf4};
    timing *t = calloc(1, sizeof *t);

    if (!t)
        return;
    t->kernel = k;
    for (size_t i = 0; i < N_BENCH; i++)
        t->t[i] = 8.0f * (float)(int32_t)ck_rand(c) * 0x1p-31f;
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_STOCHASTIC; r++)
            for (t->n_call = 16; t->n_call <= N_BENCH; t->n_call *= N_BENCH / 16) {
                char what[80];

                t->format = &grids[i];
                t->rounding = (nyb_rounding)r;
                snprintf(what, sizeof what, "%s%s, calls of %zu", grids[i].name,
                         r == NYB_ROUND_STOCHASTIC ? ", drawn" : "", t->n_call);
                ck_bench(c, what, N_BENCH, "elements", time_round, t);
            }
    t->n_call = 16;
    ck_bench(c, "absmax of blocks of 16", N_BENCH, "elements", time_blocks, t);
    t->n_call = 64;
    ck_bench(c, "absmax of 64 columns", N_BENCH, "elements", time_columns, t);
    free(t);
}

void check_round(ck *c)
{
    static way ways[WAYS_MAX];
    const size_t n = all_ways(ways);

    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++) {
        if (!ck_begin(c, "round", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < 4 * ck_cases(c); i++)
            if (ck_case(c, i)) {
                if (i % 16 == 0)
                    draw_case(c, *k);
                else if (i % 16 == 1)
                    absmax_case(c, *k);
                else if (i % 16 == 2)
                    scale_case(c, *k);
                else if (i % 16 == 3)
                    range_case(c, *k);
                else
                    round_case(c, *k, &ways[ck_range(c, 0, n - 1)]);
            }
        bench(c, *k);
        ck_end(c);
    }
}
