#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "grids.h"
#include "known.h"
#include "quant/round.h"

#define TWO_23 (1u << 23)

static uint32_t former;

static int subnormals_off(void **state)
{
    (void)state;
    former = nyb_cpu_fp_enter();
    return 0;
}

static int subnormals_back(void **state)
{
    (void)state;
    nyb_cpu_fp_restore(former);
    return 0;
}

static float round_with(const nyb_round_kernel *k, const nyb_format *f, nyb_rounding rounding,
                        float t, uint32_t r23)
{
    float y = NAN;

    k->round(f, rounding, &t, &r23, 1, &y);
    return y;
}

static float round_one(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    return round_with(&nyb_round_ref, f, rounding, t, r23);
}

/* ---- known answers: NUMERICS 8.1 --------------------------------------------------------------
 */

static void ties_go_where_the_tables_say(void **state)
{
    static const struct {
        nyb_float_grid fp;
        float t, want;
    } known[] = {
        /* e2m1 */
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 0.25f, 0},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 0.75f, 1},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, -1.25f, -1},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 1.75f, 2},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 2.5f, 2},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, -3.5f, -4},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 5, 4},
        {{2, 1, 1, true, false, NYB_SPECIAL_NONE}, 1e9f, 6},
        /* e4m3fn saturates at 448, halves its least subnormal to zero */
        {{4, 3, 7, true, false, NYB_SPECIAL_FN}, 465, 448},
        {{4, 3, 7, true, false, NYB_SPECIAL_FN}, 0x1p-10f, 0},
        {{4, 3, 7, true, false, NYB_SPECIAL_FN}, 0x1.8p-9f, 0x1p-8f},
        /* fp16: the ties of 2048 .. 4096, the maximum, the least subnormal */
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, 2049, 2048},
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, 2051, 2052},
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, -INFINITY, -65504},
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, 0x1p-24f, 0x1p-24f},
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, 0x1p-25f, 0},
        {{5, 10, 15, true, false, NYB_SPECIAL_IEEE}, 0x1.000002p-25f, 0x1p-24f},
        /* dlfloat16: ties away, nothing between 0 and 2^-31 (1 + 2^-9) */
        {{6, 9, 31, false, true, NYB_SPECIAL_MERGED}, 1 + 0x1p-10f, 1 + 0x1p-9f},
        {{6, 9, 31, false, true, NYB_SPECIAL_MERGED}, 0x1p-31f, 0},
        {{6, 9, 31, false, true, NYB_SPECIAL_MERGED}, -0x1.004p-31f, -0x1.008p-31f},
        {{6, 9, 31, false, true, NYB_SPECIAL_MERGED}, 0x1.003ffep-31f, 0},
        {{6, 9, 31, false, true, NYB_SPECIAL_MERGED}, 1e30f, 8573157376.0f},
        /* bf16, tf32 */
        {{8, 7, 127, true, false, NYB_SPECIAL_IEEE}, 0x1.01p0f, 1},
        {{8, 7, 127, true, false, NYB_SPECIAL_IEEE}, 0x1.03p0f, 0x1.04p0f},
        {{8, 7, 127, true, false, NYB_SPECIAL_IEEE}, FLT_MAX, 0x1.fep127f},
        {{8, 10, 127, true, false, NYB_SPECIAL_IEEE}, 0x1.002p0f, 1},
        {{8, 10, 127, true, false, NYB_SPECIAL_IEEE}, 0x1.006p-126f, 0x1.008p-126f},
    };

    (void)state;
    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++)
        for (size_t i = 0; i < sizeof known / sizeof *known && !((*k)->needs & ~nyb_cpu_detect());
             i++) {
            const nyb_format f = grid_float("known", known[i].fp);
            const float y = round_with(*k, &f, NYB_ROUND_NEAREST, known[i].t, 0);

            assert_int_equal(nyb_bits_of(y), nyb_bits_of(known[i].want));
        }
}

