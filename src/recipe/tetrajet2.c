#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_tetrajet2 = {
    .name = "tetrajet2",
    .about = "NVFP4 forward to nearest; random Hadamard and guarded stochastic NVFP4 "
             "backward",
    .source = "TetraJet-v2 as in the Quartet II repository, 2026",
    .differs = "without outlier control and oscillation remedies",
    .fields = "fwd.x        = e2m1/e4m3/block16/nearest\n"
              "fwd.w        = e2m1/e4m3/block16/nearest\n"
              "dgrad.dy     = e2m1/e4m3_over17/block16/stochastic/random_hadamard32\n"
              "dgrad.w      = e2m1/e4m3_over17/block16/stochastic/random_hadamard32\n"
              "wgrad.dy     = e2m1/e4m3_over17/block16/stochastic/random_hadamard32\n"
              "wgrad.x      = e2m1/e4m3_over17/block16/stochastic/random_hadamard32\n"
              "dgrad.w.from = fwd\n"
              "wgrad.x.from = fwd\n"
              "edges        = f32\n"
              "shortcut     = recipe\n",
};
