/* StatQuant (Chen et al., NeurIPS 2020; NUMERICS 5): affine scales and the block Householder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/householder.h"
#include "quant/mix.h"

#define FULL (1u << 23)
/* Bits of a statement that is wrong once in 1e9: NUMERICS 8.4. */
#define LOG_2_PER_DELTA 21.4164

static nyb_format uint_format(int bits)
{
    const nyb_format *const formats[] = {&nyb_format_uint4, &nyb_format_uint5, &nyb_format_uint6,
                                         &nyb_format_uint7, &nyb_format_uint8};

    return *formats[bits - 4];
}

static float uniform(uint64_t seed, uint32_t tensor, uint64_t i)
{
    return (float)(int32_t)known_u32(seed, 0, tensor, 0, 0, i) * 0x1p-31f;
}

static nyb_group_scale scale_of(const nyb_scale_rule *rule, const nyb_format *f, float min,
                                float max)
{
    const nyb_group_stats stats = {.min = min, .max = max, .absmax = fmaxf(-min, max), .n = 1};
    nyb_group_scale s = {9, 9, 9};

    rule->group(f, NULL, &stats, NULL, 0, &s);
    return s;
}

static void min_max(const float *x, size_t n, float *min, float *max)
{
    *min = *max = x[0];
    for (size_t i = 1; i < n; i++) {
        *min = fminf(*min, x[i]);
        *max = fmaxf(*max, x[i]);
    }
}

static float value(const nyb_group_scale *s, float grid)
{
    float v;

    nyb_round_ref.unscale(&grid, 1, s->scale, 1.0f, s->offset, &v);
    return v;
}

/* What stochastic rounding of x gives in the mean, over all 2^23 fields. The rounder goes up from a
 * certain field on: k = floor(frac * 2^23), and it is asked at the fields about that. */
static double expectation(const nyb_format *f, const nyb_group_scale *s, float x)
{
    const float t = (x - s->offset) * s->inv, lower = floorf(t);
    const uint32_t k = (uint32_t)((t - lower) * 0x1p23f);
    const uint32_t fields[] = {0, FULL - k - 1, FULL - k, FULL - 1};

    assert_true(t >= 0 && t <= (float)f->hi); /* nothing is clipped */
    for (size_t i = 0; i < 4; i++) {
        float grid;

        if (fields[i] >= FULL)
            continue;
        nyb_round_ref.round(f, NYB_ROUND_STOCHASTIC, &t, &fields[i], 1, &grid);
        assert_true(grid == lower + (fields[i] >= FULL - k ? 1.0f : 0.0f));
    }
    const double p = (double)k / FULL;
    return (1 - p) * (double)value(s, lower) + p * (double)value(s, lower + 1);
}

/* ---- ptq and psq ------------------------------------------------------------------------------
 */

static void ptq_scales_are_known(void **state)
{
    static const struct {
        float min, max;
        int bits;
        float zero; /* code of 0 */
        double scale;
    } cases[] = {
        {-1, 1, 4, 7, 1.0 / 7},          /* floor(7.5) */
        {-1, 2, 4, 5, 1.0 / 5},          /* on the grid already */
        {-3, 1, 4, 11, 3.0 / 11},        /* floor(11.25) */
        {0, 1, 4, 0, 1.0 / 15},          /* one-sided: the published code divides by 0 */
        {0.5f, 3, 4, 0, 3.0 / 15},       /* 0 is always within */
        {-1, 0, 4, 15, 1.0 / 15},        /* */
        {-5, -2, 8, 255, 5.0 / 255},     /* */
        {-0.01f, 1, 4, 1, 1.0 / 14},     /* nearly one-sided: code 0 keeps the negative ones */
        {-1, 0.01f, 4, 14, 1.0 / 14},    /* floor(14.85) */
        {-1, 1, 8, 127, 1.0 / 127},      /* floor(127.5) */
        {-1, 1, 5, 15, 1.0 / 15},        /* floor(15.5) */
        {-1e-8f, 1e-8f, 4, 7, 2e-8 / 7}, /* as wide again by the 1e-8 */
        {-1e-8f, 3e-8f, 4, 5, 2e-8 / 5}, /* 2 : 4 */
        {-1e30f, 2e30f, 4, 5, 1e30 / 5}, /* */
        {-3e38f, 3e38f, 4, 7, 3e38 / 7}, /* the width is beyond f32 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nyb_format f = uint_format(cases[i].bits);
        const nyb_group_scale s = scale_of(&nyb_scale_ptq, &f, cases[i].min, cases[i].max);

        assert_true((double)s.scale > cases[i].scale * (1 - 1e-7));
        assert_true((double)s.scale < cases[i].scale * (1 + 1e-4) || fabsf(cases[i].min) > 1e38f);
        assert_true(s.inv == 1.0f / s.scale);
        assert_true(value(&s, cases[i].zero) == 0);
    }
}

static void psq_scales_are_known(void **state)
{
    const nyb_format f = uint_format(4);
    nyb_group_scale s;

    (void)state;
    s = scale_of(&nyb_scale_psq, &f, -1, 2);
    assert_true(s.offset == -1 && fabs((double)s.scale - 0.2) < 1e-7);
    s = scale_of(&nyb_scale_psq, &f, 3, 4); /* 0 need not be within */
    assert_true(s.offset == 3 && fabs((double)s.scale - 1.0 / 15) < 1e-7);
    s = scale_of(&nyb_scale_psq, &f, -1e-8f, 0.0f);
    assert_true(fabs((double)s.offset + 2e-8) < 1e-14 && fabs((double)s.scale - 2e-9) < 1e-14);
    s = scale_of(&nyb_scale_ptq_ref, &f, -1, 2);
    assert_true(s.offset == -1 && fabs((double)s.scale - 0.2) < 1e-7);
}

static void constants_are_kept(void **state)
{
    static const float constants[] = {0, 1, -2.5f, 1e30f, -1e-30f};
    const nyb_format f = uint_format(4);

    (void)state;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        const float c = constants[i];
        const nyb_group_scale p = scale_of(&nyb_scale_psq, &f, c, c);

        for (int code = 0; code < 16; code++)
            assert_true(value(&p, (float)code) == c);
    }
    const nyb_group_scale zero = scale_of(&nyb_scale_ptq, &f, 0, 0);
    assert_true(zero.scale == 0 && zero.offset == 0);
}