static void integers_round_to_even(void **state)
{
    static const float t[] = {0.5f, 1.5f, -2.5f, -0.5f, 6.5f, 7.4f, 99, -99, -7.5f};
    static const float want[] = {0, 2, -2, 0, 6, 7, 7, -7, -7};
    static const float want_u[] = {0, 2, 0, 0, 6, 7, 15, 0, 0};
    float y[9];

    (void)state;
    nyb_round_ref.round(&nyb_format_int4, NYB_ROUND_NEAREST, t, NULL, 9, y);
    assert_memory_equal(y, want, sizeof y);
    nyb_round_ref.round(&nyb_format_uint4, NYB_ROUND_NEAREST, t, NULL, 9, y);
    assert_memory_equal(y, want_u, sizeof y);
}

/* ---- an oracle that lists the grid ------------------------------------------------------------
 */

#define POINTS_MAX (1 << 16)

typedef struct points {
    double v[POINTS_MAX]; /* the non-negative values of the grid, ascending; index parity is the
                             code's */
    size_t n;
} points;

/* From the definition in format.h, code by code. */
static void list_float(const nyb_format *f, points *p)
{
    const nyb_float_grid *g = &f->fp;
    const unsigned codes = 1u << (g->exp_bits + g->man_bits), per = 1u << g->man_bits;

    p->n = 0;
    for (unsigned c = 0; c < codes; c++) {
        const int e = (int)(c / per);
        const double m = (double)(c % per) / per;
        double v = ldexp(1 + m, e - g->bias);

        if (e == 0 && g->subnormals)
            v = ldexp(m, 1 - g->bias);
        else if (c == 0)
            v = 0;
        if (v <= (double)f->max)
            p->v[p->n++] = v;
    }
}

static void list_int(const nyb_format *f, bool negative, points *p)
{
    p->n = 0;
    for (int i = 0; i <= (negative ? -f->lo : f->hi); i++)
        p->v[p->n++] = i;
}

static void list_table(const nyb_format *f, points *p)
{
    p->n = 0;
    for (unsigned c = 0; c < f->n_codes / (f->is_signed ? 2 : 1); c++)
        p->v[p->n++] = (double)f->value[c];
}

static double search(const points *p, const nyb_format *f, nyb_rounding rounding, double a,
                     uint32_t r23)
{
    size_t low = 0, high = p->n - 1, part;
    double x, gap;

    if (a >= p->v[high])
        return p->v[high];
    while (high - low > 1) {
        const size_t mid = (low + high) / 2;

        if (p->v[mid] <= a)
            low = mid;
        else
            high = mid;
    }
    x = a - p->v[low];
    gap = p->v[high] - p->v[low];
    if (rounding == NYB_ROUND_NEAREST) {
        const bool tie_up = f->grid == NYB_GRID_FLOAT && f->fp.ties_away ? true : low % 2;

        /* NUMERICS 3.3: up from halfway between 2^-bias and code 1 */
        if (f->grid == NYB_GRID_FLOAT && f->fp.ties_away && !f->fp.subnormals && low == 0)
            return 2 * a >= ldexp(1, -f->fp.bias) + p->v[1] && a >= ldexp(1, -f->fp.bias) ? p->v[1]
                                                                                          : 0;
        return 2 * x > gap || (2 * x == gap && tie_up) ? p->v[high] : p->v[low];
    }
    /* floor of an exact quotient: products of a field and a gap have at most 47 bits */
    part = (size_t)(x * 0x1p23 / gap);
    while ((double)part * gap > x * 0x1p23)
        part--;
    while ((double)(part + 1) * gap <= x * 0x1p23)
        part++;
    return r23 + part >= TWO_23 ? p->v[high] : p->v[low];
}

/* Where rounding can go wrong: points, ties, halves of the draws, all with their neighbours. */
static float hard_case(const points *p, uint32_t seed, uint32_t r23)
{
    const uint32_t u = known_u32(seed, 0, 0, 0, 0, 0), w = known_u32(seed, 1, 0, 0, 0, 0);
    const size_t i = u % (p->n - 1);
    const double low = p->v[i], gap = p->v[i + 1] - low;
    double v = low;

    switch (w % 8) {
    case 0:
        v = low + gap / 2;
        break;
    case 1:
    case 2:
        v = low + gap * ((double)(TWO_23 - r23) * 0x1p-23);
        break;
    case 3:
        v = low + gap * ((double)(u >> 8) * 0x1p-24);
        break;
    case 4:
        v = p->v[p->n - 1] * ((double)(u >> 8) * 0x1p-23);
        break;
    case 5:
        v = (double)nyb_float_of(u & 0x7fffffff);
        break;
    case 6: /* below the first point */
        v = ldexp(p->v[1], -(int)(u % 30)) * (1 + (double)(w >> 9) * 0x1p-23);
        break;
    }
    v = fmin(v, (double)FLT_MAX);
    return nyb_float_of(nyb_bits_of((float)v) + w / 8 % 3 - 1) * (w & 64 ? 1.0f : -1.0f);
}

