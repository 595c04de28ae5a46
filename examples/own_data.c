/* A program with data and a loop of its own: it trains on arrays, predicts, saves, and loads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <nybble/nybble.h>

#define BATCH  32
#define INPUTS 8

static void check(nyb_status status, const nyb_error *err)
{
    if (status == NYB_OK)
        return;
    fprintf(stderr, "own_data: %s: %s\n", nyb_status_name(status), err->text);
    exit(EXIT_FAILURE);
}

/* Points whose class is whether they are further than 1.6 from the origin. */
static void make_batch(unsigned *seed, float x[BATCH * INPUTS], int32_t labels[BATCH])
{
    for (size_t i = 0; i < BATCH; i++) {
        float square = 0;
        for (size_t k = 0; k < INPUTS; k++) {
            *seed = *seed * 1664525u + 1013904223u;
            x[i * INPUTS + k] = (float)(*seed >> 8) / 8388608 - 1;
            square += x[i * INPUTS + k] * x[i * INPUTS + k];
        }
        labels[i] = sqrtf(square) > 1.6f;
    }
}

static double accuracy(nyb_train *train)
{
    float x[BATCH * INPUTS], logits[BATCH * 2];
    int32_t labels[BATCH];
    unsigned seed = 2;
    int right = 0;
    nyb_error err;

    for (int batch = 0; batch < 32; batch++) {
        make_batch(&seed, x, labels);
        check(nyb_train_predict(train, x, BATCH, logits, &err), &err);
        for (size_t i = 0; i < BATCH; i++)
            right += (logits[2 * i + 1] > logits[2 * i]) == labels[i];
    }
    return right / (32.0 * BATCH);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "own_data.run";
    float x[BATCH * INPUTS];
    int32_t labels[BATCH];
    unsigned seed = 1;
    double loss = 0;
    nyb_error err;
    nyb_context *context;
    nyb_model *model;
    nyb_recipe *recipe;
    nyb_train *train;
    nyb_train_options options;

    check(nyb_context_create("auto", 0, &context, &err), &err);
    check(nyb_model_create("points", &model, &err), &err);
    nyb_value v = nyb_flatten(model, nyb_input(model, 1, 1, INPUTS, 0));
    v = nyb_relu(model, nyb_linear(model, v, "fc1", 64, 1));
    v = nyb_relu(model, nyb_linear(model, v, "fc2", 64, 1));
    check(nyb_model_finish(model, nyb_linear(model, v, "fc3", 2, 1), &err), &err);
    check(nyb_recipe_create("luq", &recipe, &err), &err);

    nyb_train_defaults(&options);
    options.batch = BATCH;
    check(nyb_train_create(context, model, recipe, NULL, &options, &train, &err), &err);
    for (int step = 0; step < 1500; step++) {
        make_batch(&seed, x, labels);
        check(nyb_train_set_lr(train, step < 1000 ? 0.05 : 0.005, &err), &err);
        check(nyb_train_step(train, x, labels, &loss, &err), &err);
    }
    check(nyb_train_save(train, folder, &err), &err);
    const double trained = accuracy(train);
    nyb_train_destroy(&train);

    check(nyb_train_create(context, model, recipe, NULL, &options, &train, &err), &err);
    check(nyb_train_load_model(train, folder, &err), &err);
    const double loaded = accuracy(train);
    printf("last loss %.3f; accuracy %.1f %%, loaded from %s %.1f %%\n", loss, 100 * trained,
           folder, 100 * loaded);

    nyb_train_destroy(&train);
    nyb_recipe_destroy(&recipe);
    nyb_model_destroy(&model);
    nyb_context_destroy(&context);
    return loaded == trained && loaded > 0.8 ? EXIT_SUCCESS : EXIT_FAILURE;
}
