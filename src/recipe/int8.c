#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_int8 = {
    .name = "int8",
    .about = "INT8 operands, one absmax scale per tensor, stochastic gradients",
    .source = "Banner, Hubara, Hoffer, Soudry: Scalable Methods for 8-bit Training of Neural "
              "Networks, NeurIPS 2018, arXiv:1805.11046",
    .differs = "batchnorm stays in f32 (no range batchnorm), and weight gradients use 8-bit "
               "output gradients instead of 16-bit ones",
    .fields = "fwd.x    = int8/absmax\n"
              "fwd.w    = int8/absmax\n"
              "dgrad.dy = int8/absmax/tensor/stochastic\n"
              "dgrad.w  = int8/absmax\n"
              "wgrad.dy = int8/absmax/tensor/stochastic\n"
              "wgrad.x  = int8/absmax\n"
              "edges    = int8\n"
              "shortcut = int8\n",
};
