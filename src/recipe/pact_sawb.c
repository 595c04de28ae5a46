#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_pact_sawb = {
    .name = "pact_sawb",
    .about = "4-bit weights (SAWB) and activations (PACT), f32 gradients",
    .source = "Choi et al.: Accurate and Efficient 2-bit Quantized Neural Networks, SysML "
              "2019; PACT, 2018, arXiv:1805.06085",
    .differs = "SAWB passes the gradient straight through; inputs that may be negative are "
               "clipped on both sides; clips begin at SAWB's, and a step at most halves or "
               "doubles them",
    .fields = "fwd.x          = int4/pact\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int4/sawb\n"
              "dgrad.w        = int4/sawb\n"
              "wgrad.x        = int4/pact\n"
              "wgrad.x.nonneg = uint4\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
