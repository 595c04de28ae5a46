#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_ptq6 = {
    .name = "statquant_ptq6",
    .about = "INT8 forward, 6-bit stochastic activation gradients per tensor, 8-bit weight "
             "gradients",
    .base = "statquant_ptq",
    .fields = "dgrad.dy = uint6/ptq/tensor/stochastic\n",
};
