#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_ultralow = {
    .name = "ultralow",
    .about = "INT4 forward, radix-4 FP4 gradients rounded in two phases, 1-6-9 sums",
    .source = "Sun et al.: Ultra-Low Precision 4-bit Training of Deep Neural Networks, "
              "NeurIPS 2020",
    .differs = "dX takes the even phase and dW the odd one, GradScale is a power of two per "
               "layer that keeps the maximum in its octaves (the reviews name no more); first "
               "and last layer in fp16; the FP8 and fp16 gradients of the 1x1, first and last "
               "layers have dynamic loss scaling, as in HFP8; PACT clips start at the SAWB clip "
               "of the first batch",
    .fields = "fwd.x          = int4/pact\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int4/sawb\n"
              "dgrad.dy       = e3m0r4/gradscale\n"
              "dgrad.w        = int4/sawb\n"
              "wgrad.dy       = e3m0r4odd/gradscale\n"
              "wgrad.x        = int4/pact\n"
              "wgrad.x.nonneg = uint4\n"
              "fwd.accum      = e6m9/64\n"
              "dgrad.accum    = e6m9/64\n"
              "wgrad.accum    = e6m9/64\n"
              "edges          = fp16\n"
              "shortcut       = fp8\n"
              "pointwise      = fp8\n"
              "loss_scale     = dynamic\n"
              "nonfinite      = skip\n",
};
