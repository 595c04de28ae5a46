#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_lsqplus = {
    .name = "lsqplus",
    .about = "4-bit weights and activations with learned steps and offsets, f32 gradients",
    .source = "Bhalgat et al.: LSQ+, CVPR Workshops 2020, arXiv:2004.09576",
    .differs = "an update at most halves or doubles a step (docs/recipes.md); weights have no "
               "offset; first and last layers are int8 with absmax scales, their gradients "
               "stochastic; the offset's gradient is scaled as the step's is",
    .fields = "fwd.x          = int4f/lsqplus\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int4f/lsqplus_w\n"
              "dgrad.w        = int4f/lsqplus_w\n"
              "wgrad.x        = int4f/lsqplus\n"
              "wgrad.x.nonneg = uint4\n"
              "edges          = int8\n"
              "shortcut       = int8\n",
};
