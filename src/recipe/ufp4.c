#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_ufp4 = {
    .name = "ufp4",
    .about = "uniform FP4 (E1M2) in blocks of 16 after a random Hadamard, stochastic dY",
    .source = "UFP4, 2026, arXiv:2606.20381",
    .differs = "primary text not seen: grid, block and transform follow its abstract and "
               "secondary accounts; one f32 scale per block",
    .fields = "fwd.x    = e1m2/absmax/block16/nearest/random_hadamard16\n"
              "fwd.w    = e1m2/absmax/block16/nearest/random_hadamard16\n"
              "dgrad.dy = e1m2/absmax/block16/stochastic/random_hadamard16\n"
              "dgrad.w  = e1m2/absmax/block16/nearest/random_hadamard16\n"
              "wgrad.dy = e1m2/absmax/block16/stochastic/random_hadamard16\n"
              "wgrad.x  = e1m2/absmax/block16/nearest/random_hadamard16\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