/* Where the range is a whole number of steps, rounding errors must not lift the top above B. */
static void the_top_is_not_clipped(void **state)
{
    (void)state;
    for (int bits = 4; bits <= 8; bits++)
        for (uint32_t i = 0; i < 500; i++) {
            const nyb_format f = uint_format(bits);
            const float step = (float)(0x8000 + 61 * i) * 0x1p-10f;
            const float zero = (float)(i % (uint32_t)f.hi), top = ((float)f.hi - zero) * step;
            const nyb_group_scale p = scale_of(&nyb_scale_ptq, &f, -zero * step, top);
            const nyb_group_scale q = scale_of(&nyb_scale_psq, &f, -zero * step, top);

            assert_true((top - p.offset) * p.inv <= f.max);
            assert_true((top - q.offset) * q.inv <= f.max);
        }
}

/* Over ranges of all sizes, shapes and widths of code: the extremes, 0, their neighbours and points
 * between are rounded without bias; 0 itself exactly by ptq. */
static void affine_rounding_is_unbiased(void **state)
{
    const nyb_scale_rule *const rules[] = {&nyb_scale_ptq, &nyb_scale_ptq_ref, &nyb_scale_psq};
    const uint32_t former = nyb_cpu_fp_enter();

    (void)state;
    for (uint64_t i = 0; i < 60000; i++) {
        const nyb_format f = uint_format(4 + (int)(i % 5));
        const nyb_scale_rule *rule = rules[i / 5 % 3];
        const float power = ldexpf(1, (int)(i / 15 % 120) - 40);
        const float u = uniform(1, 0, i) * power;
        float v = uniform(1, 1, i) * (i % 7 ? power : power * 0x1p-6f);

        v = i % 11 ? v : 0;
        const float min = fminf(u, v), max = fmaxf(u, v);
        const nyb_group_scale s = scale_of(rule, &f, min, max);
        const float middle = 0.5f * min + 0.5f * max;
        const double width = (double)max - (double)min + 2e-8;
        float x[20] = {min, max, middle, nextafterf(min, max), nextafterf(max, min)};

        for (uint64_t k = 5; k < 20; k++)
            x[k] = fminf(max, fmaxf(min, middle + (max - min) * 0.5f * uniform(2, 0, i * 20 + k)));
        for (size_t k = 0; k < 20; k++) {
            const double error = expectation(&f, &s, x[k]) - (double)x[k];

            assert_true(fabs(error) <= width * 0x1p-21 + fabs((double)middle) * 0x1p-22);
        }
        if (rule == &nyb_scale_ptq) {
            const float zero = (0.0f - s.offset) * s.inv;

            assert_true(zero == rintf(zero) && value(&s, zero) == 0);
            assert_true(-s.offset == zero * s.scale);
        }
    }
    nyb_cpu_fp_restore(former);
}

/* ---- the plan ---------------------------------------------------------------------------------
 */

typedef struct planned {
    nyb_householder p;
    void *memory;
} planned;

static planned plan_of(const float *range, size_t n)
{
    planned made = {.memory = malloc(nyb_householder_plan_bytes(n))};

    assert_non_null(made.memory);
    memset(made.memory, 0xff, nyb_householder_plan_bytes(n));
    nyb_householder_plan(range, n, made.memory, &made.p);
    return made;
}

