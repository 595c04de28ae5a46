#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_statquant_bhq = {
    .name = "statquant_bhq",
    .about = "INT8 forward, 4-bit stochastic activation gradients by block Householder, "
             "8-bit weight gradients",
    .source = "Chen, Gai, Yao, Mahoney, Gonzalez: A Statistical Framework for Low-bitwidth "
              "Training of Deep Neural Networks (StatQuant), NeurIPS 2020, arXiv:2010.14298",
    .differs = "zero is always on the grids of weights, inputs and dW's gradients (the "
               "published activation quantizer moves it); ranges of evaluation come from each "
               "batch; sums are exact; batch normalisation is f32",
    .fields = "fwd.x    = uint8/ptq\n"
              "fwd.w    = uint8/ptq\n"
              "dgrad.dy = uint4/psq/row/stochastic/householder\n"
              "dgrad.w  = uint8/ptq\n"
              "wgrad.dy = uint8/ptq/tensor/stochastic\n"
              "wgrad.x  = uint8/ptq\n"
              "edges    = recipe\n"
              "shortcut = recipe\n",
};
