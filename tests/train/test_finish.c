/* The epochs at the end with f32 activations and gradients (FNT; NUMERICS 1.8), of every recipe:
 * they multiply by the weights' rounded values, and nothing else of the recipe is left; runs go on
 * exactly where they stopped. */
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

/* ---- gradients --------------------------------------------------------------------------------
 */

/* The weight gradients of a first step in finish mode; its loss. */
static double gradients_of(const char *recipe, const char *const *sets, fixture *f)
{
    fixture_init(f, "auto", 2, "resnet8", recipe, sets, 16, 64);
    f->options.epochs = 0;
    assert_int_equal(nyb_recipe_set(f->recipe, "finish.epochs", "1", NULL), NYB_OK);
    fixture_start(f);
    assert_int_equal(nyb_train_mode(f->train), NYB_MODE_FINISH);
    const double loss = fixture_easy_step(f, 0);
    assert_true(isfinite(loss));
    return loss;
}

static double cosine(const nyb_param *a, const nyb_param *b)
{
    double ab = 0, aa = 0, bb = 0;

    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        ab += (double)a->gradient[i] * (double)b->gradient[i];
        aa += (double)a->gradient[i] * (double)a->gradient[i];
        bb += (double)b->gradient[i] * (double)b->gradient[i];
    }
    return ab / sqrt(aa * bb);
}

static bool mixes(const nyb_recipe *r)
{
    return nyb_mix_length(r->fwd_w.spec.mix) > 0 || nyb_mix_length(r->dgrad_w.spec.mix) > 0;
}

/* Of weights of few bits they are not near, but on that side. Mixed weights times what is not mixed
 * would give any direction. */
static void expect_a_side(const char *recipe, const fixture *f, const fixture *exact)
{
    const nyb_graph *g = exact->train->graph, *h = f->train->graph;

    for (int p = 0; p < g->n_params; p++)
        if (g->params[p].trained && g->params[p].n_dims > 1 &&
            !(cosine(&g->params[p], &h->params[p]) > (mixes(f->recipe) ? 0.5 : 0.0)))
            fail_msg("%s: %s", recipe, g->params[p].name);
}

/* The weight gradients of a first step in training; its loss. real: without rounding of gradients,
 * where no transform needs it. */
static double trained(const char *recipe, bool real, fixture *f)
{
    static const char *const keys[] = {"dgrad.dy", "wgrad.dy"};

    fixture_init(f, "auto", 2, "resnet8", recipe, (const char *const[]){"finish.epochs=0", NULL},
                 16, 64);
    for (int i = 0; i < 2 && real; i++)
        assert_int_equal(nyb_recipe_set(f->recipe, keys[i], "f32", NULL), NYB_OK);
    fixture_start(f);
    return fixture_easy_step(f, 0);
}

static bool mixes_gradients(const char *recipe)
{
    nyb_recipe *r;

    assert_int_equal(nyb_recipe_create(recipe, &r, NULL), NYB_OK);
    const bool mixes =
        nyb_mix_length(r->dgrad_dy.spec.mix) > 0 || nyb_mix_length(r->wgrad_dy.spec.mix) > 0;
    nyb_recipe_destroy(&r);
    return mixes;
}

/* QAF: the forward pass is that of training, bit for bit, and what it rounded meets gradients that
 * are rounded to 2^-9: near those of training without rounding of gradients. Weights in blocks are
 * others there, and with a transform all is rounded. */
static void the_forward_pass_is_kept(void **state)
{
    static const char *const keep[] = {"finish.keep=forward", NULL};
    size_t n_near = 0, n_other = 0;

    (void)state;
    for (size_t i = 0; i < nyb_recipe_count(); i += TEST_EVERY(8)) {
        const char *recipe = nyb_recipe_name_at(i);
        const bool mixed = mixes_gradients(recipe);
        double least = 1;
        fixture want, got;

        if (trained(recipe, !mixed, &want) != gradients_of(recipe, keep, &got))
            fail_msg("%s: another forward pass", recipe);
        for (int p = 0; p < want.train->graph->n_params; p++) {
            const nyb_param *a = &want.train->graph->params[p];
            const nyb_param *b = &got.train->graph->params[p];

            if (a->trained && a->n_dims > 1)
                least = fmin(least, cosine(a, b));
            n_other += a->trained && memcmp(a->gradient, b->gradient, a->n * sizeof(float)) != 0;
        }
        if (least < (mixed ? 0.4 : 0.93))
            fail_msg("%s: cosine %g", recipe, least);
        n_near += least > 0.995;
        fixture_free(&want);
        fixture_free(&got);
    }
    assert_true(n_near > 40 / TEST_EVERY(10) && n_other > 500 / TEST_EVERY(10));
}

