#include "recipe/recipe.h"

const nyb_recipe_record nyb_recipe_mxfp4 = {
    .name = "mxfp4",
    .about = "MXFP4 everywhere, nearest: blocks of 32 with power-of-two scales",
    .source = "OCP Microscaling Formats (MX) Specification v1.0, 2023; Rouhani et al., 2023, "
              "arXiv:2310.10537",
    .differs =
        "ties go to the even code (the reference emulation takes them away from zero); "
        "blocks lie inside one tap and are as short as its channels allow: 16 for at most 16",
    .fields = "fwd.x    = e2m1/e8m0/block32/nearest\n"
              "fwd.w    = e2m1/e8m0/block32/nearest\n"
              "dgrad.dy = e2m1/e8m0/block32/nearest\n"
              "dgrad.w  = e2m1/e8m0/block32/nearest\n"
              "wgrad.dy = e2m1/e8m0/block32/nearest\n"
              "wgrad.x  = e2m1/e8m0/block32/nearest\n"
              "edges    = f32\n"
              "shortcut = recipe\n",
};
