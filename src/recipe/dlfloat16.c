#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_dlfloat16 = {
    .name = "dlfloat16",
    .about = "DLFloat16 (1-6-9) operands and partial sums",
    .source = "Agrawal et al.: DLFloat: A 16-b Floating Point Format Designed for Deep "
              "Learning Training and Inference, ARITH 2019",
    .differs = "every partial sum is rounded to 1-6-9 in chains of 64 products (published "
               "hardware fuses two products at a time); ties go away from zero, as in the "
               "hardware; momenta and weights are updated in PyTorch's order (v = m v + g, then "
               "w -= lr v), and g enters in f32",
    .fields = "fwd.x       = dlfloat16/unit\n"
              "fwd.w       = dlfloat16/unit\n"
              "dgrad.dy    = dlfloat16/unit\n"
              "dgrad.w     = dlfloat16/unit\n"
              "wgrad.dy    = dlfloat16/unit\n"
              "wgrad.x     = dlfloat16/unit\n"
              "fwd.accum   = dlfloat16/64\n"
              "dgrad.accum = dlfloat16/64\n"
              "wgrad.accum = dlfloat16/64\n"
              "edges       = recipe\n"
              "shortcut    = recipe\n"
              "update      = dlfloat16/nearest\n",
};