static void plans_of_the_golden_ranges(void **state)
{
    static const float four[] = {8, 1, .5f, .25f};
    static const float eight[] = {10, 8, 1, .5f, .5f, .25f, .25f, .125f};
    static const uint32_t rows[] = {0, 2, 3, 4, 1, 5, 6, 7};
    planned made = plan_of(four, 4);

    (void)state;
    assert_int_equal(made.p.n_groups, 1);
    assert_true(made.p.first[0] == 0 && made.p.first[1] == 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(made.p.row[i], i);
    assert_true(made.p.s1[0] == (float)1.058389089 && made.p.s2[0] == (float)3.052922418);
    free(made.memory);

    made = plan_of(eight, 8);
    assert_int_equal(made.p.n_groups, 2);
    assert_true(made.p.first[1] == 4 && made.p.first[2] == 8);
    assert_memory_equal(made.p.row, rows, sizeof rows);
    assert_true(made.p.s1[0] == (float)1.050511502 && made.p.s2[0] == (float)3.264183488);
    assert_true(made.p.s1[1] == (float)1.023570431 && made.p.s2[1] == (float)4.686782601);
    free(made.memory);
}

/* Shares of 2.6 and 1.4 followers, of 2.5 and 1.5: to the nearest, half away from zero. */
static void followers_are_shared_out_to_the_nearest(void **state)
{
    static const float ranges[2][6] = {{13, 7, 1, 1, 1, 1}, {5, 3, .125f, .125f, .125f, .125f}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        planned made = plan_of(ranges[i], 6);

        assert_int_equal(made.p.n_groups, 2);
        assert_int_equal(made.p.first[1], 4);
        free(made.memory);
    }
}

static void a_lone_row_stays_as_it_is(void **state)
{
    const float range = 3;
    planned made = plan_of(&range, 1);

    (void)state;
    assert_true(made.p.n_groups == 1 && made.p.first[1] == 1 && made.p.row[0] == 0);
    assert_true(made.p.s1[0] == 1 && made.p.s2[0] == 1);
    free(made.memory);
}

static void equal_ranges_pair_by_index(void **state)
{
    const float range[6] = {1, 1, 1, 1, 1, 1};
    static const uint32_t rows[] = {0, 3, 1, 4, 2, 5};
    planned made = plan_of(range, 6);

    (void)state;
    assert_int_equal(made.p.n_groups, 3);
    assert_memory_equal(made.p.row, rows, sizeof rows);
    free(made.memory);
}

/* The largest |entry| of the reflection, from the matrix itself. */
static double entry(size_t n, size_t i, size_t k)
{
    const double root = sqrt((double)n);

    if (n == 1)
        return 1;
    return i == 0 || k == 0 ? 1 / root : (double)(i == k) - 1 / ((double)n - root);
}

static double largest_entry(size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            most = fmax(most, fabs(entry(n, i, k)));
    return most;
}

static void check_factors(const nyb_householder *p, const float *range)
{
    for (size_t g = 0; g < p->n_groups; g++) {
        const size_t n = p->first[g + 1] - p->first[g];
        const double l1 = (double)range[p->row[p->first[g]]];
        const double l2 = (double)range[p->row[p->first[g] + 1]];
        const double s1 = pow(l1 / sqrt((double)n), -1.0 / 3);
        const double s2 = pow(l2 * largest_entry(n) / (double)(n - 1), -1.0 / 3);
        const double norm = sqrt(1 / (s1 * s1) + 1 / (s2 * s2));

        assert_true(fabs((double)p->s1[g] / (s1 * norm) - 1) < 1e-7);
        assert_true(fabs((double)p->s2[g] / (s2 * norm) - 1) < 1e-7);
    }
}

/* Ranges of 1 to 90 rows, from equal to very different: all rows once, groups of two and more,
 * leaders descending, followers below all leaders and descending from group to group; as few
 * followers as can serve every leader. */
static void plans_keep_their_promises(void **state)
{
    (void)state;
    for (size_t n = 2; n <= 90; n++)
        for (int octaves = 0; octaves <= 126; octaves += 18) {
            bool seen[90] = {false};
            float range[90];
            size_t rank = 0;
            double leaders = 0;

            for (size_t i = 0; i < n; i++)
                range[i] = ldexpf(1.5f + 0.5f * uniform(n, 1, i),
                                  (int)((uniform(n, 2, i) + 1) * 0.5f * (float)octaves) - 26);
            const planned made = plan_of(range, n);
            const nyb_householder *p = &made.p;
            const size_t followers = n - p->n_groups;
            float last = FLT_MAX;

            assert_int_equal(p->first[0], 0);
            assert_int_equal(p->first[p->n_groups], n);
            for (size_t g = 0; g < p->n_groups; g++) {
                assert_true(p->first[g + 1] >= p->first[g] + 2);
                assert_true(range[p->row[p->first[g]]] <= last);
                last = range[p->row[p->first[g]]];
                leaders += (double)last;
            }
            const float least_leader = last;
            for (size_t g = 0; g < p->n_groups; g++)
                for (size_t k = p->first[g] + 1; k < p->first[g + 1]; k++) {
                    assert_true(range[p->row[k]] <= last);
                    last = range[p->row[k]];
                }
            for (; rank < n; rank++) {
                assert_true(p->row[rank] < n && !seen[p->row[rank]]);
                seen[p->row[rank]] = true;
            }
            /* each leader's share is one follower or more, and one follower fewer would not do */
            if (p->n_groups > 1)
                assert_true((double)followers * (double)least_leader > leaders * (1 - 1e-9));
            if (followers > 1) {
                const double next = (double)range[p->row[p->first[0] + 1]];

                assert_true((double)(followers - 1) * next < (leaders + next) * (1 + 1e-9));
            }
            check_factors(p, range);
            free(made.memory);
        }
}

/* ---- T ----------------------------------------------------------------------------------------
 */

static nyb_context *context_of(const char *cpu, size_t n_threads)
{
    nyb_context *context;

    if (nyb_context_create(cpu, n_threads, &context, NULL) != NYB_OK)
        assert_int_equal(nyb_context_create("ref", n_threads, &context, NULL), NYB_OK);
    return context;
}

/* rows x cols with one sample in eight a hundred times as large. */
static void make_batch(float *x, size_t rows, size_t cols, float *range)
{
    for (size_t i = 0; i < rows; i++) {
        float min, max;

        for (size_t j = 0; j < cols; j++)
            x[i * cols + j] = uniform(4, (uint32_t)cols, i * cols + j) *
                              (i % 8 == 3 ? 100.0f : 1.0f + 0.1f * (float)i);
        min_max(x + i * cols, cols, &min, &max);
        range[i] = max - min + 1e-8f;
    }
}

static void transform_is_the_matrix(void **state)
{
    enum { ROWS = 23, COLS = 21 };
    float x[ROWS * COLS], y[ROWS * COLS], back[ROWS * COLS], range[ROWS];
    nyb_context *context = context_of(NULL, 1);

    (void)state;
    make_batch(x, ROWS, COLS, range);
    const planned made = plan_of(range, ROWS);
    const nyb_householder *p = &made.p;
    nyb_householder_apply(context, p, x, COLS, y);
    nyb_householder_invert(context, p, y, COLS, back);
    for (size_t g = 0; g < p->n_groups; g++) {
        const size_t n = p->first[g + 1] - p->first[g];
        const uint32_t *row = p->row + p->first[g];

        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < COLS; j++) {
                double want = 0, size = 0;

                for (size_t k = 0; k < n; k++) {
                    const double s = (double)(k == 0 ? p->s1[g] : p->s2[g]);
                    const double term = entry(n, i, k) * s * (double)x[row[k] * COLS + j];

                    want += term;
                    size += fabs(term);
                }
                assert_true(fabs((double)y[row[i] * COLS + j] - want) < 1e-6 * size);
                assert_true(fabsf(back[row[i] * COLS + j] - x[row[i] * COLS + j]) <
                            2e-6f * range[row[0]]);
            }
    }
    free(made.memory);
    nyb_context_destroy(&context);
}

