/* Energy of products: layers small enough to be counted by hand. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <nybble/nybble.h>

#include "quant/quant.h"

typedef struct rig {
    nyb_context *context;
    nyb_model *model;
    nyb_recipe *recipe;
    nyb_train *train;
} rig;

/* keys: key, value, key, value, NULL */
static void open_rig(rig *r, nyb_model *model, const char *recipe, const char *const *keys,
                     int batch)
{
    nyb_train_options options;
    nyb_error err;

    *r = (rig){.model = model};
    nyb_train_defaults(&options);
    options.batch = batch;
    assert_int_equal(nyb_context_create("ref", 1, &r->context, &err), NYB_OK);
    assert_int_equal(nyb_recipe_create(recipe, &r->recipe, &err), NYB_OK);
    for (; *keys; keys += 2)
        if (nyb_recipe_set(r->recipe, keys[0], keys[1], &err) != NYB_OK)
            fail_msg("%s", err.text);
    if (nyb_train_create(r->context, model, r->recipe, NULL, &options, &r->train, &err) != NYB_OK)
        fail_msg("%s", err.text);
}

static void close_rig(rig *r)
{
    nyb_train_destroy(&r->train);
    nyb_recipe_destroy(&r->recipe);
    nyb_model_destroy(&r->model);
    nyb_context_destroy(&r->context);
}

/* x (2, 1, 1, in) -> linear (out) */
static nyb_model *linear(size_t in, size_t out)
{
    nyb_model *model;

    assert_int_equal(nyb_model_create("linear", &model, NULL), NYB_OK);
    nyb_value x = nyb_input(model, 1, 1, in, 1);
    assert_int_equal(nyb_model_finish(model, nyb_linear(model, x, "fc", out, 0), NULL), NYB_OK);
    return model;
}

static nyb_energy energy_of(const rig *r, const char *product)
{
    nyb_energy e = {0};

    for (size_t i = 0; i < nyb_train_explain_count(r->train); i++) {
        nyb_explain_line line;

        nyb_train_explain_at(r->train, i, &line);
        if (strcmp(line.product, product) == 0) {
            nyb_train_energy_at(r->train, i, &e);
            return e;
        }
    }
    fail_msg("no product %s", product);
    return e;
}

static void check(const nyb_energy *e, const uint64_t mul[NYB_ARITHS],
                  const uint64_t add[NYB_ARITHS], double picojoules)
{
    for (int i = 0; i < NYB_ARITHS; i++) {
        assert_int_equal(e->mul[i], mul[i]);
        assert_int_equal(e->add[i], add[i]);
    }
    assert_true(e->picojoules > picojoules * (1 - 1e-12));
    assert_true(e->picojoules < picojoules * (1 + 1e-12));
}

