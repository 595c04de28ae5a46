/* Rounding and clamping of partial sums: the specification, and its kernels. */
#ifndef NYB_ACCUMULATE_INTERNAL_H
#define NYB_ACCUMULATE_INTERNAL_H

#include <nybble/accumulate.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "format/format.h"

/* Whether an accumulator can exist: format, chunk and rounding. */
NYB_MUST_CHECK nyb_status nyb_accum_check(const nyb_accum *accum, nyb_error *err);

/* And with these operands: an integer accumulator sums codes, and real values have no unit. */
NYB_MUST_CHECK nyb_status nyb_accum_check_operands(const nyb_accum *accum, const nyb_format *a,
                                                   const nyb_format *b, nyb_error *err);

/* NULL, or a format that is not rounded to: the engines' own sums. */
static inline bool nyb_accum_is_exact(const nyb_accum *accum)
{
    return !accum || !accum->format || accum->format->grid == NYB_GRID_REAL;
}

/* ---- the specification ------------------------------------------------------------------------
 */

/* The value of a floating format nearest to x (ties as the format has them), +-max beyond it, +0
 * for every zero, NaN for NaN. Subnormals of f32 are zeros. Of an integer format: x between -max
 * and max. x is a sum that f32 has rounded. */
float nyb_accum_round(const nyb_format *format, float x);

/* The same by chance, for an accumulator that draws: of the neighbours of x, the one farther from
 * zero if x's position between them (to 23 bits after the first of x, or of the least normal
 * number) and the top random_bits of `bits` add up to 1. What is below the least number of a format
 * without subnormals is 0. */
float nyb_accum_round_drawn(const nyb_accum *accum, float x, uint32_t bits);

static inline bool nyb_accum_draws(const nyb_accum *accum)
{
    return accum->rounding == NYB_ROUND_STOCHASTIC;
}

/* Each output has a generator of its own, as each multiplier has one in silicon: Marsaglia's
 * xorshift32 ("Xorshift RNGs", J. Stat. Softw. 8, 2003), one step before each rounding. */
static inline uint32_t nyb_accum_next(uint32_t z)
{
    z ^= z << 13;
    z ^= z >> 17;
    return z ^ z << 5;
}

/* Where the generators of a product start: those of 2^32 outputs in a row differ. */
typedef struct nyb_accum_key {
    uint32_t add, flip;
} nyb_accum_key;

nyb_accum_key nyb_accum_key_of(const nyb_stream *stream);

/* The state before the first rounding of output `i`, never 0. The mixing is that of MurmurHash3. */
static inline uint32_t nyb_accum_start(nyb_accum_key key, uint64_t i)
{
    uint32_t z = (uint32_t)i + key.add;

    z = (z ^ z >> 16) * 0x85ebca6bu;
    z = (z ^ z >> 13) * 0xc2b2ae35u;
    z ^= z >> 16 ^ key.flip;
    return z ? z : 1;
}

/* sum of a[i] * b[i], 0 <= i < n, as nyb_accum says; adds to stats unless it is NULL. z: the state
 * of the generator, if the accumulator draws. f32: in chunks of 4096. */
#define NYB_ACCUM_F32_CHUNK 4096
float nyb_accum_dot(const nyb_accum *accum, const float *a, const float *b, size_t n, uint32_t z,
                    nyb_accum_stats *stats);

/* ---- the same, for 32 outputs at a time -------------------------------------------------------
 */

/* How a kernel rounds. */
typedef enum nyb_accum_mode {
    NYB_ACCUM_MAGIC, /* x + M - M with M = 1.5 * 2^(23 - man_bits) * 2^max(e, emin): ties to even */
    NYB_ACCUM_EVEN,  /* in the bits of f32, ties to even; what is below `least` becomes 0 */
    NYB_ACCUM_GAP,   /* the same, but what is below `least` goes to it or to 0, to the nearer */
    NYB_ACCUM_AWAY,  /* as EVEN, ties away from zero */
    NYB_ACCUM_DRAWN, /* in the bits of f32, by chance; below `base`, in those of x +- base */
    NYB_ACCUM_INT    /* no rounding: integers below 2^24; chunk sums do not clamp */
} nyb_accum_mode;

typedef struct nyb_accum_grid {
    nyb_accum_mode mode;
    float max;
    uint32_t least_exponent; /* MAGIC: bits of 2^emin */
    float magic;             /* MAGIC: 1.5 * 2^(23 - man_bits) */
    uint32_t dropped;        /* but MAGIC, INT: mantissa bits of f32 that the format lacks */
    float least;             /* but MAGIC, INT: least positive value */
    uint32_t random;         /* DRAWN: which of the dropped bits are drawn */
    float base;              /* DRAWN: 2^emin, or 0 where there are no subnormals */
    bool fuses; /* a * b + s in one operation gives the same, if a * b is exact in 24 bits */
} nyb_accum_grid;

void nyb_accum_grid_init(nyb_accum_grid *grid, const nyb_accum *accum);
/* Whether no sum of k products, none larger than `largest`, in chunks (0: one) comes near
 * grid->max, whatever is drawn. */
bool nyb_accum_is_free(const nyb_accum_grid *grid, size_t chunk, size_t k, double largest);
/* DRAWN: whether no sum of products that are all multiples of `unit` is a subnormal number: it is
 * 0, or at least unit. */
bool nyb_accum_is_normal(const nyb_accum_grid *grid, double unit);

#define NYB_ACCUM_COLS 32

/* s[m][n], tot[m][n]: the state of outputs 0 <= m < rows <= 32, 0 <= n < 32, after `at` products of
 * a chunk; updated by k further products, and closed by `last`. */
typedef struct nyb_accum_args {
    const nyb_accum_grid *grid;
    size_t chunk; /* >= 1 */
    size_t at;    /* < chunk */
    bool last;
    bool fused;  /* all products are exact in 24 bits, and the grid fuses */
    bool free;   /* nyb_accum_is_free: nothing is clamped, and there is no NaN */
    bool normal; /* free, and nyb_accum_is_normal */
    bool narrow; /* only columns 0..15 are wanted; the others are left alone, or hold anything */
    size_t rows;
    const float *a; /* row m, k given by runs: run_len[i] values, a_step apart, at
                       a + m * lda + run_off[i] */
    size_t lda, a_step, n_runs;
    const uint32_t *run_off, *run_len;
    const float *b; /* [k][32] */
    float *s, *tot; /* [rows][32] */
    uint32_t *z;    /* DRAWN: [rows][32] states of the generators, updated */
} nyb_accum_args;

typedef struct nyb_accum_kernel {
    const char *name; /* "avx512", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */
    void (*run)(const nyb_accum_args *args);
} nyb_accum_kernel;

/* Best first, reference last, NULL-terminated; all give the same bits. */
extern const nyb_accum_kernel *const nyb_accum_kernels[];
const nyb_accum_kernel *nyb_accum_kernel_choose(uint32_t cpu);

#endif
