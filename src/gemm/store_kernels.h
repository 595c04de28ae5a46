/* Epilogues in the vocabulary of base/vec_ref.h, base/rng_ref.h and store_ref.c, which the
 * including file brings. No include guard: each ISA has its own copy. */
#include "gemm/store_lanes.h"

static ALWAYS_INLINE vec line_lanes(vec sums, const nyb_store_lines *lines, size_t m, size_t col,
                                    size_t n)
{
    vec t = vec_mul(sums, vec_set(lines->scale[m]));

    if (lines->of[m])
        t = vec_add(t, vec_mul(load(lines->of[m] + col, n), vec_set(lines->plus[m])));
    return lines->cols ? vec_mul(t, load(lines->cols + col, n)) : t;
}

/* Lanes of row m from column col on; n is the constant 16 or what is left over; draws: of the row.
 */
static ALWAYS_INLINE void store_lanes(vec sums, const nyb_store_args *args, size_t m, size_t col,
                                      size_t n, const uint16_t *draws)
{
    const vec t = args->lines ? line_lanes(sums, args->lines, m, col, n)
                              : vec_mul(sums, vec_set(args->scale));

    finish_lanes(t, args->bias ? args->bias + col : NULL, args->add, args->half,
                 draws ? draws + col : NULL, nyb_store_at(args->out[m], args->half, col), n);
}

/* Where the sums of columns col .. col + 15 of a row are. */
static ALWAYS_INLINE size_t sums_of(const nyb_store_args *args, size_t col)
{
    return col / NYB_TILE_COLS * args->step + col % NYB_TILE_COLS;
}

static ALWAYS_INLINE const uint16_t *row_draws(const nyb_store_args *args, const void *row,
                                               uint16_t room[LANES_ROOM])
{
    return args->draws
               ? draw_lanes(args->draws, nyb_store_place(args->origin, row), args->n_valid, room)
               : NULL;
}

/* Whole vectors of one scale: what nearly all outputs are. Each copy has its flags as constants. */
#define STORE_WHOLE(name, type, lanes)                                                             \
    static ALWAYS_INLINE void name##_whole(const type *sums, const nyb_store_args *args,           \
                                           const float *bias, bool add, bool half, bool drawn)     \
    {                                                                                              \
        const vec scale = vec_set(args->scale);                                                    \
        uint16_t room[LANES_ROOM];                                                                 \
        for (size_t m = 0; m < args->rows; m++, sums += NYB_TILE_COLS) {                           \
            void *const row = args->out[m];                                                        \
            if (!row)                                                                              \
                continue;                                                                          \
            const uint16_t *const draws = drawn ? row_draws(args, row, room) : NULL;               \
            for (size_t col = 0; col < args->n_valid; col += 16)                                   \
                finish_lanes(vec_mul(lanes(sums + sums_of(args, col)), scale),                     \
                             bias ? bias + col : NULL, add, half, drawn ? draws + col : NULL,      \
                             nyb_store_at(row, half, col), 16);                                    \
        }                                                                                          \
    }

/* All that args can ask for. */
#define STORE_ANY(name, type, lanes)                                                               \
    static void name##_any(const type *sums, const nyb_store_args *args)                           \
    {                                                                                              \
        uint16_t room[LANES_ROOM];                                                                 \
        for (size_t m = 0; m < args->rows; m++, sums += NYB_TILE_COLS) {                           \
            void *const row = args->out[m];                                                        \
            size_t col = 0;                                                                        \
            if (!row)                                                                              \
                continue;                                                                          \
            const uint16_t *const draws = row_draws(args, row, room);                              \
            for (; col + 16 <= args->n_valid; col += 16)                                           \
                store_lanes(lanes(sums + sums_of(args, col)), args, m, col, 16, draws);            \
            if (col < args->n_valid)                                                               \
                store_lanes(lanes(sums + sums_of(args, col)), args, m, col, args->n_valid - col,   \
                            draws);                                                                \
        }                                                                                          \
    }

#define STORE(name, type, lanes)                                                                   \
    STORE_WHOLE(name, type, lanes)                                                                 \
    STORE_ANY(name, type, lanes)                                                                   \
    static void name(const type *sums, const nyb_store_args *given)                                \
    {                                                                                              \
        const nyb_store_args args = *given; /* outputs could overlap the caller's */               \
        if (args.n_valid % 16 > 0 || args.lines || (args.bias && (args.add || args.half)))         \
            name##_any(sums, &args);                                                               \
        else if (args.half && args.draws)                                                          \
            name##_whole(sums, &args, NULL, false, true, true);                                    \
        else if (args.half)                                                                        \
            name##_whole(sums, &args, NULL, false, true, false);                                   \
        else if (args.add)                                                                         \
            name##_whole(sums, &args, NULL, true, false, false);                                   \
        else                                                                                       \
            name##_whole(sums, &args, args.bias, false, false, false);                             \
    }
STORE(of_int, int32_t, vec_of_int)
STORE(of_float, float, vec_load)

extern const nyb_store_kernel STORE_RECORD;
const nyb_store_kernel STORE_RECORD = {
    .name = STORE_NAME,
    .needs = STORE_NEEDS,
    .of_int = of_int,
    .of_float = of_float,
};
