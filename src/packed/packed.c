#include "packed/packed.h"

size_t nyb_packed_bytes(const nyb_format *format, size_t rows, size_t cols)
{
    size_t n;

    if (cols > SIZE_MAX - NYB_PITCH || !nyb_mul_size(rows, nyb_packed_pitch(cols), &n) ||
        n > SIZE_MAX - NYB_BLOCK_CODES)
        return 0;
    return nyb_packed_code_bytes(format, rows, nyb_packed_pitch(cols)) +
           (format->multiples ? n / NYB_PITCH : 0);
}

/* Byte of a flat code index, and how far to shift it. */
static size_t place(const nyb_format *format, size_t i, unsigned *shift)
{
    size_t in_block = i % NYB_BLOCK_CODES;

    if (format->bits != 4) {
        *shift = 0;
        return i;
    }
    *shift = in_block < NYB_BLOCK_BYTES ? 0 : 4;
    return i / NYB_BLOCK_CODES * NYB_BLOCK_BYTES + in_block % NYB_BLOCK_BYTES;
}

unsigned nyb_packed_get(const nyb_packed *p, size_t row, size_t col)
{
    unsigned shift;
    size_t byte = place(p->format, row * p->pitch + col, &shift);

    return p->format->bits == 4 ? (p->codes[byte] >> shift) & 15u : p->codes[byte];
}

void nyb_packed_set(nyb_packed *p, size_t row, size_t col, unsigned code)
{
    unsigned shift;
    size_t byte = place(p->format, row * p->pitch + col, &shift);
    unsigned mask = p->format->bits == 4 ? 15u << shift : 255u;

    p->codes[byte] = (uint8_t)((p->codes[byte] & ~mask) | ((code << shift) & mask));
}

bool nyb_packed_has_offset(const nyb_packed *p)
{
    for (size_t row = 0; p->lines && row < p->rows; row = nyb_packed_line_end(p, row))
        if (nyb_packed_line(p, row)->offset != 0.0f)
            return true;
    return false;
}

static float value_of(const nyb_packed *p, const nyb_line *line, unsigned code)
{
    const float grid = nyb_format_decode(p->format, code);

    if (!line)
        return (grid - (float)p->zero) * p->scale;
    return line->offset == 0.0f ? grid * line->scale : line->offset + grid * line->scale;
}

void nyb_packed_values(const nyb_packed *p, size_t row, float *values)
{
    const nyb_line *line = p->lines ? nyb_packed_line(p, row) : NULL;

    for (unsigned code = 0; code < p->format->n_codes; code++)
        values[code] = value_of(p, line, code);
}

void nyb_packed_decode(const nyb_packed *p, float *real)
{
    float lut[256];

    for (size_t row = 0, end = 0; row < p->rows; row++) {
        if (row == end) {
            nyb_packed_values(p, row, lut);
            end = nyb_packed_line_end(p, row);
        }
        for (size_t col = 0; col < p->cols; col++)
            real[row * p->cols + col] = lut[nyb_packed_get(p, row, col) % p->format->n_codes] *
                                        (float)nyb_packed_factor(p, row, col);
    }
}