/* 2 samples, 8 -> 4: 64 multiply-adds a product. Columns of counts: int8, int32, fp16, fp32. */
#define EDGES "edges", "recipe"
static const struct {
    const char *recipe;
    const char *keys[12];
    const char *product;
    uint64_t mul[NYB_ARITHS], add[NYB_ARITHS];
    double picojoules;
} cases[] = {
    {"f32", {NULL}, "fwd", {0, 0, 0, 64}, {0, 0, 0, 64}, 64 * 3.7 + 64 * 0.9},
    {"luq", {EDGES, NULL}, "fwd", {64, 0, 0, 0}, {0, 64, 0, 0}, 64 * 0.2 + 64 * 0.1},
    {"luq", {EDGES, NULL}, "wgrad", {64, 0, 0, 0}, {0, 64, 0, 0}, 64 * 0.2 + 64 * 0.1},
    /* two draws: twice the product */
    {"luq",
     {EDGES, "wgrad.dy.samples", "2", NULL},
     "wgrad",
     {128, 0, 0, 0},
     {0, 128, 0, 0},
     128 * 0.2 + 128 * 0.1},
    /* the wider operand decides */
    {"luq",
     {EDGES, "fwd.w", "f32", NULL},
     "fwd",
     {0, 0, 0, 64},
     {0, 0, 0, 64},
     64 * 3.7 + 64 * 0.9},
    {"luq",
     {EDGES, "fwd.w", "e4m3fn", NULL},
     "fwd",
     {0, 0, 64, 0},
     {0, 0, 0, 64},
     64 * 1.1 + 64 * 0.9},
    {"luq",
     {EDGES, "fwd.x", "bf16", "fwd.x.nonneg", "none", "fwd.w", "bf16", NULL},
     "fwd",
     {0, 0, 64, 0},
     {0, 0, 0, 64},
     64 * 1.1 + 64 * 0.9},
    /* radix 4 is no unit of int8, but its products are shifts */
    {"luq",
     {EDGES, "fwd.x", "e3m0r4", "fwd.x.nonneg", "none", NULL},
     "fwd",
     {64, 0, 0, 0},
     {0, 64, 0, 0},
     64 * 0.2 + 64 * 0.1},
    {"luq",
     {EDGES, "fwd.x", "nf4", "fwd.x.nonneg", "none", NULL},
     "fwd",
     {0, 0, 64, 0},
     {0, 0, 0, 64},
     64 * 1.1 + 64 * 0.9},
    /* signs */
    {"f32", {EDGES, "fwd.w", "binary", NULL}, "fwd", {0, 0, 0, 0}, {0, 0, 0, 64}, 64 * 0.9},
    {"luq", {EDGES, "fwd.w", "ternary", NULL}, "fwd", {0, 0, 0, 0}, {0, 64, 0, 0}, 64 * 0.1},
    /* exponents are added */
    {"luq", {EDGES, "engine", "mf", NULL}, "wgrad", {0}, {64, 64, 0, 0}, 64 * 0.03 + 64 * 0.1},
    /* 8 outputs of 8 products in chunks of 4: two more additions each */
    {"luq",
     {EDGES, "fwd.accum", "fp16/4", NULL},
     "fwd",
     {64, 0, 0, 0},
     {0, 0, 64 + 16, 0},
     64 * 0.2 + 80 * 0.4},
    {"luq",
     {EDGES, "fwd.accum", "int8/4", NULL},
     "fwd",
     {64, 0, 0, 0},
     {64, 0, 0, 16},
     64 * 0.2 + 64 * 0.03 + 16 * 0.9},
    /* a chunk longer than the sum is one chunk */
    {"luq",
     {EDGES, "fwd.accum", "e6m9/64", NULL},
     "fwd",
     {64, 0, 0, 0},
     {0, 0, 64 + 8, 0},
     64 * 0.2 + 72 * 0.4},
};

static void operations_of_a_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rig r;

        open_rig(&r, linear(8, 4), cases[i].recipe, cases[i].keys, 2);
        const nyb_energy e = energy_of(&r, cases[i].product);
        check(&e, cases[i].mul, cases[i].add, cases[i].picojoules);
        assert_int_equal(e.macs, 64);
        assert_true(e.f32_picojoules > 294.39 && e.f32_picojoules < 294.41);
        close_rig(&r);
    }
}

/* 40 inputs in blocks of 16: three runs of one scale for each of 8 outputs, 320 multiply-adds. */
static void rescaling_in_blocks(void **state)
{
    (void)state;
    const char *const pow2[] = {EDGES, "fwd.x", "e2m1/e8m0/block16", "fwd.w", "e2m1/e8m0/block16",
                                NULL};
    const char *const real[] = {EDGES,   "fwd.x",       "int4/absmax/block16",
                                "fwd.w", "int4/absmax", NULL};
    rig r;

    open_rig(&r, linear(40, 4), "f32", pow2, 2);
    nyb_energy e = energy_of(&r, "fwd");
    check(&e, (uint64_t[]){320, 0, 0, 0}, (uint64_t[]){48, 320, 0, 24},
          320 * 0.2 + 48 * 0.03 + 320 * 0.1 + 24 * 0.9);
    close_rig(&r);
    open_rig(&r, linear(40, 4), "f32", real, 2);
    e = energy_of(&r, "fwd");
    check(&e, (uint64_t[]){320, 0, 0, 48}, (uint64_t[]){0, 320, 0, 24},
          320 * 0.2 + 48 * 3.7 + 320 * 0.1 + 24 * 0.9);
    close_rig(&r);
}

