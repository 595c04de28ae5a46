/* How a recipe's products sum: in which layers its accumulators are, and its draws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

#define ALL(accum) "fwd.accum=" accum, "dgrad.accum=" accum, "wgrad.accum=" accum

static void expect(bool same, const char *model, const char *recipe, const char *const *sets,
                   const char *want)
{
    char got[65];

    fixture_hash_of(model, recipe, sets, got);
    if ((strcmp(got, want) == 0) != same)
        fail_msg("%s, %s, %s: %s", model, recipe, sets[0], same ? "other weights" : "no effect");
}

/* Integers that never saturate are exact, whatever becomes codes: packed at once, or
 * mixed first. */
static void wide_integers_are_exact(void **state)
{
    static const char *const recipes[] = {"luq", "hdqt", "luq_int4sr"};
    static const char *const models[] = {"mlp:32,32", "resnet8"};

    (void)state;
    for (size_t m = 0; m < 2; m += TEST_EVERY(2))
        for (size_t i = 0; i < 3; i++) {
            char exact[65];

            fixture_hash_of(models[m], recipes[i], SETS("edges=recipe"), exact);
            expect(true, models[m], recipes[i], SETS(ALL("int16/8"), "edges=recipe"), exact);
            expect(false, models[m], recipes[i], SETS("fwd.accum=int3/8", "edges=recipe"), exact);
            expect(false, models[m], recipes[i], SETS("dgrad.accum=int3/8", "edges=recipe"), exact);
            expect(false, models[m], recipes[i], SETS("wgrad.accum=int3/8", "edges=recipe"), exact);
        }
}

/* What the recipe has in f32 is summed as it says, what it leaves in f32 is not. */
static void operands_in_f32_are_accumulated(void **state)
{
    static const char *const accums[] = {"fwd.accum=e5m2", "dgrad.accum=e5m2", "wgrad.accum=e5m2"};
    char exact[65];

    (void)state;
    fixture_hash_of("mlp:32,32", "f32", NULL, exact);
    for (size_t i = 0; i < 3; i++)
        expect(false, "mlp:32,32", "f32", SETS(accums[i], "edges=recipe"), exact);
    fixture_hash_of("mlp:32", "f32", NULL, exact); /* all edges */
    expect(true, "mlp:32", "f32", SETS(ALL("e5m2"), "edges=f32"), exact);
}

static void expect_refusal(const char *model, const char *recipe, const char *const *sets,
                           const char *what)
{
    nyb_error err = {0};
    fixture f;

    fixture_init(&f, "auto", 1, model, recipe, sets, 8, 16);
    assert_int_equal(
        nyb_train_create(f.context, f.model, f.recipe, f.data, &f.options, &f.train, &err),
        NYB_INVALID);
    if (!strstr(err.text, what))
        fail_msg("%s, not %s", err.text, what);
    fixture_free(&f);
}

static void integers_need_codes_of_one_scale(void **state)
{
    (void)state;
    expect_refusal("resnet8", "mxfp4", SETS("fwd.accum=int16/32"),
                   "fwd.x of layer 'layer1.0.conv1' is e2m1/e8m0/block16/nearest");
    expect_refusal("resnet8", "statquant_psq", SETS("dgrad.accum=int8/32"), "dgrad.dy of layer");
    expect_refusal("mlp:32,32", "f32", SETS("wgrad.accum=int8", "edges=recipe"),
                   "wgrad.dy of layer 'fc3' is f32");
    expect_refusal("resnet8", "luq", SETS("wgrad.accum=int8/32", "wgrad.x=e4m3/unit"),
                   "wgrad.x of layer");
}

/* MS-EDEN rounds to the nearest, but draws its scales: of one draw alone the mean would be that. */
static void drawn_scales_are_drawn_anew(void **state)
{
    char one[65];

    (void)state;
    fixture_hash_of("resnet8", "quartet2", NULL, one);
    expect(false, "resnet8", "quartet2", SETS("dgrad.dy.samples=2"), one);
    expect(false, "resnet8", "quartet2", SETS("wgrad.dy.samples=2"), one);
}

/* Draws with factors are summed as codes, or refused. */
static void draws_with_factors_are_summed(void **state)
{
    static const char two[] = "dgrad.dy.samples=2";
    char one[65];

    (void)state;
    fixture_hash_of("resnet8", "nybble", NULL, one);
    expect(false, "resnet8", "nybble", SETS(two), one);
    expect_refusal("resnet8", "nybble", SETS(two, "engine=f32"), "draws of 'int4m'");
    expect_refusal("resnet8", "nybble", SETS(two, "dgrad.accum=e6m9/64"), "draws of 'int4m'");
    expect_refusal("mobilenet3", "nybble", SETS(two), "conv_dw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_integers_are_exact),
        cmocka_unit_test(operands_in_f32_are_accumulated),
        cmocka_unit_test(integers_need_codes_of_one_scale),
        cmocka_unit_test(drawn_scales_are_drawn_anew),
        cmocka_unit_test(draws_with_factors_are_summed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
