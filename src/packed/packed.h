/* Nybble order: where each code of a tensor lies in memory. The only definition there is. */
#ifndef NYB_PACKED_H
#define NYB_PACKED_H

#include "base/base.h"
#include "format/format.h"

/* A packed matrix is `rows` rows of `cols` codes. In memory a row takes `pitch` codes: cols rounded
 * up to 16; the rows follow each other without gap, and the flat sequence of rows * pitch codes is
 * rounded up to a multiple of 128.
 *
 * Formats of 4 bits: block b holds flat codes 128 b .. 128 b + 127 in 64 bytes; byte j of the block
 * holds code j in its low nybble and code 64 + j in its high nybble:
 *
 *     byte     0        1            63
 *            +----+----+----+----+ - +----+----+
 *            | 64 |  0 | 65 |  1 |   |127 | 63 |    (high nybble | low nybble)
 *            +----+----+----+----+ - +----+----+
 *
 * so one load, an AND and a shift give 128 codes in order, and any 16 codes whose flat index is a
 * multiple of 16 are one nybble of 16 adjacent bytes.
 * Formats of 8 bits: byte i is code i.
 * Codes past cols in a row, and past rows * pitch, are written as 0.
 *
 * Formats with multiples: behind the codes lies one byte for each 16 codes in order of their flat
 * index, the factor 1 .. multiples of their units (rows * pitch / 16 bytes). */
#define NYB_BLOCK_CODES 128
#define NYB_BLOCK_BYTES 64
#define NYB_PITCH       16

/* A block of codes of 4 bits, in order, to its bytes. */
static inline void nyb_packed_join(const uint8_t codes[NYB_BLOCK_CODES],
                                   uint8_t bytes[NYB_BLOCK_BYTES])
{
    for (size_t i = 0; i < NYB_BLOCK_BYTES; i++)
        bytes[i] = (uint8_t)(codes[i] | codes[NYB_BLOCK_BYTES + i] << 4);
}

/* What the codes of some rows are worth: offset + (units[code] * format->unit) * scale, each
 * rounded; nothing is added where offset is 0. */
typedef struct nyb_line {
    float scale, offset;
} nyb_line;

/* An image tensor [n][h][w][c] is rows = n*h*w pixels, cols = c. A linear X [m][k] is rows = m,
 * cols = k. A convolution's weights [o][r][s][c] are rows = o*r*s, cols = c. */
typedef struct nyb_packed {
    const nyb_format *format;
    size_t rows, cols, pitch; /* in codes */
    float scale;              /* value = (units[code] * factor * format->unit - zero) * scale */
    float inv;                /* what is rounded is x * inv; 0: x / scale */
    int32_t zero;             /* what stands for 0; formats of integers without factors, else 0 */
    nyb_line *lines;          /* [rows / line_rows] of so many rows each; scale is 1 then, zero 0.
                                 NULL: scale and zero are those of all rows */
    size_t line_rows;
    uint8_t *codes; /* nyb_packed_bytes() bytes, 64-byte aligned */
} nyb_packed;

static inline size_t nyb_packed_pitch(size_t cols)
{
    return nyb_round_up(cols, NYB_PITCH);
}

static inline size_t nyb_packed_code_bytes(const nyb_format *format, size_t rows, size_t pitch)
{
    const size_t n = nyb_round_up(rows * pitch, NYB_BLOCK_CODES);

    return format->bits == 4 ? n / 2 : n;
}

/* The factors of a format with multiples. */
static inline uint8_t *nyb_packed_factors(const nyb_packed *p)
{
    return p->codes + nyb_packed_code_bytes(p->format, p->rows, p->pitch);
}

/* What the units of a code are multiplied by: 1 for formats without multiples. */
static inline unsigned nyb_packed_factor(const nyb_packed *p, size_t row, size_t col)
{
    return p->format->multiples ? nyb_packed_factors(p)[(row * p->pitch + col) / NYB_PITCH] : 1;
}

/* Of a packed matrix with lines: those of a row. */
static inline const nyb_line *nyb_packed_line(const nyb_packed *p, size_t row)
{
    return &p->lines[row / p->line_rows];
}

/* The first row that may have another line than `row`: rows if there are no lines. */
static inline size_t nyb_packed_line_end(const nyb_packed *p, size_t row)
{
    return p->lines ? row - row % p->line_rows + p->line_rows : p->rows;
}

/* What codes 0, 1 .. of a row are worth, but for their factors: format->n_codes values. */
void nyb_packed_values(const nyb_packed *p, size_t row, float *values);
/* Whether a line has an offset; without lines none has. */
bool nyb_packed_has_offset(const nyb_packed *p);

/* Bytes of codes and factors; 0 if rows * pitch overflows. */
size_t nyb_packed_bytes(const nyb_format *format, size_t rows, size_t cols);

/* Code at (row, col); for tests, tools and files, not for kernels. */
unsigned nyb_packed_get(const nyb_packed *p, size_t row, size_t col);
void nyb_packed_set(nyb_packed *p, size_t row, size_t col, unsigned code);

/* real[row][col] (row-major, no padding) = decoded codes. */
void nyb_packed_decode(const nyb_packed *p, float *real);

#endif
