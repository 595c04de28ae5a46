/* Weights that round towards their exponential mean (fwd.w.ema; Q-EMA of TetraJet): what the mean
 * is, who multiplies by what it chose, and what becomes of it in files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "graph/graph.h"
#include "train/run.h"

static void start(fixture *f, const char *model, const char *recipe, const char *const *sets)
{
    fixture_init(f, "auto", 2, model, recipe, sets, 16, 64);
    fixture_start(f);
}

static size_t count_means(const nyb_graph *g)
{
    size_t n = 0;

    for (int i = 0; i < g->n_params; i++)
        n += g->params[i].mean_of != NULL;
    return n;
}

/* ---- the mean -------------------------------------------------------------------------------- */

/* One for each layer whose weights are quantized: convolutions, shortcuts as the recipe has them,
 * no edges. It begins at the weights. */
static void quantized_weights_have_a_mean(void **state)
{
    float weights[32 * 32], mean[32 * 32];
    nyb_tensor_info info;
    fixture f;

    (void)state;
    start(&f, "resnet8", "tetrajet_ema", NULL);
    assert_int_equal(count_means(f.train->graph), 8);
    fixture_free(&f);
    start(&f, "resnet8", "luq", SETS("fwd.w.ema=0.9"));
    assert_int_equal(count_means(f.train->graph), 6);
    fixture_free(&f);
    start(&f, "resnet8", "tetrajet", NULL);
    assert_int_equal(count_means(f.train->graph), 0);
    fixture_free(&f);
    start(&f, "mlp:32,32", "luq", SETS("fwd.w.ema=0.9"));
    assert_int_equal(count_means(f.train->graph), 1);
    assert_int_equal(nyb_train_tensor_at(f.train, nyb_train_tensor_count(f.train) - 1, &info, NULL),
                     NYB_OK);
    assert_string_equal(info.name, "fc2.weight.ema");
    assert_int_equal(info.trained, 0);
    assert_int_equal(info.n_dims, 2);
    assert_int_equal(nyb_train_get_tensor(f.train, "fc2.weight", weights, 32 * 32, NULL), NYB_OK);
    assert_int_equal(nyb_train_get_tensor(f.train, "fc2.weight.ema", mean, 32 * 32, NULL), NYB_OK);
    assert_memory_equal(mean, weights, sizeof mean);
    fixture_free(&f);
}

static void the_mean_follows_the_weights(void **state)
{
    fixture f;

    (void)state;
    start(&f, "resnet8", "tetrajet_ema", SETS("fwd.w.ema=0.75"));
    for (int step = 0; step < 4; step++) {
        const nyb_graph *g = f.train->graph;
        float *before = malloc(g->n_arena_bytes);
        size_t at = 0;

        for (int i = 0; i < g->n_params; at += g->params[i++].n)
            memcpy(before + at, g->params[i].value, g->params[i].n * sizeof *before);
        fixture_easy_step(&f, step);
        at = 0;
        for (int i = 0; i < g->n_params; at += g->params[i++].n) {
            const nyb_param *p = &g->params[i];

            for (size_t j = 0; p->mean_of && j < p->n; j++) {
                const float apart = p->mean_of->value[j] - before[at + j];
                const float moved = apart * 0.25f;

                assert_true(p->value[j] == before[at + j] + moved);
            }
        }
        free(before);
    }
    fixture_free(&f);
}

/* A step that is skipped never was; a weight that is set has no past. */
static void the_mean_stays_and_begins_again(void **state)
{
    float weights[32 * 32] = {0}, mean[32 * 32];
    fixture f;

    (void)state;
    start(&f, "mlp:32,32", "luq", SETS("fwd.w.ema=0.5", "nonfinite=skip"));
    fixture_easy_step(&f, 0);
    const nyb_param *p = &f.train->graph->params[f.train->graph->n_params - 1];
    assert_non_null(p->mean_of);
    assert_memory_not_equal(p->value, p->mean_of->value, p->n * sizeof(float));
    memcpy(mean, p->value, sizeof mean);
    f.train->graph->params[0].value[0] = NAN;
    fixture_easy_step(&f, 1);
    assert_int_equal(f.train->progress.n_skipped, 1);
    assert_memory_equal(p->value, mean, sizeof mean);
    for (size_t i = 0; i < 32 * 32; i++)
        weights[i] = (float)i;
    assert_int_equal(nyb_train_set_tensor(f.train, "fc2.weight", weights, 32 * 32, NULL), NYB_OK);
    assert_memory_equal(p->value, p->mean_of->value, sizeof mean);
    assert_int_equal(nyb_train_set_tensor(f.train, "fc2.weight.ema", mean, 32 * 32, NULL), NYB_OK);
    assert_int_equal(nyb_train_get_tensor(f.train, "fc2.weight.ema", weights, 32 * 32, NULL),
                     NYB_OK);
    assert_memory_equal(weights, mean, sizeof mean);
    fixture_free(&f);
}

