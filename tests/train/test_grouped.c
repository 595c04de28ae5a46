/* Training on codes that are rounded in blocks, after a mix, or around a zero of their own: each
 * product beside the f32 engine's on the same operands, the same bits on every machine, and what is
 * kept for the backward pass. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "train/run.h"

#define EVERYWHERE(spec)                                                                           \
    {                                                                                              \
        "fwd.x=" spec, "fwd.w=" spec, "dgrad.dy=" spec, "dgrad.w=" spec, "wgrad.dy=" spec,         \
            "wgrad.x=" spec, "edges=recipe", "shortcut=recipe", NULL                               \
    }

/* Of recipe f32. */
static const char *const settings[][16] = {
    EVERYWHERE("e2m1/e8m0/block32/nearest"),
    EVERYWHERE("e2m1/e4m3/block16/stochastic"),
    EVERYWHERE("int4/absmax/block64/nearest"),
    EVERYWHERE("int8/absmax/block32/stochastic:32"),
    EVERYWHERE("e3m0/absmax/block16/stochastic"),
    EVERYWHERE("binary/absmax/block32/nearest"),
    EVERYWHERE("e1m2/absmax/block16/stochastic/random_hadamard16"),
    EVERYWHERE("e2m1/ms_eden/block16/nearest/random_hadamard128"),
    EVERYWHERE("e2m1/e4m3_46/block32/nearest/hadamard32"),
    /* one scale, chosen after a mix */
    EVERYWHERE("int4/absmax/tensor/stochastic/hadamard32"),
    EVERYWHERE("e3m0/absmax/tensor/stochastic/random_hadamard16"),
    EVERYWHERE("e2m1/ptq_mse/tensor/nearest/hadamard64"),
    /* whose zero is another code */
    EVERYWHERE("uint8/ptq/tensor/stochastic"),
    EVERYWHERE("uint4/ptq/tensor/nearest"),
    EVERYWHERE("uint8/ptq/tensor/nearest/random_hadamard16"),
    {"fwd.x=uint8/absmax/tensor/nearest", "fwd.w=int8/absmax/tensor/nearest",
     "dgrad.dy=int8/absmax/tensor/stochastic", "dgrad.w=int8/absmax/tensor/nearest",
     "wgrad.dy=int8/absmax/tensor/stochastic", "wgrad.x=uint8/absmax/tensor/nearest",
     "edges=recipe", "shortcut=recipe", "wgrad.dy.samples=3", NULL},
    {"fwd.x=uint8/ptq/tensor/nearest", "fwd.w=int8/absmax/tensor/nearest",
     "dgrad.dy=e3m0/absmax/tensor/stochastic", "dgrad.w=uint8/ptq/tensor/nearest",
     "wgrad.dy=uint4/ptq/tensor/stochastic", "wgrad.x=uint5/absmax/tensor/nearest", "edges=recipe",
     "shortcut=recipe", NULL},
    {"fwd.x=uint4/absmax/block32/nearest", "fwd.w=int4/absmax/block32/nearest",
     "dgrad.dy=e3m0/absmax/block32/stochastic", "dgrad.w=e2m1/e8m0/block32/nearest",
     "wgrad.dy=int4/absmax/block16/stochastic", "wgrad.x=e2m1/e8m0/block16/nearest",
     "dgrad.w.from=fwd", "wgrad.x.from=fwd", "edges=recipe", "shortcut=recipe", "dgrad.w.pre=0.75",
     "dgrad.dy.post=1.25", NULL},
    /* weights in tiles, drawn once for both products, or once for each */
    {"fwd.x=e2m1/e4m3/block16/nearest", "fwd.w=e2m1/e4m3/tile16/stochastic",
     "dgrad.dy=e2m1/e4m3/block16/stochastic", "dgrad.w=e2m1/e4m3/tile16/stochastic",
     "wgrad.dy=e2m1/e4m3/block16/stochastic", "wgrad.x=e2m1/e4m3/block16/nearest", "edges=recipe",
     "shortcut=recipe", NULL},
    {"fwd.x=int4/absmax/block16/nearest", "fwd.w=int8/absmax/tile16/nearest",
     "dgrad.dy=e3m0/absmax/block16/stochastic", "dgrad.w=e1m2/absmax/tile16/stochastic",
     "wgrad.dy=int8/absmax/block64/nearest", "wgrad.x=int4/absmax/block64/nearest", "edges=recipe",
     "shortcut=recipe", NULL},
    /* one scale and blocks; x and dy packed once for two products */
    {"fwd.x=uint4/absmax/tensor/stochastic", "fwd.w=int4/absmax/block32/nearest",
     "dgrad.dy=e3m0/absmax/tensor/stochastic", "dgrad.w=e2m1/e8m0/block64/nearest",
     "wgrad.dy=int4/absmax/block32/stochastic", "wgrad.x=uint4/absmax/tensor/stochastic",
     "edges=recipe", "shortcut=recipe", NULL},
    {"fwd.x=e2m1/e4m3/block16/nearest", "fwd.w=int8/absmax/tensor/stochastic",
     "dgrad.dy=e2m1/e8m0/block32/nearest", "dgrad.w=int8/absmax/tensor/stochastic",
     "wgrad.dy=e3m0/absmax/tensor/stochastic", "wgrad.x=int4/absmax/block16/nearest",
     "edges=recipe", "shortcut=recipe", NULL},
    {"fwd.x=binary/absmax/tensor/nearest", "fwd.w=e2m1/e8m0/tile16/nearest",
     "dgrad.dy=int4/absmax/tensor/nearest", "dgrad.w=e2m1/e8m0/tile16/nearest",
     "wgrad.dy=int4/absmax/tensor/nearest", "wgrad.x=int8/absmax/block32/stochastic",
     "edges=recipe", "shortcut=recipe", NULL},
    /* several draws, some of them for both products */
    {"fwd.x=uint4/absmax/tensor/nearest", "fwd.w=int4/absmax/tensor/nearest",
     "dgrad.dy=e3m0/absmax/tensor/stochastic", "dgrad.w=int4/absmax/tensor/nearest",
     "wgrad.dy=e3m0/absmax/tensor/stochastic", "wgrad.x=uint4/absmax/tensor/nearest",
     "edges=recipe", "shortcut=recipe", "dgrad.dy.samples=2", "wgrad.dy.samples=3", NULL},
    {"fwd.x=e2m1/e4m3/block16/nearest", "fwd.w=e2m1/e4m3/block16/nearest",
     "dgrad.dy=e2m1/e4m3/block16/stochastic", "dgrad.w=e2m1/e4m3/block16/nearest",
     "wgrad.dy=int4/absmax/block32/stochastic", "wgrad.x=e2m1/e4m3/block32/nearest", "edges=recipe",
     "shortcut=recipe", "dgrad.dy.samples=3", "wgrad.dy.samples=2", NULL},
    {"fwd.x=uint4/absmax/tensor/nearest", "fwd.w=int4/absmax/block32/nearest",
     "dgrad.dy=e3m0/hindsight/tensor/stochastic", "dgrad.w=int4/absmax/block32/nearest",
     "wgrad.dy=e3m0/hindsight/tensor/stochastic", "wgrad.x=int4/absmax/block16/nearest",
     "edges=recipe", "shortcut=recipe", "dgrad.dy.samples=3", "wgrad.dy.samples=2", NULL},
    {"fwd.x=e2m1/e4m3/block16/nearest", "fwd.w=e2m1/e4m3/tile16/nearest",
     "dgrad.dy=e2m1/e4m3/tile16/stochastic", "dgrad.w=e2m1/e4m3/tile16/nearest",
     "wgrad.dy=e2m1/e4m3/tile16/stochastic", "wgrad.x=e2m1/e4m3/block16/nearest", "edges=recipe",
     "shortcut=recipe", "dgrad.dy.samples=2", "wgrad.dy.samples=2", NULL},
    {"fwd.x=uint8/ptq/tensor/nearest", "fwd.w=uint8/ptq/tensor/nearest",
     "dgrad.dy=uint4/ptq/tensor/stochastic", "dgrad.w=uint8/ptq/tensor/nearest",
     "wgrad.dy=uint8/ptq/tensor/stochastic", "wgrad.x=uint8/ptq/tensor/nearest", "edges=recipe",
     "shortcut=recipe", "dgrad.dy.samples=3", "wgrad.dy.samples=2", NULL},
    {"fwd.x=int4/absmax/tensor/nearest", "fwd.w=int4/absmax/tensor/nearest",
     "dgrad.dy=int4/hindsight/tensor/stochastic/hadamard32",
     "dgrad.w=int4/absmax/tensor/nearest/hadamard32",
     "wgrad.dy=int4/hindsight/tensor/stochastic/hadamard32",
     "wgrad.x=int4/absmax/tensor/nearest/hadamard32", "edges=recipe", "shortcut=recipe",
     "dgrad.dy.samples=2", "wgrad.dy.samples=3", NULL},
    /* blocks of two lengths */
    {"fwd.x=e2m1/e8m0/block32/nearest", "fwd.w=int4/absmax/block16/nearest",
     "dgrad.dy=e3m0/absmax/block16/stochastic", "dgrad.w=e2m1/e8m0/block64/nearest",
     "wgrad.dy=int8/absmax/block64/stochastic", "wgrad.x=e2m1/e8m0/block32/nearest", "edges=recipe",
     "shortcut=recipe", NULL},
};
#define SETTINGS (sizeof settings / sizeof *settings)

