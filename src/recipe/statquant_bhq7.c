#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_bhq7 = {
    .name = "statquant_bhq7",
    .about = "INT8 forward, 7-bit stochastic activation gradients by block Householder, "
             "8-bit weight gradients",
    .base = "statquant_bhq",
    .fields = "dgrad.dy = uint7/psq/row/stochastic/householder\n",
};
