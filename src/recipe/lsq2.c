#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_lsq2 = {
    .name = "lsq2",
    .about = "2-bit weights and activations with learned steps, f32 gradients",
    .source = "Esser et al.: Learned Step Size Quantization, ICLR 2020, arXiv:1902.08153",
    .differs = "gradients are f32; first and last layers are int8 with absmax scales, their "
               "gradients stochastic; a step at most halves or doubles a scale",
    .fields = "fwd.x          = int2f/lsq\n"
              "fwd.x.nonneg   = uint2\n"
              "fwd.w          = int2f/lsq\n"
              "dgrad.w        = int2f/lsq\n"
              "wgrad.x        = int2f/lsq\n"
              "wgrad.x.nonneg = uint2\n"
              "edges          = int8\n"
              "shortcut       = int8\n",
};
