/* Networks with depthwise convolutions, end to end: mobilenet3 learns, in f32 and in 4 bits, with
 * the same bits whatever computes them; and what other recipes do with such layers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "fixture.h"
#include "train/run.h"

/* After 4 steps of 8 samples; a commit that changes numerics changes these lines. */
static const struct {
    const char *recipe, *hash;
} pinned[] = {
    {"f32", "dab7975d32cf489be440cda67b00c74e8cbd16f00b651a91c25d87e3ac02adcf"},
    {"luq", "bfe21e4e419b1b8bf3d7cf9dfada97d81af5848a2ce81c4498e0d8b4713fd0cf"},
};

static void start(fixture *f, const char *cpu, size_t threads, const char *recipe,
                  const char *const *sets)
{
    fixture_init(f, cpu, threads, "mobilenet3", recipe, sets, 8, 32);
}

static void neither_threads_nor_instruction_sets_matter(void **state)
{
    static const struct {
        const char *cpu;
        size_t threads;
    } variants[] = {{"auto", 1}, {"auto", 7}, {"avx2", 2}, {"ref", 2}};
    char hex[65];
    fixture f;

    (void)state;
    for (size_t r = 0; r < 2; r++)
        for (size_t i = 0; i < 4; i++) {
            if (!fixture_has(variants[i].cpu))
                continue;
            start(&f, variants[i].cpu, variants[i].threads, pinned[r].recipe, NULL);
            fixture_hash(&f, hex);
            fixture_free(&f);
            if (strcmp(hex, pinned[r].hash) != 0)
                fail_msg("%s, %s, %zu threads: %s", pinned[r].recipe, variants[i].cpu,
                         variants[i].threads, hex);
        }
}

/* One run, or two sessions with other threads and kernels: the same weights. The deployed model
 * answers as the trained one. */
static void runs_resume_and_models_load(void **state)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    double loss, acc;
    fixture f;

    (void)state;
    for (uint64_t stop = 2; stop <= 4; stop += 2) {
        start(&f, stop == 2 ? "ref" : "auto", (size_t)stop - 1, "luq", NULL);
        f.options.max_steps = stop;
        fixture_start(&f);
        if (stop > 2)
            assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
        assert_int_equal(nyb_train_run(f.train, fixture_folder, "config", NULL, NULL, &err),
                         NYB_OK);
        nyb_train_summarize(f.train, &summary);
        if (stop == 2)
            fixture_free(&f);
    }
    assert_string_equal(summary.weights_sha256, pinned[1].hash);
    const double test_loss = f.train->progress.test_loss, test_acc = f.train->progress.test_acc;
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    if (nyb_train_load_model(f.train, fixture_folder, &err) != NYB_OK)
        fail_msg("%s", err.text);
    assert_int_equal(nyb_train_eval(f.train, &loss, &acc, &err), NYB_OK);
    assert_true(loss == test_loss);
    assert_true(acc == test_acc);
    fixture_free(&f);
}

/* ---- learning -------------------------------------------------------------------------------- */

static void the_loss_falls_and_a_step_allocates_nothing(void **state)
{
    (void)state;
    for (size_t r = 0; r < 2; r++) {
        double before, after = 0;
        uint64_t allocations;
        fixture f;

        fixture_init(&f, "auto", 2, "mobilenet3", pinned[r].recipe, NULL, 40, 80);
        f.options.lr = 0.2;
        f.options.warmup = 0;
        fixture_start(&f);
        before = fixture_easy_step(&f, 0);
        allocations = nyb_alloc_count();
        for (int step = 1; step < 40; step++)
            after = fixture_easy_step(&f, step);
        assert_int_equal(nyb_alloc_count(), allocations);
        if (!(after < 0.4 * before))
            fail_msg("%s: loss %.3f, was %.3f", pinned[r].recipe, after, before);
        fixture_free(&f);
    }
}

/* ---- what becomes of recipes ----------------------------------------------------------------- */

/* The engine, operands and terms of a product of a layer, as "s8 uint4 int4 9". */
static void engine_of(const char *recipe, const char *const *sets, const char *layer,
                      const char *product, char text[256])
{
    fixture f;

    start(&f, "ref", 1, recipe, sets);
    fixture_start(&f);
    text[0] = 0;
    for (size_t i = 0; i < nyb_graph_explain_count(f.train->graph); i++) {
        nyb_explain_line line;

        nyb_graph_explain_at(f.train->graph, i, &line);
        if (strcmp(line.layer, layer) == 0 && strcmp(line.product, product) == 0)
            snprintf(text, 256, "%s %.*s %.*s %zu", line.engine, (int)strcspn(line.a, "/"), line.a,
                     (int)strcspn(line.b, "/"), line.b, (size_t)line.sum_length);
    }
    fixture_free(&f);
}