/* Its operations count, once more; f32 would not do them. */
static void a_repeated_product_costs(void **state)
{
    (void)state;
    const char *const keys[] = {EDGES, "recompute", "products", NULL};
    const nyb_conv2d_options conv = {.out = 16, .kernel = 3, .stride = 1, .pad = 1};
    nyb_model *model;
    rig r;

    assert_int_equal(nyb_model_create("conv", &model, NULL), NYB_OK);
    nyb_value x = nyb_conv2d(model, nyb_input(model, 4, 4, 2, 0), "conv", &conv);
    x = nyb_global_avgpool(model, nyb_relu(model, nyb_batchnorm(model, x, "bn")));
    assert_int_equal(nyb_model_finish(model, nyb_linear(model, x, "fc", 4, 0), NULL), NYB_OK);
    open_rig(&r, model, "luq", keys, 3);
    const nyb_energy once = energy_of(&r, "fwd"), again = energy_of(&r, "fwd again");
    assert_true(once.macs > 0 && once.picojoules > 0 && once.f32_picojoules > 0);
    assert_int_equal(again.macs, 0);
    assert_memory_equal(again.mul, once.mul, sizeof once.mul);
    assert_memory_equal(again.add, once.add, sizeof once.add);
    assert_true(again.picojoules == once.picojoules && again.f32_picojoules == 0);
    close_rig(&r);
}

static uint64_t length_of(const rig *r, const char *layer, const char *product)
{
    for (size_t i = 0; i < nyb_train_explain_count(r->train); i++) {
        nyb_explain_line line;

        nyb_train_explain_at(r->train, i, &line);
        if (strcmp(line.layer, layer) == 0 && strcmp(line.product, product) == 0)
            return line.sum_length;
    }
    return 0;
}

/* 3 samples of 5x5x2 -> 1x1 (3) -> 3x3 stride 2 (5): 3x3 outputs, of which 2x2 meet one input. */
static void lengths_of_sums(void **state)
{
    (void)state;
    const char *const keys[] = {EDGES, NULL};
    const nyb_conv2d_options one = {.out = 3, .kernel = 1, .stride = 1};
    const nyb_conv2d_options two = {.out = 5, .kernel = 3, .stride = 2, .pad = 1};
    nyb_model *model;
    rig r;

    assert_int_equal(nyb_model_create("conv", &model, NULL), NYB_OK);
    nyb_value x = nyb_input(model, 5, 5, 2, 0);
    x = nyb_conv2d(model, nyb_conv2d(model, x, "one", &one), "two", &two);
    x = nyb_linear(model, nyb_global_avgpool(model, x), "fc", 4, 0);
    assert_int_equal(nyb_model_finish(model, x, NULL), NYB_OK);
    open_rig(&r, model, "luq", keys, 3);
    assert_int_equal(length_of(&r, "one", "fwd"), 2);
    assert_int_equal(length_of(&r, "one", "wgrad"), 75);
    assert_int_equal(length_of(&r, "two", "fwd"), 27);
    assert_int_equal(length_of(&r, "two", "dgrad"), 20);
    assert_int_equal(length_of(&r, "two", "wgrad"), 27);
    assert_int_equal(length_of(&r, "fc", "fwd"), 5);
    assert_int_equal(length_of(&r, "fc", "dgrad"), 4);
    assert_int_equal(length_of(&r, "fc", "wgrad"), 3);
    close_rig(&r);
}

/* A scale per sample: wgrad sums over 3 samples of 2x2 pixels, so scales change twice; the outputs
 * are 5 x 2 weights, the multiply-adds 12 x 10. */
static void rescaling_of_samples(void **state)
{
    (void)state;
    const char *const keys[] = {EDGES,     "wgrad.dy",    "int4/absmax/row",
                                "wgrad.x", "int4/absmax", NULL};
    const nyb_conv2d_options options = {.out = 5, .kernel = 1, .stride = 1};
    nyb_model *model;
    rig r;

    assert_int_equal(nyb_model_create("conv", &model, NULL), NYB_OK);
    nyb_value x = nyb_input(model, 2, 2, 2, 0);
    x = nyb_global_avgpool(model, nyb_conv2d(model, x, "conv", &options));
    assert_int_equal(nyb_model_finish(model, x, NULL), NYB_OK);
    open_rig(&r, model, "f32", keys, 3);
    const nyb_energy e = energy_of(&r, "wgrad");
    check(&e, (uint64_t[]){120, 0, 0, 60}, (uint64_t[]){0, 120, 0, 30},
          120 * 0.2 + 60 * 3.7 + 120 * 0.1 + 30 * 0.9);
    close_rig(&r);
}