static void gradients_are_on_the_side_of_those_of_f32(void **state)
{
    size_t n_mixed = 0;
    fixture exact;

    (void)state;
    gradients_of("f32", NULL, &exact);
    for (size_t i = 0; i < nyb_recipe_count(); i += TEST_EVERY(8)) {
        fixture f;

        gradients_of(nyb_recipe_name_at(i), (const char *const[]){"finish.keep=weights", NULL}, &f);
        expect_a_side(nyb_recipe_name_at(i), &f, &exact);
        n_mixed += mixes(f.recipe);
        fixture_free(&f);
    }
    fixture_free(&exact);
    assert_true(n_mixed >= 6 / TEST_EVERY(6));
}

static void sums_are_exact(void **state)
{
    static const char *const sets[][4] = {
        {NULL},
        {"fwd.accum=e4m2", "dgrad.accum=e4m2/8", "wgrad.accum=e4m2", NULL},
        {"fwd.accum=int16/32", NULL}};
    fixture want;

    (void)state;
    gradients_of("luq", NULL, &want);
    for (size_t i = 1; i < sizeof sets / sizeof *sets; i++) {
        fixture f;

        gradients_of("luq", sets[i], &f);
        for (int p = 0; p < f.train->graph->n_params; p++) {
            const nyb_param *a = &want.train->graph->params[p], *b = &f.train->graph->params[p];

            if (a->trained)
                assert_memory_equal(a->gradient, b->gradient, a->n * sizeof(float));
        }
        fixture_free(&f);
    }
    fixture_free(&want);
}

/* ---- other formats ----------------------------------------------------------------------------
 */

typedef struct other {
    const char *keep, *forward, *backward; /* operands */
} other;

static const other others[] = {
    {"f32", "f32", "f32"},
    {"bf16", "bf16/unit", "bf16/unit"},
    {"fp16", "fp16/unit", "fp16/unit"},
    {"fp8", "e4m3b11/unit", "e5m2/unit"},
    {"hbfp6", "int6/hbfp/block64/nearest", "int6/hbfp/block64/stochastic"},
};
#define N_OTHERS (sizeof others / sizeof *others)

/* A run of one epoch, its weights and what evaluation says. */
static void short_run(fixture *f, nyb_train_summary *summary)
{
    nyb_error err = {0};

    fixture_start(f);
    if (nyb_train_run(f->train, NULL, NULL, NULL, NULL, &err) != NYB_OK)
        fail_msg("%s", err.text);
    nyb_train_summarize(f->train, summary);
}

/* A run that is nothing but its end has the weights, and the evaluation, of a recipe whose operands
 * are that format, but for layers that the recipe leaves in f32; layers in a third format are not
 * left out. It sums exactly, whatever the recipe's accumulators are, and so does its evaluation. */
