/* The order of StatQuant's gradient quantizers (Chen et al., NeurIPS 2020; NUMERICS 5.4): one scale
 * per tensor (PTQ), one per sample (PSQ), block Householder (BHQ), on the gradients dY of every
 * layer of mlp and resnet14s after some training on Fashion-MNIST (synthetic data if it is not
 * installed): variance of one draw, bias, and the bounds of the paper. */
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
#include "quant/householder.h"
#include "train/run.h"

#define DRAWS  4
#define LAYERS 32

enum { PTQ, PSQ, BHQ, PTQ_REF, QUANTIZERS };
static const char *const parts[] = {"ptq/tensor/stochastic", "psq/row/stochastic",
                                    "psq/row/stochastic/householder", "ptq_ref/tensor/stochastic"};
static const int bits[] = {2, 3, 4, 5, 6, 8};

typedef struct layer_data {
    const char *name;
    float *dy;
    size_t samples, n; /* n: elements of one sample */
} layer_data;

typedef struct capture {
    const nyb_model *model;
    size_t batch;
    layer_data layers[LAYERS];
    size_t n;
} capture;

static void keep(void *user, const nyb_quant *q, const float *real, const float *values)
{
    capture *c = user;
    const char *name = c->model->layers[q->layer].name;
    const size_t n = q->view.rows * q->view.cols;
    layer_data *d = &c->layers[c->n];

    (void)values;
    if ((q->slot != NYB_SLOT_DGRAD_DY && q->slot != NYB_SLOT_WGRAD_DY) || c->n == LAYERS)
        return;
    for (size_t i = 0; i < c->n; i++)
        if (c->layers[i].name == name)
            return;
    *d = (layer_data){name, nyb_alloc(n * sizeof(float)), c->batch, n / c->batch};
    assert_non_null(d->dy);
    memcpy(d->dy, real, n * sizeof(float));
    c->n++;
}

/* Trains in int8, then captures one more step. */
static void real_layers(fixture *f, const char *model, int steps, capture *c)
{
    static const char *const sets[] = {"edges=recipe", "shortcut=recipe", NULL};
    const float *x;
    const int32_t *labels;
    nyb_data *data = NULL;
    double loss, n_correct;
    nyb_graph *g;

    fixture_init(f, "auto", 2, model, "int8", sets, 128, 128 * (size_t)steps);
    if (nyb_data_open("fashion-mnist", &data, NULL) == NYB_OK) {
        nyb_data_close(&f->data);
        f->data = data;
        nyb_data_limit(data, 128 * (size_t)steps, 512);
    }
    fixture_start(f);
    assert_int_equal(nyb_train_run(f->train, NULL, NULL, NULL, NULL, NULL), NYB_OK);
    nyb_loader_seek(f->train->train_loader, 7, 0);
    assert_int_equal(nyb_loader_next(f->train->train_loader, &x, &labels), 128);
    g = f->train->graph;
    *c = (capture){.model = f->model, .batch = g->batch};
    memcpy(g->input, x, 128 * 784 * sizeof *x);
    memcpy(g->labels, labels, 128 * sizeof *labels);
    g->measure = true;
    g->measure_fn = keep;
    g->measure_user = c;
    assert_int_equal(nyb_train_update(f->train, nyb_train_rate(f->train), &loss, &n_correct, NULL),
                     NYB_OK);
    g->measure = false;
}

static void range_of(const float *x, size_t n, double *range, double *absmax)
{
    float min = x[0], max = x[0];

    for (size_t i = 1; i < n; i++) {
        min = fminf(min, x[i]);
        max = fmaxf(max, x[i]);
    }
    *range = (double)max - (double)min;
    *absmax = fmax(fabs((double)min), fabs((double)max));
}

/* NUMERICS 5.4, times B^2: what the variance is at most. BHQ: of each group of the plan. */
typedef struct bounds {
    double ptq, psq, bhq;
} bounds;

