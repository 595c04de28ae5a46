#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_bhq5 = {
    .name = "statquant_bhq5",
    .about = "INT8 forward, 5-bit stochastic activation gradients by block Householder, "
             "8-bit weight gradients",
    .base = "statquant_bhq",
    .fields = "dgrad.dy = uint5/psq/row/stochastic/householder\n",
};
