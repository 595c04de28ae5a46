/* Codes moved to the order of another product, against loops over single codes; tiles rounded to
 * codes, against the values that the same rounding gives and scales found tile by tile. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "draw.h"
#include "quant/regroup.h"

static nyb_context *contexts[3];

static int create_contexts(void **state)
{
    static const size_t threads[] = {1, 2, 7};

    (void)state;
    for (int i = 0; i < 3; i++)
        if (nyb_context_create("auto", threads[i], &contexts[i], NULL) != NYB_OK)
            return 1;
    return 0;
}

static int destroy_contexts(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        nyb_context_destroy(&contexts[i]);
    return 0;
}

/* ---- moving codes ---- */

static nyb_grouped make_matrix(const nyb_format *f, size_t rows, size_t cols, size_t group,
                               bool scaled)
{
    const size_t n_bytes = nyb_grouped_code_bytes(f, rows, cols, group);
    const size_t n_scales = nyb_grouped_scale_count(rows, cols, group);
    nyb_grouped g = nyb_grouped_view(f, rows, cols, group, nyb_alloc(n_bytes),
                                     scaled ? nyb_alloc(n_scales * sizeof(float)) : NULL);

    assert_non_null(g.packed.codes);
    memset(g.packed.codes, 0xa5, n_bytes);
    for (size_t i = 0; scaled && i < n_scales; i++)
        g.scales[i] = NAN;
    return g;
}

static void fill_matrix(nyb_grouped *g)
{
    const size_t n_scales = nyb_grouped_scale_count(g->packed.rows, g->packed.cols, g->group);

    memset(g->packed.codes, 0,
           nyb_grouped_code_bytes(g->packed.format, g->packed.rows, g->packed.cols, g->group));
    for (size_t row = 0; row < g->packed.rows; row++)
        for (size_t col = 0; col < g->packed.cols; col++)
            nyb_packed_set(&g->packed, row, col, (unsigned)pick(0, g->packed.format->n_codes - 1));
    for (size_t i = 0; g->scales && i < n_scales; i++)
        g->scales[i] = (float)pick(1, 1000);
    g->packed.scale = (float)pick(1, 9);
}

static void free_matrix(nyb_grouped *g)
{
    nyb_free(g->packed.codes);
    nyb_free(g->scales);
}

static float scale_at(const nyb_grouped *g, size_t row, size_t col)
{
    return g->scales ? g->scales[(row * g->packed.pitch + col) / g->group] : 1.0f;
}

/* Nothing behind the last row is left as it was. */
static void check_tail(const nyb_grouped *g)
{
    const nyb_packed *p = &g->packed;
    const size_t n = nyb_round_up(p->rows * p->pitch, NYB_BLOCK_CODES);

    for (size_t i = p->rows * p->pitch; i < n; i++)
        assert_int_equal(nyb_packed_get(p, 0, i), 0);
}

static const nyb_format *pick_format(void)
{
    static const char *const names[] = {"int4", "e2m1", "uint4", "int8"};

    return nyb_format_find(names[pick(0, 3)]);
}

static void rows_keep_codes_and_repeat_scales(void **state)
{
    (void)state;
    seed = 1;
    for (size_t turn = 0; turn < 60; turn++) {
        const nyb_format *f = pick_format();
        const size_t rows = pick(1, 40), cols = pick(1, 200), to_group = (size_t)16 << pick(0, 2);
        const bool scaled = turn % 2 == 0; /* else groups of any length */
        const size_t group = scaled ? nyb_min(64, to_group << pick(0, 2)) : 16;
        nyb_grouped from = make_matrix(f, rows, cols, group, scaled);
        nyb_grouped to = make_matrix(f, rows, cols, to_group, scaled);

        fill_matrix(&from);
        nyb_regroup_rows(contexts[turn % 3], &from, &to);
        assert_true(to.packed.scale == from.packed.scale);
        for (size_t row = 0; row < rows; row++)
            for (size_t col = 0; col < to.packed.pitch; col++) {
                assert_int_equal(nyb_packed_get(&to.packed, row, col),
                                 col < cols ? nyb_packed_get(&from.packed, row, col) : 0);
                assert_true(scale_at(&to, row, col) == scale_at(&from, row, col));
            }
        check_tail(&to);
        free_matrix(&from);
        free_matrix(&to);
    }
}

