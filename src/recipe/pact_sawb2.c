#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_pact_sawb2 = {
    .name = "pact_sawb2",
    .about = "2-bit weights (SAWB) and activations (PACT), f32 gradients",
    .source = "Choi et al.: Accurate and Efficient 2-bit Quantized Neural Networks, SysML "
              "2019; PACT, 2018, arXiv:1805.06085",
    .differs = "SAWB passes the gradient straight through; inputs that may be negative are "
               "clipped on both sides; clips begin at SAWB's, and a step at most halves or "
               "doubles them",
    .fields = "fwd.x          = int2/pact\n"
              "fwd.x.nonneg   = uint2\n"
              "fwd.w          = odd2/sawb\n"
              "dgrad.w        = odd2/sawb\n"
              "wgrad.x        = int2/pact\n"
              "wgrad.x.nonneg = uint2\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
