/* Fused programs give the bits of their operators run one after the other, in fewer steps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/context.h"
#include "fixture.h"
#include "graph/graph.h"
#include "train/run.h"

typedef struct outcome {
    char weights[65];
    float loss, accuracy;
    size_t live; /* bytes, at the worst moment of the training program */
} outcome;

static size_t most_live(const nyb_program *p)
{
    size_t most = 0;

    for (int s = 0; s < p->n_steps; s++) {
        size_t live = 0;

        for (int i = 0; i < p->n_buffers; i++)
            if (p->buffers[i].home == NYB_HOME_PLANNED && nyb_buffer_is_live(&p->buffers[i], s))
                live += p->buffers[i].n_bytes;
        most = live > most ? live : most;
    }
    /* The plan wastes little. */
    assert_true(p->n_bytes >= most && p->n_bytes <= most + most / 10);
    return most;
}

/* What batchnorm reads is read by an add as well; odd channels; batchnorm without relu; two that
 * share a gradient. */
static nyb_model *woven(void)
{
    const nyb_conv2d_options wide = {.out = 32, .kernel = 3, .stride = 2, .pad = 1};
    const nyb_conv2d_options same = {.out = 32, .kernel = 3, .stride = 1, .pad = 1, .bias = 1};
    const nyb_conv2d_options odd = {.out = 21, .kernel = 1, .stride = 1};
    nyb_error err = {0};
    nyb_model *m;

    assert_int_equal(nyb_model_create("woven", &m, &err), NYB_OK);
    nyb_value x = nyb_conv2d(m, nyb_input(m, 28, 28, 1, 0), "a", &wide);
    x = nyb_conv2d(m, nyb_relu(m, nyb_batchnorm(m, x, "bn_a")), "b", &wide);
    nyb_value y = nyb_relu(m, nyb_batchnorm(m, x, "bn_b"));
    y = nyb_batchnorm(m, nyb_conv2d(m, y, "c", &same), "bn_c");
    x = nyb_add(m, x, nyb_conv2d(m, y, "d", &same));
    y = nyb_batchnorm(m, nyb_conv2d(m, x, "u", &same), "bn_u");
    y = nyb_add(m, y, nyb_batchnorm(m, nyb_conv2d(m, x, "v", &same), "bn_v"));
    x = nyb_conv2d(m, y, "w", &same);
    x = nyb_relu(m, nyb_batchnorm(m, nyb_conv2d(m, nyb_relu(m, x), "e", &odd), "bn_e"));
    x = nyb_batchnorm(m, nyb_conv2d(m, x, "f", &odd), "bn_f");
    x = nyb_linear(m, nyb_flatten(m, nyb_global_avgpool(m, x)), "g", 10, 1);
    assert_int_equal(nyb_model_finish(m, x, &err), NYB_OK);
    return m;
}

static outcome run(const char *model, const char *recipe, const char *const *sets, bool unfused)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    outcome o = {{0}, 0, 0, 0};
    fixture f;

    fixture_init(&f, "auto", 2, model ? model : "mlp", recipe, sets, 4, 12);
    if (!model) {
        nyb_model_destroy(&f.model);
        f.model = woven();
    }
    f.context->unfused = unfused;
    fixture_start(&f);
    if (nyb_train_run(f.train, NULL, NULL, NULL, NULL, &err) != NYB_OK)
        fail_msg("%s", err.text);
    nyb_train_summarize(f.train, &summary);
    memcpy(o.weights, summary.weights_sha256, sizeof o.weights);
    o.loss = (float)summary.test_loss; /* of the evaluation program */
    o.accuracy = (float)summary.test_acc;
    o.live = most_live(&f.train->graph->programs[NYB_MODE_TRAIN]);
    fixture_free(&f);
    return o;
}

/* model NULL: woven. */
static void check(const char *model, const char *recipe, const char *const *sets)
{
    const outcome plain = run(model, recipe, sets, true), fused = run(model, recipe, sets, false);

    model = model ? model : "woven";
    if (strcmp(plain.weights, fused.weights) != 0)
        fail_msg("%s, %s: fused weights are %s, not %s", model, recipe, fused.weights,
                 plain.weights);
    if (memcmp(&plain.loss, &fused.loss, sizeof plain.loss) != 0 ||
        memcmp(&plain.accuracy, &fused.accuracy, sizeof plain.accuracy) != 0)
        fail_msg("%s, %s: evaluation differs: loss %.9g, not %.9g", model, recipe,
                 (double)fused.loss, (double)plain.loss);
    if (fused.live > plain.live + 4096) /* three floats a channel of what is made again */
        fail_msg("%s, %s: fusion costs memory: %zu bytes, not %zu", model, recipe, fused.live,
                 plain.live);
}

