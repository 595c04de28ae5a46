#include "recipe/recipe.h"

/* Weights on 17 levels -8..8 (scale clip/8), inputs 0..15 or -8..15 with scale 2 clip/(Qp - Qn),
 * alpha = max/128 with eight powers of two: more than 4 bits throughout, hence the f32 engine. */
const nyb_recipe_record nyb_recipe_luq_ref = {
    .name = "luq_ref",
    .about = "LUQ with the levels and scales of its published code; not 4 bits",
    .source = "code published with Chmiel et al., ICLR 2023, openreview.net/forum?id=yTbNYYcopd",
    .differs =
        "alpha is max|dy|/128 (published: max without absolute value, so that a tensor without "
        "positive values gives NaN and large negative values pass the top code); inputs are "
        "signed where the graph does not know them to be >= 0 (published: once a negative "
        "value has been seen); powers of two come from the exponent field (published: log2 "
        "in f32); bias gradients come from dy before quantization; SMP averages dw only",
    .base = "luq",
    .fields = "fwd.x          = int5x/luq_ref/tensor/nearest\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int5w/luq_ref/tensor/nearest\n"
              "dgrad.dy       = e4m0/absmax/tensor/stochastic\n"
              "dgrad.w        = int5w/luq_ref/tensor/nearest\n"
              "wgrad.dy       = e4m0/absmax/tensor/stochastic\n"
              "wgrad.x        = int5x/luq_ref/tensor/nearest\n"
              "wgrad.x.nonneg = uint4\n"
              "eval.scale     = batch\n",
};