/* Rows with scales of their own, and offsets; how many products of the 20 are on codes: other
 * products of the same codes read their values. */
static const struct {
    const char *sets[16];
    size_t n_codes;
} lined[] = {
    {{"fwd.x=uint4/psq/tensor/nearest", "fwd.w=int4/absmax/row/nearest",
      "dgrad.dy=uint8/psq/row/stochastic", "dgrad.w=int8/absmax/tensor/nearest",
      "wgrad.dy=int8/absmax/tensor/stochastic", "wgrad.x=uint4/psq/tensor/nearest", "edges=recipe",
      "shortcut=recipe", NULL},
     13},
    {{"fwd.x=int8/absmax/row/stochastic", "fwd.w=int4/ptq_mse/row/nearest",
      "dgrad.dy=e3m0/absmax/row/stochastic", "dgrad.w=int4/ptq_mse/row/nearest",
      "wgrad.dy=e3m0/absmax/row/stochastic", "wgrad.x=int4/absmax/tensor/nearest", "edges=recipe",
      "shortcut=recipe", NULL},
     12},
    {{"fwd.x=int4/absmax/tensor/nearest", "fwd.w=binary/mean_abs/row/nearest",
      "dgrad.dy=uint4/psq/row/stochastic", "dgrad.w=uint8/ptq/tensor/nearest",
      "wgrad.dy=uint4/psq/row/stochastic", "wgrad.x=int4/absmax/tensor/nearest", "edges=recipe",
      "shortcut=recipe", NULL},
     13},
    {{"fwd.x=int4/absmax/tensor/nearest", "fwd.w=int8/absmax/tensor/nearest",
      "dgrad.dy=uint4/psq/row/stochastic/householder", "dgrad.w=int8/absmax/tensor/nearest",
      "wgrad.dy=uint4/psq/row/stochastic/householder", "wgrad.x=int4/absmax/tensor/nearest",
      "edges=recipe", "shortcut=recipe", NULL},
     13},
    {{"fwd.x=uint4/lsqplus/tensor/nearest", "fwd.w=int4/lsqplus_w/tensor/nearest",
      "dgrad.dy=uint8/ptq_ref/tensor/stochastic", "dgrad.w=int4/lsqplus_w/tensor/nearest",
      "wgrad.dy=int8/absmax/tensor/nearest", "wgrad.x=uint4/lsqplus/tensor/nearest", "edges=recipe",
      "shortcut=recipe", "engine=auto", NULL},
     14},
    {{"fwd.x=int4/absmax/tensor/nearest", "fwd.w=int4/absmax/tensor/nearest",
      "dgrad.dy=int4/absmax/tensor/nearest", "dgrad.w=int4/absmax/tensor/nearest",
      "wgrad.dy=int5/absmax/row/stochastic", "wgrad.x=int4/absmax/row/nearest", "edges=recipe",
      "shortcut=recipe", NULL},
     18},
};
#define LINED (sizeof lined / sizeof *lined)