/* One recipe for each way in which a tensor becomes operands: packed codes with moments, f32,
 * factors, blocks, masks with learned scales, loss scaling, Householder. */
static void fused_bits_are_the_operators(void **state)
{
    static const char *const recipes[] = {"luq",       "f32",  "nybble",       "mxfp4",
                                          "pact_sawb", "fp16", "statquant_bhq"};
    static const char *const shortcut[] = {"shortcut=recipe", "edges=recipe", NULL};
    static const char *const finish[] = {"finish.epochs=1", "store=bf16", NULL};
    static const char *const hindsight[] = {"dgrad.dy=e3m0/hindsight/tensor/stochastic",
                                            "wgrad.dy=e3m0/hindsight/tensor/stochastic", NULL};
    static const char *const half[] = {"store=bf16", NULL};
    static const char *const drawn[] = {"store=bf16/stochastic", NULL};
    static const char *const drawn_again[] = {"store=bf16/stochastic", "recompute=products", NULL};
    static const char *const repeat[] = {"recompute=products", NULL};
    static const char *const lean[] = {"recompute=products", "store=bf16", NULL};
    static const char *const delayed[] = {"dgrad.dy=int8/delayed/tensor/stochastic",
                                          "wgrad.dy=int8/delayed/tensor/stochastic", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i += TEST_EVERY(3)) {
        check("resnet8", recipes[i], NULL);
        check("resnet8", recipes[i], half);
        check(NULL, recipes[i], NULL);
        check(NULL, recipes[i], half);
        check(NULL, recipes[i], drawn);
        check("resnet8", recipes[i], repeat);
        check("resnet8", recipes[i], lean);
        check(NULL, recipes[i], repeat);
    }
    check("mobilenet3", "luq", lean);
    check("mobilenet3", "luq", drawn_again);
    check("resnet8", "luq", drawn_again);
    check("resnet8", "mxfp4", drawn_again);
    check("resnet8", "ultralow", repeat);
    check("resnet14s", "luq", shortcut);
    check("resnet14s", "luq", finish);
    check("mobilenet3", "luq", finish);
    check("resnet8", "luq", hindsight);
    check("resnet8", "luq", delayed);
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
        assert_int_equal(count(g, NYB_STEP_SAMPLE, "conv2d"), unfused ? 0 : 2);
        nyb_graph_destroy(&g);
    }
    fixture_free(&f);
}

/* store = bf16: what a product makes for batchnorm alone is never f32, and half as long. */
static void products_write_what_batchnorm_stores(void **state)
{
    static const char *const recipes[] = {"luq", "f32", "mxfp4", "statquant_bhq", "luq"};
    static const char *const half[] = {"store=bf16", NULL};
    static const char *const drawn[] = {"store=bf16/stochastic", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        int forward = 0, backward = 0;
        nyb_error err = {0};
        nyb_graph *g;
        fixture f;

        fixture_init(&f, "auto", 1, "resnet8", recipes[i], i < 4 ? half : drawn, 8, 16);
        assert_int_equal(nyb_graph_create(f.context, f.model, (const struct nyb_recipe *)f.recipe,
                                          8, 1, 0, &g, &err),
                         NYB_OK);
        const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
        for (int s = 0; s < p->n_steps; s++)
            if (p->steps[s].kind == NYB_STEP_PRODUCT && p->steps[s].half) {
                const nyb_conv_shape *shape = &p->steps[s].shape;
                const bool fwd = p->steps[s].product == NYB_PRODUCT_FWD;
                const size_t n = shape->n * (fwd ? shape->oh * shape->ow * shape->o
                                                 : shape->h * shape->w * shape->c);

                assert_int_equal(p->buffers[p->steps[s].out].n_bytes, nyb_round_up(2 * n, 64));
                forward += fwd;
                backward += p->steps[s].product == NYB_PRODUCT_DX;
            } else if (p->steps[s].kind == NYB_STEP_REFLECT) {
                backward += p->steps[s].half; /* dX is f32 until it is taken back */
            }
        assert_int_equal(forward, 9);  /* all convolutions */
        assert_int_equal(backward, 3); /* of each block's second */
        nyb_graph_destroy(&g);
        fixture_free(&f);
    }
}

