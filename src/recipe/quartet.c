#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_quartet = {
    .name = "quartet",
    .about = "MXFP4: Hadamard with QuEST scales forward, random Hadamard backward",
    .source = "Castro et al.: Quartet: Native FP4 Training Can Be Optimal for Large Language "
              "Models, 2025, arXiv:2505.14669",
    .differs = "the backward pass rounds to nearest as in the paper (the repository's script "
               "rounds stochastically), ties to the even code",
    .fields = "fwd.x         = e2m1/e8m0_quest/block32/nearest/hadamard32\n"
              "fwd.x.ste     = mask\n"
              "fwd.w         = e2m1/e8m0_quest/block32/nearest/hadamard32\n"
              "fwd.w.ste     = mask\n"
              "dgrad.dy      = e2m1/e8m0/block32/nearest/random_hadamard32\n"
              "dgrad.dy.pre  = 0.75\n"
              "dgrad.dy.post = 1.33333337\n"
              "dgrad.w       = e2m1/e8m0/block32/nearest/random_hadamard32\n"
              "dgrad.w.pre   = 0.75\n"
              "dgrad.w.post  = 1.33333337\n"
              "wgrad.dy      = e2m1/e8m0/block32/nearest/random_hadamard32\n"
              "wgrad.dy.pre  = 0.75\n"
              "wgrad.dy.post = 1.33333337\n"
              "wgrad.x       = e2m1/e8m0/block32/nearest/random_hadamard32\n"
              "wgrad.x.pre   = 0.75\n"
              "wgrad.x.post  = 1.33333337\n"
              "dgrad.w.from  = fwd\n"
              "wgrad.x.from  = fwd\n"
              "edges         = f32\n"
              "shortcut      = recipe\n",
};
