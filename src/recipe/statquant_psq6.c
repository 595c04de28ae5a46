#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_psq6 = {
    .name = "statquant_psq6",
    .about = "INT8 forward, 6-bit stochastic activation gradients per sample, 8-bit weight "
             "gradients",
    .base = "statquant_psq",
    .fields = "dgrad.dy = uint6/psq/row/stochastic\n",
};
