/* Rounding to the neighbour that is nearer to another number (Q-EMA): one number after the other
 * beside a search in the format's values, and whole matrices with scales of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "contexts.h"
#include "known.h"
#include "quant/round.h"

/* ---- the neighbours, by search --------------------------------------------------------------- */

typedef struct ladder {
    float at[256];
    size_t n;
} ladder;

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The values of a format's codes at scale 1, of those that rounding produces (int4 has no -8). */
static ladder ladder_of(const nyb_format *format)
{
    ladder l = {.n = 0};

    for (unsigned code = 0; code < format->n_codes; code++) {
        const float v = nyb_format_decode(format, code);
        float kept;

        nyb_round_ref.round(format, NYB_ROUND_NEAREST, &v, NULL, 1, &kept);
        if (kept == v)
            l.at[l.n++] = v + 0.0f;
    }
    qsort(l.at, l.n, sizeof *l.at, ascending);
    return l;
}

static float toward(const ladder *l, float t, float u)
{
    size_t i = 0;

    if (!(t > l->at[0]))
        return l->at[0];
    while (i + 1 < l->n && l->at[i + 1] <= t)
        i++;
    if (l->at[i] == t || i + 1 == l->n)
        return l->at[i];
    const double below = l->at[i], above = l->at[i + 1], middle = (below + above) / 2;

    if ((double)u == middle)
        return (float)(fabs(below) > fabs(above) ? below : above);
    return (float)((double)u < middle ? below : above);
}

static bool has_ladder(const nyb_format *format)
{
    return format->grid != NYB_GRID_REAL && format->n_codes > 2 && format->n_codes <= 256;
}

static void a_number_goes_to_the_neighbour_nearer_to_the_other(void **state)
{
    size_t n_formats = 0;

    (void)state;
    for (size_t f = 0; f < nyb_format_count(); f++) {
        const nyb_format *format = nyb_format_at(f);

        if (!has_ladder(format))
            continue;
        const ladder l = ladder_of(format);

        n_formats++;
        for (size_t k = 0; nyb_round_kernels[k]; k++) {
            const nyb_round_kernel *kernel = nyb_round_kernels[k];

            if ((nyb_cpu_detect() & kernel->needs) != kernel->needs)
                continue;
            for (size_t i = 0; i + 1 < l.n; i++) {
                const float low = l.at[i], step = l.at[i + 1] - low;
                float t[9 * 7], u[9 * 7], y[9 * 7];
                size_t n = 0;

                for (int part = 0; part < 9; part++)
                    for (int other = 0; other < 7; other++) {
                        const float places[7] = {-1e30f, -0.25f, 0.25f, 0.5f, 0.75f, 3.0f, 1e30f};

                        t[n] = low + (float)part / 8 * step;
                        u[n++] = low + places[other] * step;
                    }
                kernel->round(format, NYB_ROUND_NEAREST, t, NULL, n, y); /* whatever was there */
                nyb_round_toward(kernel, format, t, u, n, y);
                for (size_t j = 0; j < n; j++)
                    if (y[j] != toward(&l, t[j], u[j]))
                        fail_msg("%s, %s: %a towards %a is %a, not %a", format->name, kernel->name,
                                 (double)t[j], (double)u[j], (double)y[j],
                                 (double)toward(&l, t[j], u[j]));
            }
        }
    }
    assert_true(n_formats > 30);
}

/* ---- matrices -------------------------------------------------------------------------------- */

#define ROWS 728
#define COLS 48

static float x[ROWS * COLS], mean[ROWS * COLS];

static void fill(void)
{
    for (size_t i = 0; i < ROWS * COLS; i++) {
        const float a = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
        const float b = (float)(int32_t)known_u32(2, 0, 0, 0, 0, i) * 0x1p-31f;

        x[i] = a * (1.0f + (float)(i % 7));
        mean[i] = x[i] + b * b * b;
    }
}

/* The group of element (row, col), in the order of nyb_round_groups. */
static size_t group_of(const nyb_spec *spec, const nyb_view *view, size_t row, size_t col)
{
    const size_t length = nyb_round_group_length(spec->group), tap = view->tap;

    switch (spec->group) {
    case NYB_GROUP_TENSOR:
        return 0;
    case NYB_GROUP_ROW:
        return (row * COLS + col) / view->run;
    case NYB_GROUP_CHANNEL:
        return col;
    case NYB_GROUP_BLOCK16:
    case NYB_GROUP_BLOCK32:
    case NYB_GROUP_BLOCK64:
        return row * nyb_div_up(COLS, length) + col / length;
    case NYB_GROUP_TILE16:
        return row / 16 * (COLS / tap * nyb_div_up(tap, 16)) + col / tap * nyb_div_up(tap, 16) +
               col % tap / 16;
    }
    return 0;
}

typedef struct matrix {
    nyb_spec spec;
    nyb_view view;
    nyb_round_job job;
    nyb_stream stream;
    float values[ROWS * COLS], grid[ROWS * COLS];
    nyb_group_scale scales[ROWS * COLS];
    nyb_level level;
    void *scratch;
} matrix;

static void matrix_init(matrix *m, const char *text)
{
    nyb_error err = {.text = ""};

    *m = (matrix){.view = {.rows = ROWS, .cols = COLS, .run = 56 * COLS}};
    if (nyb_spec_parse(text, &m->spec, &err) != NYB_OK)
        fail_msg("%s: %s", text, err.text);
    if (m->spec.group == NYB_GROUP_TILE16)
        m->view.tap = COLS / 2;
    m->job = (nyb_round_job){.spec = &m->spec,
                             .view = m->view,
                             .stream = &m->stream,
                             .signs = &m->stream,
                             .pre = 1,
                             .post = 1,
                             .toward = mean};
}