/* Tiles that a window would cut stay with the f32 engine: products of b and d, whose x is also
 * that of c and e. */
static const char *const everything_in_tiles[] = EVERYWHERE("e2m1/e4m3/tile16/stochastic");

/* Images of 9 x 7, channels that are no multiples of anything, a stride, a 1x1 and a bias. */
static nyb_model *odd_model(void)
{
    const nyb_conv2d_options convs[] = {{.out = 5, .kernel = 3, .stride = 1, .pad = 1, .bias = 1},
                                        {.out = 19, .kernel = 3, .stride = 2, .pad = 1},
                                        {.out = 37, .kernel = 1, .stride = 1},
                                        {.out = 18, .kernel = 3, .stride = 1, .pad = 0},
                                        {.out = 18, .kernel = 1, .stride = 2, .shortcut = 1}};
    nyb_model *m;
    nyb_error err = {0};

    assert_int_equal(nyb_model_create("odd", &m, &err), NYB_OK);
    nyb_value x = nyb_input(m, 9, 7, 3, 1);
    x = nyb_relu(m, nyb_conv2d(m, x, "a", &convs[0]));
    x = nyb_relu(m, nyb_conv2d(m, x, "b", &convs[1]));
    x = nyb_relu(m, nyb_conv2d(m, x, "c", &convs[2]));
    const nyb_value side = nyb_conv2d(m, x, "e", &convs[4]);
    x = nyb_conv2d(m, x, "d", &convs[3]);
    x = nyb_flatten(m, nyb_relu(m, x));
    x = nyb_linear(m, x, "f", 6, 1);
    x = nyb_add(m, x, nyb_linear(m, nyb_flatten(m, side), "g", 6, 0));
    assert_int_equal(nyb_model_finish(m, x, &err), NYB_OK);
    return m;
}