static void the_reference_finds_the_neighbour(void **state)
{
    nyb_format grids[GRIDS_MAX];
    const size_t n = grids_make(grids);
    points *p = malloc(sizeof *p);

    (void)state;
    assert_non_null(p);
    for (size_t g = 0; g < n; g++) {
        const nyb_format *f = &grids[g];

        if (f->grid == NYB_GRID_FLOAT && (f->fp.exp_bits + f->fp.man_bits > 16 || f->max < FLT_MIN))
            continue;
        for (uint32_t i = 0; i < 20000; i++) {
            const nyb_rounding rounding = i % 2 ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST;
            const uint32_t r23 = known_u32(i, 2, 0, 0, 0, 0) >> 9;
            double want;
            float t, y;

            if (f->grid == NYB_GRID_FLOAT && i == 0)
                list_float(f, p);
            if (f->grid == NYB_GRID_INT)
                list_int(f, f->lo < 0 && i % 4 < 2, p);
            if (f->grid == NYB_GRID_TABLE)
                list_table(f, p);
            t = hard_case(p, i, r23);
            if (!f->is_signed)
                t = fabsf(t);
            if (f->grid == NYB_GRID_INT)
                t = copysignf(t, f->lo < 0 && i % 4 < 2 ? -1.0f : 1.0f);
            want = isnan(t) || fabsf(t) < FLT_MIN ? 0 : fabs((double)t);
            want = copysign(search(p, f, rounding, want, r23), (double)t);
            y = round_one(f, rounding, t, r23);
            if ((double)y != (fabs(want) < (double)FLT_MIN ? 0 : want) || (y == 0 && signbit(y)))
                print_error("grid %s, t %a, r23 %u: %a, want %a\n", f->name, (double)t, r23,
                            (double)y, want);
            assert_true((double)y == (fabs(want) < (double)FLT_MIN ? 0 : want));
            assert_false(y == 0 && signbit(y));
        }
    }
    free(p);
}

/* ---- laws over the records --------------------------------------------------------------------
 */

static bool can(const nyb_format *f, nyb_rounding rounding)
{
    const nyb_spec s = {
        .format = f, .scale = nyb_scale_rule_at(0), .rounding = rounding, .sr_bits = 32};

    return f->grid != NYB_GRID_REAL && nyb_spec_check(&s, NULL) == NYB_OK;
}

/* Above all: a kernel's value is the value of the code that the format's encoder gives. */
static void rounding_is_decoding_the_code(void **state)
{
    nyb_format grids[GRIDS_MAX];
    const size_t n = grids_make(grids);
    float t[64], y[64];
    uint32_t r23[64];

    (void)state;
    for (size_t i = 0; i < n + nyb_format_count(); i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++)
            for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++) {
                const nyb_format *f = i < n ? &grids[i] : nyb_format_at(i - n);

                for (uint32_t j = 0; j < 4096 && can(f, (nyb_rounding)r); j++) {
                    const uint32_t u = known_u32(j, 3, (uint32_t)i, 0, 0, 0), at = j % 64;
                    const float wide = nyb_float_of((u % 40 + 107) << 23 | (u * 2654435761u >> 9));
                    float want;

                    t[at] = (float)(int32_t)u * f->max * 0x1p-30f;
                    t[at] = u % 3 == 0 ? t[at] : u % 3 == 1 ? t[at] * 0x1p-6f : wide;
                    r23[at] = u * 2246822519u >> 9;
                    if (at < 63 || ((*k)->needs & ~nyb_cpu_detect()))
                        continue;
                    (*k)->round(f, (nyb_rounding)r, t, r23, 64, y);
                    for (size_t e = 0; e < 64; e++) {
                        want = nyb_format_decode(
                            f, nyb_format_encode(f, fabsf(t[e]) < FLT_MIN ? 0 : t[e],
                                                 (nyb_rounding)r, r23[e], true));
                        assert_true(y[e] == want);
                    }
                }
            }
}

