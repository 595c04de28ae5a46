#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_ptq7 = {
    .name = "statquant_ptq7",
    .about = "INT8 forward, 7-bit stochastic activation gradients per tensor, 8-bit weight "
             "gradients",
    .base = "statquant_ptq",
    .fields = "dgrad.dy = uint7/ptq/tensor/stochastic\n",
};
