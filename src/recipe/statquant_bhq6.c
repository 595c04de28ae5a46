#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_bhq6 = {
    .name = "statquant_bhq6",
    .about = "INT8 forward, 6-bit stochastic activation gradients by block Householder, "
             "8-bit weight gradients",
    .base = "statquant_bhq",
    .fields = "dgrad.dy = uint6/psq/row/stochastic/householder\n",
};
