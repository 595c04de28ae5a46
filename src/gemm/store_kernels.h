/* Epilogues in the vocabulary of base/vec_ref.h and store_ref.c, which the including file brings.
 * No include guard: each ISA has its own copy. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Lanes from column col on; n is the constant 16 or what is left over. */
static ALWAYS_INLINE void store_lanes(vec sums, const nyb_store_args *args, size_t col, size_t n,
                                      void *row)
{
    vec t = vec_mul(sums, vec_set(args->scale));

    if (args->bias) { /* not "+ 0": that would turn -0 into +0 */
        const float *bias = args->bias + col;
        t = vec_add(t, n == 16 ? vec_load(bias) : vec_load_n(bias, n));
    }
    if (args->half) {
        uint16_t *out = (uint16_t *)row + col, some[16];
        vec_store_bf16(n == 16 ? out : some, vec_round_bf16(t));
        if (n < 16)
            memcpy(out, some, n * sizeof *some);
        return;
    }
    float *out = (float *)row + col;
    if (args->add)
        t = vec_add(n == 16 ? vec_load(out) : vec_load_n(out, n), t);
    if (n == 16)
        vec_store(out, t);
    else
        vec_store_n(out, t, n);
}

#define STORE(name, type, lanes)                                                                   \
    static void name(const type *sums, const nyb_store_args *args)                                 \
    {                                                                                              \
        for (size_t m = 0; m < args->rows; m++, sums += NYB_TILE_COLS) {                           \
            size_t col = 0;                                                                        \
            for (; args->out[m] && col + 16 <= args->n_valid; col += 16)                           \
                store_lanes(lanes(sums + col), args, col, 16, args->out[m]);                       \
            if (args->out[m] && col < args->n_valid)                                               \
                store_lanes(lanes(sums + col), args, col, args->n_valid - col, args->out[m]);      \
        }                                                                                          \
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
