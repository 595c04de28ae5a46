#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_hfp8 = {
    .name = "hfp8",
    .about = "hybrid FP8: 1-4-3 forward, 1-5-2 gradients, 1-6-9 sums in chunks of 64",
    .source = "Sun et al.: Hybrid 8-bit Floating Point (HFP8) Training and Inference for "
              "Deep Neural Networks, NeurIPS 2019",
    .differs = "the published \"bias of 4\" is a total exponent bias of 11; dynamic loss "
               "scaling also steps back where a gradient exceeds FP8's range; first and last "
               "layer have fp16 operands; updates in f32 (--set update=e6m9 for 1-6-9)",
    .fields = "fwd.x       = e4m3b11/unit\n"
              "fwd.w       = e4m3b11/unit\n"
              "dgrad.dy    = e5m2/unit\n"
              "dgrad.w     = e4m3b11/unit\n"
              "wgrad.dy    = e5m2/unit\n"
              "wgrad.x     = e4m3b11/unit\n"
              "fwd.accum   = e6m9/64\n"
              "dgrad.accum = e6m9/64\n"
              "wgrad.accum = e6m9/64\n"
              "edges       = fp16\n"
              "shortcut    = recipe\n"
              "loss_scale  = dynamic\n"
              "nonfinite   = skip\n",
};