static void turning_is_a_transpose_of_each_tap(void **state)
{
    (void)state;
    seed = 2;
    for (size_t turn = 0; turn < 80; turn++) {
        const nyb_format *f = pick_format();
        const size_t taps = turn % 3 ? 1 : 9, o = pick(1, 300 / taps), c = pick(1, 70);
        const bool scaled = pick(0, 1), fills = pick(0, 1);
        const size_t cols = fills ? nyb_round_up(o, NYB_BLOCK_CODES) : o;
        nyb_grouped from = make_matrix(f, o * taps, c, 16, scaled);
        nyb_grouped to =
            make_matrix(f, c * taps, cols, scaled ? 16 : (size_t)16 << pick(0, 2), scaled);

        fill_matrix(&from);
        for (size_t row = 0; scaled && row < o * taps; row++) /* tiles */
            for (size_t g = 0; g < from.packed.pitch / 16; g++)
                from.scales[row * (from.packed.pitch / 16) + g] =
                    (float)((row / taps / 16 * taps + row % taps) * 100 + g + 1);
        nyb_regroup_turn(contexts[turn % 3], &from, taps, &to);
        assert_true(to.packed.scale == from.packed.scale);
        for (size_t i = 0; i < c; i++)
            for (size_t t = 0; t < taps; t++)
                for (size_t col = 0; col < to.packed.pitch; col++) {
                    const bool in = col < o;
                    const size_t row = i * taps + t;

                    assert_int_equal(nyb_packed_get(&to.packed, row, col),
                                     in ? nyb_packed_get(&from.packed, col * taps + t, i) : 0);
                    if (in)
                        assert_true(scale_at(&to, row, col) == scale_at(&from, col * taps + t, i));
                    else
                        assert_true(isfinite(scale_at(&to, row, col)));
                }
        check_tail(&to);
        free_matrix(&from);
        free_matrix(&to);
    }
}

static void windows_see_pixels_or_nothing(void **state)
{
    (void)state;
    seed = 3;
    for (size_t turn = 0; turn < 40; turn++) {
        const nyb_format *f = pick_format();
        const size_t n = pick(1, 4), c = pick(1, 40);
        nyb_window w = {.h = pick(3, 9),
                        .w = pick(3, 9),
                        .r = pick(1, 3),
                        .s = pick(1, 3),
                        .stride = pick(1, 2),
                        .pad = pick(0, 1)};
        w.oh = (w.h + 2 * w.pad - w.r) / w.stride + 1;
        w.ow = (w.w + 2 * w.pad - w.s) / w.stride + 1;
        const size_t pixels = n * w.oh * w.ow, cols = nyb_round_up(pixels, NYB_BLOCK_CODES);
        nyb_grouped from = make_matrix(f, n * w.h * w.w, c, 16, false);
        nyb_grouped to = make_matrix(f, w.r * w.s * c, cols, (size_t)16 << pick(0, 2), false);

        fill_matrix(&from);
        nyb_regroup_windows(contexts[turn % 3], &from, &w, &to);
        for (size_t row = 0; row < to.packed.rows; row++)
            for (size_t col = 0; col < cols; col++) {
                const long y = (long)(col / w.ow % w.oh * w.stride + row / c / w.s) - (long)w.pad;
                const long x = (long)(col % w.ow * w.stride + row / c % w.s) - (long)w.pad;
                const bool in = col < pixels && y >= 0 && x >= 0 && y < (long)w.h && x < (long)w.w;
                const size_t pixel =
                    in ? (col / w.ow / w.oh * w.h + (size_t)y) * w.w + (size_t)x : 0;

                assert_int_equal(nyb_packed_get(&to.packed, row, col),
                                 in ? nyb_packed_get(&from.packed, pixel, row % c) : 0);
            }
        free_matrix(&from);
        free_matrix(&to);
    }
}

/* ---- rounding to codes ---- */

typedef struct rounding {
    nyb_spec spec;
    nyb_view view;
    size_t taps, channels;
    nyb_grouped codes;
    float *x, *values;
} rounding;

static rounding round_both(const char *text, size_t rows, size_t taps, size_t channels, int which)
{
    rounding r = {.taps = taps, .channels = channels};
    const size_t cols = taps * channels, n = rows * cols;
    const nyb_stream stream = {.seed = 5, .step = 1, .tensor = 2, .role = NYB_RNG_OTHER};

    assert_int_equal(nyb_spec_parse(text, &r.spec, NULL), NYB_OK);
    r.view = (nyb_view){.rows = rows, .cols = cols, .run = cols, .tap = channels};
    r.codes = make_matrix(r.spec.format, rows * taps, channels, 16, true);
    r.x = nyb_alloc(n * sizeof *r.x);
    r.values = nyb_alloc(n * sizeof *r.values);
    for (size_t i = 0; i < n; i++)
        r.x[i] = ((float)pick(0, 2000) - 1000.0f) * (float)pick(1, 40);
    const nyb_round_job job = {
        .spec = &r.spec, .view = r.view, .stream = &stream, .pre = 1.0f, .post = 1.0f};
    void *scratch = nyb_alloc(nyb_round_codes_scratch_bytes(&r.spec, &r.view, &r.codes) +
                              nyb_round_scratch_bytes(&r.spec, &r.view));

    assert_non_null(scratch);
    nyb_round_run(contexts[which], &job, r.x, r.values, scratch);
    nyb_round_codes(contexts[which], &job, r.x, 1, &r.codes, scratch);
    nyb_free(scratch);
    return r;
}