/* Of a block's input its f32 shortcut keeps the pixels it sees, where nobody keeps the whole. */
static void shortcuts_keep_what_they_see(void **state)
{
    static const struct {
        const char *recipe;
        bool samples;
    } cases[] = {{"luq", true},  {"luq_lean", true},   {"nybble", true},
                 {"f32", false}, {"pact_sawb", false}, {"mxfp4", false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_error err = {0};
        nyb_graph *g;
        fixture f;

        fixture_init(&f, "auto", 1, "resnet8", cases[i].recipe, NULL, 8, 16);
        assert_int_equal(nyb_graph_create(f.context, f.model, (const struct nyb_recipe *)f.recipe,
                                          8, 1, 0, &g, &err),
                         NYB_OK);
        assert_int_equal(count(g, NYB_STEP_SAMPLE, "conv2d"), cases[i].samples ? 2 : 0);
        const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
        for (int s = 0; s < p->n_steps; s++)
            if (p->steps[s].kind == NYB_STEP_SAMPLE) {
                const nyb_buffer *whole = &p->buffers[p->steps[s].in[0]];
                const nyb_buffer *seen = &p->buffers[p->steps[s].out];

                assert_true(seen->n_bytes * 4 == whole->n_bytes);
                assert_true(seen->last >= p->n_forward && whole->last < p->n_forward);
            }
        nyb_graph_destroy(&g);
        fixture_free(&f);
    }
}

/* Between the two convolutions of a block, and of both convolutions' gradients, only codes exist;
 * the sum that a block ends in is stored, for the next shortcut. */
static void inner_tensors_are_never_stored(void **state)
{
    static const char *const smp2[] = {"wgrad.dy.samples=2", NULL};
    static const char *const hindsight[] = {"dgrad.dy=e3m0/hindsight/tensor/stochastic",
                                            "wgrad.dy=e3m0/hindsight/tensor/stochastic", NULL};
    const char *const *const sets[] = {NULL, smp2, hindsight};
    nyb_error err = {0};
    nyb_graph *g;
    fixture f;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int forward = 0, backward = 0, lagging = 0;

        fixture_init(&f, "auto", 1, "resnet8", "luq", sets[i], 8, 16);
        assert_int_equal(nyb_graph_create(f.context, f.model, (const struct nyb_recipe *)f.recipe,
                                          8, 1, 0, &g, &err),
                         NYB_OK);
        const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
        for (int s = 0; s < p->n_steps; s++)
            if (p->steps[s].producer >= 0) {
                const nyb_step *producer = &p->steps[p->steps[s].producer];

                assert_true(producer->args.fused.unstored && p->steps[s].producer < s);
                assert_true(p->buffers[p->quants[p->steps[s].quant].real].first < 0);
                if (producer->kind == NYB_STEP_FORWARD)
                    forward++;
                else
                    backward++;
                lagging += producer->lagging >= 0;
            }
        assert_int_equal(forward, 3);
        assert_int_equal(backward, i != 1 ? 6 : 0); /* two draws: stored, and read twice */
        assert_int_equal(lagging, i == 2 ? 6 : 0);
        nyb_graph_destroy(&g);
        fixture_free(&f);
    }
}

/* What batchnorm writes is not kept where dW alone reads it again and nothing else must be kept for
 * it: of three blocks the inputs of their second convolutions, and the sum of the first, from the
 * block's input. The second's shortcut is a convolution, whose output nobody else needs. */
