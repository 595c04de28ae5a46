#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_luq_lean = {
    .name = "luq_lean",
    .about =
        "LUQ with less memory: gradient scales from hindsight, batchnorm's inputs and gradients in "
        "bf16",
    .source =
        "Chmiel et al., ICLR 2023, arXiv:2112.10769, equation 18, after Fournarakis and Nagel, "
        "In-Hindsight Quantization Range Estimation, arXiv:2105.04246",
    .differs =
        "LUQ measures every tensor before it rounds it and keeps f32; here a gradient's scale "
        "is known before the gradient, which is made, rounded and packed in one pass; what "
        "outgrows the scale is clipped, so that step's rounding is biased",
    .base = "luq",
    .fields = "dgrad.dy.scale = hindsight\n"
              "wgrad.dy.scale = hindsight\n"
              "store          = bf16\n",
};
