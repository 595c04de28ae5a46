#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_fp8_ocp = {
    .name = "fp8_ocp",
    .about = "FP8 as the OCP has it: E4M3 forward, E5M2 gradients, one scale per tensor",
    .source = "Micikevicius et al.: FP8 Formats for Deep Learning, 2022, arXiv:2209.05433",
    .differs = "scales come from the tensor of this step, not from a history (delayed "
               "scaling is an option: scale rule delayed)",
    .fields = "fwd.x    = e4m3fn/absmax\n"
              "fwd.w    = e4m3fn/absmax\n"
              "dgrad.dy = e5m2/absmax\n"
              "dgrad.w  = e4m3fn/absmax\n"
              "wgrad.dy = e5m2/absmax\n"
              "wgrad.x  = e4m3fn/absmax\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
