#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_bhq8 = {
    .name = "statquant_bhq8",
    .about = "INT8 forward, 8-bit stochastic activation gradients by block Householder, "
             "8-bit weight gradients",
    .base = "statquant_bhq",
    .fields = "dgrad.dy = uint8/psq/row/stochastic/householder\n",
};