static bounds bounds_of(const layer_data *d)
{
    bounds b = {0};
    double whole, absmax, range[128], top[128];
    float v[128];
    nyb_householder plan;
    void *memory = nyb_alloc(nyb_householder_plan_bytes(d->samples));

    assert_true(d->samples <= 128 && memory);
    range_of(d->dy, d->samples * d->n, &whole, &absmax);
    for (size_t i = 0; i < d->samples; i++) {
        range_of(d->dy + i * d->n, d->n, &range[i], &top[i]);
        v[i] = (float)range[i] + 1e-8f;
        b.psq += (double)d->n / 4 * range[i] * range[i];
    }
    b.ptq = (double)(d->samples * d->n) / 4 * whole * whole;
    nyb_householder_plan(v, d->samples, memory, &plan);
    for (size_t g = 0; g < plan.n_groups; g++) {
        const size_t first = plan.first[g], size = plan.first[g + 1] - first;
        double follower = 0, root;

        for (size_t i = 1; i < size; i++)
            follower = fmax(follower, 2 * top[plan.row[first + i]]);
        root = cbrt(pow(range[plan.row[first]], 2) / (double)size) +
               cbrt(pow(follower * (double)size, 2));
        b.bhq += (double)d->n / 4 * root * root * root;
    }
    nyb_free(memory);
    return b;
}

/* Of one quantizer on one tensor: E |Q(x) - x|^2 over draws; how many times as large as that of an
 * unbiased one |mean of draws - x|^2 is. */
static void measure(const nyb_context *context, const layer_data *d, const char *text,
                    double *variance, double *bias)
{
    const size_t n = d->samples * d->n;
    float *values = nyb_alloc(n * sizeof *values), *sum = nyb_alloc(n * sizeof *sum);
    double squares = 0, error = 0;
    nyb_stream stream = {.seed = 5, .role = NYB_RNG_DY_DX};
    nyb_spec spec;
    nyb_round_job job = {.spec = &spec,
                         .view = {.rows = d->samples, .cols = d->n, .run = d->n},
                         .stream = &stream,
                         .pre = 1,
                         .post = 1};
    void *scratch;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    scratch = nyb_alloc(nyb_round_scratch_bytes(&spec, &job.view));
    for (uint8_t j = 0; j < DRAWS; j++) {
        stream.sample = j;
        nyb_round_run(context, &job, d->dy, values, scratch);
        for (size_t i = 0; i < n; i++) {
            const float e = values[i] - d->dy[i];

            squares += (double)e * (double)e / DRAWS;
            sum[i] += e;
        }
    }
    for (size_t i = 0; i < n; i++)
        error += pow((double)sum[i] / DRAWS, 2);
    *variance = squares;
    *bias = error * DRAWS / squares;
    nyb_free(values);
    nyb_free(sum);
    nyb_free(scratch);
}

