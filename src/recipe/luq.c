#include "recipe/recipe.h"

/* Options of the paper that are one key away (docs/recipes.md): SMP `wgrad.dy.samples = 2`, FNT
 * `finish.epochs = 1`, hindsight `dgrad.dy.scale = hindsight` and the same for wgrad.dy, alpha a
 * power of two `... = pow2`, 32 random bits `dgrad.dy.sr_bits = 32`. */
const nyb_recipe_record nyb_recipe_luq = {
    .name = "luq",
    .about = "INT4 forward to nearest, unbiased logarithmic FP4 gradients",
    .source = "Chmiel, Banner, Hoffer, Ben-Yaacov, Soudry: Accurate Neural Training with 4-bit "
              "Matrix Multiplications at Standard Formats, ICLR 2023, arXiv:2112.10769",
    .differs =
        "alpha is max|dy|/64, so that all values are codes of 4 bits (equation 11 as printed "
        "and published code need more); weights use -7..7; inputs known to be >= 0 use 0..15 "
        "with a SAWB clip fitted to that grid over their non-zero elements; bias gradients "
        "come from dy before quantization; activation clips are frozen for evaluation; random "
        "rounding has a quantum of 2^-16 (sr_bits = 32: that of f32)",
    .fields = "fwd.x          = int4/sawb/tensor/nearest\n"
              "fwd.x.nonneg   = uint4\n"
              "fwd.w          = int4/sawb/tensor/nearest\n"
              "dgrad.dy       = e3m0/absmax/tensor/stochastic\n"
              "dgrad.w        = int4/sawb/tensor/nearest\n"
              "wgrad.dy       = e3m0/absmax/tensor/stochastic\n"
              "wgrad.x        = int4/sawb/tensor/nearest\n"
              "wgrad.x.nonneg = uint4\n"
              "edges          = f32\n"
              "shortcut       = f32\n",
};