/* With factors of 1 the transform is a reflection: its own inverse, and lengths stay. */
static void the_reflection_is_orthogonal(void **state)
{
    for (size_t n = 2; n <= 40; n++) {
        double rows_before = 0, rows_after = 0;
        float x[40], y[40], range[40];
        nyb_context *context = context_of(NULL, 1);

        (void)state;
        for (size_t i = 0; i < n; i++) {
            x[i] = uniform(5, 0, n * 40 + i);
            range[i] = i == 0 ? 1e6f : 1;
            rows_before += (double)x[i] * (double)x[i];
        }
        const planned made = plan_of(range, n);
        assert_int_equal(made.p.n_groups, 1);
        made.p.s1[0] = made.p.s2[0] = 1;
        nyb_householder_apply(context, &made.p, x, 1, y);
        for (size_t i = 0; i < n; i++)
            rows_after += (double)y[i] * (double)y[i];
        assert_true(fabs(rows_before - rows_after) < 1e-5);
        nyb_householder_apply(context, &made.p, y, 1, y);
        for (size_t i = 0; i < n; i++)
            assert_true(fabsf(x[i] - y[i]) < 2e-6f);
        free(made.memory);
        nyb_context_destroy(&context);
    }
}

static void infinities_do_not_spread(void **state)
{
    float x[8] = {1, NAN, INFINITY, 4, 5, 6, 7, 8}, zeros[8] = {1, 0, 0, 4, 5, 6, 7, 8};
    const float range[4] = {8, 1, .5f, .25f};
    const planned made = plan_of(range, 4);
    nyb_context *context = context_of(NULL, 1);

    (void)state;
    nyb_householder_apply(context, &made.p, x, 2, x);
    nyb_householder_apply(context, &made.p, zeros, 2, zeros);
    assert_memory_equal(x, zeros, sizeof x);
    free(made.memory);
    nyb_context_destroy(&context);
}

