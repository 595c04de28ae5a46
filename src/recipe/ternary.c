#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_ternary = {
    .name = "ternary",
    .about = "ternary weights, INT8 activations and gradients",
    .source = "Li, Zhang, Liu: Ternary Weight Networks, 2016, arXiv:1605.04711",
    .differs = "activations and gradients are int8 (the paper leaves them f32), so that all "
               "three products run on small integers",
    .fields = "fwd.x    = int8/absmax\n"
              "fwd.w    = ternary/twn\n"
              "dgrad.dy = int8/absmax/tensor/stochastic\n"
              "dgrad.w  = ternary/twn\n"
              "wgrad.dy = int8/absmax/tensor/stochastic\n"
              "wgrad.x  = int8/absmax\n"
              "edges    = f32\n"
              "shortcut = f32\n",
};