static void the_end_is_a_recipe_of_its_format(void **state)
{
    static const struct {
        const char *recipe, *set, *key, *value;
    } cases[] = {{"luq", "shortcut=f32", "shortcut", "f32"},
                 {"nybble", "shortcut=recipe", "shortcut", "recipe"},
                 {"mxfp4", "edges=fp16", "edges", "recipe"},
                 {"luq", "fwd.accum=int8/16", "fwd.accum", "f32"}};
    static const char *const keys[] = {"fwd.x",   "fwd.w",    "dgrad.dy",
                                       "dgrad.w", "wgrad.dy", "wgrad.x"};

    (void)state;
    for (size_t i = 0; i < N_OTHERS * 4; i += TEST_EVERY(7)) {
        const other *o = &others[i % N_OTHERS];
        const char *const set = cases[i / N_OTHERS].set, *recipe = cases[i / N_OTHERS].recipe;
        char keep[32];
        nyb_train_summary want, got;
        fixture f;

        snprintf(keep, sizeof keep, "finish.keep=%s", o->keep);
        fixture_init(&f, "auto", 2, "resnet8", recipe,
                     (const char *const[]){set, keep, "finish.epochs=1", "finish.span=last", NULL},
                     16, 32);
        short_run(&f, &got);
        assert_int_equal(nyb_train_mode(f.train), NYB_MODE_FINISH);
        fixture_free(&f);

        fixture_init(&f, "auto", 2, "resnet8", recipe, NULL, 16, 32);
        assert_int_equal(
            nyb_recipe_set(f.recipe, cases[i / N_OTHERS].key, cases[i / N_OTHERS].value, NULL),
            NYB_OK);
        for (size_t k = 0; k < 6; k++)
            assert_int_equal(nyb_recipe_set(f.recipe, keys[k],
                                            strstr(keys[k], "dy") ? o->backward : o->forward, NULL),
                             NYB_OK);
        short_run(&f, &want);
        fixture_free(&f);
        if (strcmp(want.weights_sha256, got.weights_sha256) != 0 ||
            want.test_loss != got.test_loss || want.test_acc != got.test_acc)
            fail_msg("%s, %s: %s", recipe, set, o->keep);
    }
}

/* ---- runs -------------------------------------------------------------------------------------
 */

/* A triangle from the schedule's last rate, or from 0 where there are no epochs before it. */
static void the_rate_climbs_to_that_of_the_recipe(void **state)
{
    (void)state;
    for (int epochs = 0; epochs < 2; epochs++) {
        static const char *const sets[] = {"finish.epochs=1", "finish.lr=0.5", NULL};
        fixture f;

        fixture_init(&f, "auto", 1, "mlp:32", "luq", sets, 4, 32); /* 8 steps an epoch */
        f.options.epochs = epochs;
        fixture_start(&f);
        f.train->progress.step = 8 * (uint64_t)epochs - (epochs > 0);
        const double last = epochs > 0 ? (double)nyb_train_rate(f.train) : 0.0;
        for (int step = 0; step <= 8; step++) {
            const double up = (step < 4 ? step : 8 - step) / 4.0;

            f.train->progress.step = (uint64_t)(8 * epochs + step);
            assert_true(fabs((double)nyb_train_rate(f.train) - (last + (0.5 - last) * up)) < 1e-6);
        }
        fixture_free(&f);
    }
}

/* The run's own last epochs follow its schedule; a run of fewer is nothing else. */
static void the_last_epochs_are_those_of_the_run(void **state)
{
    static const char *const sets[] = {"finish.epochs=2", "finish.span=last", NULL};
    static const int epochs[] = {1, 2, 5};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fixture f, plain;

        fixture_init(&f, "auto", 1, "mlp:32", "luq", sets, 4, 32); /* 8 steps an epoch */
        fixture_init(&plain, "auto", 1, "mlp:32", "luq", NULL, 4, 32);
        f.options.epochs = plain.options.epochs = epochs[i];
        fixture_start(&f);
        fixture_start(&plain);
        assert_int_equal(nyb_train_total_steps(f.train), 8 * epochs[i]);
        for (int step = 0; step <= 8 * epochs[i]; step++) {
            f.train->progress.step = plain.train->progress.step = (uint64_t)step;
            assert_true(nyb_train_rate(f.train) == nyb_train_rate(plain.train));
            assert_int_equal(nyb_train_mode(f.train),
                             step >= 8 * (epochs[i] - 2) ? NYB_MODE_FINISH : NYB_MODE_TRAIN);
        }
        fixture_free(&f);
        fixture_free(&plain);
    }
}

/* 2 + 4 steps, some of them; the last 4 in another format, or FNT's. */
static void run_to(const char *recipe, const other *o, uint64_t first, uint64_t last,
                   nyb_train_summary *summary, fixture *f)
{
    nyb_error err = {0};
    char keep[32];

    snprintf(keep, sizeof keep, "finish.keep=%s", o ? o->keep : "weights");
    fixture_init(f, "auto", 1, "mlp:32,32", recipe,
                 (const char *const[]){"edges=recipe", "finish.epochs=2", keep,
                                       o ? "finish.span=last" : "finish.span=further", NULL},
                 8, 16);
    f->options.epochs = o ? 3 : 1;
    f->options.max_steps = last;
    fixture_start(f);
    if (first > 0 && nyb_train_resume(f->train, fixture_folder, &err) != NYB_OK)
        fail_msg("%s: %s", recipe, err.text);
    if (nyb_train_run(f->train, fixture_folder, NULL, NULL, NULL, &err) != NYB_OK)
        fail_msg("%s: %s", recipe, err.text);
    nyb_train_summarize(f->train, summary);
    assert_int_equal(summary->step, last);
}

