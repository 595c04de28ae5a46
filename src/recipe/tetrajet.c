#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_tetrajet = {
    .name = "tetrajet",
    .about = "MXFP4 with unbiased double quantization",
    .source = "Chen et al.: Oscillation-Reduced MXFP4 Training for Vision Transformers "
              "(TetraJet), 2025, arXiv:2502.20853",
    .differs =
        "without the oscillation remedies: tetrajet_ema has Q-EMA, none has Q-Ramping; "
        "blocks lie inside one tap and are as short as its channels allow: 16 for at most 16",
    .fields = "fwd.x        = e2m1/e8m0_rceil/block32/nearest\n"
              "fwd.w        = e2m1/e8m0_rceil/block32/nearest\n"
              "dgrad.dy     = e2m1/e8m0_rceil/block32/stochastic\n"
              "dgrad.w      = e2m1/e8m0_rceil/block32/stochastic\n"
              "dgrad.w.from = fwd\n"
              "wgrad.dy     = e2m1/e8m0_rceil/block32/stochastic\n"
              "wgrad.x      = e2m1/e8m0_rceil/block32/stochastic\n"
              "wgrad.x.from = fwd\n"
              "edges        = f32\n"
              "shortcut     = recipe\n",
};
