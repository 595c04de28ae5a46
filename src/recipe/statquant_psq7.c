#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_psq7 = {
    .name = "statquant_psq7",
    .about = "INT8 forward, 7-bit stochastic activation gradients per sample, 8-bit weight "
             "gradients",
    .base = "statquant_psq",
    .fields = "dgrad.dy = uint7/psq/row/stochastic\n",
};
