#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_hdqt = {
    .name = "hdqt",
    .about = "INT4, backward products in the Hadamard domain",
    .source = "Schiemer et al.: Hadamard Domain Training with Integers for Class Incremental "
              "Quantized Learning, 2023, arXiv:2310.03675",
    .differs = "transforms are 64 long (the largest power of two of a dimension there), "
               "orthonormal; 8-bit accumulators are left off (--set wgrad.accum=int8/32 and "
               "the others for them); forward inputs known to be >= 0 have 16 levels (uint4)",
    .fields = "fwd.x        = int4/absmax\n"
              "fwd.x.nonneg = uint4\n"
              "fwd.w        = int4/absmax\n"
              "dgrad.dy     = int4/absmax/tensor/stochastic/hadamard64\n"
              "dgrad.w      = int4/absmax/tensor/nearest/hadamard64\n"
              "wgrad.dy     = int4/absmax/tensor/stochastic/hadamard64\n"
              "wgrad.x      = int4/absmax/tensor/stochastic/hadamard64\n"
              "edges        = f32\n"
              "shortcut     = recipe\n",
};
