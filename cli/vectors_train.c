/* Test vectors of training steps: gradients of weights from several draws and from scaled operands,
 * and updates in narrow formats. All come from nyb_train_step, of models whose classes are all as
 * likely, so that the loss's gradient is 1/C, less 1 at the label, by the batch: exact. */
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

/* Something that a recipe sets. */
typedef struct setting {
    const char *key, *value;
} setting;

/* A model that trains, without data. */
typedef struct trainer {
    nyb_model *model;
    nyb_recipe *recipe;
    nyb_train *train;
} trainer;

static void stop(trainer *t)
{
    nyb_train_destroy(&t->train);
    nyb_recipe_destroy(&t->recipe);
    nyb_model_destroy(&t->model);
}

/* t->model is there. */
static nyb_status start(const vectors *v, trainer *t, const setting *settings, size_t n,
                        const nyb_train_options *options, nyb_error *err)
{
    NYB_TRY(nyb_recipe_create("f32", &t->recipe, err));
    for (size_t i = 0; i < n && settings[i].key; i++)
        NYB_TRY(nyb_recipe_set(t->recipe, settings[i].key, settings[i].value, err));
    return nyb_train_create(v->context, t->model, t->recipe, NULL, options, &t->train, err);
}

static json_t *describe_settings(const setting *settings, size_t n)
{
    json_t *json = json_object();

    for (size_t i = 0; i < n && settings[i].key; i++)
        json_object_set_new(json, settings[i].key, json_string(settings[i].value));
    return json;
}

/* ---- gradients of weights ---------------------------------------------------------------------
 */

/* x [M][K], dy [M][N]; as many samples as classes, each of a class of its own. */
#define M          32
#define N          12
#define K          20
#define N_SETTINGS 6

/* Draws whose products are averaged, of codes with one scale and in blocks; draws of x; factors
 * before and behind the rounding. */
static const setting gradients[][N_SETTINGS] = {
    {{"wgrad.dy", "int4/absmax/tensor/stochastic"}, {"wgrad.x", "int4/absmax/tensor/nearest"}},
    {{"wgrad.dy", "int4/absmax/tensor/stochastic"},
     {"wgrad.dy.samples", "2"},
     {"wgrad.x", "int4/absmax/tensor/nearest"}},
    {{"wgrad.dy", "e3m0/absmax/tensor/stochastic"},
     {"wgrad.dy.samples", "2"},
     {"wgrad.x", "int4/absmax/tensor/nearest"}},
    {{"wgrad.dy", "e3m0/absmax/tensor/stochastic:32"},
     {"wgrad.dy.samples", "3"},
     {"wgrad.x", "int8/absmax/tensor/nearest"}},
    {{"dgrad.dy", "e3m0/absmax/tensor/stochastic"},
     {"dgrad.w", "int4/absmax/tensor/nearest"},
     {"wgrad.dy", "e3m0/absmax/tensor/stochastic"},
     {"wgrad.dy.samples", "2"},
     {"wgrad.x", "int4/absmax/tensor/nearest"}},
    {{"wgrad.dy", "int8/absmax/tensor/nearest"},
     {"wgrad.x", "int4/absmax/tensor/stochastic"},
     {"wgrad.x.samples", "2"}},
    {{"wgrad.dy", "e3m0/absmax/tensor/stochastic"},
     {"wgrad.dy.pre", "0.75"},
     {"wgrad.dy.post", "1.3333334"},
     {"wgrad.x", "int4/absmax/tensor/nearest"}},
    {{"wgrad.dy", "int4/absmax/tensor/stochastic"},
     {"wgrad.dy.pre", "0.75"},
     {"wgrad.dy.post", "1.3333334"},
     {"wgrad.dy.samples", "3"},
     {"wgrad.x", "int8/absmax/tensor/nearest"}},
    {{"wgrad.dy", "e2m1/e8m0_ceil/block16/stochastic"},
     {"wgrad.dy.samples", "2"},
     {"wgrad.x", "e2m1/e8m0_ceil/block16/nearest"}},
};
#define N_GRADIENTS (sizeof gradients / sizeof *gradients)

/* The layer lies between one that hands x on and one from whose weights dy comes: theirs is the
 * sum over classes of the loss's gradient times a weight, -weight / M where columns add up to 0. */
typedef struct layer {
    float x[M * K], dy[M * N], behind[M * N], dw[N_GRADIENTS * N * K];
} layer;

/* Fixed point numbers, so that all sums are exact. */
static void fill_layer(layer *l)
{
    uint32_t state = 1;

    vectors_draw_reals(&state, M * K, l->x);
    vectors_draw_reals(&state, M * N, l->behind);
    for (size_t col = 0; col < N; col++) {
        float sum = 0;

        for (size_t row = 0; row + 1 < M; row++) {
            float *w = &l->behind[row * N + col];

            *w = rintf(ldexpf(*w, 10 - (int)(row % 5))) * 0x1p-10f;
            sum += *w;
        }
        l->behind[(M - 1) * N + col] = -sum;
    }
    for (size_t i = 0; i < M * N; i++)
        l->dy[i] = -l->behind[i] / M;
}

