/* Residual networks of He et al., CVPR 2016, with basic blocks. Section 4.2 (CIFAR): depth 6n + 2,
 * widths 16, 32, 64, 3x3 stem. Table 1 (ImageNet): widths 64 to 512, torchvision's names, and for
 * inputs below 64 pixels the 3x3 stem without pooling that is usual for CIFAR. Shortcuts are
 * projections (option B) where the shape changes. */
#include <stdio.h>

#include "models.h"

#define SMALL_INPUT 64 /* pixels */

typedef struct resnet {
    const char *name;
    size_t blocks[4]; /* per stage; 0 ends */
    size_t width;     /* of the first stage; doubles with each */
    size_t stem_stride;
    int large_stem; /* 7x7, stride 2, pooled, from SMALL_INPUT pixels */
    const char *project_conv, *project_bn;
} resnet;

/* "<prefix>.conv" and "<prefix>.bn", the prefix ending in a dot or empty. */
static nyb_value conv_bn(nyb_model *model, nyb_value x, const char *prefix, const char *conv,
                         const char *bn, nyb_conv2d_options options)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    x = nyb_conv2d(model, x, name, &options);
    snprintf(name, sizeof name, "%s%s", prefix, bn);
    return nyb_batchnorm(model, x, name);
}

static nyb_value block(const resnet *net, nyb_model *model, nyb_value x, const char *prefix,
                       size_t width, size_t stride)
{
    nyb_conv2d_options first = {.out = width, .kernel = 3, .stride = stride, .pad = 1};
    nyb_conv2d_options second = {.out = width, .kernel = 3, .stride = 1, .pad = 1};
    nyb_conv2d_options project = {.out = width, .kernel = 1, .stride = stride, .shortcut = 1};
    nyb_value y = nyb_relu(model, conv_bn(model, x, prefix, "conv1", "bn1", first));
    y = conv_bn(model, y, prefix, "conv2", "bn2", second);
    if (stride > 1)
        x = conv_bn(model, x, prefix, net->project_conv, net->project_bn, project);
    return nyb_relu(model, nyb_add(model, y, x));
}

static nyb_value stem(const resnet *net, nyb_model *model, nyb_value x, const cli_input *input)
{
    int large = net->large_stem && (input->h >= SMALL_INPUT || input->w >= SMALL_INPUT);
    nyb_conv2d_options options = {
        .out = net->width, .kernel = 3, .stride = net->stem_stride, .pad = 1};
    if (large)
        options = (nyb_conv2d_options){.out = net->width, .kernel = 7, .stride = 2, .pad = 3};
    x = nyb_relu(model, conv_bn(model, x, "", "conv1", "bn1", options));
    return large ? nyb_maxpool(model, x, 3, 2, 1) : x;
}

static nyb_value build(const void *family, nyb_model *model, const cli_input *input,
                       const char *rest, nyb_error *err)
{
    const resnet *net = family;
    if (*rest) {
        nyb_fail(err, NYB_INVALID, "%s takes no ':%.60s'", net->name, rest);
        return -1;
    }
    nyb_value x = nyb_input(model, input->h, input->w, input->c, input->nonneg);
    x = stem(net, model, x, input);
    for (size_t stage = 0; stage < 4 && net->blocks[stage]; stage++)
        for (size_t i = 0; i < net->blocks[stage]; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "layer%zu.%zu.", stage + 1, i);
            size_t stride = stage > 0 && i == 0 ? 2 : 1;
            x = block(net, model, x, prefix, net->width << stage, stride);
        }
    x = nyb_flatten(model, nyb_global_avgpool(model, x));
    return nyb_linear(model, x, "fc", input->classes, 1);
}

/* depth, the blocks of a stage, the stem's stride */
#define CIFAR(id, n, stride, text)                                                                 \
    static const resnet net_##id = {                                                               \
        #id, {n, n, n}, 16, stride, 0, "shortcut.conv", "shortcut.bn"};                            \
    const cli_model cli_model_##id = {#id, text, &net_##id, cli_conv_defaults, build}

CIFAR(resnet8, 1, 1, "residual, 3 stages of 1 block, widths 16 32 64");
CIFAR(resnet14, 2, 1, "residual, 3 stages of 2 blocks, widths 16 32 64");
CIFAR(resnet14s, 2, 2, "resnet14 with a stem of stride 2: a quarter of the work");
CIFAR(resnet20, 3, 1, "residual, 3 stages of 3 blocks, widths 16 32 64");
CIFAR(resnet32, 5, 1, "residual, 3 stages of 5 blocks, widths 16 32 64");
CIFAR(resnet44, 7, 1, "residual, 3 stages of 7 blocks, widths 16 32 64");
CIFAR(resnet56, 9, 1, "residual, 3 stages of 9 blocks, widths 16 32 64");

static const resnet net_resnet18 = {"resnet18",     {2, 2, 2, 2},  64, 1, 1,
                                    "downsample.0", "downsample.1"};
const cli_model cli_model_resnet18 = {
    "resnet18", "residual, blocks 2 2 2 2, widths 64 .. 512; 3x3 stem below 64 pixels",
    &net_resnet18, cli_conv_defaults, build};

static const resnet net_resnet34 = {"resnet34",     {3, 4, 6, 3},  64, 1, 1,
                                    "downsample.0", "downsample.1"};
const cli_model cli_model_resnet34 = {
    "resnet34", "residual, blocks 3 4 6 3, widths 64 .. 512; 3x3 stem below 64 pixels",
    &net_resnet34, cli_conv_defaults, build};