static void free_rounding(rounding *r)
{
    free_matrix(&r->codes);
    nyb_free(r->x);
    nyb_free(r->values);
}

static void codes_stand_for_the_rounded_values(const rounding *r)
{
    const size_t n = r->view.rows * r->view.cols;
    float *decoded = nyb_alloc(n * sizeof *decoded);

    nyb_grouped_decode_rows(&r->codes, 0, r->codes.packed.rows, decoded);
    for (size_t i = 0; i < n; i++)
        assert_true(decoded[i] == r->values[i]);
    nyb_free(decoded);
}

/* The largest magnitude of the tile of an element, by looking at all elements. */
static float tile_absmax(const rounding *r, size_t row, size_t col)
{
    float most = 0.0f;

    for (size_t i = 0; i < r->view.rows; i++)
        for (size_t j = 0; j < r->view.cols; j++)
            if (i / 16 == row / 16 && j / r->channels == col / r->channels &&
                j % r->channels / 16 == col % r->channels / 16)
                most = fmaxf(most, fabsf(r->x[i * r->view.cols + j]));
    return most;
}

static void tiles_have_one_scale_in_one_tap(void **state)
{
    static const size_t sizes[][3] = {{1, 1, 1},   {16, 1, 16}, {17, 9, 3},
                                      {40, 4, 20}, {33, 1, 70}, {5, 9, 32}};

    (void)state;
    seed = 4;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rounding r = round_both("int4/absmax/tile16/stochastic", sizes[i][0], sizes[i][1],
                                sizes[i][2], i % 3);

        codes_stand_for_the_rounded_values(&r);
        for (size_t row = 0; row < r.view.rows; row++)
            for (size_t col = 0; col < r.view.cols; col++) {
                const size_t to = row * r.taps + col / r.channels;

                assert_true(scale_at(&r.codes, to, col % r.channels) ==
                            tile_absmax(&r, row, col) / 7.0f);
            }
        check_tail(&r.codes);
        free_rounding(&r);
    }
}

static void tiles_of_all_rules_have_codes(void **state)
{
    static const char *const specs[] = {
        "e2m1/e4m3/tile16/nearest",       "e2m1/e4m3/tile16/stochastic",
        "e2m1/e4m3_46/tile16/nearest",    "e2m1/e8m0/tile16/stochastic:32",
        "e3m0/absmax/tile16/stochastic",  "int8/absmax/tile16/nearest",
        "e1m2/e4m3_over17/tile16/nearest"};

    (void)state;
    seed = 6;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        rounding r = round_both(specs[i], pick(1, 50), pick(1, 9), pick(1, 40), i % 3);

        codes_stand_for_the_rounded_values(&r);
        free_rounding(&r);
    }
}

/* Random bits are those of elements: pads have none, and are code 0. */
static void pads_are_code_0(void **state)
{
    (void)state;
    seed = 7;
    for (size_t turn = 0; turn < 20; turn++) {
        const size_t rows = pick(1, 40), cols = pick(1, 100);
        rounding r =
            round_both(turn % 2 ? "e2m1/e4m3/block16/stochastic" : "int4/absmax/block16/stochastic",
                       rows, 1, cols, turn % 3);

        codes_stand_for_the_rounded_values(&r);
        for (size_t row = 0; row < rows; row++)
            for (size_t col = cols; col < r.codes.packed.pitch; col++)
                assert_int_equal(nyb_packed_get(&r.codes.packed, row, col), 0);
        check_tail(&r.codes);
        free_rounding(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_keep_codes_and_repeat_scales),
        cmocka_unit_test(turning_is_a_transpose_of_each_tap),
        cmocka_unit_test(windows_see_pixels_or_nothing),
        cmocka_unit_test(tiles_have_one_scale_in_one_tap),
        cmocka_unit_test(tiles_of_all_rules_have_codes),
        cmocka_unit_test(pads_are_code_0),
    };

    return cmocka_run_group_tests(tests, create_contexts, destroy_contexts);
}