/* ---- the quantizer ----------------------------------------------------------------------------
 */

static void bhq(const char *cpu, size_t n_threads, const nyb_spec *spec, const nyb_stream *stream,
                uint64_t first, const float *x, size_t rows, size_t cols, float *values)
{
    nyb_context *context = context_of(cpu, n_threads);
    void *scratch = nyb_alloc(nyb_householder_scratch_bytes(rows));

    assert_non_null(scratch);
    memset(scratch, 0xff, nyb_householder_scratch_bytes(rows));
    nyb_householder_round(context, spec, stream, first, x, rows, cols, values, scratch);
    nyb_free(scratch);
    nyb_context_destroy(&context);
}

/* ptq (rows together) or psq (each on its own). */
static void affine(const nyb_spec *spec, const nyb_stream *stream, const float *x, size_t rows,
                   size_t cols, float *values)
{
    const bool whole = spec->scale != &nyb_scale_psq;
    float min, max;

    for (size_t i = 0; i < rows * cols; i += cols) {
        if (whole)
            min_max(x, rows * cols, &min, &max);
        else
            min_max(x + i, cols, &min, &max);
        const nyb_group_scale s = scale_of(spec->scale, spec->format, min, max);

        for (size_t j = i; j < i + cols; j++) {
            const float t = (x[j] - s.offset) * s.inv;
            uint32_t r23;
            float grid;

            nyb_round_ref.draw(stream, spec->sr_bits, j, 1, &r23);
            nyb_round_ref.round(spec->format, spec->rounding, &t, &r23, 1, &grid);
            values[j] = value(&s, grid);
        }
    }
}

static void one_sample_is_psq(void **state)
{
    const nyb_format f = uint_format(5);
    const nyb_spec spec = {&f, &nyb_scale_psq,     NYB_GROUP_ROW, NYB_ROUND_STOCHASTIC,
                           16, NYB_MIX_HOUSEHOLDER};
    const nyb_stream stream = {.seed = 9, .role = NYB_RNG_DY_DX};
    float x[1000], want[1000], got[1000];

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        x[i] = uniform(6, 0, i);
    affine(&spec, &stream, x, 1, 1000, want);
    bhq(NULL, 1, &spec, &stream, 0, x, 1, 1000, got);
    assert_memory_equal(got, want, sizeof want);
}

static void zeros_and_equal_rows(void **state)
{
    const nyb_format f = uint_format(4);
    const nyb_spec spec = {&f, &nyb_scale_psq,     NYB_GROUP_ROW, NYB_ROUND_STOCHASTIC,
                           16, NYB_MIX_HOUSEHOLDER};
    const nyb_stream stream = {.seed = 9, .role = NYB_RNG_DY_DX};
    float x[5 * 40] = {0}, values[5 * 40];

    (void)state;
    bhq(NULL, 1, &spec, &stream, 0, x, 5, 40, values);
    assert_memory_equal(values, x, sizeof x);
    for (size_t i = 0; i < 5 * 40; i++)
        x[i] = 0.7f; /* every row is one value */
    bhq(NULL, 1, &spec, &stream, 0, x, 5, 40, values);
    for (size_t i = 0; i < 5 * 40; i++)
        assert_true(fabsf(values[i] - 0.7f) < 1e-6f);
    for (size_t i = 0; i < 5 * 40; i++)
        x[i] = i % 40 < 20 ? 1.0f : -1.0f; /* rows are equal to each other */
    bhq(NULL, 1, &spec, &stream, 0, x, 5, 40, values);
    for (size_t i = 0; i < 5 * 40; i++)
        assert_true(fabsf(values[i]) <= 1.5f);
}

/* Variants, threads, in place: the same bits. first shifts the stream. */
static void householder_bits_do_not_depend_on_the_machine(void **state)
{
    enum { ROWS = 37, COLS = 1100 };
    static const char *const cpus[] = {"ref", "avx2", "auto"};
    const nyb_format f = uint_format(4);
    nyb_spec spec = {&f, &nyb_scale_psq,     NYB_GROUP_ROW, NYB_ROUND_STOCHASTIC,
                     16, NYB_MIX_HOUSEHOLDER};
    const nyb_stream stream = {.seed = 9, .role = NYB_RNG_DY_DX};
    const size_t bytes = ROWS * COLS * sizeof(float);
    float *x = malloc(bytes), *want = malloc(bytes), *got = malloc(bytes), range[ROWS];

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        make_batch(x, ROWS, COLS, range);
        spec.rounding = mode == 2 ? NYB_ROUND_NEAREST : NYB_ROUND_STOCHASTIC;
        spec.sr_bits = mode == 1 ? 32 : 16;
        bhq("ref", 1, &spec, &stream, 5, x, ROWS, COLS, want);
        for (size_t c = 0; c < 3; c++)
            for (size_t threads = 1; threads <= 7; threads += 3) {
                bhq(cpus[c], threads, &spec, &stream, 5, x, ROWS, COLS, got);
                assert_memory_equal(got, want, bytes);
            }
        bhq(NULL, 2, &spec, &stream, 6, x, ROWS, COLS, got);
        assert_int_equal(memcmp(got, want, bytes) != 0, mode != 2);
        bhq(NULL, 2, &spec, &stream, 5, x, ROWS, COLS, x);
        assert_memory_equal(x, want, bytes);
    }
    free(x);
    free(want);
    free(got);
}

