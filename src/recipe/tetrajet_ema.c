#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_tetrajet_ema = {
    .name = "tetrajet_ema",
    .about = "tetrajet whose weights round towards their exponential mean (Q-EMA)",
    .differs =
        "without Q-Ramping; the mean is rounded towards from the first step on, not from the tenth "
        "(it begins at the weights); "
        "blocks lie inside one tap and are as short as its channels allow: 16 for at most 16",
    .base = "tetrajet",
    .fields = "fwd.w.ema = 0.998\n",
};