static nyb_recipe *make_recipe(const char *name, const char *const *sets, const char *engine)
{
    nyb_recipe *r;
    nyb_error err = {0};

    assert_int_equal(nyb_recipe_create(name, &r, &err), NYB_OK);
    for (; sets && *sets; sets++) {
        char key[64];
        const char *equals = strchr(*sets, '=');

        snprintf(key, sizeof key, "%.*s", (int)(equals - *sets), *sets);
        if (nyb_recipe_set(r, key, equals + 1, &err) != NYB_OK)
            fail_msg("%s", err.text);
    }
    if (nyb_recipe_set(r, "engine", engine, &err) != NYB_OK)
        fail_msg("%s", err.text);
    return r;
}

static nyb_train *make_train(nyb_context *c, nyb_model *m, nyb_recipe *r, int batch)
{
    nyb_train_options options;
    nyb_train *t;
    nyb_error err = {0};

    nyb_train_defaults(&options);
    options.batch = batch;
    options.lr = 0.002;
    if (nyb_train_create(c, m, r, NULL, &options, &t, &err) != NYB_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < t->graph->batch * nyb_shape_size(m->layers[0].shape); i++)
        t->graph->input[i] = (float)(i * 7919 % 256) / 256;
    for (size_t i = 0; i < t->graph->batch; i++)
        t->graph->labels[i] = (int32_t)(i * 5 % 6);
    return t;
}

/* ---- each step beside the f32 engine's -------------------------------------------------------
 */

static void run_one(nyb_graph *g, int i)
{
    nyb_program *p = &g->programs[NYB_MODE_TRAIN];
    const int n_forward = p->n_forward, n_steps = p->n_steps;

    p->n_forward = i;
    p->n_steps = i + 1;
    nyb_graph_backward(g, NYB_MODE_TRAIN, 3);
    p->n_forward = n_forward;
    p->n_steps = n_steps;
}

static void same_packed(const nyb_context *c, const nyb_quant *q, const nyb_program *p,
                        const nyb_quant *real)
{
    const float *want = p->buffers[real->values].memory;
    const size_t n = q->packed.rows * q->packed.cols;
    float *got = nyb_alloc(n * sizeof *got);

    nyb_packed_decode(&q->packed, got);
    if (q->reflects >= 0)
        nyb_householder_invert(c, &q->reflection, got, q->view.run, got);
    for (size_t i = 0; i < n; i++)
        if (nyb_bits_of(got[i]) << 1 != nyb_bits_of(want[i]) << 1)
            fail_msg("%s, element %zu: %g, not %g", nyb_slot_name(q->slot), i, (double)got[i],
                     (double)want[i]);
    nyb_free(got);
}