static void recipes_do_what_explain_says(void **state)
{
    static const char *const f32_engine[] = {"engine=f32", NULL};
    static const char *const mf[] = {"engine=mf", NULL};
    static const char *const row[] = {"fwd.w=int4/sawb/row", "dgrad.w=int4/sawb/channel", NULL};
    static const char *const accum[] = {"fwd.accum=e6m9/64", NULL};
    static const struct {
        const char *recipe;
        const char *const *sets;
        const char *product, *want;
    } cases[] = {
        {"luq", NULL, "fwd", "s8 uint4 int4 9"},
        {"luq", NULL, "dgrad", "s8 e3m0 int4 4"}, /* of stride 2: 2 x 2 taps at most */
        {"luq", NULL, "wgrad", "s8 e3m0 uint4 392"},
        {"luq", f32_engine, "fwd", "f32 uint4 int4 9"},
        {"luq", mf, "dgrad", "s8 e3m0 int4 4"},
        {"luq", row, "fwd", "f32 uint4 int4 9"},
        {"luq", row, "dgrad", "f32 e3m0 int4 4"},
        {"luq", accum, "wgrad", "f32 f32 f32 392"},
        {"f32", NULL, "fwd", "f32 f32 f32 9"},
        {"nvfp4", NULL, "fwd", "f32 f32 f32 9"},
        {"hdqt", NULL, "wgrad", "f32 f32 f32 392"},
        {"statquant_bhq", NULL, "dgrad", "f32 uint4 uint8 4"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine_of(cases[i].recipe, cases[i].sets, "blocks.1.conv_dw", cases[i].product, text);
        if (strcmp(text, cases[i].want) != 0)
            fail_msg("%s %s: '%s', want '%s'", cases[i].recipe, cases[i].product, text,
                     cases[i].want);
    }
}

/* Energy: products of codes, one scale an output, whether of the tensor or of the filter. */
static void energy_counts_taps_of_one_channel(void **state)
{
    static const char *const rows[] = {"fwd.w=int4/sawb/row", "dgrad.w=int4/sawb/row", NULL};
    static const char *const *const sets[] = {NULL, rows};

    (void)state;
    for (int k = 0; k < 2; k++) {
        size_t n_seen = 0;
        fixture f;

        start(&f, "ref", 1, "luq", sets[k]);
        fixture_start(&f);
        for (size_t i = 0; i < nyb_graph_explain_count(f.train->graph); i++) {
            nyb_explain_line line;
            nyb_energy energy;

            nyb_graph_explain_at(f.train->graph, i, &line);
            if (strcmp(line.layer, "blocks.0.conv_dw") != 0)
                continue;
            n_seen++;
            nyb_graph_energy_at(f.train->graph, i, &energy);
            /* 8 images of 14 x 14: 40 of 42 taps of rows and columns; 16 channels */
            assert_int_equal(energy.macs, 8 * 40 * 40 * 16);
            assert_int_equal(line.macs, energy.macs);
            assert_int_equal(energy.mul[NYB_ARITH_INT8], energy.macs);
            assert_int_equal(energy.add[NYB_ARITH_INT32], energy.macs);
            assert_int_equal(energy.add[NYB_ARITH_FP32], 0);
        }
        assert_int_equal(n_seen, 3);
        fixture_free(&f);
    }
}

/* The recipe's word on 1x1 convolutions holds for those and no others. */
static void pointwise_layers_have_a_field(void **state)
{
    static const char *const sets[] = {"pointwise=int8", NULL};
    char text[256];

    (void)state;
    engine_of("luq", sets, "blocks.1.conv_pw", "fwd", text);
    assert_string_equal(text, "s8 int8 int8 32");
    engine_of("luq", sets, "blocks.1.conv_dw", "fwd", text);
    assert_string_equal(text, "s8 uint4 int4 9");
    engine_of("ultralow", NULL, "blocks.1.conv_pw", "wgrad", text);
    assert_string_equal(text, "accumulate e5m2 e4m3b11 392");
}

/* A tensor that a 1x1 and a depthwise convolution read: its codes have a zero, which the depthwise
 * engine of codes does not know. */
static void codes_with_zeros_are_not_shared(void **state)
{
    const nyb_conv2d_options pointwise = {.out = 8, .kernel = 1, .stride = 1};
    const nyb_conv2d_options depthwise = {
        .out = 8, .kernel = 3, .stride = 1, .pad = 1, .groups = 8};
    nyb_train_options options;
    nyb_recipe *recipe;
    nyb_context *c;
    nyb_model *m;
    nyb_train *t;
    size_t n_seen = 0;

    (void)state;
    assert_int_equal(nyb_context_create("ref", 1, &c, NULL), NYB_OK);
    assert_int_equal(nyb_recipe_create("int8", &recipe, NULL), NYB_OK);
    assert_int_equal(nyb_recipe_set(recipe, "fwd.x", "uint4/ptq/tensor/nearest", NULL), NYB_OK);
    assert_int_equal(nyb_model_create("both", &m, NULL), NYB_OK);
    const nyb_value x = nyb_relu(m, nyb_conv2d(m, nyb_input(m, 6, 6, 3, 1), "a", &pointwise));
    const nyb_value one = nyb_conv2d(m, x, "one", &pointwise);
    const nyb_value sum = nyb_add(m, one, nyb_conv2d(m, x, "deep", &depthwise));
    assert_int_equal(nyb_model_finish(m, nyb_linear(m, nyb_flatten(m, sum), "fc", 10, 1), NULL),
                     NYB_OK);
    nyb_train_defaults(&options);
    options.batch = 4;
    assert_int_equal(nyb_train_create(c, m, recipe, NULL, &options, &t, NULL), NYB_OK);
    for (size_t i = 0; i < nyb_graph_explain_count(t->graph); i++) {
        nyb_explain_line line;

        nyb_graph_explain_at(t->graph, i, &line);
        if (strcmp(line.product, "fwd") == 0 && strcmp(line.layer, "deep") == 0) {
            assert_string_equal(line.engine, "f32");
            n_seen++;
        }
        if (strcmp(line.product, "fwd") == 0 && strcmp(line.layer, "one") == 0) {
            assert_string_equal(line.engine, "s8");
            n_seen++;
        }
    }
    assert_int_equal(n_seen, 2);
    nyb_train_destroy(&t);
    nyb_model_destroy(&m);
    nyb_recipe_destroy(&recipe);
    nyb_context_destroy(&c);
}

static void every_recipe_trains(void **state)
{
    nyb_error err = {0};
    fixture f;

    (void)state;
    for (size_t i = 0; i < nyb_recipe_count(); i += TEST_EVERY(8)) {
        double loss, n;

        start(&f, "auto", 2, nyb_recipe_name_at(i), NULL);
        fixture_start(&f);
        if (nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, &err) != NYB_OK)
            fail_msg("%s: %s", nyb_recipe_name_at(i), err.text);
        if (!isfinite(loss))
            fail_msg("%s: loss %g", nyb_recipe_name_at(i), loss);
        fixture_free(&f);
    }
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The status of a model of one convolution of 8 channels. */
static nyb_status build(size_t out, size_t groups, size_t kernel, nyb_error *err)
{
    const nyb_conv2d_options options = {
        .out = out, .kernel = kernel, .stride = 1, .pad = kernel / 2, .groups = groups};
    nyb_model *model;
    nyb_value x;
    nyb_status status;

    assert_int_equal(nyb_model_create("groups", &model, NULL), NYB_OK);
    x = nyb_conv2d(model, nyb_input(model, 6, 6, 8, 0), "conv", &options);
    x = nyb_linear(model, nyb_flatten(model, x), "fc", 10, 1);
    status = nyb_model_finish(model, x, err);
    if (status == NYB_OK)
        assert_int_equal(nyb_model_parameters(model),
                         kernel * kernel * out * (groups > 1 ? 1 : 8) + 36 * out * 10 + 10);
    nyb_model_destroy(&model);
    return status;
}

static void groups_are_one_or_all(void **state)
{
    nyb_error err = {0};

    (void)state;
    assert_int_equal(build(16, 0, 3, &err), NYB_OK);
    assert_int_equal(build(16, 1, 3, &err), NYB_OK);
    assert_int_equal(build(8, 8, 3, &err), NYB_OK);
    assert_int_equal(build(8, 8, 5, &err), NYB_OK);
    assert_int_equal(build(8, 2, 3, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "'conv': 2 groups from 8 to 8 channels"));
    assert_non_null(strstr(err.text, "depthwise"));
    assert_int_equal(build(16, 8, 3, &err), NYB_INVALID);
    assert_int_equal(build(16, 16, 3, &err), NYB_INVALID);
    assert_int_equal(build(8, 8, 65, &err), NYB_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neither_threads_nor_instruction_sets_matter),
        cmocka_unit_test_setup_teardown(runs_resume_and_models_load, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(the_loss_falls_and_a_step_allocates_nothing),
        cmocka_unit_test(recipes_do_what_explain_says),
        cmocka_unit_test(energy_counts_taps_of_one_channel),
        cmocka_unit_test(pointwise_layers_have_a_field),
        cmocka_unit_test(codes_with_zeros_are_not_shared),
        cmocka_unit_test(every_recipe_trains),
        cmocka_unit_test(groups_are_one_or_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
