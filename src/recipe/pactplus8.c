#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_pactplus8 = {
    .name = "pactplus8",
    .about = "8-bit weights (SAWB) and activations (PACT+), f32 gradients",
    .source = "Choi et al., SysML 2019; PACT+ as in the foundation-model-stack's optimizer",
    .differs = "SAWB passes the gradient straight through (SAWB+); inputs that may be "
               "negative are clipped on both sides; clips begin at SAWB's, and a step at most "
               "halves or doubles them",
    .fields = "fwd.x          = int8/pactplus\n"
              "fwd.x.nonneg   = uint8\n"
              "fwd.w          = int8/sawb\n"
              "dgrad.w        = int8/sawb\n"
              "wgrad.x        = int8/pactplus\n"
              "wgrad.x.nonneg = uint8\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