/* A scale per output channel: none changes along the forward sum, all along that of dx. */
static void rescaling_of_filters(void **state)
{
    (void)state;
    const char *const keys[] = {
        EDGES,   "fwd.w",       "int4/absmax/row", "dgrad.w",     "int4/absmax/row",
        "fwd.x", "int4/absmax", "dgrad.dy",        "int4/absmax", NULL};
    nyb_model *model;
    rig r;

    assert_int_equal(nyb_model_create("two", &model, NULL), NYB_OK);
    nyb_value x = nyb_linear(model, nyb_input(model, 1, 1, 8, 0), "first", 8, 0);
    assert_int_equal(nyb_model_finish(model, nyb_linear(model, x, "second", 4, 0), NULL), NYB_OK);
    open_rig(&r, model, "f32", keys, 2);
    nyb_energy e = energy_of(&r, "fwd");
    check(&e, (uint64_t[]){128, 0, 0, 0}, (uint64_t[]){0, 128, 0, 0}, 128 * 0.3);
    e = energy_of(&r, "dgrad");
    check(&e, (uint64_t[]){64, 0, 0, 128}, (uint64_t[]){0, 64, 0, 64},
          64 * 0.2 + 128 * 3.7 + 64 * 0.1 + 64 * 0.9);
    close_rig(&r);
}

static void sums(void **state)
{
    (void)state;
    const char *const keys[] = {EDGES, NULL};
    nyb_energy total = {0};
    rig r;

    open_rig(&r, linear(8, 4), "luq", keys, 2);
    const nyb_energy fwd = energy_of(&r, "fwd"), wgrad = energy_of(&r, "wgrad");
    nyb_energy_add(&total, &fwd);
    nyb_energy_add(&total, &wgrad);
    check(&total, (uint64_t[]){128, 0, 0, 0}, (uint64_t[]){0, 128, 0, 0}, 38.4);
    assert_int_equal(total.macs, 128);
    close_rig(&r);
}

/* A filter over edges and a stride, and a head. */
static nyb_model *padded(void)
{
    const nyb_conv2d_options conv = {.out = 32, .kernel = 3, .stride = 2, .pad = 1};
    nyb_model *model;

    assert_int_equal(nyb_model_create("padded", &model, NULL), NYB_OK);
    nyb_value x = nyb_conv2d(model, nyb_input(model, 7, 7, 16, 1), "conv", &conv);
    x = nyb_linear(model, nyb_global_avgpool(model, x), "fc", 4, 0);
    assert_int_equal(nyb_model_finish(model, x, NULL), NYB_OK);
    return model;
}

static uint64_t multiplications(const nyb_energy *e)
{
    uint64_t n = 0;

    for (int i = 0; i < NYB_ARITHS; i++)
        n += e->mul[i];
    return n;
}

/* What f32 does is the same work whatever a recipe does instead, by blocks, by taps or by several
 * draws; that has a price of its own for each draw. */
static void every_recipe_is_compared_with_the_same_work(void **state)
{
    (void)state;
    /* conv, fc; fc's dw and dx, conv's dw; a clip that learns needs conv's dx, too */
    static const char *const products[] = {"fwd", "fwd", "wgrad", "dgrad", "wgrad"};
    const char *const once[] = {EDGES, NULL}, *const twice[] = {EDGES, "wgrad.dy.samples", "2",
                                                                NULL};
    nyb_energy want[5] = {{0}};
    size_t n_drawn = 0;

    for (size_t i = 0; i < nyb_recipe_count(); i++) {
        nyb_recipe *probe;
        nyb_energy e[2][5];

        assert_int_equal(nyb_recipe_create(nyb_recipe_name_at(i), &probe, NULL), NYB_OK);
        const int n_draws = nyb_recipe_set(probe, "wgrad.dy.samples", "2", NULL) == NYB_OK ? 2 : 1;
        nyb_recipe_destroy(&probe);
        for (int draws = 1; draws <= n_draws; draws++) {
            rig r;

            open_rig(&r, padded(), nyb_recipe_name_at(i), draws == 1 ? once : twice, 4);
            assert_in_range(nyb_train_explain_count(r.train), 5, 6);
            for (size_t p = 0; p < 5; p++) {
                nyb_energy *now = &e[draws - 1][p];
                nyb_explain_line line;

                nyb_train_explain_at(r.train, p, &line);
                assert_string_equal(line.product, products[p]);
                nyb_train_energy_at(r.train, p, now);
                want[p] = i == 0 ? *now : want[p];
                if (now->macs != want[p].macs || now->f32_picojoules != want[p].f32_picojoules)
                    fail_msg("%s, product %zu: %d multiply-adds, not %d", nyb_recipe_name_at(i), p,
                             (int)now->macs, (int)want[p].macs);
                if (draws == 2 &&
                    multiplications(now) != multiplications(&e[0][p]) * (p == 2 || p == 4 ? 2 : 1))
                    fail_msg("%s, product %zu: two draws", nyb_recipe_name_at(i), p);
            }
            close_rig(&r);
            n_drawn += draws == 2;
        }
    }
    assert_true(n_drawn > 15);
}