/* Codes and scales stand for exactly what the other engine rounds to. */
static void same_values(const nyb_quant *q, const nyb_program *p, const nyb_quant *real)
{
    const float *want = p->buffers[real->values].memory;
    const nyb_packed *m = &q->grouped.packed;
    const size_t channels = q->view.cols / q->taps;
    const bool down = q->view.down && q->spec.group != NYB_GROUP_TILE16;
    float *got = nyb_alloc(m->rows * m->cols * sizeof *got);

    nyb_grouped_decode_rows(&q->grouped, 0, q->grouped.packed.rows, got);
    for (size_t row = 0; row < q->view.rows; row++)
        for (size_t col = 0; col < q->view.cols; col++) {
            const size_t out = col % channels * q->taps + col / channels;
            const float v = down ? got[out * m->cols + row] : got[row * q->view.cols + col];

            if (nyb_bits_of(v) << 1 != nyb_bits_of(want[row * q->view.cols + col]) << 1)
                fail_msg("%s, row %zu, column %zu: %g, not %g", nyb_slot_name(q->slot), row, col,
                         (double)v, (double)want[row * q->view.cols + col]);
        }
    nyb_free(got);
}

/* Relative to the largest output: that of the sum of magnitudes is larger. */
static double difference(const float *a, const float *b, size_t n)
{
    double most = 0, largest = 0;

    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return largest > 0 ? most / largest : most;
}

static bool is_product(const nyb_step *s)
{
    return s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_TAPS;
}

/* Steps that the other engine has, too; it has no codes to move or to read twice. */
static bool same_step(const nyb_program *p, const nyb_step *a, const nyb_program *q,
                      const nyb_step *b)
{
    if (is_product(a) && is_product(b))
        return a->layer == b->layer && a->product == b->product;
    return a->kind == b->kind && a->layer == b->layer &&
           (a->kind != NYB_STEP_ROUND || p->quants[a->quant].slot == q->quants[b->quant].slot);
}

/* Elements of what a step leaves: a gradient of weights, an output, or a gradient of an input. */
static size_t size_of(const nyb_graph *g, const nyb_program *p, const nyb_step *s)
{
    const nyb_layer *l = &g->model->layers[s->layer];
    const bool y = s->kind == NYB_STEP_PRODUCT && s->product == NYB_PRODUCT_FWD;

    if (p->buffers[s->out].home == NYB_HOME_GRADIENT)
        return g->params[p->buffers[s->out].param].n;
    return g->batch * nyb_shape_size(y ? l->shape : g->model->layers[l->in[0]].shape);
}

/* The result of a, beside that of the f32 engine's product b, which becomes the same. */
static void compare_results(nyb_graph *g, nyb_program *p, const nyb_step *a, nyb_program *q,
                            const nyb_step *b)
{
    const size_t n = size_of(g, p, a);
    const float *got = p->buffers[a->out].memory;
    float *want = q->buffers[b->out].memory;
    const double d = difference(got, want, n);

    if (d > 1e-5)
        fail_msg("%s of %s: %g from the f32 engine",
                 b->product == NYB_PRODUCT_FWD  ? "fwd"
                 : b->product == NYB_PRODUCT_DX ? "dgrad"
                                                : "wgrad",
                 g->model->layers[a->layer].name, d);
    memcpy(want, got, n * sizeof *got);
}

static bool quantizes(const nyb_step *s)
{
    return s->kind == NYB_STEP_MOMENTS || s->kind == NYB_STEP_SCALE || s->kind == NYB_STEP_ENCODE ||
           s->kind == NYB_STEP_ROUND || s->kind == NYB_STEP_REGROUP;
}

/* Draws are codes here, and their mean there. */
static void compare_rounded(const nyb_context *c, const nyb_quant *a, const nyb_program *q,
                            const nyb_quant *b)
{
    if (a->draws > 1)
        return;
    if (a->groups)
        same_values(a, q, b);
    if (a->packs)
        same_packed(c, a, q, b);
}