/* Codes stand for the values: those of one scale, in rows of any length, */
static void packed_values(const matrix *m, size_t cols, const nyb_context *context, float *got)
{
    const size_t rows = ROWS * COLS / cols;
    nyb_packed p = {
        .format = m->spec.format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};

    p.codes = nyb_alloc(nyb_packed_bytes(p.format, rows, cols));
    nyb_round_pack(context, &m->job, x, got, &p, m->scratch);
    nyb_packed_decode(&p, got);
    nyb_free(p.codes);
}

/* and those of blocks. */
static void grouped_values(const matrix *m, const nyb_context *context, float *got)
{
    const size_t length = nyb_spec_group_length(&m->spec), cols = m->view.tap ? m->view.tap : COLS;
    const size_t rows = ROWS * COLS / cols;
    const nyb_format *f = m->spec.format;
    nyb_grouped g = nyb_grouped_view(f, rows, cols, length,
                                     nyb_alloc(nyb_grouped_code_bytes(f, rows, cols, length)),
                                     nyb_alloc(nyb_grouped_scale_count(rows, cols, length) * 4));
    void *scratch = nyb_alloc(nyb_round_codes_scratch_bytes(&m->spec, &m->view, &g));

    nyb_round_codes(context, &m->job, x, 1, &g, scratch);
    nyb_grouped_decode_rows(&g, 0, rows, got);
    nyb_free(g.packed.codes);
    nyb_free(g.scales);
    nyb_free(scratch);
}

static void expect_values(const matrix *m, const char *text, const float *got)
{
    for (size_t i = 0; i < ROWS * COLS; i++)
        if (got[i] != m->values[i])
            fail_msg("%s: the code of element %zu is worth %a, not %a", text, i, (double)got[i],
                     (double)m->values[i]);
}

static void expect_codes(const matrix *m, const char *text, const nyb_context *context)
{
    static float got[ROWS * COLS];

    if (m->spec.group == NYB_GROUP_TENSOR) {
        packed_values(m, COLS, context, got);
        expect_values(m, text, got);
        packed_values(m, 128, context, got); /* rows are made as they are encoded */
        expect_values(m, text, got);
    } else if (nyb_spec_group_length(&m->spec) > 0) {
        grouped_values(m, context, got);
        expect_values(m, text, got);
    }
}

static const char *const specs[] = {
    "e2m1/e8m0_rceil/block32/nearest",
    "e2m1/e8m0/block16/nearest",
    "int4/absmax/block64/nearest",
    "e2m1/e4m3/block16/nearest",
    "e2m1/e4m3_46/tile16/nearest",
    "int4/absmax/tile16/nearest",
    "int4/sawb/tensor/nearest",
    "e3m0/absmax/tensor/nearest",
    "int8/absmax/tensor/nearest",
    "int4/absmax/row/nearest",
    "uint4/percentile99.9/tensor/nearest",
    "int4/absmax/channel/nearest",
    "e4m3fn/absmax/channel/nearest",
};

/* Each element, with the scale of its group, goes to the neighbour that its mean, with the same
 * scale, is nearer to; on every instruction set, for any number of threads; and codes say the
 * same. */
static void matrices_go_towards_another(void **state)
{
    static matrix m;

    (void)state;
    fill();
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
        for (size_t l = 0; l < LEVELS; l++)
            for (size_t t = 0; t < THREADS && contexts[l][t]; t++) {
                const uint32_t former = nyb_cpu_fp_enter();
                size_t n_far = 0;

                matrix_init(&m, specs[s]);
                const ladder rungs = ladder_of(m.spec.format);

                m.scratch = nyb_alloc(nyb_round_scratch_bytes(&m.spec, &m.view));
                m.job.grid = m.grid;
                m.job.scales = m.scales;
                m.job.level = &m.level;
                nyb_round_run(contexts[l][t], &m.job, x, m.values, m.scratch);
                for (size_t i = 0; i < ROWS * COLS; i++) {
                    const nyb_group_scale *scale =
                        &m.scales[group_of(&m.spec, &m.view, i / COLS, i % COLS)];
                    const float to = (x[i] - scale->offset) * scale->inv;
                    const float want = toward(&rungs, to, (mean[i] - scale->offset) * scale->inv);

                    if (m.grid[i] != want)
                        fail_msg("%s, %s: element %zu, %a, is %a, not %a", specs[s], levels[l], i,
                                 (double)to, (double)m.grid[i], (double)want);
                    n_far += want != toward(&rungs, to, to);
                }
                m.job.grid = NULL;
                m.job.scales = NULL;
                m.job.level = NULL;
                nyb_round_run(contexts[l][t], &m.job, x, m.values, m.scratch);
                expect_codes(&m, specs[s], contexts[l][t]);
                nyb_free(m.scratch);
                nyb_cpu_fp_restore(former);
                assert_in_range(n_far, ROWS * COLS / 100, ROWS * COLS / 2);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_go_towards_another),
        cmocka_unit_test(a_number_goes_to_the_neighbour_nearer_to_the_other),
    };

    return cmocka_run_group_tests_name("toward", tests, create_contexts, destroy_contexts);
}