static void inputs_of_dw_are_made_again(void **state)
{
    static const char *const half[] = {"store=bf16", NULL};
    static const struct {
        const char *recipe;
        const char *const *sets;
        int again;
    } cases[] = {{"f32", NULL, 4}, {"f32", half, 4},       {"mxfp4", NULL, 4},
                 {"luq", NULL, 0}, {"pact_sawb", NULL, 0}, {"nybble", NULL, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t kept[2] = {0};
        nyb_error err = {0};
        nyb_graph *g;
        fixture f;

        fixture_init(&f, "auto", 1, "resnet8", cases[i].recipe, cases[i].sets, 8, 16);
        for (int unfused = 0; unfused < 2; unfused++) {
            f.context->unfused = unfused;
            assert_int_equal(nyb_graph_create(f.context, f.model, f.recipe, 8, 1, 0, &g, &err),
                             NYB_OK);
            const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
            int again = 0;
            for (int s = 0; s < p->n_steps; s++) {
                if (p->steps[s].kind != NYB_STEP_AGAIN)
                    continue;
                const nyb_step *producer = &p->steps[p->steps[s].producer];
                assert_true(s >= p->n_forward && producer->kind == NYB_STEP_FORWARD);
                assert_true(p->buffers[producer->out].last < p->n_forward);
                assert_int_equal(p->buffers[p->steps[s].out].first, s);
                again++;
            }
            assert_int_equal(again, unfused ? 0 : cases[i].again);
            for (int b = 0; b < p->n_buffers; b++)
                if (p->buffers[b].home == NYB_HOME_PLANNED && p->buffers[b].first < p->n_forward &&
                    p->buffers[b].last >= p->n_forward)
                    kept[unfused] += p->buffers[b].n_bytes;
            nyb_graph_destroy(&g);
        }
        if (cases[i].again)
            assert_true(kept[0] < kept[1] * 3 / 4);
        fixture_free(&f);
    }
}

/* recompute = products: no pre-activation is kept whose operands are there anyway, or are as codes
 * a fraction of it; it is multiplied once more before anybody reads it. What is left of luq is
 * codes, masks and what the f32 shortcuts see. */
static void products_are_repeated(void **state)
{
    static const struct {
        const char *recipe;
        const char *store;
        int repeats; /* of nine convolutions */
        double less; /* is kept, at least by this factor */
    } cases[] = {{"luq", "store=f32", 9, 5},      {"luq", "store=bf16", 9, 3},
                 {"nybble", "store=f32", 9, 5},   {"mxfp4", "store=f32", 9, 2},
                 {"mxfp4", "store=bf16", 9, 1.4}, {"f32", "store=bf16", 4, 1.4}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const sets[] = {"recompute=products", cases[i].store, NULL};
        nyb_error err = {0};
        nyb_graph *g;
        fixture f;
        size_t kept[2];

        for (int with = 0; with < 2; with++) {
            int repeats = 0;

            fixture_init(&f, "auto", 1, "resnet8", cases[i].recipe, sets + !with, 8, 16);
            assert_int_equal(nyb_graph_create(f.context, f.model, f.recipe, 8, 1, 0, &g, &err),
                             NYB_OK);
            const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
            for (int s = 0; s < p->n_steps; s++) {
                if (p->steps[s].kind != NYB_STEP_REPEAT)
                    continue;
                const nyb_step *product = &p->steps[p->steps[s].producer];
                const nyb_buffer *y = &p->buffers[p->steps[s].out];
                assert_true(product->kind == NYB_STEP_PRODUCT && product->out == p->steps[s].out);
                assert_true(s >= p->n_forward && y->again == s && y->last > s);
                assert_true(y->gone > y->first && y->gone < p->n_forward);
                repeats++;
            }
            assert_int_equal(repeats, with ? cases[i].repeats : 0);
            kept[with] = nyb_program_kept(p).total;
            nyb_graph_destroy(&g);
            fixture_free(&f);
        }
        assert_true((double)kept[1] * cases[i].less <= (double)kept[0]);
    }
}

/* Where dx of a batchnorm is stored and nobody reads dout again, it takes its place: of f32's nine
 * all but the three that first hand their masked dout on, one of each block. */
static void gradients_are_made_in_place(void **state)
{
    static const struct {
        const char *recipe;
        int in_place, stored;
    } cases[] = {{"f32", 6, 9}, {"luq", 1, 3}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_error err = {0};
        nyb_graph *g;
        fixture f;
        int in_place = 0, stored = 0;

        fixture_init(&f, "auto", 1, "resnet8", cases[i].recipe, NULL, 8, 16);
        assert_int_equal(nyb_graph_create(f.context, f.model, f.recipe, 8, 1, 0, &g, &err), NYB_OK);
        const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
        for (int s = p->n_forward; s < p->n_steps; s++) {
            const nyb_step *step = &p->steps[s];

            if (step->kind != NYB_STEP_BACKWARD ||
                strcmp(g->model->layers[step->layer].op->name, "batchnorm") != 0)
                continue;
            stored += step->din[0] >= 0;
            in_place += step->din[0] >= 0 && step->din[0] == step->dout;
        }
        assert_int_equal(in_place, cases[i].in_place);
        assert_int_equal(stored, cases[i].stored);
        nyb_graph_destroy(&g);
        fixture_free(&f);
    }
}

/* The loss of a forward pass with the random bits of one step, and the first layer's gradient from
 * a backward pass with those of another. */
static double pass(nyb_graph *g, uint32_t forward, uint32_t backward, float *gradient)
{
    nyb_graph_forward(g, NYB_MODE_TRAIN, forward);
    nyb_graph_backward(g, NYB_MODE_TRAIN, backward);
    memcpy(gradient, g->params[0].gradient, 16 * sizeof *gradient);
    return g->result[0];
}

/* 8 images of 28 x 28 with labels 0 .. 7. */
static void fill_batch(nyb_graph *g)
{
    for (size_t i = 0; i < 8 * 28 * 28; i++)
        g->input[i] = (float)(i * 2654435761u % 1000) / 1000;
    for (int i = 0; i < 8; i++)
        g->labels[i] = i;
}

/* store = bf16/stochastic: each step has random bits of its own, for y as for dX. */
static void stores_are_drawn_anew_in_every_step(void **state)
{
    static const char *const drawn[] = {"store=bf16/stochastic", NULL};
    float gradient[4][16];
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "f32", drawn, 8, 16);
    fixture_start(&f);
    nyb_graph *g = f.train->graph;
    fill_batch(g);
    const double loss = pass(g, 5, 5, gradient[0]);
    assert_true(pass(g, 5, 5, gradient[1]) == loss);
    assert_true(pass(g, 5, 6, gradient[2]) == loss);
    assert_true(pass(g, 6, 6, gradient[3]) != loss);
    assert_memory_equal(gradient[0], gradient[1], sizeof gradient[0]);
    assert_memory_not_equal(gradient[0], gradient[2], sizeof gradient[0]);
    fixture_free(&f);
}

