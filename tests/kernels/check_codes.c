/* Blocks to packed codes: every variant against rounding and then looking for the code. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "check.h"
#include "format/format.h"
#include "quant/codes.h"

#define ROWS  128
#define LANES 16

/* ---- largest magnitudes ---------------------------------------------------------------------- */

static float wanted_absmax(const float *x, size_t n, size_t step)
{
    uint32_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = nyb_bits_of(x[i * step]) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return nyb_float_of(most < 0x00800000 ? 0 : most);
}

static void check_absmax(ck *c, float want, float got)
{
    if (isfinite(want) ? nyb_bits_of(want) != nyb_bits_of(got) : isfinite(got))
        ck_fail(c, "absmax is %a, not %a", (double)got, (double)want);
}

/* Mostly tiny or mostly anything; NaN, infinity and subnormals among them. */
static float *magnitudes(ck *c, size_t n)
{
    const float small = ck_range(c, 0, 1) ? 1 : 0x1p-130f;
    float *x = ck_guard(c, n * sizeof *x, ck_range(c, 0, 1));

    for (size_t i = 0; i < n; i++)
        x[i] = small < 1 && ck_range(c, 0, 15) ? (float)(int32_t)ck_rand(c) * 0x1p-31f * small
                                               : ck_float(c);
    return x;
}

static void random_absmax(ck *c, const nyb_codes_kernel *kernel)
{
    const size_t n = ck_range(c, 1, 64), lanes = ck_range(c, 1, LANES), col = ck_range(c, 0, 9);
    const size_t group = (size_t)16 << ck_range(c, 0, 2), n_groups = ck_range(c, 1, 16);
    const float *rows[64], *x = magnitudes(c, n_groups * group);
    float columns[64], got[16];

    const float *all = magnitudes(c, n * (col + lanes));
    for (size_t i = 0; i < n; i++)
        rows[i] = all + (n - 1 - i) * (col + lanes);
    kernel->rows_absmax(rows, n, col, lanes, got);
    for (size_t j = 0; j < 16; j++) {
        for (size_t i = 0; i < n; i++)
            columns[i] = j < lanes ? rows[i][col + j] : 0;
        check_absmax(c, wanted_absmax(columns, n, 1), got[j]);
    }
    kernel->absmax(x, n_groups, group, got);
    for (size_t g = 0; g < 16; g++)
        check_absmax(c, g < n_groups ? wanted_absmax(x + g * group, group, 1) : 0, got[g]);
}

/* ---- codes ----------------------------------------------------------------------------------- */

typedef struct problem {
    nyb_spec spec;
    nyb_codes_plan plan;
    size_t group;
    float inv[8]; /* of each group of rows */
} problem;

static void random_problem(ck *c, problem *p)
{
    const nyb_format *f;

    do {
        size_t n = 0;
        while (nyb_formats[n])
            n++;
        f = nyb_formats[ck_range(c, 0, n - 1)];
        p->spec = (nyb_spec){
            .format = f, .rounding = ck_range(c, 0, 1) ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST};
    } while (!nyb_codes_plan_init(&p->spec, &p->plan));
    p->group = (size_t)16 << ck_range(c, 0, 2);
    /* A power of two: then x * inv is often a value of the format, a tie, or a sixteenth of one. */
    for (size_t g = 0; g < 8; g++)
        p->inv[g] = ck_range(c, 0, 1) ? ldexpf(1, (int)ck_range(c, 0, 20) - 10)
                                      : 0.5f + (float)ck_rand(c) * 0x1p-31f;
}

static float random_value(ck *c, const problem *p, float inv)
{
    const float max = p->spec.format->max * 1.0625f;

    switch (ck_range(c, 0, 3)) {
    case 0:
        return (float)(int32_t)ck_rand(c) * 0x1p-31f * max / inv;
    case 1:
        return ck_range(c, 0, 1) ? 0.0f : -0.0f;
    default:
        return nearbyintf((float)(int32_t)ck_rand(c) * 0x1p-31f * max * 16) / 16 / inv;
    }
}

/* Random bits: often sixteenths, so that a distance and they add up to one. */
static uint32_t random_bits(ck *c)
{
    const uint32_t r = ck_rand(c) >> 9;

    return ck_range(c, 0, 1) ? r : r >> 19 << 19;
}

static unsigned wanted_code(const problem *p, float x, float inv, uint32_t r)
{
    const nyb_format *f = p->spec.format;
    const float t = x * inv;
    float y;

    nyb_round_ref.round(f, p->spec.rounding, &t, &r, 1, &y);
    for (unsigned code = 0; code < f->n_codes; code++)
        if ((float)f->units[code] * f->unit == y)
            return code;
    return 99;
}

static unsigned code_at(const uint8_t codes[64], size_t i)
{
    return i < 64 ? codes[i] & 15 : codes[i - 64] >> 4;
}