static nyb_status build_layer(nyb_model **model, nyb_error *err)
{
    nyb_value y;

    NYB_TRY(nyb_model_create("layer", model, err));
    y = nyb_linear(*model, nyb_input(*model, 1, 1, K, 0), "before", K, 0);
    y = nyb_linear(*model, y, "layer", N, 0);
    return nyb_model_finish(*model, nyb_linear(*model, y, "behind", M, 0), err);
}

/* A step of rate 1 from weights of 0 ends at -dw. */
static nyb_status step_layer(trainer *t, const layer *l, float *dw, nyb_error *err)
{
    float same[K * K] = {0}, zeros[N * K] = {0};
    int32_t labels[M];

    for (size_t i = 0; i < K; i++)
        same[i * K + i] = 1.0f;
    for (size_t i = 0; i < M; i++)
        labels[i] = (int32_t)i;
    NYB_TRY(nyb_train_set_tensor(t->train, "before.weight", same, K * K, err));
    NYB_TRY(nyb_train_set_tensor(t->train, "layer.weight", zeros, N * K, err));
    NYB_TRY(nyb_train_set_tensor(t->train, "behind.weight", l->behind, M * N, err));
    NYB_TRY(nyb_train_step(t->train, l->x, labels, NULL, err));
    NYB_TRY(nyb_train_get_tensor(t->train, "layer.weight", dw, N * K, err));
    for (size_t i = 0; i < N * K; i++)
        dw[i] = 0.0f - dw[i];
    return NYB_OK;
}

static nyb_status make_gradient(const vectors *v, layer *l, size_t i, nyb_error *err)
{
    nyb_train_options options;
    trainer t = {0};
    nyb_status status = build_layer(&t.model, err);

    nyb_train_defaults(&options);
    options.batch = M;
    options.lr = 1;
    options.momentum = options.weight_decay = 0;
    options.seed = VECTORS_SEED;
    if (status == NYB_OK)
        status = start(v, &t, gradients[i], N_SETTINGS, &options, err);
    if (status == NYB_OK)
        status = step_layer(&t, l, l->dw + i * N * K, err);
    stop(&t);
    return status;
}

static int write_gradients(vectors *v, const layer *l)
{
    const size_t x[2] = {M, K}, dy[2] = {M, N}, dw[3] = {N_GRADIENTS, N, K};
    const char *names[N_GRADIENTS];
    json_t *cases = json_array();

    for (size_t i = 0; i < N_GRADIENTS; i++) {
        names[i] = gradients[i][0].value;
        json_array_append_new(cases, describe_settings(gradients[i], N_SETTINGS));
    }
    if (vectors_json(v, "gradients/gradients.json",
                     json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "seed", VECTORS_SEED, "step",
                               0, "tensor", 1, "m", M, "n", N, "k", K, "cases", cases)) != CLI_OK ||
        vectors_floats(v, "gradients/x.npy", l->x, 2, x, NULL) != CLI_OK ||
        vectors_floats(v, "gradients/dy.npy", l->dy, 2, dy, NULL) != CLI_OK)
        return CLI_FAILURE;
    return vectors_floats(v, "gradients/dw.npy", l->dw, 3, dw, names);
}

int vectors_gradients(vectors *v)
{
    layer *l = cli_alloc(1, sizeof *l);
    int exit_status = vectors_folder(v, "gradients");
    nyb_error err;

    fill_layer(l);
    for (size_t i = 0; i < N_GRADIENTS && exit_status == CLI_OK; i++)
        if (make_gradient(v, l, i, &err) != NYB_OK)
            exit_status = cli_fail(gradients[i][0].value, &err);
    if (exit_status == CLI_OK)
        exit_status = write_gradients(v, l);
    free(l);
    return exit_status;
}

/* ---- updates ----------------------------------------------------------------------------------
 */

/* A layer of weights [CLASSES][INPUTS], steps one after the other. */
#define STEPS     3
#define BATCH     8
#define CLASSES   4
#define INPUTS    24
#define N_WEIGHTS ((size_t)CLASSES * INPUTS)

static const struct {
    const char *format;
    double lr, momentum, weight_decay;
    int nesterov;
} updates[] = {
    {"e6m9/stochastic", 0.1, 0.9, 0.01, 0}, {"e6m9/stochastic", 0.1, 0.9, 0.01, 1},
    {"e6m9/stochastic", 0.1, 0, 0.01, 0},   {"e6m9/stochastic", 0.1, 0.9, 0, 0},
    {"e6m9/nearest", 0.1, 0.9, 0.01, 0},    {"bf16/stochastic", 0.1, 0.9, 0.01, 0},
    {"fp16/stochastic", 0.1, 0.9, 0.01, 0}, {"e4m3/stochastic", 0.1, 0.9, 0.01, 0},
};
#define N_UPDATES (sizeof updates / sizeof *updates)