/* The same inputs for each step of both; returns the number of products on codes. */
static size_t compare(nyb_graph *g, nyb_graph *f)
{
    nyb_program *p = &g->programs[NYB_MODE_TRAIN], *q = &f->programs[NYB_MODE_TRAIN];
    size_t n_codes = 0;

    for (int i = 0, j = 0; i < p->n_steps; i++) {
        const nyb_step *a = &p->steps[i], *b;

        run_one(g, i);
        if (a->kind == NYB_STEP_REFLECT) { /* the product before it is of reflected samples */
            compare_results(g, p, a, q, &q->steps[j - 1]);
            continue;
        }
        while (!quantizes(a) && quantizes(&q->steps[j])) /* draws that are averaged there */
            run_one(f, j++);
        b = &q->steps[j];
        assert_true(j < q->n_steps);
        if (!same_step(p, a, q, b)) {
            assert_true(quantizes(a));
            continue;
        }
        run_one(f, j++);
        if (a->kind == NYB_STEP_ROUND)
            compare_rounded(g->context, &p->quants[a->quant], q, &q->quants[b->quant]);
        if (!is_product(a))
            continue;
        assert_string_equal(nyb_graph_step_engine(b), "f32");
        n_codes += strcmp(nyb_graph_step_engine(a), "s8") == 0;
        if (a->product != NYB_PRODUCT_DX || a->a[0].quant < 0 ||
            p->quants[a->a[0].quant].reflects < 0)
            compare_results(g, p, a, q, b);
    }
    return n_codes;
}

static void compare_engines(nyb_model *m, const char *const *sets, size_t n_codes)
{
    nyb_recipe *r = make_recipe("f32", sets, "auto");
    nyb_recipe *f = make_recipe("f32", sets, "f32");
    nyb_context *c;

    assert_int_equal(nyb_context_create("auto", 2, &c, NULL), NYB_OK);
    for (int batch = 5; batch <= 11; batch += 6) {
        nyb_train *t = make_train(c, m, r, batch), *u = make_train(c, m, f, batch);

        print_message("%s, batch %d\n", sets[4], batch);
        for (int step = 0; step < 2; step++) { /* the second after what rules keep of the first */
            assert_int_equal(compare(t->graph, u->graph), n_codes);
            for (size_t i = 0; i < t->graph->batch * nyb_shape_size(m->layers[0].shape); i++)
                u->graph->input[i] = t->graph->input[i] *= 0.75f;
        }
        nyb_train_destroy(&t);
        nyb_train_destroy(&u);
    }
    nyb_context_destroy(&c);
    nyb_model_destroy(&m);
    nyb_recipe_destroy(&f);
    nyb_recipe_destroy(&r);
}

static void products_are_those_of_the_f32_engine(void **state)
{
    (void)state;
    for (size_t k = 0; k < SETTINGS; k++)
        compare_engines(odd_model(), settings[k], 20); /* no dX of a */
    for (size_t k = 0; k < LINED; k++)
        compare_engines(odd_model(), lined[k].sets, lined[k].n_codes);
    compare_engines(odd_model(), everything_in_tiles, 16); /* nor dW of a, b, d, e */
}

/* Channels of whole vectors, whose codes are made without a tensor of values between. */
static nyb_model *even_model(void)
{
    const nyb_conv2d_options convs[] = {{.out = 16, .kernel = 3, .stride = 1, .pad = 1},
                                        {.out = 32, .kernel = 3, .stride = 2, .pad = 1}};
    nyb_model *m;

    assert_int_equal(nyb_model_create("even", &m, NULL), NYB_OK);
    nyb_value x = nyb_relu(m, nyb_conv2d(m, nyb_input(m, 9, 7, 3, 1), "a", &convs[0]));
    x = nyb_relu(m, nyb_conv2d(m, x, "b", &convs[1]));
    assert_int_equal(nyb_model_finish(m, nyb_linear(m, nyb_flatten(m, x), "c", 6, 1), NULL),
                     NYB_OK);
    return m;
}

static void whole_vectors_are_codes_at_once(void **state)
{
    static const size_t n_codes[LINED] = {5, 5, 5, 5, 6, 7};

    (void)state;
    for (size_t k = 0; k < LINED; k++)
        compare_engines(even_model(), lined[k].sets, n_codes[k]);
}

/* A convolution and a linear layer, one before or after the other, of the same 5 channels: to one
 * they are pixels of 5 and 11 pads, to the other images of 315. */
static nyb_model *two_readers(bool linear_first)
{
    const nyb_conv2d_options conv = {.out = 5, .kernel = 3, .stride = 1, .pad = 1};
    nyb_model *m;

    assert_int_equal(nyb_model_create("readers", &m, NULL), NYB_OK);
    const nyb_value x = nyb_relu(m, nyb_conv2d(m, nyb_input(m, 9, 7, 3, 1), "a", &conv));
    nyb_value image = linear_first ? x : nyb_conv2d(m, x, "b", &conv);
    const nyb_value flat = nyb_linear(m, nyb_flatten(m, x), "c", 6, 0);
    if (linear_first)
        image = nyb_conv2d(m, x, "b", &conv);
    image = nyb_linear(m, nyb_flatten(m, image), "d", 6, 0);
    assert_int_equal(nyb_model_finish(m, nyb_add(m, flat, image), NULL), NYB_OK);
    return m;
}