static double norm2(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* Over the layers of a model, for one number of bits. */
typedef struct result {
    double one[QUANTIZERS];              /* mean of sqrt(variance / |x|^2) */
    double least_ptq_psq, least_psq_bhq; /* ratios of variances */
    double most[3];                      /* variance / bound */
    double low_bias, high_bias;          /* 1: unbiased */
} result;

static void add_layer(const nyb_context *context, const layer_data *d, int n_bits, size_t n_layers,
                      result *r)
{
    const bounds b = bounds_of(d);
    const double levels = pow(2, n_bits) - 1, bound[3] = {b.ptq, b.psq, b.bhq};
    double v[QUANTIZERS], bias;

    for (int q = 0; q < QUANTIZERS; q++) {
        char text[64];

        snprintf(text, sizeof text, "uint%d/%s", n_bits, parts[q]);
        measure(context, d, text, &v[q], &bias);
        r->one[q] += sqrt(v[q] / norm2(d->dy, d->samples * d->n)) / (double)n_layers;
        r->low_bias = fmin(r->low_bias, bias);
        r->high_bias = fmax(r->high_bias, bias);
        if (q != PTQ_REF)
            r->most[q] = fmax(r->most[q], v[q] * levels * levels / bound[q]);
    }
    r->least_ptq_psq = fmin(r->least_ptq_psq, v[PTQ] / v[PSQ]);
    r->least_psq_bhq = fmin(r->least_psq_bhq, v[PSQ] / v[BHQ]);
}

static void order_on(const char *model, int steps)
{
    static capture c;
    fixture f;

    real_layers(&f, model, steps, &c);
    printf("%s, %zu layers, %d steps: error of one draw of dY\n", model, c.n, steps);
    printf("bits     ptq     psq     bhq (ptq_ref)   least ptq/psq, psq/bhq of variances   most of "
           "the bounds\n");
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        result r = {.least_ptq_psq = 1e9, .least_psq_bhq = 1e9, .low_bias = 1e9};

        for (size_t l = 0; l < c.n; l++)
            add_layer(f.context, &c.layers[l], bits[i], c.n, &r);
        printf("%4d %7.3f %7.3f %7.3f (%7.3f)   %13.2f, %7.2f %23.2f, %.2f, %.2f\n", bits[i],
               r.one[PTQ], r.one[PSQ], r.one[BHQ], r.one[PTQ_REF], r.least_ptq_psq, r.least_psq_bhq,
               r.most[PTQ], r.most[PSQ], r.most[BHQ]);
        assert_true(r.least_ptq_psq > 1.3);
        assert_true(r.least_psq_bhq > 1.2);
        assert_true(r.most[PTQ] <= 1 && r.most[PSQ] <= 1 && r.most[BHQ] <= 1);
        assert_true(r.low_bias > 0.7 && r.high_bias < 1.4);
    }
    for (size_t l = 0; l < c.n; l++)
        nyb_free(c.layers[l].dy);
    fixture_free(&f);
}

static void the_order_holds_in_every_layer(void **state)
{
    (void)state;
    order_on("mlp", 300);
    order_on("resnet14s", 100);
}

/* One sample is `times` the others; theirs lie within +-1. */
static void make_dominated(layer_data *d, float times)
{
    const nyb_stream stream = {.seed = 3};

    for (size_t i = 0; i < d->samples * d->n; i++)
        d->dy[i] =
            fmaxf(-1, fminf(1, 0.3f * nyb_rng_normal(&stream, i))) * (i / d->n == 5 ? times : 1.0f);
    for (size_t i = 0; i < d->samples; i++) { /* ranges are known */
        d->dy[i * d->n] = i == 5 ? times : 1.0f;
        d->dy[i * d->n + 1] = -d->dy[i * d->n];
    }
}

/* What NUMERICS 5.4 promises where one sample of N is large: PSQ up to N times better than PTQ, BHQ
 * up to N times better than PSQ. PTQ's zero is on the grid, which spares it most of that where the
 * others are far below a step (times 10,000); where they are about half a step its bound is near.
 */
static void one_large_sample_costs_up_to_n_times(void **state)
{
    enum { SAMPLES = 64, COLS = 100 };
    static const float times[] = {1, 14, 10000};
    layer_data d = {"", nyb_alloc(SAMPLES * COLS * sizeof(float)), SAMPLES, COLS};
    double v[3][3], bias;
    nyb_context *context;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 1, &context, NULL), NYB_OK);
    for (int i = 0; i < 3; i++) {
        make_dominated(&d, times[i]);
        for (int q = 0; q < 3; q++) {
            char text[64];

            snprintf(text, sizeof text, "uint4/%s", parts[q]);
            measure(context, &d, text, &v[i][q], &bias);
        }
        printf("one of %d samples x %g, 4 bits: ptq/psq %.2f, psq/bhq %.2f\n", SAMPLES,
               (double)times[i], v[i][PTQ] / v[i][PSQ], v[i][PSQ] / v[i][BHQ]);
    }
    assert_true(v[0][PTQ] / v[0][PSQ] > 0.9 && v[0][PTQ] / v[0][PSQ] < 1.5);
    assert_true(v[1][PTQ] / v[1][PSQ] > 25);
    assert_true(v[2][PTQ] / v[2][PSQ] > 1);
    assert_true(v[2][PSQ] / v[2][BHQ] > 40);
    nyb_free(d.dy);
    nyb_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_large_sample_costs_up_to_n_times),
                                       cmocka_unit_test(the_order_holds_in_every_layer)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