static void nan_is_zero_and_infinity_the_top(void **state)
{
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff};
    nyb_format grids[GRIDS_MAX];
    const size_t n = grids_make(grids);

    (void)state;
    for (size_t i = 0; i < n + nyb_format_count(); i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++)
            for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++) {
                const nyb_format *f = i < n ? &grids[i] : nyb_format_at(i - n);
                const nyb_rounding rounding = (nyb_rounding)r;
                const uint32_t most = TWO_23 - 1;

                if (!can(f, rounding) || ((*k)->needs & ~nyb_cpu_detect()))
                    continue;
                /* binary, odd2 and e8m0 have no zero */
                const float zero = round_with(*k, f, rounding, 0, most);
                const float least = f->grid == NYB_GRID_INT ? f->lo : -f->max;

                for (size_t j = 0; j < 4; j++)
                    assert_true(round_with(*k, f, rounding, nyb_float_of(nans[j]), most) == zero);
                assert_true(round_with(*k, f, rounding, INFINITY, 0) == f->max);
                if (f->is_signed || f->grid == NYB_GRID_INT)
                    assert_true(round_with(*k, f, rounding, -INFINITY, 0) == least);
                assert_true(round_with(*k, f, rounding, -0.0f, most) == zero);
                assert_true(round_with(*k, f, rounding, -1e-39f, most) == zero);
                assert_true(round_with(*k, f, rounding, 1e-38f / 2, most) == zero);
                assert_true(zero == nyb_format_decode(
                                        f, nyb_format_encode(f, 0, NYB_ROUND_NEAREST, 0, true)));
                if (f != &nyb_format_binary && f != &nyb_format_odd2)
                    assert_int_equal(nyb_bits_of(zero), 0);
            }
}

/* All 2^23 draws between two points: as many go up as floor(frac 2^23) says. */
static void draws_are_unbiased(void **state)
{
    const nyb_format fp16 =
        grid_float("fp16", (nyb_float_grid){5, 10, 15, true, false, NYB_SPECIAL_IEEE});
    const nyb_format dl =
        grid_float("dl", (nyb_float_grid){6, 9, 31, false, true, NYB_SPECIAL_MERGED});
    const struct {
        const nyb_format *f;
        float t;
        double part;
    } cases[] = {{&fp16, 1 + 0x1.8p-12f, 0x1.8p-2},
                 {&fp16, -0x1.234568p-26f, 0x1.234568p-2},
                 {&dl, 0x1p-31f, 1 / (1 + 0x1p-9)},
                 {&nyb_format_int8, 0.7f, 0},
                 {&nyb_format_e3m0, 2.7f, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const float t = cases[i].t, low = round_one(cases[i].f, NYB_ROUND_STOCHASTIC, t, 0);
        const float high = round_one(cases[i].f, NYB_ROUND_STOCHASTIC, t, TWO_23 - 1);
        const double part = cases[i].part != 0
                                ? cases[i].part
                                : ((double)t - (double)low) / ((double)high - (double)low);
        const uint32_t first = TWO_23 - (uint32_t)(part * 0x1p23);

        assert_true(fabsf(low) <= fabsf(t) && fabsf(high) > fabsf(t));
        assert_true(round_one(cases[i].f, NYB_ROUND_STOCHASTIC, t, first) == high);
        assert_true(round_one(cases[i].f, NYB_ROUND_STOCHASTIC, t, first - 1) == low);
    }
}

static void draws_are_those_of_the_stream(void **state)
{
    const nyb_stream s = {
        .seed = 0x123456789abcdef, .step = 5, .tensor = 6, .role = 3, .sample = 2};

    (void)state;
    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++)
        for (uint64_t first = 0; first < 40 && !((*k)->needs & ~nyb_cpu_detect()); first++) {
            const uint64_t from = first + (first % 3 ? 0 : (UINT64_C(1) << 34) - 20);
            uint32_t r23[70];

            (*k)->draw(&s, 16, from, 70, r23);
            for (size_t i = 0; i < 70; i++)
                assert_int_equal(r23[i], nyb_rng_u16(&s, from + i) << 7 | 64);
            (*k)->draw(&s, 32, from, 70, r23);
            for (size_t i = 0; i < 70; i++)
                assert_int_equal(r23[i], nyb_rng_u32(&s, from + i) >> 9);
        }
}

