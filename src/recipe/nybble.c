#include "recipe/recipe.h"

/* Why: docs/recipes.md, "nybble". Further noise is one key away: wgrad.dy.samples = 2. */
const nyb_recipe_record nyb_recipe_nybble = {
    .name = "nybble",
    .about = "INT4 everywhere, an integer factor for each 16 neighbours, exact int8 products",
    .source =
        "this project; two-level scales as in NVFP4 (arXiv:2509.25149), per-sample ranges as in "
        "StatQuant (arXiv:2010.14298), rounding as in LUQ (arXiv:2112.10769)",
    .differs =
        "ours: the scale of 16 neighbouring channels is a whole multiple (1..18) of the tensor's "
        "unit, so that codes times factors are int8, sums stay exact int32 of one scale, and the "
        "same codes serve all three products; at rest a code takes 4.5 bits with its share of the "
        "factor, as in NVFP4",
    .fields = "fwd.x          = int4m/absmax/tensor/nearest\n"
              "fwd.x.nonneg   = uint4m\n"
              "fwd.w          = int4m/absmax/tensor/nearest\n"
              "dgrad.dy       = int4m/absmax/tensor/stochastic\n"
              "dgrad.w        = int4m/absmax/tensor/nearest\n"
              "wgrad.dy       = int4m/absmax/tensor/stochastic\n"
              "wgrad.x        = int4m/absmax/tensor/nearest\n"
              "wgrad.x.nonneg = uint4m\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
