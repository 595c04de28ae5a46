/* The multiplication-free tiles: the FP7 product, its table, the portable tile, the list. */
#include "gemm/mf.h"

/* ---- one product ----------------------------------------------------------------------------- */

typedef struct normal {
    uint8_t exponent, mantissa; /* m = 2^exponent (1 + mantissa / 8); m = 0: not used */
} normal;

static const normal normals[16] = {{0, 0}, {0, 0}, {1, 0}, {1, 4}, {2, 0}, {2, 2}, {2, 4}, {2, 6},
                                   {3, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 4}, {3, 5}, {3, 6}, {3, 7}};

uint8_t nyb_mf_product(int integer, unsigned e3m0_code)
{
    const unsigned m = (unsigned)(integer < 0 ? -integer : integer), e = e3m0_code & 7;
    const unsigned sign = (e3m0_code >> 3 & 1) ^ (integer < 0);

    if (m == 0 || e == 0)
        return 0;
    return (uint8_t)(sign << 7 | (normals[m].exponent + e) << 3 | normals[m].mantissa);
}

int32_t nyb_mf_value(uint8_t product)
{
    const unsigned exponent = product >> 3 & 15, mantissa = 8 | (product & 7);
    /* the three bits that are cut are zeros: the product is an integer */
    const int32_t magnitude = exponent ? (int32_t)(mantissa << (exponent - 1) >> 3) : 0;

    return product >> 7 ? -magnitude : magnitude;
}

/* ---- formats --------------------------------------------------------------------------------- */

static bool is_small_integer(const nyb_format *format)
{
    if (format->grid != NYB_GRID_INT || !format->units || format->multiples)
        return false;
    for (unsigned code = 0; code < format->n_codes; code++)
        if (format->units[code] > 15 || format->units[code] < -15)
            return false;
    return true;
}

bool nyb_mf_can(const nyb_format *a, const nyb_format *b)
{
    return (a == &nyb_format_e3m0 && is_small_integer(b)) ||
           (b == &nyb_format_e3m0 && is_small_integer(a));
}

void nyb_mf_bytes(const nyb_format *format, uint8_t bytes[256])
{
    for (unsigned code = 0; code < format->n_codes; code++)
        bytes[code] = format == &nyb_format_e3m0 ? (uint8_t)((code >> 3) << 7 | (code & 7))
                                                 : (uint8_t)format->units[code];
}

/* ---- the portable tile ----------------------------------------------------------------------- */

/* Products by e3m0 code and by the low five bits of the integer, -15 .. 15. */
typedef struct product_table {
    int16_t value[16][32];
} product_table;

static void fill(product_table *table)
{
    for (unsigned code = 0; code < 16; code++)
        for (int i = -15; i <= 15; i++)
            table->value[code][i & 31] = (int16_t)nyb_mf_value(nyb_mf_product(i, code));
    for (unsigned code = 0; code < 16; code++)
        table->value[code][16] = 0; /* bytes of a whose b is zero may hold anything */
}

/* A byte of e3m0 as its code. */
static unsigned code_of(uint8_t byte)
{
    return (unsigned)byte >> 7 << 3 | (byte & 7);
}

static void run(const nyb_tile_s8_args *args, bool a_is_e3m0)
{
    product_table table;

    fill(&table);
    if (!args->accumulate)
        memset(args->c, 0, args->rows * NYB_TILE_COLS * sizeof *args->c);
    for (size_t i = 0; i < args->n_steps; i++) {
        const int8_t *step = nyb_tile_step_of_b(args, i);
        uint8_t b[NYB_TILE_STEP][NYB_TILE_COLS];
        for (size_t k = 0; k < NYB_TILE_STEP; k++)
            for (size_t n = 0; n < NYB_TILE_COLS; n++) {
                const uint8_t byte = (uint8_t)step[nyb_tile_s8_offset(k, n)];
                b[k][n] = (uint8_t)(a_is_e3m0 ? byte & 31 : code_of(byte));
            }
        for (size_t m = 0; m < args->rows; m++) {
            const uint8_t *a = args->a + m * args->lda + args->a_step[i];
            uint32_t sum[NYB_TILE_COLS] = {0}; /* sums are exact modulo 2^32, as those of s8 */
            for (size_t k = 0; k < NYB_TILE_STEP; k++)
                for (size_t n = 0; n < NYB_TILE_COLS; n++)
                    sum[n] += (uint32_t)(a_is_e3m0 ? table.value[code_of(a[k])][b[k][n]]
                                                   : table.value[b[k][n]][a[k] & 31]);
            for (size_t n = 0; n < NYB_TILE_COLS; n++) {
                int32_t *c = args->c + m * NYB_TILE_COLS + n;
                *c = (int32_t)((uint32_t)*c + sum[n]);
            }
        }
    }
}

static void run_a(const nyb_tile_s8_args *args)
{
    run(args, true);
}

static void run_b(const nyb_tile_s8_args *args)
{
    run(args, false);
}

/* What moves bytes is the portable s8 tile's. */

static void nothing(void)
{
}

static void unpack(const uint8_t *codes, size_t first, size_t n, const uint8_t lut[16],
                   uint8_t *out)
{
    nyb_tile_s8_ref.unpack(codes, first, n, lut, out);
}

static void pack_rows(const int8_t *src, size_t ld, const uint32_t *src_step, const uint8_t *valid,
                      size_t n_steps, size_t n_valid, int8_t *panel, nyb_tile_sums *sums)
{
    nyb_tile_s8_ref.pack_rows(src, ld, src_step, valid, n_steps, n_valid, panel, sums);
}

static void pack_cols(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid, size_t n_steps,
                      int8_t *panel, nyb_tile_sums *sums)
{
    nyb_tile_s8_ref.pack_cols(src, ld, k_valid, n_valid, n_steps, panel, sums);
}

static void transpose(const uint8_t *src, size_t lds, size_t rows, size_t cols, uint8_t *dst,
                      size_t ldd)
{
    nyb_tile_s8_ref.transpose(src, lds, rows, cols, dst, ldd);
}

#define PORTABLE(which)                                                                            \
    {                                                                                              \
        .name = "ref", .row_piece = 1, .k_piece = NYB_TILE_STEP, .macs = 1,                        \
        .max_product = INT32_MAX, .begin = nothing, .end = nothing, .run = which,                  \
        .unpack = unpack, .pack_rows = pack_rows, .pack_cols = pack_cols, .transpose = transpose,  \
    }

const nyb_tile_s8 nyb_mf_ref = PORTABLE(run_a);
const nyb_tile_s8 nyb_mf_ref_b = PORTABLE(run_b);

/* ---- the list -------------------------------------------------------------------------------- */

const nyb_tile_s8 *const nyb_mf_list[] = {
#if NYB_SIMD
    &nyb_mf_avx512,
    &nyb_mf_avx2,
#endif
    &nyb_mf_ref,
    NULL,
};

const nyb_tile_s8 *nyb_mf_choose(uint32_t cpu, const nyb_format *a)
{
    const nyb_tile_s8 *const *tile = nyb_mf_list;

    if (a != &nyb_format_e3m0)
        return &nyb_mf_ref_b; /* no product of training: gradients come first */
    while ((*tile)->needs & ~cpu)
        tile++;
    return *tile;
}
