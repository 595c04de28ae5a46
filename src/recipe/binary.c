#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_binary = {
    .name = "binary",
    .about = "binary weights with one scale per output channel, f32 activations and "
             "gradients",
    .source = "Rastegari et al.: XNOR-Net (binary weight networks), ECCV 2016, "
              "arXiv:1603.05279; Courbariaux et al., 2015",
    .differs = "activations stay f32 (BWN, not XNOR); the gradient is not masked at |w| > "
               "1, since batchnorm leaves weights without a scale of their own",
    .fields = "fwd.w    = binary/mean_abs/row\n"
              "dgrad.w  = binary/mean_abs/row\n"
              "edges    = f32\n"
              "shortcut = f32\n",
};
