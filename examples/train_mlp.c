/* Trains a perceptron on synthetic images with all three matrix products in 4 bits. */
#include <stdio.h>
#include <stdlib.h>

#include <nybble/nybble.h>

static void check(nyb_status status, const nyb_error *err)
{
    if (status == NYB_OK)
        return;
    fprintf(stderr, "train_mlp: %s: %s\n", nyb_status_name(status), err->text);
    exit(EXIT_FAILURE);
}

static int show(void *user, const nyb_event *event)
{
    (void)user;
    if (event->kind == NYB_EVENT_EPOCH)
        printf("epoch %d: train loss %.4f, test accuracy %.1f %%\n", event->epoch,
               event->train_loss, 100 * event->test_acc);
    return 0; /* anything else would stop the run */
}

int main(void)
{
    nyb_error err;
    nyb_context *context;
    nyb_data *data;
    nyb_data_info info;
    nyb_model *model;
    nyb_recipe *recipe;
    nyb_train *train;
    nyb_train_options options;

    check(nyb_context_create("auto", 0, &context, &err), &err);
    check(nyb_data_open("synthetic:h=8,w=8,c=1,classes=4,train=2048,test=512", &data, &err), &err);
    nyb_data_get_info(data, &info);

    check(nyb_model_create("example", &model, &err), &err);
    nyb_value x = nyb_input(model, info.h, info.w, info.c, 1);
    x = nyb_flatten(model, x);
    x = nyb_relu(model, nyb_linear(model, x, "fc1", 64, 1));
    x = nyb_relu(model, nyb_linear(model, x, "fc2", 64, 1));
    x = nyb_linear(model, x, "fc3", info.classes, 1);
    check(nyb_model_finish(model, x, &err), &err);

    check(nyb_recipe_create("luq", &recipe, &err), &err);
    check(nyb_recipe_set(recipe, "edges", "recipe", &err), &err); /* fc1 and fc3 as well */

    nyb_train_defaults(&options);
    options.epochs = 4;
    options.batch = 64;
    options.lr = 0.05;
    options.normalize = 0;
    check(nyb_train_create(context, model, recipe, data, &options, &train, &err), &err);
    check(nyb_train_run(train, NULL, NULL, show, NULL, &err), &err);

    nyb_train_summary summary;
    nyb_train_summarize(train, &summary);
    printf("%zu parameters, %zu bytes kept for backward, weights %.16s...\n", summary.n_parameters,
           summary.saved_activation_bytes, summary.weights_sha256);

    nyb_train_destroy(&train);
    nyb_recipe_destroy(&recipe);
    nyb_model_destroy(&model);
    nyb_data_close(&data);
    nyb_context_destroy(&context);
    return summary.test_acc > 0.5 ? EXIT_SUCCESS : EXIT_FAILURE;
}