static void random_columns(ck *c, const nyb_codes_kernel *kernel, const problem *p)
{
    const size_t lanes = ck_range(c, 0, 1) ? LANES : ck_range(c, 1, LANES);
    const size_t col = ck_range(c, 0, 5), ld = lanes + ck_range(c, 0, 3);
    uint32_t *r23 = ck_guard(c, ((ROWS - 1) * ld + lanes) * sizeof *r23, true);
    uint8_t(*codes)[64] = ck_guard(c, 16 * sizeof *codes, true);
    float *all = ck_guard(c, ROWS * (col + lanes) * sizeof *all, true), inv[8][16];
    const float *rows[ROWS];

    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 16; j++)
            inv[i][j] = p->inv[(i + j) % 8] * p->plan.factor;
    for (size_t i = 0; i < (ROWS - 1) * ld + lanes; i++)
        r23[i] = random_bits(c);
    for (size_t i = 0; i < ROWS; i++) {
        float *row = all + i * (col + lanes);
        for (size_t j = 0; j < col + lanes; j++)
            row[j] = random_value(c, p, p->inv[(i / p->group + j - nyb_min(j, col)) % 8]);
        rows[i] = row;
    }
    kernel->columns(&p->plan, rows, col, lanes, (const float(*)[16])inv, p->group, r23, ld, codes);
    for (size_t j = 0; j < lanes; j++)
        for (size_t i = 0; i < ROWS; i++) {
            const float x = rows[i][col + j], by = p->inv[(i / p->group + j) % 8];
            const unsigned want = wanted_code(p, x, by, r23[i * ld + j]);

            if (code_at(codes[j], i) != want) {
                ck_fail(c, "%s: %a * %a in row %zu, column %zu: code %u, not %u",
                        p->spec.format->name, (double)x, (double)by, i, j, code_at(codes[j], i),
                        want);
                return;
            }
        }
}

static void random_along(ck *c, const nyb_codes_kernel *kernel, const problem *p)
{
    float *x = ck_guard(c, ROWS * sizeof *x, true), inv[8];
    uint32_t *r23 = ck_guard(c, ROWS * sizeof *r23, true);
    uint8_t *codes = ck_guard(c, 64, true);

    for (size_t g = 0; g < 8; g++)
        inv[g] = p->inv[g] * p->plan.factor;
    for (size_t i = 0; i < ROWS; i++) {
        x[i] = random_value(c, p, p->inv[i / p->group]);
        r23[i] = random_bits(c);
    }
    kernel->along(&p->plan, x, inv, p->group, r23, codes);
    for (size_t i = 0; i < ROWS; i++) {
        const unsigned want = wanted_code(p, x[i], p->inv[i / p->group], r23[i]);

        if (code_at(codes, i) != want) {
            ck_fail(c, "%s: %a * %a at %zu: code %u, not %u", p->spec.format->name, (double)x[i],
                    (double)p->inv[i / p->group], i, code_at(codes, i), want);
            return;
        }
    }
}

/* ---- benchmark: columns of e2m1 in the L1 cache ---------------------------------------------- */

typedef struct bench {
    const nyb_codes_kernel *kernel;
    problem p;
    const float *rows[ROWS];
    float inv[8][16];
    uint32_t r23[ROWS * LANES];
} bench;

static void bench_columns(void *arg)
{
    const bench *b = arg;
    uint8_t codes[16][64];

    b->kernel->columns(&b->p.plan, b->rows, 0, LANES, (const float(*)[16])b->inv, 16, b->r23, LANES,
                       codes);
}

static void time_columns(ck *c, const nyb_codes_kernel *kernel)
{
    static float x[ROWS][LANES];
    static bench b;

    b.kernel = kernel;
    for (size_t i = 0; i < ROWS; i++)
        b.rows[i] = x[i];
    for (int draws = 0; draws < 2; draws++) {
        b.p.spec = (nyb_spec){.format = nyb_format_find("e2m1"),
                              .rounding = draws ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST};
        if (nyb_codes_plan_init(&b.p.spec, &b.p.plan))
            ck_bench(c, draws ? "columns of e2m1, drawn" : "columns of e2m1", ROWS * LANES, "code",
                     bench_columns, &b);
    }
}

void check_codes(ck *c)
{
    for (const nyb_codes_kernel *const *k = nyb_codes_kernels; *k; k++) {
        if (!ck_begin(c, "codes", (*k)->name, (*k)->needs))
            continue;
        const uint32_t former = nyb_cpu_fp_enter();
        for (size_t i = 0; i < ck_cases(c); i++) {
            problem p;

            if (!ck_case(c, i))
                continue;
            random_absmax(c, *k);
            random_problem(c, &p);
            random_columns(c, *k, &p);
            random_along(c, *k, &p);
        }
        nyb_cpu_fp_restore(former);
        time_columns(c, *k);
        ck_end(c);
    }
}