/* ---- scales -----------------------------------------------------------------------------------
 */

static void the_largest_is_finite_and_normal(void **state)
{
    static const float x[3][4] = {
        {1, -3, NAN, 2}, {INFINITY, 1e-39f, 5, -0.0f}, {-7, 0, 0, -1e-40f}};

    (void)state;
    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++) {
        float of_rows[3], of_columns[4], of_pairs[3];

        if ((*k)->needs & ~nyb_cpu_detect())
            continue;
        (*k)->block_stats(x[0], 3, 4, 4, of_rows);
        assert_true(of_rows[0] == 3 && of_rows[1] == 5 && of_rows[2] == 7);
        (*k)->block_stats(x[0] + 2, 3, 2, 4, of_pairs);
        assert_true(of_pairs[0] == 2 && of_pairs[1] == 5 && nyb_bits_of(of_pairs[2]) == 0);
        (*k)->column_absmax(x[0], 3, 4, 4, of_columns);
        assert_true(of_columns[0] == 7 && of_columns[1] == 3 && of_columns[2] == 5 &&
                    of_columns[3] == 2);
    }
}

static void the_range_is_finite_and_normal(void **state)
{
    float x[40];

    (void)state;
    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++)
        for (size_t n = 1; n <= 40 && !((*k)->needs & ~nyb_cpu_detect()); n++)
            for (size_t at = 0; at < n; at++) {
                float min = 7, max = 7;

                for (size_t i = 0; i < n; i++)
                    x[i] = i % 2 ? NAN : INFINITY;
                assert_false((*k)->range(x, n, &min, &max));
                assert_true(min == 7 && max == 7);
                x[at] = -1e-40f;
                assert_true((*k)->range(x, n, &min, &max));
                assert_true(nyb_bits_of(min) == 0 && nyb_bits_of(max) == 0);
                x[at] = -3;
                assert_true((*k)->range(x, n, &min, &max) && min == -3 && max == -3);
                x[(at + 1) % n] = -2;
                assert_true((*k)->range(x, n, &min, &max) && max == -2);
                assert_true(min == (n > 1 ? -3 : -2));
            }
}

/* Each operation is rounded: 3 * (1/3) * 3 is not 3 * (1/3 * 3) for every value. */
static void unscaling_rounds_each_operation(void **state)
{
    (void)state;
    for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++)
        for (uint32_t i = 0; i < 1000 && !((*k)->needs & ~nyb_cpu_detect()); i++) {
            const float x = (float)known_u32(i, 4, 0, 0, 0, 0), s = 1 + x * 0x1p-33f, l = 0.3f;
            const volatile float first = x * s, second = first * l, third = second + 0.7f;
            float y;

            (*k)->unscale(&x, 1, s, l, 0, &y);
            assert_true(y == second);
            (*k)->unscale(&x, 1, s, l, 0.7f, &y);
            assert_true(y == third);
            (*k)->scale(&x, 1, 0, s, &y);
            assert_true(y == first);
            (*k)->scale(&x, 1, 0.7f, s, &y);
            assert_true(y == (float)(x - 0.7f) * s);
            (*k)->scale(&(const float){NAN}, 1, 0.7f, s, &y);
            assert_true(y == -0.7f * s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_go_where_the_tables_say),
        cmocka_unit_test(integers_round_to_even),
        cmocka_unit_test(the_reference_finds_the_neighbour),
        cmocka_unit_test(rounding_is_decoding_the_code),
        cmocka_unit_test(nan_is_zero_and_infinity_the_top),
        cmocka_unit_test(draws_are_unbiased),
        cmocka_unit_test(draws_are_those_of_the_stream),
        cmocka_unit_test(the_largest_is_finite_and_normal),
        cmocka_unit_test(the_range_is_finite_and_normal),
        cmocka_unit_test(unscaling_rounds_each_operation),
    };

    return cmocka_run_group_tests(tests, subnormals_off, subnormals_back);
}