/* T^-1 of the expectations of psq on T's rows, over all fields of random bits, is the batch. */
static void householder_rounding_is_unbiased(void **state)
{
    enum { ROWS = 16, COLS = 50 };
    float x[ROWS * COLS], y[ROWS * COLS], range[ROWS];
    nyb_context *context = context_of(NULL, 1);
    const uint32_t former = nyb_cpu_fp_enter();

    (void)state;
    for (int bits = 4; bits <= 8; bits++) {
        const nyb_format f = uint_format(bits);

        make_batch(x, ROWS, COLS, range);
        const planned made = plan_of(range, ROWS);
        nyb_householder_apply(context, &made.p, x, COLS, y);
        for (size_t i = 0; i < ROWS; i++) {
            float min, max;

            min_max(y + i * COLS, COLS, &min, &max);
            const nyb_group_scale s = scale_of(&nyb_scale_psq, &f, min, max);
            for (size_t j = i * COLS; j < (i + 1) * COLS; j++)
                y[j] = (float)expectation(&f, &s, y[j]);
        }
        nyb_householder_invert(context, &made.p, y, COLS, y);
        for (size_t i = 0; i < ROWS * COLS; i++) /* ranges are 200, so steps are 13 .. 0.8 */
            assert_true(fabsf(x[i] - y[i]) < 1e-4f);
        free(made.memory);
    }
    nyb_cpu_fp_restore(former);
    nyb_context_destroy(&context);
}

/* Through the pipeline of round.h: the sample is what lies in view.run; post scales the values. */
static void the_pipeline_rounds_samples_by_householder(void **state)
{
    enum { SAMPLES = 6, PIXELS = 4, CHANNELS = 10, N = SAMPLES * PIXELS * CHANNELS };
    float x[N], want[N], got[N], range[SAMPLES];
    const nyb_stream stream = {.seed = 9, .role = NYB_RNG_DY_DX};
    nyb_context *context = context_of(NULL, 2);
    nyb_spec spec;

    (void)state;
    assert_int_equal(nyb_spec_parse("uint4/psq/row/stochastic/householder", &spec, NULL), NYB_OK);
    assert_int_equal(nyb_spec_parse("uint4/psq/channel/stochastic/householder", &spec, NULL),
                     NYB_INVALID);
    assert_int_equal(nyb_spec_parse("int4/absmax/tensor/stochastic/householder", &spec, NULL),
                     NYB_INVALID);
    nyb_round_job job = {
        .spec = &spec,
        .view = {.rows = SAMPLES * PIXELS, .cols = CHANNELS, .run = PIXELS * CHANNELS},
        .stream = &stream,
        .first = 3,
        .pre = 1,
        .post = 1,
    };
    void *scratch = nyb_alloc(nyb_round_scratch_bytes(&spec, &job.view));
    assert_non_null(scratch);
    make_batch(x, SAMPLES, PIXELS * CHANNELS, range);
    bhq(NULL, 1, &spec, &stream, 3, x, SAMPLES, PIXELS * CHANNELS, want);
    nyb_round_run(context, &job, x, got, scratch);
    assert_memory_equal(got, want, sizeof want);
    job.post = 0.25f;
    nyb_round_run(context, &job, x, x, scratch);
    for (size_t i = 0; i < N; i++)
        assert_true(x[i] == want[i] * 0.25f);
    nyb_free(scratch);
    nyb_context_destroy(&context);
}

/* nyb_quantize_groups tells codes, values and lines of the reflected rows: those of psq of T x, and
 * T^-1 of its values is what nyb_quantize gives. */
