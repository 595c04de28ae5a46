#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_hbfp = {
    .name = "hbfp",
    .about = "HBFP4: block floating point of 64, nearest forward, stochastic backward",
    .source = "Harma et al.: Accuracy Booster, 2022, arXiv:2211.10737; Drumond et al., "
              "NeurIPS 2018, arXiv:1804.01526",
    .differs =
        "first and last layers are f32, HBFP6 in Accuracy Booster, as its last epoch is (recipe "
        "hbfp_booster); blocks lie inside one tap and are as short as its channels allow: "
        "16 for at most 16, 32 for at most 32",
    .fields = "fwd.x    = int4/hbfp/block64/nearest\n"
              "fwd.w    = int4/hbfp/block64/nearest\n"
              "dgrad.dy = int4/hbfp/block64/stochastic\n"
              "dgrad.w  = int4/hbfp/block64/nearest\n"
              "wgrad.dy = int4/hbfp/block64/stochastic\n"
              "wgrad.x  = int4/hbfp/block64/nearest\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
