/* nf4: the quantiles of a normal density (Dettmers et al., QLoRA, NeurIPS 2023). */
#include "format/format.h"

/* Ascending; code 7 is zero. */
static const float value[16] = {-1.0f,
                                -0.6961928009986877f,
                                -0.5250730514526367f,
                                -0.39491748809814453f,
                                -0.28444138169288635f,
                                -0.18477343022823334f,
                                -0.09105003625154495f,
                                0.0f,
                                0.07958029955625534f,
                                0.16093020141124725f,
                                0.24611230194568634f,
                                0.33791524171829224f,
                                0.44070982933044434f,
                                0.5626170039176941f,
                                0.7229568362236023f,
                                1.0f};

const nyb_format nyb_format_nf4 = {
    .name = "nf4",
    .about = "NormalFloat: 16 quantiles of a normal density in -1..1, zero among them (code 7)",
    .grid = NYB_GRID_TABLE,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .ascending = true,
    .unit = 1.0f,
    .max = 1.0f,
    .value = value,
};