static void readers_of_other_shapes_share_nothing(void **state)
{
    static const struct {
        const char *sets[16];
        size_t n_codes;
    } cases[] = {
        {EVERYWHERE("int4/absmax/tensor/nearest"), 11},
        {EVERYWHERE("int4m/absmax/tensor/nearest"), 11},
        {EVERYWHERE("uint8/ptq/tensor/nearest"), 11},
        {EVERYWHERE("e2m1/e8m0/block32/nearest"), 11},
        {EVERYWHERE("int8/absmax/row/nearest"), 6},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int first = 0; first < 2; first++)
            compare_engines(two_readers(first), cases[i].sets, cases[i].n_codes);
}

/* ---- the same bits everywhere ----------------------------------------------------------------
 */

/* The weights after three steps; false if this machine lacks the level. */
static bool hash_of(const char *cpu, size_t threads, const char *const *sets, char hex[65])
{
    nyb_recipe *r;
    nyb_model *m;
    nyb_context *c;
    nyb_train *t;
    nyb_error err = {0};
    double loss, n;

    if (nyb_context_create(cpu, threads, &c, NULL) != NYB_OK)
        return false;
    r = make_recipe("f32", sets, "auto");
    m = odd_model();
    t = make_train(c, m, r, 11);
    for (int i = 0; i < 3; i++)
        if (nyb_train_update(t, nyb_train_rate(t), &loss, &n, &err) != NYB_OK)
            fail_msg("%s: %s", sets[4], err.text);
    assert_int_equal(nyb_weights_sha256(t->graph, hex, NULL), NYB_OK);
    nyb_train_destroy(&t);
    nyb_context_destroy(&c);
    nyb_model_destroy(&m);
    nyb_recipe_destroy(&r);
    return true;
}

static void machines_do_not_matter(void **state)
{
    static const char *const levels[] = {"amx", "avx512vnni", "avx2", "ref"};
    static const size_t threads[] = {1, 2, 7};

    (void)state;
    for (size_t k = 0; k < SETTINGS + LINED; k += TEST_EVERY(3)) {
        const char *const *sets = k < SETTINGS ? settings[k] : lined[k - SETTINGS].sets;
        char want[65], got[65];

        assert_true(hash_of("ref", 1, sets, want));
        for (size_t i = 0; i < 4; i++)
            for (size_t j = 0; j < 3; j++)
                if (hash_of(levels[i], threads[j], sets, got) && strcmp(got, want) != 0)
                    fail_msg("%s on %s with %zu threads", sets[4], levels[i], threads[j]);
    }
}

/* ---- memory, and the other engine ------------------------------------------------------------
 */

static nyb_kept kept_by(const char *recipe, const char *engine, const char **name)
{
    nyb_context *c;
    nyb_recipe *r = make_recipe(recipe, NULL, engine);
    nyb_model *m = odd_model();
    nyb_explain_line line;
    nyb_kept kept;

    assert_int_equal(nyb_context_create("auto", 1, &c, NULL), NYB_OK);
    nyb_train *t = make_train(c, m, r, 32);
    kept = nyb_program_kept(&t->graph->programs[NYB_MODE_TRAIN]);
    nyb_graph_explain_at(t->graph, 1, &line);
    *name = line.engine;
    nyb_train_destroy(&t);
    nyb_context_destroy(&c);
    nyb_model_destroy(&m);
    nyb_recipe_destroy(&r);
    return kept;
}

/* Quantized twice, x lives on as codes and scales: those of up to 32 channels take 20 bytes. */
static void codes_are_kept_not_values(void **state)
{
    const char *codes_engine, *f32_engine;
    const nyb_kept codes = kept_by("tetrajet", "auto", &codes_engine);
    const nyb_kept values = kept_by("tetrajet", "f32", &f32_engine);

    (void)state;
    assert_string_equal(codes_engine, "s8");
    assert_string_equal(f32_engine, "f32");
    assert_true(codes.quantized > 0 && codes.quantized * 2 < values.quantized);
    assert_true(codes.total < values.total);
    assert_int_equal(codes.quantized_f32, values.quantized_f32);
}