typedef struct seen {
    uint64_t hash;
    int n;
} seen;

static void see(void *user, const nyb_quant *quant, const float *real, const float *values)
{
    const size_t n = quant->packed.rows * quant->packed.cols;
    seen *s = user;

    (void)values;
    s->n++;
    for (size_t i = 0; real && i < n; i++)
        s->hash = (s->hash ^ nyb_bits_of(real[i])) * 0x100000001b3;
}

/* Telemetry sees tensors that are not stored. */
static void telemetry_sees_every_tensor(void **state)
{
    seen fused = {0, 0}, plain = {0, 0};
    fixture f;

    (void)state;
    for (int unfused = 0; unfused < 2; unfused++) {
        fixture_init(&f, "auto", 2, "resnet8", "luq", NULL, 8, 16);
        f.context->unfused = unfused;
        fixture_start(&f);
        nyb_graph *g = f.train->graph;
        fill_batch(g);
        g->measure = true;
        g->measure_fn = see;
        g->measure_user = unfused ? &plain : &fused;
        nyb_graph_forward(g, NYB_MODE_TRAIN, 0);
        nyb_graph_backward(g, NYB_MODE_TRAIN, 0);
        fixture_free(&f);
    }
    assert_true(fused.n > 15);
    assert_int_equal(fused.n, plain.n);
    assert_true(fused.hash == plain.hash);
}

/* Where an infinity begins is found also in a tensor that is not stored. */
static void a_nonfinite_layer_is_found(void **state)
{
    char want[64] = "", *got;
    fixture f;

    (void)state;
    for (int unfused = 1; unfused >= 0; unfused--) {
        fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 8, 16);
        f.context->unfused = unfused;
        fixture_start(&f);
        nyb_graph *g = f.train->graph;
        for (int i = 0; i < g->n_params; i++)
            if (!strcmp(g->params[i].name, "layer2.0.bn1.bias"))
                g->params[i].value[3] = INFINITY;
        got = g->model->layers[nyb_graph_find_nonfinite(g, NYB_MODE_TRAIN, 0)].name;
        if (unfused)
            snprintf(want, sizeof want, "%s", got);
        else
            assert_string_equal(got, want);
        fixture_free(&f);
    }
    assert_string_equal(want, "layer2.0.bn1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_bits_are_the_operators),
        cmocka_unit_test(residual_nets_keep_no_pass_of_their_own),
        cmocka_unit_test(products_write_what_batchnorm_stores),
        cmocka_unit_test(shortcuts_keep_what_they_see),
        cmocka_unit_test(inner_tensors_are_never_stored),
        cmocka_unit_test(inputs_of_dw_are_made_again),
        cmocka_unit_test(products_are_repeated),
        cmocka_unit_test(gradients_are_made_in_place),
        cmocka_unit_test(stores_are_drawn_anew_in_every_step),
        cmocka_unit_test(telemetry_sees_every_tensor),
        cmocka_unit_test(a_nonfinite_layer_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