typedef struct weights {
    float x[STEPS][BATCH * INPUTS], w[STEPS][N_WEIGHTS], dw[STEPS][N_WEIGHTS];
    float after[N_UPDATES][STEPS][N_WEIGHTS];
} weights;

/* Numbers of few bits; all classes have the same weights, hence the same logits. dw is exact. */
static void fill_weights(weights *all)
{
    uint32_t state = 1;

    for (size_t s = 0; s < STEPS; s++) {
        vectors_draw_reals(&state, BATCH * INPUTS, all->x[s]);
        for (size_t i = 0; i < BATCH * INPUTS; i++)
            all->x[s][i] = rintf(all->x[s][i] * 16.0f) / 16.0f;
        for (size_t i = 0; i < INPUTS; i++) {
            const uint32_t bits = vectors_draw(&state) >> 8;
            const float size = ldexpf((float)(8 + bits % 8), -4 - (int)(bits >> 4) % 4);

            all->w[s][i] = bits & 8 ? -size : size;
        }
        for (size_t i = 0; i < N_WEIGHTS; i++) {
            all->w[s][i] = all->w[s][i % INPUTS];
            for (size_t m = 0; m < BATCH; m++)
                all->dw[s][i] += (1.0f / CLASSES - (m % CLASSES == i / INPUTS)) / BATCH *
                                 all->x[s][m * INPUTS + i % INPUTS];
        }
    }
}

static nyb_status step_weights(trainer *t, const weights *all, float after[STEPS][N_WEIGHTS],
                               nyb_error *err)
{
    int32_t labels[BATCH];

    for (size_t m = 0; m < BATCH; m++)
        labels[m] = (int32_t)(m % CLASSES);
    for (size_t s = 0; s < STEPS; s++) {
        NYB_TRY(nyb_train_set_tensor(t->train, "fc.weight", all->w[s], N_WEIGHTS, err));
        NYB_TRY(nyb_train_step(t->train, all->x[s], labels, NULL, err));
        NYB_TRY(nyb_train_get_tensor(t->train, "fc.weight", after[s], N_WEIGHTS, err));
    }
    return NYB_OK;
}

static nyb_status build_weights(nyb_model **model, nyb_error *err)
{
    NYB_TRY(nyb_model_create("weights", model, err));
    return nyb_model_finish(
        *model, nyb_linear(*model, nyb_input(*model, 1, 1, INPUTS, 0), "fc", CLASSES, 0), err);
}

static nyb_status make_update(const vectors *v, weights *all, size_t i, nyb_error *err)
{
    const setting format = {"update", updates[i].format};
    nyb_train_options options;
    trainer t = {0};
    nyb_status status = build_weights(&t.model, err);

    nyb_train_defaults(&options);
    options.batch = BATCH;
    options.lr = updates[i].lr;
    options.momentum = updates[i].momentum;
    options.weight_decay = updates[i].weight_decay;
    options.nesterov = updates[i].nesterov;
    options.seed = VECTORS_SEED;
    if (status == NYB_OK)
        status = start(v, &t, &format, 1, &options, err);
    if (status == NYB_OK)
        status = step_weights(&t, all, all->after[i], err);
    stop(&t);
    return status;
}

static int write_updates(vectors *v, const weights *all)
{
    const size_t x[3] = {STEPS, BATCH, INPUTS}, w[3] = {STEPS, CLASSES, INPUTS};
    const size_t after[4] = {N_UPDATES, STEPS, CLASSES, INPUTS};
    const char *names[N_UPDATES];
    json_t *cases = json_array();

    for (size_t i = 0; i < N_UPDATES; i++) {
        names[i] = updates[i].format;
        json_array_append_new(
            cases, json_pack("{s:s, s:f, s:f, s:f, s:b}", "update", updates[i].format, "lr",
                             updates[i].lr, "momentum", updates[i].momentum, "weight_decay",
                             updates[i].weight_decay, "nesterov", updates[i].nesterov));
    }
    if (vectors_json(v, "updates/updates.json",
                     json_pack("{s:i, s:i, s:o}", "seed", VECTORS_SEED, "tensor", 0, "cases",
                               cases)) != CLI_OK ||
        vectors_floats(v, "updates/x.npy", all->x[0], 3, x, NULL) != CLI_OK ||
        vectors_floats(v, "updates/w.npy", all->w[0], 3, w, NULL) != CLI_OK ||
        vectors_floats(v, "updates/dw.npy", all->dw[0], 3, w, NULL) != CLI_OK)
        return CLI_FAILURE;
    return vectors_floats(v, "updates/after.npy", all->after[0][0], 4, after, names);
}

int vectors_updates(vectors *v)
{
    weights *all = cli_alloc(1, sizeof *all);
    int exit_status = vectors_folder(v, "updates");
    nyb_error err;

    fill_weights(all);
    for (size_t i = 0; i < N_UPDATES && exit_status == CLI_OK; i++)
        if (make_update(v, all, i, &err) != NYB_OK)
            exit_status = cli_fail(updates[i].format, &err);
    if (exit_status == CLI_OK)
        exit_status = write_updates(v, all);
    free(all);
    return exit_status;
}
