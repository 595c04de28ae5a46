/* The body of nyb_grouped_kernel.codes_128 in vectors of WIDTH bytes, which the including file
 * defines to be those of its registers. No include guard: each ISA has its own copy. */
#include "packed/grouped.h"

typedef int8_t byte_vector __attribute__((vector_size(WIDTH)));

/* Adding 1.5 * 2^23 rounds to an integer, whose two's complement is then the low bits. */
static inline void units_of(float inv_unit, const float *values, int8_t units[WIDTH])
{
    for (size_t i = 0; i < WIDTH; i++)
        units[i] = (int8_t)(uint8_t)nyb_bits_of(values[i] * inv_unit + 0x1.8p23f);
}

static void codes_128(const nyb_grouped_steps *steps, const float values[128], uint8_t codes[128])
{
    for (size_t i = 0; i < 128; i += WIDTH) {
        byte_vector units, code = (byte_vector){0} + steps->code;
        units_of(steps->inv_unit, values + i, (int8_t *)&units);
        for (size_t j = 0; j < 15; j++)
            code += (units >= steps->at[j]) & steps->step[j];
        memcpy(codes + i, &code, sizeof code);
    }
}

static void columns_128(const nyb_grouped_steps *steps, const float values[128][16],
                        uint8_t codes[16][64])
{
    uint8_t by_value[128][16];

    for (size_t i = 0; i < 16; i++)
        codes_128(steps, values[8 * i], by_value[8 * i]);
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < 16; j++)
            codes[j][i] = (uint8_t)(by_value[i][j] | by_value[64 + i][j] << 4);
}
