/* Encoding of grouped codes with AVX2. */
#include "base/cpu.h"
#define WIDTH 32
#include "packed/grouped_codes.h"

const nyb_grouped_kernel nyb_grouped_avx2 = {
    .name = "avx2", .needs = NYB_CPU_AVX2, .codes_128 = codes_128, .columns_128 = columns_128};