/* Layers b: 5 to 19 channels, d: 37 to 18. Along channels blocks are as short as these allow, but
 * no shorter than what is mixed; along pixels as the recipe says. */
static void few_channels_take_short_blocks(void **state)
{
    static const char *const mixed[] = EVERYWHERE("int4/absmax/block64/nearest/hadamard32");
    static const struct {
        const char *const *sets;
        const char *layer;
        nyb_group fwd, dgrad;
    } cases[] = {{settings[2], "b", NYB_GROUP_BLOCK16, NYB_GROUP_BLOCK32},
                 {settings[2], "d", NYB_GROUP_BLOCK64, NYB_GROUP_BLOCK32},
                 {settings[3], "b", NYB_GROUP_BLOCK16, NYB_GROUP_BLOCK32},
                 {mixed, "b", NYB_GROUP_BLOCK32, NYB_GROUP_BLOCK32}};
    nyb_model *m = odd_model();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_recipe *r = make_recipe("f32", cases[i].sets, "auto");
        const nyb_group written = r->fwd_x.spec.group;
        nyb_row rows[NYB_SLOTS];
        int layer = 0;

        while (!m->layers[layer].name || strcmp(m->layers[layer].name, cases[i].layer) != 0)
            layer++;
        nyb_graph_rows(m, r, layer, NYB_MODE_TRAIN, rows);
        assert_int_equal(rows[NYB_SLOT_FWD_X].spec.group, cases[i].fwd);
        assert_int_equal(rows[NYB_SLOT_FWD_W].spec.group, cases[i].fwd);
        assert_int_equal(rows[NYB_SLOT_DGRAD_DY].spec.group, cases[i].dgrad);
        assert_int_equal(rows[NYB_SLOT_DGRAD_W].spec.group, cases[i].dgrad);
        assert_int_equal(rows[NYB_SLOT_WGRAD_DY].spec.group, written);
        assert_int_equal(rows[NYB_SLOT_WGRAD_X].spec.group, written);
        nyb_recipe_destroy(&r);
    }
    nyb_model_destroy(&m);
}

/* What a row asks for beyond its grid is no part of the forward's codes. */
static void other_factors_and_draws_share_nothing(void **state)
{
    static const char *const sets[] = {"fwd.x=uint4/absmax/tensor/stochastic",
                                       "fwd.w=int4/absmax/tensor/nearest",
                                       "dgrad.dy=e3m0/absmax/tensor/stochastic",
                                       "dgrad.w=int4/absmax/tensor/nearest",
                                       "wgrad.dy=e3m0/absmax/tensor/stochastic",
                                       "wgrad.x=uint4/absmax/tensor/stochastic",
                                       "dgrad.w.pre=0.75",
                                       "wgrad.x.samples=2",
                                       NULL};
    nyb_recipe *r = make_recipe("f32", sets, "auto");
    nyb_model *m = odd_model();
    nyb_context *c;
    size_t n = 0;

    (void)state;
    assert_int_equal(nyb_context_create("ref", 1, &c, NULL), NYB_OK);
    nyb_train *t = make_train(c, m, r, 5);
    const nyb_program *p = &t->graph->programs[NYB_MODE_TRAIN];
    for (int i = 0; i < p->n_steps; i++) {
        const nyb_step *s = &p->steps[i];
        const nyb_quant *b = s->b.quant >= 0 ? &p->quants[s->b.quant] : NULL;

        if (s->kind != NYB_STEP_PRODUCT || s->product == NYB_PRODUCT_FWD || !b)
            continue;
        assert_string_equal(nyb_graph_step_engine(s), "f32");
        assert_true(s->product == NYB_PRODUCT_DX ? b->pre == 0.75f : b->samples == 2);
        n++;
    }
    assert_true(n >= 4);
    nyb_train_destroy(&t);
    nyb_context_destroy(&c);
    nyb_model_destroy(&m);
    nyb_recipe_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_the_f32_engine),
        cmocka_unit_test(whole_vectors_are_codes_at_once),
        cmocka_unit_test(readers_of_other_shapes_share_nothing),
        cmocka_unit_test(machines_do_not_matter),
        cmocka_unit_test(codes_are_kept_not_values),
        cmocka_unit_test(few_channels_take_short_blocks),
        cmocka_unit_test(other_factors_and_draws_share_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
