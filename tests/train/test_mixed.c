/* Operands of the backward pass that are the forward's mixed values: rounded again in the basis in
 * which these were rounded, and their products taken back from it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "graph/graph.h"
#include "train/run.h"

#define SETS_MAX 16

/* The gradients of a first step; edges and shortcuts as all layers. */
static void gradients_of(const char *cpu, const char *model, const char *const *sets, fixture *f)
{
    const char *all[SETS_MAX + 3] = {0};
    size_t n = 0;

    for (; sets[n]; n++)
        all[n] = sets[n];
    assert_true(n <= SETS_MAX);
    all[n] = "edges=recipe";
    all[n + 1] = "shortcut=recipe";
    fixture_init(f, cpu, 2, model, "f32", all, 16, 64);
    fixture_start(f);
    assert_true(isfinite(fixture_easy_step(f, 0)));
}

/* Largest of all weights' |a - b| / |b|, 2-norms. */
static double distance(const fixture *f, const fixture *g)
{
    const nyb_graph *a = f->train->graph, *b = g->train->graph;
    double most = 0;

    assert_int_equal(a->n_params, b->n_params);
    for (int p = 0; p < b->n_params; p++) {
        double error = 0, size = 0;

        for (size_t i = 0; b->params[p].trained && b->params[p].n_dims > 1 && i < b->params[p].n;
             i++) {
            const double want = (double)b->params[p].gradient[i];

            error += pow((double)a->params[p].gradient[i] - want, 2);
            size += want * want;
        }
        if (size > 0)
            most = fmax(most, sqrt(error / size));
    }
    return most;
}

#define FINE       "e8m18/unit/tensor/nearest"
#define FINE_MIXED FINE "/hadamard32"
#define BLOCKS     "e5m18/pow2/block32/nearest/hadamard32"
#define BLOCKS16   "e5m18/pow2/block16/nearest/random_hadamard16"
#define FORWARD(x) "fwd.x=" x, "fwd.w=" x
#define AGAIN(x)   "dgrad.w=" x, "wgrad.x=" x, "dgrad.w.from=fwd", "wgrad.x.from=fwd"
#define DY(x)      "dgrad.dy=" x, "wgrad.dy=" x

/* Whether both, either or none of the two operands stays mixed, whatever reads them; resnet8 has
 * windows, strides and two readers of a tensor, mlp:100,40 rows of several transforms. */
static void products_come_back_from_the_mix(void **state)
{
    static const char *const sets[][SETS_MAX] = {
        {FORWARD(FINE_MIXED), AGAIN(FINE)},
        {FORWARD(BLOCKS), AGAIN(FINE), "fwd.x.ste=mask", "fwd.w.ste=mask"},
        {FORWARD(FINE_MIXED), AGAIN(FINE_MIXED), DY(FINE_MIXED)},
        {FORWARD(FINE_MIXED), AGAIN(FINE "/random_hadamard64"), DY(FINE "/random_hadamard64")},
        {FORWARD(BLOCKS16), AGAIN(FINE), "fwd.w.ste=mask"},
        {FORWARD(BLOCKS), AGAIN(FINE), "fwd.x.ste=mask"},
        {FORWARD(FINE "/random_hadamard16"), AGAIN(FINE)},
        {FORWARD(FINE_MIXED), "dgrad.w=" FINE, "dgrad.w.from=fwd"},
        {FORWARD(FINE_MIXED), "wgrad.x=" FINE, "wgrad.x.from=fwd"},
        {FORWARD(FINE_MIXED), AGAIN(FINE), "store=bf16"},
        {FORWARD(FINE_MIXED), AGAIN(FINE), "recompute=products"},
    };
    static const char *const models[] = {"mlp:100,40", "resnet8"};

    (void)state;
    for (size_t m = 0; m < 2; m++) {
        fixture exact;

        gradients_of("auto", models[m], (const char *const[]){NULL}, &exact);
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i += TEST_EVERY(3)) {
            fixture f;
            double d;

            gradients_of("auto", models[m], sets[i], &f);
            d = distance(&f, &exact);
            if (!(d < (i == 9 ? 0.3 : 0.005)))
                fail_msg("%s, case %zu: %g", models[m], i, d);
            fixture_free(&f);
        }
        fixture_free(&exact);
    }
}

/* A tensor's codes of one scale are a fixed point of the rule that made them, in their own basis
 * only: rounding them again changes nothing. */
static void what_is_rounded_again_is_what_was_rounded(void **state)
{
    static const char *const once[] = {FORWARD("int4/absmax/tensor/nearest/hadamard32"),
                                       AGAIN("e8m12/unit"), NULL};
    static const char *const twice[] = {FORWARD("int4/absmax/tensor/nearest/hadamard32"),
                                        AGAIN("int4/absmax/tensor/nearest"), NULL};
    static const char *const models[] = {"mlp:100,40", "resnet8"};

    (void)state;
    for (size_t m = 0; m < 2; m++) {
        fixture f, g;

        gradients_of("auto", models[m], once, &f);
        gradients_of("auto", models[m], twice, &g);
        assert_true(distance(&g, &f) < 1e-3);
        fixture_free(&f);
        fixture_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_come_back_from_the_mix),
        cmocka_unit_test(what_is_rounded_again_is_what_was_rounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
