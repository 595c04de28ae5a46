#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_bf16 = {
    .name = "bf16",
    .about = "bfloat16 operands, f32 sums",
    .source = "Kalamkar et al.: A Study of BFLOAT16 for Deep Learning Training, 2019, "
              "arXiv:1905.12322",
    .differs = "batchnorm, loss, masters and optimizer stay in f32, as there; sums follow "
               "the canonical f32 order of this library",
    .fields = "fwd.x    = bf16/unit\n"
              "fwd.w    = bf16/unit\n"
              "dgrad.dy = bf16/unit\n"
              "dgrad.w  = bf16/unit\n"
              "wgrad.dy = bf16/unit\n"
              "wgrad.x  = bf16/unit\n"
              "edges    = bf16\n"
              "shortcut = bf16\n",
};
