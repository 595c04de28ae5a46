/* Unbiasedness where it matters: the mean of K quantized weight gradients of real layers must sit
 * on the noise floor of an unbiased estimator, one draw's error / sqrt(K); biased rounders must
 * not. Real: dY and X of every 4-bit layer of resnet14s after some training on Fashion-MNIST
 * (synthetic data if it is not installed). Relative errors in the 2-norm against the product with
 * the exact dY and the same quantized X, so that only dY's rounding is measured. */
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

#define DRAWS  24
#define LAYERS 32

typedef struct layer_data {
    const char *name;
    nyb_conv_shape shape;
    nyb_packed x;
    float *dy;
    size_t rows, cols;
} layer_data;

typedef struct capture {
    nyb_graph *graph;
    layer_data layers[LAYERS];
    size_t n;
} capture;

static const nyb_step *weight_product(const nyb_program *p, int layer)
{
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == NYB_STEP_PRODUCT && p->steps[i].layer == layer &&
            p->steps[i].product == NYB_PRODUCT_DW)
            return &p->steps[i];
    return NULL;
}

/* Called after each encode: copies dY as it comes, and the X that forward left. */
static void keep(void *user, const nyb_quant *q, const float *real, const float *values)
{
    capture *c = user;
    const nyb_program *p = &c->graph->programs[NYB_MODE_TRAIN];
    const nyb_layer *l = &c->graph->model->layers[q->layer];
    const nyb_shape in = c->graph->model->layers[l->in[0]].shape;
    layer_data *d = &c->layers[c->n];
    const nyb_packed *x;
    size_t n_bytes;

    (void)values;

    if (q->slot != NYB_SLOT_DGRAD_DY || c->n == LAYERS)
        return;
    x = weight_product(p, q->layer)->b_bound.packed;
    n_bytes = nyb_packed_bytes(x->format, x->rows, x->cols);
    d->name = l->name;
    d->shape = (nyb_conv_shape){.n = c->graph->batch,
                                .h = in.h,
                                .w = in.w,
                                .c = in.c,
                                .o = l->attr.out,
                                .r = l->attr.kernel,
                                .s = l->attr.kernel,
                                .stride = l->attr.stride,
                                .pad = l->attr.pad};
    d->rows = q->packed.rows;
    d->cols = q->packed.cols;
    d->x = *x;
    d->x.codes = nyb_alloc(n_bytes);
    d->dy = nyb_alloc(d->rows * d->cols * sizeof *d->dy);
    assert_non_null(d->x.codes);
    assert_non_null(d->dy);
    memcpy(d->x.codes, x->codes, n_bytes);
    memcpy(d->dy, real, d->rows * d->cols * sizeof *d->dy);
    c->n++;
}

