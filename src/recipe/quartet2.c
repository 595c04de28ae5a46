#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_quartet2 = {
    .name = "quartet2",
    .about = "NVFP4: four-over-six forward, random Hadamard and MS-EDEN backward",
    .source = "Quartet II, 2026 (MS-EDEN; four-over-six: Cook et al.)",
    .differs = "MS-EDEN is unbiased only approximately (about 1 %); where the last block of a "
               "row holds several transforms of less than 16, they share its factor",
    .fields = "fwd.x        = e2m1/e4m3_46/block16/nearest\n"
              "fwd.w        = e2m1/e4m3_46/block16/nearest\n"
              "dgrad.dy     = e2m1/ms_eden/block16/nearest/random_hadamard128\n"
              "dgrad.w      = e2m1/ms_eden/block16/nearest/random_hadamard128\n"
              "wgrad.dy     = e2m1/ms_eden/block16/nearest/random_hadamard128\n"
              "wgrad.x      = e2m1/ms_eden/block16/nearest/random_hadamard128\n"
              "dgrad.w.from = fwd\n"
              "wgrad.x.from = fwd\n"
              "edges        = f32\n"
              "shortcut     = recipe\n",
};
