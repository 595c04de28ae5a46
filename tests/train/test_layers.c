/* Recipes' rules for single layers: by name, by place, and what those layers then are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "graph/graph.h"
#include "recipe/recipe.h"
#include "train/run.h"

/* ---- which layer is what ---------------------------------------------------------------------
 */

/* luq with rules, on resnet14: conv1, convolutions and shortcuts in three parts, fc. */
static void begin(fixture *f, const char *layers)
{
    nyb_error err;

    fixture_init(f, "ref", 1, "resnet14", "luq", NULL, 8, 16);
    if (nyb_recipe_set(f->recipe, "layers", layers, &err) != NYB_OK)
        fail_msg("%s", err.text);
}

/* A letter for each layer with products, in order. */
static void expect_edges(const char *layers, const char *want)
{
    static const char letters[] = "frI8hbH"; /* in the order of NYB_EDGE_LIST */
    char got[32] = "";
    nyb_error err;
    fixture f;

    begin(&f, layers);
    if (nyb_graph_check_layers(f.model, f.recipe, &err) != NYB_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < f.model->n_layers; i++)
        if (f.model->layers[i].gemm >= 0)
            got[f.model->layers[i].gemm] = letters[nyb_graph_edge(f.model, f.recipe, i)];
    if (strcmp(got, want) != 0)
        fail_msg("layers = '%s': %s instead of %s", layers, got, want);
    fixture_free(&f);
}

static void layers_are_found(void **state)
{
    (void)state;
    expect_edges("", "frrrrrrfrrrrfrrf");
    expect_edges("  ", "frrrrrrfrrrrfrrf");
    expect_edges("none", "frrrrrrfrrrrfrrf");
    expect_edges("fc:int8", "frrrrrrfrrrrfrrI");
    expect_edges("layer3.*:bf16", "frrrrrrfrrbbbbbf");
    expect_edges("layer?.1.conv[2]:fp8", "frrr8rrfr8rrfr8f");
    expect_edges("*shortcut*:recipe conv1:fp16", "hrrrrrrrrrrrrrrf");
    /* the first that fits */
    expect_edges(" layer1.0.conv1:f32   layer1*:hbfp6  ", "ffHHHrrfrrrrfrrf");
    expect_edges("layer1*:hbfp6 layer1.0.conv1:f32", "fHHHHrrfrrrrfrrf");
    /* places; "first1" is no pattern, "first1*" is */
    expect_edges("first3:bf16", "bbbrrrrfrrrrfrrf");
    expect_edges("last2:bf16 first1:recipe", "rrrrrrrfrrrrfrbb");
    expect_edges("last13%:bf16", "frrrrrrfrrrrfrbb");
    expect_edges("last15%:bf16", "frrrrrrfrrrrfrbb");
    expect_edges("last16%:bf16", "frrrrrrfrrrrfbbb");
    expect_edges("first99:f32", "ffffffffffffffff");
    expect_edges("first100%:recipe", "rrrrrrrrrrrrrrrr");
}

static void expect_failure(const char *layers, const char *word)
{
    nyb_error err = {0};
    fixture f;

    fixture_init(&f, "ref", 1, "resnet14", "luq", NULL, 8, 16);
    assert_int_equal(nyb_recipe_set(f.recipe, "layers", layers, &err), NYB_INVALID);
    if (!strstr(err.text, word))
        fail_msg("'%s': %s", layers, err.text);
    assert_string_equal(nyb_recipe_name(f.recipe), "luq");
    fixture_free(&f);
}

static void a_rule_that_is_none_is_refused(void **state)
{
    char text[256];

    (void)state;
    expect_failure("fc", "'fc' is not PATTERN:WORD");
    expect_failure("fc:", "'fc:'");
    expect_failure("fc:int9", "'fc:int9'");
    expect_failure("conv1:f32 :f32", "':f32'");
    expect_failure("conv1:f32,fc:f32x", "'conv1:f32,fc:f32x'");
    expect_failure("fc:averyverylongword", "'fc:averyverylongword'");
    memset(text, 'a', 64);
    strcpy(text + 64, ":f32");
    expect_failure(text, "PATTERN:WORD");
    expect_edges("*:recipe                                                        "
                 "                                                                "
                 "                                                               ",
                 "rrrrrrrrrrrrrrrr"); /* 199 bytes */
}

/* Whoever mistypes a name hears of it before anything is trained. */
static void a_rule_for_no_layer_is_refused(void **state)
{
    static const char *const layers[] = {"layer4.*:bf16", "fc:bf16 fc1:bf16", "first0:f32",
                                         "first1x:f32", "last1%%:f32"};

    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        nyb_error err = {0};
        fixture f;

        begin(&f, layers[i]);
        assert_int_equal(
            nyb_train_create(f.context, f.model, f.recipe, f.data, &f.options, &f.train, &err),
            NYB_UNKNOWN);
        assert_non_null(strstr(err.text, "its 16 are 'conv1' .. 'fc'"));
        fixture_free(&f);
    }
}

/* ---- training --------------------------------------------------------------------------------
 */

static void rules_train_what_they_say(void **state)
{
    char want[65], got[65], plain[65];

    (void)state;
    fixture_hash_of("resnet8", "f32", NULL, want);
    fixture_hash_of("resnet8", "luq", SETS("layers=*:f32"), got);
    assert_string_equal(got, want);
    fixture_hash_of("mobilenet3", "luq", SETS("edges=recipe", "shortcut=recipe"), want);
    fixture_hash_of("mobilenet3", "luq", SETS("layers=*:recipe"), got);
    assert_string_equal(got, want);
    fixture_hash_of("mlp:32,32", "luq", SETS("edges=bf16"), want);
    fixture_hash_of("mlp:32,32", "luq", SETS("layers=first1:bf16 last1:bf16"), got);
    assert_string_equal(got, want);
    fixture_hash_of("mlp:32,32", "luq", NULL, plain);
    assert_string_not_equal(got, plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_found),
        cmocka_unit_test(a_rule_that_is_none_is_refused),
        cmocka_unit_test(a_rule_for_no_layer_is_refused),
        cmocka_unit_test(rules_train_what_they_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
