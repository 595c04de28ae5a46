/* The body of nyb_grouped_kernel.codes_128 in vectors of 32 bytes that each instruction set lowers
 * to its own registers. No include guard: each ISA has its own copy. */
#include "packed/grouped.h"

typedef int8_t bytes_32 __attribute__((vector_size(32)));

/* Adding 1.5 * 2^23 rounds to an integer, whose two's complement is then the low bits. */
static inline void units_32(float inv_unit, const float *values, int8_t *units)
{
    for (size_t i = 0; i < 32; i++)
        units[i] = (int8_t)(uint8_t)nyb_bits_of(values[i] * inv_unit + 0x1.8p23f);
}

static void codes_128(const nyb_grouped_steps *steps, const float values[128], uint8_t codes[128])
{
    for (size_t i = 0; i < 128; i += 32) {
        bytes_32 units, code = (bytes_32){0} + steps->code;
        units_32(steps->inv_unit, values + i, (int8_t *)&units);
        for (size_t j = 0; j < 15; j++)
            code += (units >= steps->at[j]) & steps->step[j];
        memcpy(codes + i, &code, sizeof code);
    }
}