static void product(const nyb_context *context, const layer_data *d, const nyb_operand *dy,
                    float *dw)
{
    nyb_conv_shape shape = d->shape;
    const nyb_operand x = {.packed = &d->x};
    const nyb_format *a = dy->packed ? dy->packed->format : nyb_format_find("f32");
    nyb_conv *conv;
    void *scratch;

    assert_int_equal(nyb_conv_shape_check(&shape, NULL), NYB_OK);
    assert_int_equal(
        nyb_conv_create(context, NYB_PRODUCT_DW, &shape, a, d->x.format, 1, NULL, &conv, NULL),
        NYB_OK);
    scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    nyb_conv_run(conv, context, dy, &x, NULL, false, NULL, dw, scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
}

/* One quantizer on one layer: the error of one draw (rms over draws) and of the mean of DRAWS. */
static void measure(nyb_context *context, const layer_data *d, const char *text, const float *exact,
                    double *one, double *mean)
{
    const size_t n = d->shape.o * d->shape.r * d->shape.s * d->shape.c;
    float *dw = nyb_alloc(n * sizeof *dw), *values = nyb_alloc(d->rows * d->cols * sizeof *values);
    double *sum = nyb_alloc(n * sizeof *sum), squares = 0, norm = 0, error = 0;
    void *scratch = nyb_alloc(nyb_moments_scratch_bytes(d->rows, d->cols));
    float state[NYB_SCALE_STATE_MAX] = {0};
    nyb_moments moments;
    nyb_packed packed = {.rows = d->rows, .cols = d->cols};
    nyb_spec spec;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    packed.format = spec.format;
    packed.pitch = nyb_packed_pitch(d->cols);
    packed.codes = nyb_alloc(nyb_packed_bytes(spec.format, d->rows, d->cols));
    nyb_moments_run(context, d->dy, d->rows, d->cols, scratch, &moments);
    const bool packs =
        spec.group == NYB_GROUP_TENSOR; /* blocks: of channels of a pixel, as stored */
    if (packs)
        packed.scale = nyb_scale_choose(&spec, &moments, state);
    for (uint8_t j = 0; j < DRAWS; j++) {
        const nyb_stream stream = {.seed = 11, .role = NYB_RNG_DY_DW, .sample = j};

        if (packs)
            nyb_encode_run(context, &spec, &stream, d->dy, &packed);
        else
            assert_int_equal(nyb_quantize(context, &spec, d->dy, d->rows, d->cols, 11, 0, j, NULL,
                                          values, NULL, NULL),
                             NYB_OK);
        product(context, d,
                packs ? &(nyb_operand){.packed = &packed} : &(nyb_operand){.real = values}, dw);
        for (size_t i = 0; i < n; i++) {
            squares += ((double)dw[i] - exact[i]) * ((double)dw[i] - exact[i]);
            sum[i] += dw[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        norm += (double)exact[i] * exact[i];
        error += (sum[i] / DRAWS - exact[i]) * (sum[i] / DRAWS - exact[i]);
    }
    *one = sqrt(squares / DRAWS / norm);
    *mean = sqrt(error / norm);
    nyb_free(dw);
    nyb_free(values);
    nyb_free(sum);
    nyb_free(scratch);
    nyb_free(packed.codes);
}

/* Trains, then captures one more step. */
static void real_layers(fixture *f, capture *c)
{
    nyb_data *data = NULL;
    double loss, n_correct;
    const float *x;
    const int32_t *labels;

    fixture_init(f, "auto", 2, "resnet14s", "luq", NULL, 128, 128 * 40);
    if (nyb_data_open("fashion-mnist", &data, NULL) == NYB_OK) {
        nyb_data_close(&f->data);
        f->data = data;
        nyb_data_limit(data, 128 * 60, 512);
    }
    fixture_start(f);
    assert_int_equal(nyb_train_run(f->train, NULL, NULL, NULL, NULL, NULL), NYB_OK);
    nyb_loader_seek(f->train->train_loader, 7, 0);
    assert_int_equal(nyb_loader_next(f->train->train_loader, &x, &labels), 128);
    c->graph = f->train->graph;
    memcpy(c->graph->input, x, 128 * 784 * sizeof *x);
    memcpy(c->graph->labels, labels, 128 * sizeof *labels);
    c->graph->measure = true;
    c->graph->measure_fn = keep;
    c->graph->measure_user = c;
    assert_int_equal(nyb_train_update(f->train, nyb_train_rate(f->train), &loss, &n_correct, NULL),
                     NYB_OK);
    c->graph->measure = false;
}

static void mean_of_draws_sits_on_the_noise_floor(void **state)
{
    static const struct {
        const char *name, *spec;
        double least, most; /* of mean error / LUQ's floor */
    } quantizers[] = {
        {"luq", "e3m0/absmax/tensor/stochastic", 0.85, 1.15},
        {"underflow flushed + SR", "e3m0/absmax/tensor/flush-stochastic", 2.5, 1e9},
        {"stochastic underflow + RDNP", "e3m0/absmax/tensor/underflow", 2.5, 1e9},
        {"naive nearest", "e3m0/absmax/tensor/nearest", 2.5, 1e9},
        {"naive flush", "e3m0/absmax/tensor/flush", 2.5, 1e9},
        {"int4 stochastic", "int4/absmax/tensor/stochastic", 0, 1e9},
        {"int4 nearest", "int4/absmax/tensor/nearest", 2.5, 1e9},
        {"luq, scales of 16 in 8 bits", "e3m0/pow2/block16/stochastic", 0, 1.15},
        {"nybble", "int4m/absmax/tensor/stochastic", 0, 1.15},
    };
    const size_t n_quantizers = sizeof quantizers / sizeof *quantizers;
    double one[9] = {0}, mean[9] = {0}, floor_of_luq;
    const size_t nybble = n_quantizers - 1, luq16 = n_quantizers - 2;
    static capture c;
    fixture f;

    (void)state;
    real_layers(&f, &c);
    assert_true(c.n >= 12);
    for (size_t l = 0; l < c.n; l++) {
        const layer_data *d = &c.layers[l];
        float *exact = nyb_alloc(d->shape.o * d->shape.r * d->shape.s * d->shape.c * sizeof *exact);

        product(f.context, d, &(nyb_operand){.real = d->dy}, exact);
        for (size_t q = 0; q < n_quantizers; q++) {
            double a, b;

            measure(f.context, d, quantizers[q].spec, exact, &a, &b);
            one[q] += a / (double)c.n;
            mean[q] += b / (double)c.n;
        }
        nyb_free(exact);
        nyb_free(d->dy);
        nyb_free(d->x.codes);
    }
    floor_of_luq = one[0] / sqrt(DRAWS);
    printf("%zu layers, %d draws; relative errors of dW\n", c.n, DRAWS);
    printf("%-28s %9s %13s %11s\n", "quantizer of dY", "one draw", "mean of draws", "over floor");
    for (size_t q = 0; q < n_quantizers; q++)
        printf("%-28s %9.3f %13.3f %11.2f\n", quantizers[q].name, one[q], mean[q],
               mean[q] / floor_of_luq);
    for (size_t q = 0; q < n_quantizers; q++) {
        assert_true(mean[q] / floor_of_luq >= quantizers[q].least);
        assert_true(mean[q] / floor_of_luq <= quantizers[q].most);
    }
    /* What the recipe nybble is for: one draw is at least 1.5 times as near as LUQ's, and unbiased.
     */
    printf("one draw: luq / nybble = %.2f, at 4.5 bits %.2f\n", one[0] / one[nybble],
           one[luq16] / one[nybble]);
    assert_true(one[0] / one[nybble] >= 1.5 && one[luq16] / one[nybble] >= 1.5);
    assert_true(mean[nybble] / (one[nybble] / sqrt(DRAWS)) <= 1.15);
    fixture_free(&f);
}

/* ---- gradient against noise at the end of a run ----------------------------------------------
 */

static bool all_recipes;

#define BATCHES 4
#define REPEATS 4

/* Of one weight tensor: squared norms of the gradient over all batches, of what one batch differs
 * from it by, and of the noise that rounding adds to one draw, through all layers behind. */
typedef struct parts {
    double whole, batch, noise;
} parts;

/* What BATCHES x REPEATS gradients say, without bias: analysis of variance. */
static parts split(const float *const *draws, size_t n)
{
    parts p = {0};
    double between = 0, total = 0;

    for (size_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;

        for (size_t b = 0; b < BATCHES; b++) {
            double m = 0;

            for (size_t r = 0; r < REPEATS; r++)
                m += (double)draws[b * REPEATS + r][i] / REPEATS;
            for (size_t r = 0; r < REPEATS; r++)
                p.noise +=
                    pow((double)draws[b * REPEATS + r][i] - m, 2) / (BATCHES * (REPEATS - 1));
            mean += m / BATCHES;
            squares += m * m;
        }
        between += (squares - BATCHES * mean * mean) / (BATCHES - 1);
        total += mean * mean;
    }
    p.batch = between - p.noise / REPEATS;
    p.whole = total - between / BATCHES;
    return p;
}

static bool is_weight(const nyb_graph *g, const nyb_param *p)
{
    return p->trained && !p->rule && p->index == 0 && g->model->layers[p->layer].gemm >= 0;
}

/* All gradients of one batch, one after the other; step selects the random bits. */
static float *gradients(nyb_graph *g, uint32_t step)
{
    float *all;
    size_t n = 0;

    nyb_graph_forward(g, NYB_MODE_TRAIN, step);
    nyb_graph_backward(g, NYB_MODE_TRAIN, step);
    for (int i = 0; i < g->n_params; i++)
        n += g->params[i].n;
    all = nyb_alloc(n * sizeof *all);
    assert_non_null(all);
    n = 0;
    for (int i = 0; i < g->n_params; i++) {
        if (g->params[i].trained)
            memcpy(all + n, g->params[i].gradient, g->params[i].n * sizeof *all);
        n += g->params[i].n;
    }
    return all;
}

static void train(fixture *f, const char *model, const char *recipe)
{
    static const char *const sets[] = {"edges=recipe", NULL};
    const bool mlp = strcmp(model, "mlp") == 0;
    nyb_data *data = NULL;

    fixture_init(f, "auto", 2, model, recipe, mlp ? sets : NULL, 128, 128 * 40);
    if (nyb_data_open("fashion-mnist", &data, NULL) == NYB_OK) {
        nyb_data_close(&f->data);
        f->data = data;
        nyb_data_limit(data, 128 * 40, 512);
    }
    f->options.epochs = 2;
    f->options.lr = mlp ? 0.05 : 0.1;
    f->options.normalize = !mlp;
    fixture_start(f);
    assert_int_equal(nyb_train_run(f->train, NULL, NULL, NULL, NULL, NULL), NYB_OK);
}

/* At the end of a short run, over all weights: the parts of the gradient; a line for each layer. */
static parts gradients_against_noise(const char *model, const char *recipe)
{
    float *draws[BATCHES * REPEATS];
    const int32_t *labels = NULL;
    const float *x = NULL;
    parts sum = {0};
    size_t at = 0;
    nyb_graph *g;
    fixture f;

    train(&f, model, recipe);
    g = f.train->graph;
    nyb_loader_seek(f.train->train_loader, 7, 0);
    for (size_t d = 0; d < BATCHES * REPEATS; d++) {
        if (d % REPEATS == 0)
            assert_int_equal(nyb_loader_next(f.train->train_loader, &x, &labels), 128);
        memcpy(g->input, x, 128 * 784 * sizeof *x);
        memcpy(g->labels, labels, 128 * sizeof *labels);
        draws[d] = gradients(g, (uint32_t)(1000 + d));
    }
    printf("%s, %s: squared norms of the gradient\n%-28s %9s %9s %9s\n", model, recipe, "weights",
           "whole", "batch", "rounding");
    for (int i = 0; i < g->n_params; at += g->params[i++].n) {
        const float *here[BATCHES * REPEATS];
        parts p;

        if (!is_weight(g, &g->params[i]))
            continue;
        for (size_t d = 0; d < BATCHES * REPEATS; d++)
            here[d] = draws[d] + at;
        p = split(here, g->params[i].n);
        sum = (parts){sum.whole + p.whole, sum.batch + p.batch, sum.noise + p.noise};
        printf("%-28s %9.3g %9.3g %9.3g\n", g->params[i].name, p.whole, p.batch, p.noise);
    }
    printf("%-28s %9.3g %9.3g %9.3g\n", "all", sum.whole, sum.batch, sum.noise);
    for (size_t d = 0; d < BATCHES * REPEATS; d++)
        nyb_free(draws[d]);
    fixture_free(&f);
    return sum;
}

/* What rounding adds is little beside what a batch differs from the whole, so that f32 gradients
 * at the end of a run (docs/recipes.md) have nothing to win. --all: more recipes and models. */
static void rounding_adds_little_to_the_noise_of_batches(void **state)
{
    const parts nybble = gradients_against_noise("mlp", "nybble");
    const parts luq = gradients_against_noise("mlp", "luq");

    (void)state;
    assert_true(nybble.noise < 0.1 * nybble.batch);
    assert_true(luq.noise < 0.4 * luq.batch && luq.noise > 2 * nybble.noise);
    if (!all_recipes)
        return;
    gradients_against_noise("mlp", "fp4atw");
    gradients_against_noise("mlp", "luq_int4sr");
    gradients_against_noise("resnet14s", "nybble");
    gradients_against_noise("resnet14s", "luq");
    gradients_against_noise("resnet14s", "fp4atw");
    gradients_against_noise("resnet14s", "luq_int4sr");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_of_draws_sits_on_the_noise_floor),
        cmocka_unit_test(rounding_adds_little_to_the_noise_of_batches),
    };

    all_recipes = argc > 1 && strcmp(argv[1], "--all") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
