/* The record of a recipe: three products times two operands, and what surrounds them. */
#ifndef NYB_RECIPE_INTERNAL_H
#define NYB_RECIPE_INTERNAL_H

#include <nybble/recipe.h>

#include "quant/quant.h"

typedef struct nyb_row {
    nyb_spec spec;            /* format f32: the operand is not quantized                     */
    const nyb_format *nonneg; /* format instead where the graph knows x >= 0; NULL: spec's    */
    int samples;              /* SMP: independent draws averaged (wgrad.dy); else 1           */
} nyb_row;

/* X(constant, word, sentence) */
#define NYB_EDGE_LIST(X)                                                                           \
    X(NYB_EDGE_F32, "f32", "not quantized")                                                        \
    X(NYB_EDGE_RECIPE, "recipe", "quantized as every other layer")                                 \
    X(NYB_EDGE_INT8, "int8", "int8, absmax, gradients stochastic")
typedef enum nyb_edge {
#define X(constant, word, sentence) constant,
    NYB_EDGE_LIST(X)
#undef X
} nyb_edge;

#define NYB_EVAL_LIST(X)                                                                           \
    X(NYB_EVAL_FROZEN, "frozen", "activation clips frozen: exponential mean of training's")        \
    X(NYB_EVAL_BATCH, "batch", "activation clips from each evaluation batch")
typedef enum nyb_eval_scale {
#define X(constant, word, sentence) constant,
    NYB_EVAL_LIST(X)
#undef X
} nyb_eval_scale;

#define NYB_POLICY_LIST(X)                                                                         \
    X(NYB_POLICY_STOP, "stop", "end the run with an error that names step and layer")              \
    X(NYB_POLICY_SKIP, "skip", "leave the weights as they are for this step")                      \
    X(NYB_POLICY_CONTINUE, "continue", "count, and go on")
typedef enum nyb_policy {
#define X(constant, word, sentence) constant,
    NYB_POLICY_LIST(X)
#undef X
} nyb_policy;

struct nyb_recipe {
    const char *name, *about, *source, *differs;
    /* rows of DESIGN.md 2.5; w of dgrad and x of wgrad are shared with fwd when specs agree */
    nyb_row fwd_x, fwd_w, dgrad_dy, dgrad_w, wgrad_dy, wgrad_x;
    nyb_edge edges;    /* first convolution (or first GEMM) and last linear */
    nyb_edge shortcut; /* 1x1 shortcut convolutions */
    nyb_eval_scale eval_scale;
    float eval_decay;   /* of the exponential mean: 0.9 */
    int finish_epochs;  /* FNT: further epochs with f32 activations and gradients, weights as fwd_w */
    float finish_lr;    /* peak of FNT's triangle */
    nyb_policy nonfinite;
};

extern const nyb_recipe *const nyb_recipes[]; /* built-in, NULL-terminated */

#endif
