/* Models: a static graph of layers, built by calls that read like a list of layers. */
#ifndef NYBBLE_MODEL_H
#define NYBBLE_MODEL_H

#include <nybble/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nyb_model nyb_model;

/* A tensor of the graph; the batch is its first dimension and not part of the description. */
typedef int nyb_value; /* -1 after a failure */

/* Names of models and layers are UTF-8, else NYB_INVALID. On failure *model is NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_model_create(const char *name, nyb_model **model,
                                                   nyb_error *err);
NYB_API void nyb_model_destroy(nyb_model **model);

/* Every layer function returns the layer's output; after a failure it returns -1, and so does
 * every later one: only nyb_model_finish needs checking. A NULL model gives -1, too; NULL options
 * are a failure (NYB_INVALID). Names are the PyTorch-style prefixes of the parameters
 * ("layer1.0.conv1" -> "layer1.0.conv1.weight") and are copied. */

/* The input image, h x w x c, NHWC. nonneg: the data is declared to be >= 0. Call once, first. */
NYB_API nyb_value nyb_input(nyb_model *model, size_t h, size_t w, size_t c, int nonneg);

typedef struct nyb_conv2d_options {
    size_t out, kernel, stride, pad;
    int bias;     /* with a bias vector */
    int shortcut; /* a projection shortcut: the recipe's `shortcut` field applies */
    /* 0 or 1: every output sees every channel. As many as channels, and `out` too: a depthwise
     * convolution, one filter of at most 63 x 63 for each channel. Others are NYB_INVALID. */
    size_t groups;
} nyb_conv2d_options;
NYB_API nyb_value nyb_conv2d(nyb_model *model, nyb_value x, const char *name,
                             const nyb_conv2d_options *options);

/* y = x w' + b over the last dimension; out >= 1. */
NYB_API nyb_value nyb_linear(nyb_model *model, nyb_value x, const char *name, size_t out, int bias);

/* Over all but the last dimension; eps 1e-5, momentum 0.1. */
NYB_API nyb_value nyb_batchnorm(nyb_model *model, nyb_value x, const char *name);
NYB_API nyb_value nyb_relu(nyb_model *model, nyb_value x);
/* Of two values of one shape. */
NYB_API nyb_value nyb_add(nyb_model *model, nyb_value a, nyb_value b);
/* Windows of kernel x kernel pixels, pad <= kernel / 2, stride >= 1; pixels beside the image are
 * left out of the largest, and are zeros in the mean. */
NYB_API nyb_value nyb_maxpool(nyb_model *model, nyb_value x, size_t kernel, size_t stride,
                              size_t pad);
NYB_API nyb_value nyb_avgpool(nyb_model *model, nyb_value x, size_t kernel, size_t stride,
                              size_t pad);
NYB_API nyb_value nyb_global_avgpool(nyb_model *model, nyb_value x); /* -> 1 x 1 x c */
NYB_API nyb_value nyb_flatten(nyb_model *model, nyb_value x);        /* -> 1 x 1 x hwc */

/* Declares the logits (1 x 1 x classes) and checks the whole graph; reports the first failure of
 * any layer call, with the layer's name. */
NYB_API NYB_MUST_CHECK nyb_status nyb_model_finish(nyb_model *model, nyb_value logits,
                                                   nyb_error *err);

NYB_API const char *nyb_model_name(const nyb_model *model);
NYB_API size_t nyb_model_parameters(const nyb_model *model); /* trained floats */
NYB_API size_t nyb_model_classes(const nyb_model *model);
NYB_API void nyb_model_input_shape(const nyb_model *model, size_t *h, size_t *w, size_t *c);

#ifdef __cplusplus
}
#endif
#endif
