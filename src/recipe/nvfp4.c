#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_nvfp4 = {
    .name = "nvfp4",
    .about = "NVIDIA's NVFP4: 16x16 weight tiles, Hadamard in dW, stochastic gradients",
    .source = "NVIDIA: Pretraining Large Language Models with NVFP4, 2025, arXiv:2509.25149; "
              "Transformer Engine",
    .differs = "edges are f32 where the paper keeps about 16 % of its layers, most at the end, in "
               "bf16 (--set 'layers=first3%:bf16 last13%:bf16' --set edges=bf16); "
               "stochastic rounding is biased at block maxima, as there (no 17/16 guard)",
    .fields = "fwd.x    = e2m1/e4m3/block16/nearest\n"
              "fwd.w    = e2m1/e4m3/tile16/nearest\n"
              "dgrad.dy = e2m1/e4m3/block16/stochastic\n"
              "dgrad.w  = e2m1/e4m3/tile16/nearest\n"
              "wgrad.dy = e2m1/e4m3/block16/stochastic/nvidia_hadamard16\n"
              "wgrad.x  = e2m1/e4m3/block16/nearest/nvidia_hadamard16\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
