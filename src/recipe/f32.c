#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_f32 = {
    .name = "f32",
    .about = "every product in single precision: the baseline",
    .source = "IEEE 754 binary32",
    .differs = "",
    .fields = "",
};