static void parts_are_those_of_the_reflected_rows(void **state)
{
    enum { ROWS = 13, COLS = 40, N = ROWS * COLS };
    float x[N], y[N], range[ROWS], values[N], want[N], lines[4][ROWS];
    uint8_t codes[N], want_codes[N];
    nyb_context *context = context_of(NULL, 2);
    nyb_spec spec;

    (void)state;
    assert_int_equal(nyb_spec_parse("uint4/psq/row/stochastic/householder", &spec, NULL), NYB_OK);
    make_batch(x, ROWS, COLS, range);
    const planned made = plan_of(range, ROWS);
    nyb_householder_apply(context, &made.p, x, COLS, y);
    assert_int_equal(nyb_quantize_groups(context, &spec, x, ROWS, COLS, 1, 2, 3, codes, values,
                                         lines[0], lines[1], NULL, NULL),
                     NYB_OK);
    spec.mix = NYB_MIX_NONE;
    assert_int_equal(nyb_quantize_groups(context, &spec, y, ROWS, COLS, 1, 2, 3, want_codes, want,
                                         lines[2], lines[3], NULL, NULL),
                     NYB_OK);
    assert_memory_equal(codes, want_codes, sizeof codes);
    assert_memory_equal(values, want, sizeof values);
    assert_memory_equal(lines[0], lines[2], 2 * sizeof lines[0]);
    spec.mix = NYB_MIX_HOUSEHOLDER;
    nyb_householder_invert(context, &made.p, values, COLS, values);
    assert_int_equal(nyb_quantize(context, &spec, x, ROWS, COLS, 1, 2, 3, NULL, want, NULL, NULL),
                     NYB_OK);
    assert_memory_equal(values, want, sizeof values);
    assert_int_equal(nyb_quantize_groups(context, &spec, x, 0, COLS, 1, 2, 3, NULL, NULL, NULL,
                                         NULL, NULL, NULL),
                     NYB_OK);
    free(made.memory);
    nyb_context_destroy(&context);
}

/* ---- means and variances ----------------------------------------------------------------------
 */

enum { ROWS = 16, COLS = 32, DRAWS = 2000 };

/* What one quantizer does to a batch: the exact variance of each element and the squared width of
 * the interval that its value lies in (sum of squares of independent terms' widths). */
typedef struct noise {
    double variance[ROWS * COLS], width[ROWS * COLS];
} noise;

/* Adds what the rounding of a row t of numbers with scale s does to row `out`, with weight c. */
static void add_row(noise *n, size_t out, const float *t, const nyb_group_scale *s, double c)
{
    for (size_t j = 0; j < COLS; j++) {
        const double y = ((double)t[j] - (double)s->offset) / (double)s->scale;
        const double frac = y - floor(y), step = c * (double)s->scale;

        n->variance[out * COLS + j] += frac * (1 - frac) * step * step;
        n->width[out * COLS + j] += step * step;
    }
}

static void noise_of(const nyb_spec *spec, const float *x, noise *n)
{
    float min, max, y[ROWS * COLS], range[ROWS];

    memset(n, 0, sizeof *n);
    if (spec->mix != NYB_MIX_HOUSEHOLDER) {
        for (size_t i = 0; i < ROWS; i++) {
            const bool row = spec->scale == &nyb_scale_psq;

            min_max(row ? x + i * COLS : x, row ? COLS : ROWS * COLS, &min, &max);
            const nyb_group_scale s = scale_of(spec->scale, spec->format, min, max);
            add_row(n, i, x + i * COLS, &s, 1);
        }
        return;
    }
    nyb_context *context = context_of(NULL, 1);
    for (size_t i = 0; i < ROWS; i++) {
        min_max(x + i * COLS, COLS, &min, &max);
        range[i] = max - min + 1e-8f;
    }
    const planned made = plan_of(range, ROWS);
    nyb_householder_apply(context, &made.p, x, COLS, y);
    for (size_t g = 0; g < made.p.n_groups; g++) {
        const size_t size = made.p.first[g + 1] - made.p.first[g];
        const uint32_t *row = made.p.row + made.p.first[g];

        for (size_t k = 0; k < size; k++) {
            min_max(y + row[k] * COLS, COLS, &min, &max);
            const nyb_group_scale s = scale_of(&nyb_scale_psq, spec->format, min, max);
            for (size_t i = 0; i < size; i++)
                add_row(n, row[i], y + row[k] * COLS, &s,
                        entry(size, i, k) / (double)(i == 0 ? made.p.s1[g] : made.p.s2[g]));
        }
    }
    free(made.memory);
    nyb_context_destroy(&context);
}

static double total(const double *v)
{
    double sum = 0;

    for (size_t i = 0; i < ROWS * COLS; i++)
        sum += v[i];
    return sum;
}

static void draw(const nyb_spec *spec, uint32_t step, const float *x, float *values)
{
    const nyb_stream stream = {.seed = 2, .step = step, .tensor = 1, .role = NYB_RNG_DY_DX};

    if (spec->mix == NYB_MIX_HOUSEHOLDER)
        bhq(NULL, 1, spec, &stream, 0, x, ROWS, COLS, values);
    else
        affine(spec, &stream, x, ROWS, COLS, values);
}

/* One sample is a thousand times the others. */
static void make_dominated(float *x)
{
    for (size_t i = 0; i < ROWS * COLS; i++)
        x[i] = uniform(8, 0, i) * (i / COLS == 5 ? 1000.0f : 1.0f);
}

static const nyb_spec *specs(const nyb_format *f)
{
    static nyb_spec all[3];

    for (int i = 0; i < 3; i++)
        all[i] = (nyb_spec){f,
                            i == 0 ? &nyb_scale_ptq : &nyb_scale_psq,
                            i == 0 ? NYB_GROUP_TENSOR : NYB_GROUP_ROW,
                            NYB_ROUND_STOCHASTIC,
                            32,
                            i == 2 ? NYB_MIX_HOUSEHOLDER : NYB_MIX_NONE};
    return all;
}

