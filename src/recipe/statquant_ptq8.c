#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_ptq8 = {
    .name = "statquant_ptq8",
    .about = "INT8 forward, 8-bit stochastic activation gradients per tensor, 8-bit weight "
             "gradients",
    .base = "statquant_ptq",
    .fields = "dgrad.dy = uint8/ptq/tensor/stochastic\n",
};
