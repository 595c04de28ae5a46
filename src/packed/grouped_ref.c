/* Encoding of grouped codes with whatever every CPU has. */
#define WIDTH 16
#include "packed/grouped_codes.h"

const nyb_grouped_kernel nyb_grouped_ref = {
    .name = "ref", .needs = 0, .codes_128 = codes_128, .columns_128 = columns_128};
