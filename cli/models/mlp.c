/* Perceptrons with hidden layers of any widths: "mlp" is 512, 512; "mlp:300,100". */
#include <stdio.h>

#include "models.h"

#define LAYERS_MAX 16
#define WIDTH_MAX  65536

static void defaults(nyb_train_options *options)
{
    options->lr = 0.05;
    options->normalize = 0; /* x / 255 stays >= 0: the first layer may use uint4 */
}

static nyb_value build(const void *family, nyb_model *model, const cli_input *input,
                       const char *rest, nyb_error *err)
{
    (void)family;
    size_t widths[LAYERS_MAX] = {512, 512};
    int n = *rest ? cli_parse_numbers(rest, WIDTH_MAX, LAYERS_MAX, widths) : 2;
    if (n < 0) {
        nyb_fail(err, NYB_INVALID, "mlp:%.60s: up to %d widths in 1..%d are needed, as mlp:512,512",
                 rest, LAYERS_MAX, WIDTH_MAX);
        return -1;
    }
    char name[16];
    nyb_value x = nyb_input(model, input->h, input->w, input->c, input->nonneg);
    x = nyb_flatten(model, x);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = nyb_relu(model, nyb_linear(model, x, name, widths[i], 1));
    }
    snprintf(name, sizeof name, "fc%d", n + 1);
    return nyb_linear(model, x, name, input->classes, 1);
}

const cli_model cli_model_mlp = {
    .name = "mlp",
    .about = "perceptron with hidden layers 512, 512; mlp:300,100 for others",
    .defaults = defaults,
    .build = build,
};
