#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_psq8 = {
    .name = "statquant_psq8",
    .about = "INT8 forward, 8-bit stochastic activation gradients per sample, 8-bit weight "
             "gradients",
    .base = "statquant_psq",
    .fields = "dgrad.dy = uint8/psq/row/stochastic\n",
};
