#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_fp4atw = {
    .name = "fp4atw",
    .about = "NVFP4 everywhere: nearest forward, stochastic gradients and dW inputs",
    .source = "Chmiel, Fishman, Banner, Soudry: FP4 All the Way: Fully Quantized Training of "
              "LLMs, NeurIPS 2025, arXiv:2505.19115",
    .differs = "the last phase, forward in FP4 and backward in bf16, is off here (--set "
               "finish.epochs=N --set finish.keep=forward); scales have no guard, as there",
    .fields = "fwd.x    = e2m1/e4m3/block16/nearest\n"
              "fwd.w    = e2m1/e4m3/block16/nearest\n"
              "dgrad.dy = e2m1/e4m3/block16/stochastic\n"
              "dgrad.w  = e2m1/e4m3/block16/nearest\n"
              "wgrad.dy = e2m1/e4m3/block16/stochastic\n"
              "wgrad.x  = e2m1/e4m3/block16/stochastic\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