/* ---- products -------------------------------------------------------------------------------- */

/* How weights are quantized so that all scales are 1, and which values there are around 0. */
typedef struct unscaled {
    const char *model, *recipe, *spec, *edges;
    float step;
    float anchor;      /* of one weight of each group; 0: no scale that looks at them */
    bool rows, shared; /* groups are filters, else blocks of 16; dgrad.w has the same spec */
} unscaled;

/* Weights in -1.9 .. 1.9, and anchors. */
static void spread(const unscaled *u, nyb_param *p)
{
    const size_t every = u->rows ? p->n / p->dims[0] : 16;

    for (size_t i = 0; i < p->n; i++) {
        p->value[i] = fmaxf(fminf(p->value[i] * 6, 1.9f), -1.9f);
        if (u->anchor > 0 && i % every == 0)
            p->value[i] = u->anchor;
    }
}

/* Means far above all weights: the step is that of weights which were rounded up before, with the
 * same gradients. */
static void expect_rounded_up(const unscaled *u, const char *engine)
{
    char fwd[96], dgrad[96], edges[32], engines[32];
    fixture got, want;

    snprintf(fwd, sizeof fwd, "fwd.w=%s", u->spec);
    snprintf(dgrad, sizeof dgrad, "dgrad.w=%s", u->spec);
    snprintf(edges, sizeof edges, "edges=%s", u->edges);
    snprintf(engines, sizeof engines, "engine=%s", engine);
    if (!u->shared)
        strcpy(dgrad, "dgrad.w.from=fwd");
    start(&got, u->model, u->recipe, SETS(fwd, dgrad, edges, engines, "fwd.w.ema=0.9"));
    start(&want, u->model, u->recipe, SETS(fwd, dgrad, edges, engines));
    nyb_graph *g = got.train->graph, *h = want.train->graph;

    for (int i = 0; i < g->n_params; i++) {
        nyb_param *mean = &g->params[i];

        if (!mean->mean_of)
            continue;
        nyb_param *a = &g->params[mean->mean_of - g->params];
        nyb_param *b = &h->params[mean->mean_of - g->params];
        spread(u, a);
        for (size_t j = 0; j < a->n; j++) {
            b->value[j] = ceilf(a->value[j] / u->step) * u->step;
            mean->value[j] = 1e30f;
        }
    }
    if (fixture_easy_step(&got, 0) != fixture_easy_step(&want, 0))
        fail_msg("%s, %s, %s: another forward pass", u->model, u->spec, engine);
    for (int i = 0; i < h->n_params; i++)
        if (h->params[i].trained && memcmp(g->params[i].gradient, h->params[i].gradient,
                                           h->params[i].n * sizeof(float)) != 0)
            fail_msg("%s, %s, %s: another gradient of %s", u->model, u->spec, engine,
                     h->params[i].name);
    fixture_free(&got);
    fixture_free(&want);
}

