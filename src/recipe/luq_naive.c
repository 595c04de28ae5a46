#include "recipe/recipe.h"

/* Ablation of luq: only the rounding of the gradients is another. */
const nyb_recipe_record nyb_recipe_luq_naive = {
    .name = "luq_naive",
    .about = "FP4 gradients to the nearest power, underflow to the nearest of zero and alpha",
    .source = "ablation of Fig. 2 in Chmiel et al., ICLR 2023, arXiv:2112.10769",
    .differs = "the paper's \"FP4\" clips at a scale it does not state; here alpha is the maximum "
               "of each step over 64",
    .base = "luq",
    .fields = "dgrad.dy = e3m0/absmax/tensor/nearest\n"
              "wgrad.dy = e3m0/absmax/tensor/nearest\n",
};
