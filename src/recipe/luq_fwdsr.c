#include "recipe/recipe.h"

/* Ablation of luq: unbiased rounding in the forward pass too, where it only adds noise. */
const nyb_recipe_record nyb_recipe_luq_fwdsr = {
    .name = "luq_fwdsr",
    .about = "luq with stochastic rounding of weights and inputs as well",
    .source = "ablation of Fig. 1 in Chmiel et al., ICLR 2023, arXiv:2112.10769",
    .differs = "as luq; one draw of weights and inputs serves all products that use them",
    .base = "luq",
    .fields = "fwd.x.rounding   = stochastic\n"
              "fwd.w.rounding   = stochastic\n"
              "dgrad.w.rounding = stochastic\n"
              "wgrad.x.rounding = stochastic\n",
};
