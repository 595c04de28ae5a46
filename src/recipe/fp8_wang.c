#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_fp8_wang = {
    .name = "fp8_wang",
    .about = "FP8 1-5-2 operands, 1-6-9 sums in chunks of 64, 1-6-9 stochastic updates",
    .source = "Wang, Choi, Brand, Chen, Gopalakrishnan: Training Deep Neural Networks with "
              "8-bit Floating Point Numbers, NeurIPS 2018, arXiv:1812.08011",
    .differs = "loss scale 1024 instead of 1000 (a power of two is exact); first and last "
               "layer have fp16 operands; the 1-5-2 format has no subnormals and no "
               "infinity (max 98304), as IBM's emulation has it; momenta and weights are updated "
               "in PyTorch's order (v = m v + g, then w -= lr v), and g enters in f32",
    .fields = "fwd.x            = e5m2dl15/unit\n"
              "fwd.w            = e5m2dl15/unit\n"
              "dgrad.dy         = e5m2dl15/unit\n"
              "dgrad.w          = e5m2dl15/unit\n"
              "wgrad.dy         = e5m2dl15/unit\n"
              "wgrad.x          = e5m2dl15/unit\n"
              "fwd.accum        = e6m9/64\n"
              "dgrad.accum      = e6m9/64\n"
              "wgrad.accum      = e6m9/64\n"
              "edges            = fp16\n"
              "shortcut         = recipe\n"
              "update           = e6m9/stochastic\n"
              "loss_scale       = fixed\n"
              "loss_scale.start = 1024\n",
};
