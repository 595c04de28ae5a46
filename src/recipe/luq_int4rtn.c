#include "recipe/recipe.h"

/* Ablation of luq: only the rounding of the gradients is another. */
const nyb_recipe_record nyb_recipe_luq_int4rtn = {
    .name = "luq_int4rtn",
    .about = "INT4 gradients to nearest: neither unbiased nor logarithmic",
    .source = "ablation of Fig. 2 in Chmiel et al., ICLR 2023, arXiv:2112.10769",
    .differs = "the scale is the maximum of each step over 7",
    .base = "luq",
    .fields = "dgrad.dy = int4/absmax/tensor/nearest\n"
              "wgrad.dy = int4/absmax/tensor/nearest\n",
};
