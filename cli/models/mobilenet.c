/* MobileNetV1 (Howard et al., 2017, Table 1) for small images: after a 3x3 stem, blocks of a 3x3
 * depthwise and a 1x1 convolution, each followed by batch normalisation and ReLU; parameters have
 * timm's names. The blocks are the paper's first seven, with 512 channels at the end; the stem's
 * stride of 2 is left out below 64 pixels. */
#include <stdio.h>

#include "models.h"

#define SMALL_INPUT 64 /* pixels */
#define BLOCKS_MAX  7

typedef struct mobilenet {
    const char *name;
    size_t stem, stem_stride; /* stride: below SMALL_INPUT pixels */
    struct {
        size_t out, stride;
    } blocks[BLOCKS_MAX]; /* out 0 ends */
} mobilenet;

static nyb_value conv_bn_relu(nyb_model *model, nyb_value x, const char *prefix, const char *conv,
                              const char *bn, nyb_conv2d_options options)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    x = nyb_conv2d(model, x, name, &options);
    snprintf(name, sizeof name, "%s%s", prefix, bn);
    return nyb_relu(model, nyb_batchnorm(model, x, name));
}

static nyb_value build(const void *family, nyb_model *model, const cli_input *input,
                       const char *rest, nyb_error *err)
{
    const mobilenet *net = family;
    if (*rest) {
        nyb_fail(err, NYB_INVALID, "%s takes no ':%.60s'", net->name, rest);
        return -1;
    }
    int large = input->h >= SMALL_INPUT || input->w >= SMALL_INPUT;
    nyb_conv2d_options stem = {
        .out = net->stem, .kernel = 3, .stride = large ? 2 : net->stem_stride, .pad = 1};
    nyb_value x = nyb_input(model, input->h, input->w, input->c, input->nonneg);
    x = conv_bn_relu(model, x, "", "conv_stem", "bn1", stem);
    size_t channels = net->stem;
    for (size_t i = 0; i < BLOCKS_MAX && net->blocks[i].out; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%zu.", i);
        nyb_conv2d_options depthwise = {.out = channels,
                                        .kernel = 3,
                                        .stride = net->blocks[i].stride,
                                        .pad = 1,
                                        .groups = channels};
        nyb_conv2d_options pointwise = {.out = net->blocks[i].out, .kernel = 1, .stride = 1};
        x = conv_bn_relu(model, x, prefix, "conv_dw", "bn1", depthwise);
        x = conv_bn_relu(model, x, prefix, "conv_pw", "bn2", pointwise);
        channels = net->blocks[i].out;
    }
    x = nyb_flatten(model, nyb_global_avgpool(model, x));
    return nyb_linear(model, x, "classifier", input->classes, 1);
}

static const mobilenet net_mobilenet = {
    "mobilenet", 32, 1, {{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1}}};
const cli_model cli_model_mobilenet = {
    "mobilenet", "depthwise separable (MobileNetV1), 7 blocks, widths 64 .. 512", &net_mobilenet,
    cli_conv_defaults, build};

static const mobilenet net_mobilenet3 = {"mobilenet3", 16, 2, {{32, 1}, {64, 2}, {64, 1}}};
const cli_model cli_model_mobilenet3 = {
    "mobilenet3", "depthwise separable, 3 blocks, widths 32 64 64, a stem of stride 2",
    &net_mobilenet3, cli_conv_defaults, build};
