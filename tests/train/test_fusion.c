/* Fused programs give the bits of their operators run one after the other, in fewer steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/context.h"
#include "fixture.h"
#include "graph/graph.h"

typedef struct outcome {
    char weights[65];
    float loss, accuracy;
    size_t arena;
} outcome;

static outcome run(const char *model, const char *recipe, const char *const *sets, bool unfused)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    outcome o = {{0}, 0, 0, 0};
    fixture f;

    fixture_init(&f, "auto", 2, model, recipe, sets, 8, 24);
    f.context->unfused = unfused;
    fixture_start(&f);
    if (nyb_train_run(f.train, NULL, NULL, NULL, NULL, &err) != NYB_OK)
        fail_msg("%s", err.text);
    nyb_train_summarize(f.train, &summary);
    memcpy(o.weights, summary.weights_sha256, sizeof o.weights);
    o.loss = (float)summary.test_loss; /* of the evaluation program */
    o.accuracy = (float)summary.test_acc;
    o.arena = summary.arena_bytes;
    fixture_free(&f);
    return o;
}

static void check(const char *model, const char *recipe, const char *const *sets)
{
    const outcome plain = run(model, recipe, sets, true), fused = run(model, recipe, sets, false);

    if (strcmp(plain.weights, fused.weights) != 0)
        fail_msg("%s, %s: fused weights are %s, not %s", model, recipe, fused.weights,
                 plain.weights);
    if (memcmp(&plain.loss, &fused.loss, sizeof plain.loss) != 0 ||
        memcmp(&plain.accuracy, &fused.accuracy, sizeof plain.accuracy) != 0)
        fail_msg("%s, %s: evaluation differs: loss %.9g, not %.9g", model, recipe,
                 (double)fused.loss, (double)plain.loss);
    if (fused.arena > plain.arena)
        fail_msg("%s, %s: fusion costs memory: %zu bytes, not %zu", model, recipe, fused.arena,
                 plain.arena);
}

/* One recipe for each way in which a tensor becomes operands: packed codes with moments, f32,
 * factors, blocks, masks with learned scales, loss scaling, Householder. */
static void fused_bits_are_the_operators(void **state)
{
    static const char *const recipes[] = {"luq",       "f32",  "nybble",       "mxfp4",
                                          "pact_sawb", "fp16", "statquant_bhq"};
    static const char *const shortcut[] = {"shortcut=recipe", "edges=recipe", NULL};
    static const char *const finish[] = {"finish.epochs=1", "store=bf16", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        check("resnet8", recipes[i], NULL);
    check("resnet14s", "luq", shortcut);
    check("resnet14s", "luq", finish);
}

/* Steps of an operator in the training program. */
static int count(const nyb_graph *g, nyb_step_kind kind, const char *op)
{
    const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
    int n = 0;

    for (int i = 0; i < p->n_steps; i++)
        n += p->steps[i].kind == kind &&
             strcmp(g->model->layers[p->steps[i].layer].op->name, op) == 0;
    return n;
}

static void residual_nets_keep_no_pass_of_their_own(void **state)
{
    nyb_error err = {0};
    nyb_graph *g;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 8, 16);
    for (int unfused = 1; unfused >= 0; unfused--) {
        f.context->unfused = unfused;
        assert_int_equal(nyb_graph_create(f.context, f.model, (const struct nyb_recipe *)f.recipe,
                                          8, 1, 0, &g, &err),
                         NYB_OK);
        assert_int_equal(count(g, NYB_STEP_FORWARD, "batchnorm"), 9);
        assert_int_equal(count(g, NYB_STEP_FORWARD, "relu"), unfused ? 7 : 0);
        assert_int_equal(count(g, NYB_STEP_FORWARD, "add"), unfused ? 3 : 0);
        assert_int_equal(count(g, NYB_STEP_BACKWARD, "relu"), unfused ? 7 : 0);
        assert_int_equal(count(g, NYB_STEP_BACKWARD, "add"), unfused ? 3 : 0);
        nyb_graph_destroy(&g);
    }
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fused_bits_are_the_operators),
                                       cmocka_unit_test(residual_nets_keep_no_pass_of_their_own)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
