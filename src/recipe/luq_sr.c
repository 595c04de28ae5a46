#include "recipe/recipe.h"

/* Ablation of luq: only the rounding of the gradients is another. */
const nyb_recipe_record nyb_recipe_luq_sr = {
    .name = "luq_sr",
    .about = "FP4 gradients with stochastic rounding only, underflow to zero",
    .source = "ablation of Fig. 2 in Chmiel et al., ICLR 2023, arXiv:2112.10769",
    .differs =
        "alpha is the maximum of each step over 64, which the paper does not state for this case",
    .base = "luq",
    .fields = "dgrad.dy = e3m0/absmax/tensor/flush-stochastic\n"
              "wgrad.dy = e3m0/absmax/tensor/flush-stochastic\n",
};
