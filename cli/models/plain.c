/* A plain net: layers of a 3x3 convolution, batch normalisation and relu, as many channels in each:
 * "plain" is 4 of 64; "plain:6,128". */
#include <stdio.h>

#include "models.h"

#define LAYERS_MAX   64
#define CHANNELS_MAX 4096

static nyb_value build(const void *family, nyb_model *model, const cli_input *input,
                       const char *rest, nyb_error *err)
{
    (void)family;
    size_t sizes[2] = {4, 64};
    int n = *rest ? cli_parse_numbers(rest, CHANNELS_MAX, 2, sizes) : 2;
    const size_t layers = sizes[0], channels = sizes[1];
    if (n != 2 || layers > LAYERS_MAX) {
        nyb_fail(err, NYB_INVALID,
                 "plain:%.60s: two numbers are needed, layers in 1..%d and channels in 1..%d, as "
                 "plain:4,64",
                 rest, LAYERS_MAX, CHANNELS_MAX);
        return -1;
    }
    const nyb_conv2d_options conv = {.out = channels, .kernel = 3, .stride = 1, .pad = 1};
    nyb_value x = nyb_input(model, input->h, input->w, input->c, input->nonneg);
    for (size_t i = 1; i <= layers; i++) {
        char name[24];
        snprintf(name, sizeof name, "conv%zu", i);
        x = nyb_conv2d(model, x, name, &conv);
        snprintf(name, sizeof name, "bn%zu", i);
        x = nyb_relu(model, nyb_batchnorm(model, x, name));
    }
    x = nyb_flatten(model, nyb_global_avgpool(model, x));
    return nyb_linear(model, x, "fc", input->classes, 1);
}

const cli_model cli_model_plain = {
    .name = "plain",
    .about = "4 layers of 64 channels: conv 3x3, batchnorm, relu; plain:6,128 for others",
    .defaults = cli_conv_defaults,
    .build = build,
};
