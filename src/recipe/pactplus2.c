#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_pactplus2 = {
    .name = "pactplus2",
    .about = "2-bit weights (SAWB) and activations (PACT+), f32 gradients",
    .source = "Choi et al., SysML 2019; PACT+ as in the foundation-model-stack's optimizer",
    .differs = "SAWB passes the gradient straight through (SAWB+); inputs that may be "
               "negative are clipped on both sides; clips begin at SAWB's, and a step at most "
               "halves or doubles them",
    .fields = "fwd.x          = int2/pactplus\n"
              "fwd.x.nonneg   = uint2\n"
              "fwd.w          = odd2/sawb\n"
              "dgrad.w        = odd2/sawb\n"
              "wgrad.x        = int2/pactplus\n"
              "wgrad.x.nonneg = uint2\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
