#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_ptq5 = {
    .name = "statquant_ptq5",
    .about = "INT8 forward, 5-bit stochastic activation gradients per tensor, 8-bit weight "
             "gradients",
    .base = "statquant_ptq",
    .fields = "dgrad.dy = uint5/ptq/tensor/stochastic\n",
};
