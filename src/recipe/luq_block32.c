#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_luq_block32 = {
    .name = "luq_block32",
    .about = "LUQ with a scale per 32 values along each contraction",
    .source = "docs/numerics.md, 7.15; grid and rounding of Chmiel et al., ICLR "
              "2023, arXiv:2112.10769",
    .differs =
        "alpha is that of a block, not of the tensor; dX and dW quantize dY on their "
        "own axes, so that they are two draws; so do they weights and inputs, signed, by "
        "the maximum of a block instead of SAWB's clip; "
        "blocks lie inside one tap and are as short as its channels allow: 16 for at most 16",
    .base = "luq",
    .fields = "dgrad.dy       = e3m0/absmax/block32/stochastic\n"
              "dgrad.w        = int4/absmax/block32/nearest\n"
              "wgrad.dy       = e3m0/absmax/block32/stochastic\n"
              "wgrad.x        = int4/absmax/block32/nearest\n"
              "wgrad.x.nonneg = none\n",
};
