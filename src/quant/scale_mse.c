/* The clip of least squared error on these very data: a grid, then a golden section.
 * NUMERICS 6.5. */
#include <float.h>
#include <math.h>

#include "quant/round.h"

#define GRID_FIRST 20 /* clips absmax * i / 100, i = 20 .. 100 */
#define GRID_LAST  100
#define STEPS      20
#define PHI        0.6180339887498949

#define LANES 16
#define BLOCK (256 * LANES)
#define PART  512 /* elements between a rounding and its errors: in the L1 cache */

typedef struct task {
    const nyb_format *format;
    const nyb_round_kernel *kernel;
    const float *x;
    size_t n;
    float unit; /* a power of two that brings absmax into [1, 4): squares stay in range */
} task;

/* A clip (in units) and its error. */
typedef struct point {
    float clip;
    double error;
} point;

static inline __attribute__((always_inline)) void add_row(const float *t, const float *q,
                                                          float scale, size_t n, float *lane)
{
    for (size_t j = 0; j < n; j++) {
        const float e = t[j] - q[j] * scale;

        lane[j] += e * e;
    }
}

/* Adds squared errors to the lanes. */
static void add_errors(const float *t, const float *q, float scale, size_t n, float lane[LANES])
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        add_row(t + i, q + i, scale, LANES, lane);
    add_row(t + i, q + i, scale, n - i, lane);
}

/* t[i] = x[i] in units, 0 for NaN and Inf; inv times that. */
static void load(const task *k, size_t at, size_t n, float inv, float *t, float *scaled)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t finite = (nyb_bits_of(k->x[at + i]) & 0x7f800000u) != 0x7f800000u;

        t[i] = nyb_float_of(nyb_bits_of(k->x[at + i] * k->unit) & (0 - finite));
        scaled[i] = t[i] * inv;
    }
}

/* The sum of (x - Q(x))^2, in units, in the order of NUMERICS, binding resolution 4, of a flat
 * vector (products rounded). */
static double error_of(const task *k, float clip)
{
    const float scale = nyb_scale_of_clip(k->format, clip);
    const float inv = scale > 0.0f ? 1.0f / scale : 0.0f;
    float t[PART], q[PART];
    double total = 0.0;

    for (size_t at = 0; at < k->n; at += BLOCK) {
        const size_t end = nyb_min(at + BLOCK, k->n);
        float lane[LANES] = {0};

        for (size_t i = at; i < end; i += PART) {
            const size_t n = nyb_min(PART, end - i);

            load(k, i, n, inv, t, q);
            k->kernel->round(k->format, NYB_ROUND_NEAREST, q, NULL, n, q);
            add_errors(t, q, scale, n, lane);
        }
        for (size_t w = LANES / 2; w > 0; w /= 2)
            for (size_t j = 0; j < w; j++)
                lane[j] += lane[j + w];
        total += (double)lane[0];
    }
    return total;
}

/* The error of a clip; points known already are not computed again. */
static point evaluate(const task *k, double clip, const point *a, const point *b)
{
    point p = {.clip = (float)clip};

    p.error = p.clip == a->clip ? a->error : p.clip == b->clip ? b->error : error_of(k, p.clip);
    return p;
}

static void keep(point *best, const point *p)
{
    if (p->error < best->error)
        *best = *p;
}

/* 20 golden sections of [a, b]; best improves. */
static void golden(const task *k, double a, double b, point *best)
{
    point c = *best, d = *best;

    for (int i = 0; i < STEPS; i++) {
        const point new_c = evaluate(k, b - PHI * (b - a), &c, &d);
        const point new_d = evaluate(k, a + PHI * (b - a), &c, &d);

        c = new_c;
        d = new_d;
        keep(best, &c);
        keep(best, &d);
        if (c.error <= d.error)
            b = a + PHI * (b - a);
        else
            a = b - PHI * (b - a);
    }
}

static void search(const nyb_format *format, const nyb_round_kernel *kernel, const float *x,
                   size_t n, const nyb_group_stats *stats, nyb_group_scale *scale)
{
    int exponent;
    task k = {.format = format, .kernel = kernel, .x = x, .n = n};
    point best = {.error = INFINITY};
    double max;
    int at = GRID_FIRST;

    *scale = (nyb_group_scale){0};
    if (!(stats->absmax > 0.0f))
        return;
    exponent = (int)(nyb_bits_of(stats->absmax) >> 23) - 127;
    exponent = exponent < 126 ? exponent : 126;
    k.unit = nyb_float_of((uint32_t)(127 - exponent) << 23);
    max = (double)(stats->absmax * k.unit);
    for (int i = GRID_FIRST; i <= GRID_LAST; i++) {
        const point p = {(float)(max * i / 100), error_of(&k, (float)(max * i / 100))};

        if (p.error < best.error) {
            best = p;
            at = i;
        }
    }
    golden(&k, max * (at - 1) / 100, max * (at + 1) / 100, &best);
    nyb_group_scale_set(
        scale, nyb_scale_of_clip(format,
                                 (float)fmin((double)best.clip / (double)k.unit, (double)FLT_MAX)));
}

static bool groups(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW;
}

const nyb_scale_rule nyb_scale_ptq_mse = {
    .name = "ptq_mse",
    .about = "the clip of least squared error on the data: 81 clips, then 20 golden sections",
    .source = "Krishnamoorthi, 2018; the search of docs/numerics.md 6.5",
    .search = search,
    .groups = groups,
};
