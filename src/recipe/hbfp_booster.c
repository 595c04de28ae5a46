#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_hbfp_booster = {
    .name = "hbfp_booster",
    .about = "HBFP4, but HBFP6 in the first and last layer and in the last epoch",
    .source = "Harma et al.: Accuracy Booster, 2022, arXiv:2211.10737",
    .differs = "evaluation is in HBFP6 after every epoch, not after the last one alone; blocks lie "
               "inside one tap and are as short as its channels allow: 16 for at most 16, 32 for "
               "at most 32",
    .base = "hbfp",
    .fields = "edges         = hbfp6\n"
              "finish.epochs = 1\n"
              "finish.span   = last\n"
              "finish.keep   = hbfp6\n",
};
