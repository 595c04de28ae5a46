/* A packed matrix with a scale for each group of 16, 32 or 64 codes of a row. */
#ifndef NYB_GROUPED_H
#define NYB_GROUPED_H

#include "base/context.h"
#include "packed/packed.h"

/* Rows run along the contraction. A row has cols codes and, up to whole groups, pads (code 0):
 *
 *     row 0:  | group 0: G codes | group 1 | ... | last group: codes, pads |   pitch codes
 *             | scales[0]        | [1]     | ... | [groups - 1]            |   groups = pitch / G
 *     row 1:  ...                  scales[groups + 0 ..]
 *
 * The codes lie in memory as packed.h says, with this pitch: rows follow each other without gap,
 * in blocks of 128 codes, so a group of 16 is one nybble of 16 adjacent bytes, a group of 64 one
 * nybble of a whole block. value = (units[code] * format->unit) * scales[group] * packed.scale.
 * At rest: half a byte a code and 4 bytes a group: 4.5, 5 or 6 bits a code for G = 64, 32, 16. */
typedef struct nyb_grouped {
    nyb_packed packed; /* scale: of the level above the groups */
    size_t group;      /* 16, 32 or 64 */
    float *scales;     /* [rows][pitch / group], finite; NULL: all 1 */
} nyb_grouped;

static inline size_t nyb_grouped_pitch(size_t cols, size_t group)
{
    return nyb_round_up(cols, group);
}

/* Bytes of the codes (64-byte aligned), and floats of the scales; 0 if they overflow. */
size_t nyb_grouped_code_bytes(const nyb_format *format, size_t rows, size_t cols, size_t group);
size_t nyb_grouped_scale_count(size_t rows, size_t cols, size_t group);

/* A view of the caller's memory; nothing is written. */
nyb_grouped nyb_grouped_view(const nyb_format *format, size_t rows, size_t cols, size_t group,
                             uint8_t *codes, float *scales);

/* Codes from real values on the format's grid at scale 1 (nyb_round_kernel.round): multiples of
 * format->unit, row-major without padding, [rows][cols]. Pads become code 0; -0 is 0; of two codes
 * of one value the lower. Scales are the caller's. */
void nyb_grouped_encode(const nyb_context *context, const nyb_grouped *grouped,
                        const float *values);
/* The same in the caller's thread for rows first .. first + n_rows; values: of row `first`. first
 * is a multiple of 8, so that no byte is shared with other rows; n_rows too, or up to the end. */
void nyb_grouped_encode_rows(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t n_rows,
                             const float *values);

/* The same for flat codes first .. first + n - 1, pads included, whose values are that of code 0.
 * first is a multiple of 128; n too, or up to the end. */
void nyb_grouped_encode_flat(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t n,
                             const float *values);
/* Columns col .. col + 127 of n_rows <= 16 rows first, first + step, ...: values[i][j] goes to
 * column col + i of row j. The pitch and col are multiples of 128. */
void nyb_grouped_encode_columns(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t step,
                                size_t n_rows, size_t col, const float values[128][16]);

/* real[row][col] = units * unit * scale of the group, then * packed.scale, of n_rows rows from row
 * first; real: of row first. */
void nyb_grouped_decode_rows(const nyb_grouped *grouped, size_t first, size_t n_rows, float *real);

/* ---- encoding kernels: best first, reference last, NULL-terminated ------------------------- */

/* Formats of 4 bits. With the units sorted, a code is a sum of steps: of those that unit reaches.
 */
typedef struct nyb_grouped_steps {
    float inv_unit;
    int8_t at[15];   /* ascending; 127 with a step of 0 where there is none */
    int8_t step[15]; /* what is added to the code from `at` on */
    int8_t code;     /* of the lowest unit */
} nyb_grouped_steps;

typedef struct nyb_grouped_kernel {
    const char *name; /* "avx2", "ref" */
    uint32_t needs;
    /* 128 codes in order, of 128 values. */
    void (*codes_128)(const nyb_grouped_steps *steps, const float values[128], uint8_t codes[128]);
    /* The packed codes of 16 rows of 128, of values that stand in columns. */
    void (*columns_128)(const nyb_grouped_steps *steps, const float values[128][16],
                        uint8_t codes[16][64]);
} nyb_grouped_kernel;

extern const nyb_grouped_kernel *const nyb_grouped_kernels[];
extern const nyb_grouped_kernel nyb_grouped_avx2, nyb_grouped_ref;

#endif