/* Means of 2000 draws against Hoeffding's bound for sums of independent terms, all 512 elements at
 * once; total squared errors against the closed form. Nearest rounding must not pass. */
static void means_and_variances_are_those_of_the_closed_form(void **state)
{
    const nyb_format f = uint_format(4);
    float x[ROWS * COLS], values[ROWS * COLS];
    static double mean[ROWS * COLS];
    static noise n;

    (void)state;
    make_dominated(x);
    for (int q = 0; q < 6; q++) {
        nyb_spec spec = specs(&f)[q % 3];
        const double bound = (LOG_2_PER_DELTA + log(ROWS * COLS)) / 2 / DRAWS;
        double squares = 0, worst = 0;

        if (q >= 3)
            spec.rounding = NYB_ROUND_NEAREST;
        noise_of(&spec, x, &n);
        memset(mean, 0, sizeof mean);
        for (uint32_t step = 0; step < (q < 3 ? DRAWS : 1); step++) {
            draw(&spec, step, x, values);
            for (size_t i = 0; i < ROWS * COLS; i++) {
                const double error = (double)values[i] - (double)x[i];

                mean[i] += error / (q < 3 ? DRAWS : 1);
                squares += error * error / DRAWS;
            }
        }
        for (size_t i = 0; i < ROWS * COLS; i++) /* 1e-3: f32 rounding of values up to 1000 */
            worst = fmax(worst, (fabs(mean[i]) - 1e-3) / sqrt(n.width[i] * bound));
        if (q < 3) {
            assert_true(worst < 1);
            /* 512 elements x 2000 draws: the sum's deviation is below 1 % (BHQ: 32 columns) */
            assert_true(fabs(squares / total(n.variance) - 1) < 0.06);
        } else {
            assert_true(worst > 4);
        }
    }
}

/* NUMERICS 5.4: the bounds of the paper, and their order on a batch that one sample dominates. */
static void variances_are_ordered(void **state)
{
    (void)state;
    for (int bits = 4; bits <= 8; bits++) {
        const nyb_format f = uint_format(bits);
        const double b = (double)f.hi;
        float x[ROWS * COLS], min, max;
        double variance[3], widths = 0, most = 0;
        static noise n;

        make_dominated(x);
        for (int q = 0; q < 3; q++) {
            noise_of(&specs(&f)[q], x, &n);
            variance[q] = total(n.variance);
            assert_true(variance[q] <= total(n.width) / 4);
        }
        for (size_t i = 0; i < ROWS; i++) {
            min_max(x + i * COLS, COLS, &min, &max);
            widths += pow((double)max - (double)min, 2);
            most = fmax(most, (double)max - (double)min);
        }
        min_max(x, ROWS * COLS, &min, &max);
        const double whole = (double)max - (double)min;
        /* zero alignment widens ptq's range by up to a code in floor(B / 2) */
        const double aligned = whole * b / (b - 3);
        assert_true(variance[0] <= ROWS * COLS / (4 * b * b) * aligned * aligned);
        assert_true(variance[1] <= COLS / (4 * b * b) * widths * 1.00001);
        const double root = cbrt(most * most / ROWS) + cbrt(4.0 * ROWS * ROWS);
        assert_true(variance[2] <= COLS / (4 * b * b) * root * root * root);
        assert_true(variance[0] > 1.3 * variance[1]);
        assert_true(variance[1] > 5 * variance[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ptq_scales_are_known),
        cmocka_unit_test(psq_scales_are_known),
        cmocka_unit_test(constants_are_kept),
        cmocka_unit_test(the_top_is_not_clipped),
        cmocka_unit_test(affine_rounding_is_unbiased),
        cmocka_unit_test(plans_of_the_golden_ranges),
        cmocka_unit_test(followers_are_shared_out_to_the_nearest),
        cmocka_unit_test(a_lone_row_stays_as_it_is),
        cmocka_unit_test(equal_ranges_pair_by_index),
        cmocka_unit_test(plans_keep_their_promises),
        cmocka_unit_test(transform_is_the_matrix),
        cmocka_unit_test(the_reflection_is_orthogonal),
        cmocka_unit_test(infinities_do_not_spread),
        cmocka_unit_test(one_sample_is_psq),
        cmocka_unit_test(zeros_and_equal_rows),
        cmocka_unit_test(householder_bits_do_not_depend_on_the_machine),
        cmocka_unit_test(householder_rounding_is_unbiased),
        cmocka_unit_test(the_pipeline_rounds_samples_by_householder),
        cmocka_unit_test(parts_are_those_of_the_reflected_rows),
        cmocka_unit_test(means_and_variances_are_those_of_the_closed_form),
        cmocka_unit_test(variances_are_ordered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