static void run(const char *recipe, uint64_t first, uint64_t last, nyb_train_summary *summary,
                fixture *f)
{
    run_to(recipe, NULL, first, last, summary, f);
}

/* Of every recipe: learned clips, momenta and random bits go on, too. */
static void resume_is_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < nyb_recipe_count(); i += TEST_EVERY(8)) {
        nyb_train_summary whole, part;
        fixture f;

        for (int k = 0; k < 2; k++) {
            const other *o = k ? &others[i % N_OTHERS] : NULL;

            run_to(nyb_recipe_name_at(i), o, 0, 6, &whole, &f);
            fixture_free(&f);
            run_to(nyb_recipe_name_at(i), o, 0, 3, &part, &f);
            fixture_free(&f);
            run_to(nyb_recipe_name_at(i), o, 3, 6, &part, &f);
            fixture_free(&f);
            if (strcmp(whole.weights_sha256, part.weights_sha256) != 0)
                fail_msg("%s, %s", nyb_recipe_name_at(i), o ? o->keep : "FNT");
            if (whole.test_loss != part.test_loss)
                fail_msg("%s, %s: evaluation", nyb_recipe_name_at(i), o ? o->keep : "FNT");
        }
    }
}

/* Clips of activations, which nothing reads then, stay as they are; those of weights learn on. */
static void clips_without_a_gradient_stay(void **state)
{
    size_t n_stay = 0, n_learn = 0;

    (void)state;
    for (size_t i = 0; i < nyb_recipe_count(); i += TEST_EVERY(4)) {
        float before[64];
        nyb_train_summary summary;
        fixture f;

        run(nyb_recipe_name_at(i), 0, 2, &summary, &f);
        const nyb_graph *g = f.train->graph;
        assert_true(g->n_params < 64);
        for (int p = 0; p < g->n_params; p++)
            before[p] = g->params[p].value[0];
        f.train->options.max_steps = 6;
        assert_int_equal(nyb_train_run(f.train, NULL, NULL, NULL, NULL, NULL), NYB_OK);
        for (int p = 0; p < g->n_params; p++) {
            const bool is_x = g->params[p].index == NYB_SLOT_FWD_X;

            if (!g->params[p].rule)
                continue;
            assert_true((g->params[p].value[0] == before[p]) == is_x);
            n_stay += is_x;
            n_learn += !is_x;
        }
        fixture_free(&f);
    }
    assert_true(n_stay > 30 / TEST_EVERY(8) && n_learn > 15 / TEST_EVERY(8));
}

static int at_the_end(void *user, const nyb_event *event)
{
    (void)user;
    return event->step == 6;
}

/* Who stops a run after its last step gets all that a whole one has. */
static void a_run_stopped_at_its_end_is_whole(void **state)
{
    static const char *const sets[] = {"finish.epochs=2", NULL};
    nyb_train_summary summary;
    nyb_error err = {0};
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32,32", "luq", sets, 8, 16); /* 2 + 4 steps */
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, at_the_end, NULL, &err), NYB_OK);
    nyb_train_summarize(f.train, &summary);
    assert_true(summary.test_acc > 0 && summary.test_acc_f32_activations > 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_on_the_side_of_those_of_f32),
        cmocka_unit_test(the_forward_pass_is_kept),
        cmocka_unit_test(sums_are_exact),
        cmocka_unit_test(the_end_is_a_recipe_of_its_format),
        cmocka_unit_test(the_last_epochs_are_those_of_the_run),
        cmocka_unit_test(the_rate_climbs_to_that_of_the_recipe),
        cmocka_unit_test_setup_teardown(resume_is_exact, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(clips_without_a_gradient_stay, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_run_stopped_at_its_end_is_whole, fixture_make_folder,
                                        fixture_remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