static void products_take_what_the_mean_chose(void **state)
{
    static const unscaled cases[] = {
        {"mlp:32,32", "luq", "int4/unit/tensor/nearest", "recipe", 1, 0, false, true},
        {"resnet8", "luq", "int4/unit/tensor/nearest", "recipe", 1, 0, false, true},
        {"mobilenet3", "luq", "int4/unit/tensor/nearest", "recipe", 1, 0, false, true},
        {"resnet8", "statquant_ptq", "int8/unit/tensor/nearest", "f32", 1, 0, false, true},
        {"resnet8", "mxfp4", "e2m1/unit/tensor/nearest", "f32", 0.5f, 0, false, true},
        {"resnet8", "bf16", "e2m1/unit/tensor/nearest", "f32", 0.5f, 0, false, true},
        {"resnet8", "luq", "int4/absmax/row/nearest", "recipe", 1, 7, true, true},
        {"resnet8", "tetrajet", "e2m1/e8m0_rceil/block32/nearest", "f32", 0.5f, 6, false, false},
        {"resnet8", "tetrajet", "int4/absmax/block16/nearest", "f32", 1, 7, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_rounded_up(&cases[i], "auto");
        expect_rounded_up(&cases[i], "f32");
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static void run(fixture *f)
{
    nyb_error err = {0};

    if (nyb_train_run(f->train, fixture_folder, NULL, NULL, NULL, &err) != NYB_OK)
        fail_msg("%s", err.text);
}

static void load(fixture *f)
{
    nyb_error err = {0};

    if (nyb_train_load_model(f->train, fixture_folder, &err) != NYB_OK)
        fail_msg("%s", err.text);
}

/* A model has its means with it: they decide what its weights are worth. */
static void models_have_their_means(void **state)
{
    static const char *const recipes[] = {"tetrajet_ema", "luq"};
    fixture f, other;

    (void)state;
    for (int i = 0; i < 2; i++) {
        start(&f, "mlp:32,32", recipes[i], SETS("fwd.w.ema=0.5", "edges=recipe"));
        run(&f);
        start(&other, "mlp:32,32", recipes[i], SETS("fwd.w.ema=0.5", "edges=recipe"));
        load(&other);
        assert_true(fixture_eval(other.train) == fixture_eval(f.train));
        nyb_graph_begin_means(other.train->graph, NULL);
        assert_true(fixture_eval(other.train) != fixture_eval(f.train));
        fixture_free(&f);
        fixture_free(&other);
    }
}

/* Weights of a model without means, from another recipe, have no past. */
static void other_models_begin_their_means(void **state)
{
    fixture f, other;

    (void)state;
    start(&f, "mlp:32,32", "f32", NULL);
    run(&f);
    start(&other, "mlp:32,32", "tetrajet_ema", NULL);
    load(&other);
    const nyb_param *p = &other.train->graph->params[other.train->graph->n_params - 1];
    assert_non_null(p->mean_of);
    assert_memory_equal(p->value, p->mean_of->value, p->n * sizeof(float));
    assert_memory_equal(p->mean_of->value,
                        f.train->graph->params[p->mean_of - other.train->graph->params].value,
                        p->n * sizeof(float));
    fixture_free(&f);
    fixture_free(&other);
}

/* ---- what it cannot go with ------------------------------------------------------------------ */

static void expect_refusal(const char *recipe, const char *word)
{
    nyb_recipe *r;
    nyb_error err = {0};

    assert_int_equal(nyb_recipe_create(recipe, &r, NULL), NYB_OK);
    assert_int_equal(nyb_recipe_set(r, "fwd.w.ema", "0.9", &err), NYB_INVALID);
    if (!strstr(err.text, word))
        fail_msg("%s: %s", recipe, err.text);
    assert_string_equal(nyb_recipe_name(r), recipe);
    nyb_recipe_destroy(&r);
}

static void only_the_mean_chooses(void **state)
{
    (void)state;
    expect_refusal("f32", "quantized");          /* nothing to choose from */
    expect_refusal("luq_fwdsr", "nearest");      /* the draw chooses */
    expect_refusal("quartet", "not mixed");      /* neighbours of other numbers */
    expect_refusal("lsq", "neither learns");     /* the scale's gradient looks at the nearest */
    expect_refusal("nybble", "stored as codes"); /* factors of codes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantized_weights_have_a_mean),
        cmocka_unit_test(the_mean_follows_the_weights),
        cmocka_unit_test(the_mean_stays_and_begins_again),
        cmocka_unit_test(products_take_what_the_mean_chose),
        cmocka_unit_test_setup_teardown(models_have_their_means, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(other_models_begin_their_means, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(only_the_mean_chooses),
    };

    return cmocka_run_group_tests_name("mean", tests, NULL, NULL);
}
