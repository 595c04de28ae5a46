#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_tseng = {
    .name = "tseng",
    .about = "bf16 forward, MXFP4 backward: random Hadamard, unbiased stochastic rounding",
    .source = "Tseng, Yu, Park: Training LLMs with MXFP4, 2025, arXiv:2502.20586",
    .differs = "blocks of the transform are 32 long (64 in the paper); the factor 16/9 is "
               "4/3 on each operand",
    .fields = "fwd.x         = bf16/unit\n"
              "fwd.w         = bf16/unit\n"
              "dgrad.dy      = e2m1/e8m0/block32/stochastic/random_hadamard32\n"
              "dgrad.dy.pre  = 0.75\n"
              "dgrad.dy.post = 1.33333337\n"
              "dgrad.w       = e2m1/e8m0/block32/stochastic/random_hadamard32\n"
              "dgrad.w.pre   = 0.75\n"
              "dgrad.w.post  = 1.33333337\n"
              "wgrad.dy      = e2m1/e8m0/block32/stochastic/random_hadamard32\n"
              "wgrad.dy.pre  = 0.75\n"
              "wgrad.dy.post = 1.33333337\n"
              "wgrad.x       = e2m1/e8m0/block32/stochastic/random_hadamard32\n"
              "wgrad.x.pre   = 0.75\n"
              "wgrad.x.post  = 1.33333337\n"
              "edges         = f32\n"
              "shortcut      = recipe\n",
};
