#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_lsq = {
    .name = "lsq",
    .about = "4-bit weights and activations with learned steps, f32 gradients",
    .source = "Esser et al.: Learned Step Size Quantization, ICLR 2020, arXiv:1902.08153",
    .differs = "gradients are f32; first and last layers are int8 with absmax scales, their "
               "gradients stochastic; a step at most halves or doubles a scale",
    .fields = "fwd.x          = int4f/lsq\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int4f/lsq\n"
              "dgrad.w        = int4f/lsq\n"
              "wgrad.x        = int4f/lsq\n"
              "wgrad.x.nonneg = uint4\n"
              "edges          = int8\n"
              "shortcut       = int8\n",
};
