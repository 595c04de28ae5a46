#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_fp16 = {
    .name = "fp16",
    .about = "fp16 operands, f32 sums, dynamic loss scaling",
    .source = "Micikevicius et al.: Mixed Precision Training, ICLR 2018, arXiv:1710.03740",
    .differs = "values beyond 65504 saturate in an operand instead of becoming infinite; "
               "overflow is looked for in the f32 gradients, and in those that exceed their format",
    .fields = "fwd.x      = fp16/unit\n"
              "fwd.w      = fp16/unit\n"
              "dgrad.dy   = fp16/unit\n"
              "dgrad.w    = fp16/unit\n"
              "wgrad.dy   = fp16/unit\n"
              "wgrad.x    = fp16/unit\n"
              "edges      = fp16\n"
              "shortcut   = fp16\n"
              "loss_scale = dynamic\n"
              "nonfinite  = skip\n",
};
