#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_psq5 = {
    .name = "statquant_psq5",
    .about = "INT8 forward, 5-bit stochastic activation gradients per sample, 8-bit weight "
             "gradients",
    .base = "statquant_psq",
    .fields = "dgrad.dy = uint5/psq/row/stochastic\n",
};