static void the_callers_rounding_mode_does_not_count(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    nyb_energy total[4] = {{0}};
    rig r;

    open_rig(&r, linear(9, 7), "luq", (const char *const[]){EDGES, NULL}, 3);
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        const nyb_energy fwd = energy_of(&r, "fwd"), wgrad = energy_of(&r, "wgrad");
        nyb_energy_add(&total[i], &fwd);
        nyb_energy_add(&total[i], &wgrad);
        nyb_energy_add(&total[i], &fwd);
        fesetround(FE_TONEAREST);
        assert_true(total[i].picojoules == total[0].picojoules);
        assert_true(total[i].f32_picojoules == total[0].f32_picojoules);
    }
    close_rig(&r);
}

/* The figures of the paper, so that nobody changes them in passing. */
static void published_table(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double mul, add;
    } table[] = {{"int8", 0.2, 0.03}, {"int32", 3.1, 0.1}, {"fp16", 1.1, 0.4}, {"fp32", 3.7, 0.9}};

    for (int i = 0; i < NYB_ARITHS; i++) {
        assert_string_equal(nyb_arith_name((nyb_arith)i), table[i].name);
        assert_true(nyb_arith_mul_pj((nyb_arith)i) == table[i].mul);
        assert_true(nyb_arith_add_pj((nyb_arith)i) == table[i].add);
    }
}

/* A rule says rightly whether its scales are powers of two: blocks of bell-shaped numbers, in a
 * format that the rule takes. */
static void powers_of_two(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 32 };
    static const char *const formats[] = {"int4", "e2m1", "e3m0", "int8", "uint4", "ternary"};
    static const char *const groups[] = {"block32", "block16", "row", "tensor"};
    float x[ROWS * COLS], scales[ROWS * COLS];
    nyb_context *context;
    uint32_t bits = 1;

    for (size_t i = 0; i < ROWS * COLS; i++) {
        x[i] = 0.0f;
        for (int j = 0; j < 4; j++) {
            bits = bits * 1664525u + 1013904223u;
            x[i] += (float)(bits >> 8) * 0x1p-24f - 0.5f;
        }
    }
    assert_int_equal(nyb_context_create("ref", 1, &context, NULL), NYB_OK);
    for (size_t r = 0; r < nyb_scale_rule_count(); r++) {
        const nyb_scale_rule *rule = nyb_scale_rule_at(r);
        bool taken = false;

        for (size_t i = 0; i < 24 && !taken; i++) {
            char text[96];
            bool all = true;
            nyb_spec spec;

            snprintf(text, sizeof text, "%s/%s/%s/nearest", formats[i % 6],
                     nyb_scale_rule_name(rule), groups[i / 6]);
            if (nyb_spec_parse(text, &spec, NULL) != NYB_OK ||
                nyb_quantize_groups(context, &spec, x, ROWS, COLS, 1, 0, 0, NULL, NULL, scales,
                                    NULL, NULL, NULL) != NYB_OK)
                continue;
            taken = true;
            for (size_t g = 0; g < nyb_quant_group_count(&spec, ROWS, COLS); g++)
                all = all && (nyb_bits_of(scales[g]) & 0x7fffff) == 0;
            if (all != rule->pow2)
                fail_msg("%s: pow2 is %d", text, rule->pow2);
        }
        if (!taken)
            print_message("%s: no format here\n", nyb_scale_rule_name(rule));
    }
    nyb_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_of_a_layer),
        cmocka_unit_test(rescaling_in_blocks),
        cmocka_unit_test(rescaling_of_samples),
        cmocka_unit_test(lengths_of_sums),
        cmocka_unit_test(a_repeated_product_costs),
        cmocka_unit_test(rescaling_of_filters),
        cmocka_unit_test(sums),
        cmocka_unit_test(every_recipe_is_compared_with_the_same_work),
        cmocka_unit_test(the_callers_rounding_mode_does_not_count),
        cmocka_unit_test(published_table),
        cmocka_unit_test(powers_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
