/* Test vectors in a folder: one generator, whose files are written or compared with what is there.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include "cli.h"

#define VECTORS_LAYOUT 1 /* of folder and files: docs/vectors.md */

/* Of all random bits: quantizers' are of role 15, tensor 0 (docs/determinism.md). */
#define VECTORS_SEED 20260101
#define VECTORS_STEP 7
#define VECTORS_DRAW 2

typedef struct vectors {
    const char *dir;
    bool check; /* compare instead of writing */
    nyb_context *context;
    uint64_t n_files, n_numbers;
} vectors;

/* All return CLI_OK, or CLI_FAILURE once a problem has been reported. `path` is relative to the
 * folder. cases, if not NULL, names the indices of the first dimension in reports. */
int vectors_folder(const vectors *v, const char *path);
int vectors_floats(vectors *v, const char *path, const float *values, int n_dims,
                   const size_t *dims, const char *const *cases);
int vectors_bytes(vectors *v, const char *path, const unsigned char *bytes, int n_dims,
                  const size_t *dims, const char *const *cases);
/* Releases json. */
int vectors_json(vectors *v, const char *path, json_t *json);
/* A JSON array of n strings. */
json_t *vectors_list(const char *const *texts, size_t n);

/* The next 31 bits of a multiplicative generator (Lehmer, 48271 modulo 2^31 - 1). */
uint32_t vectors_draw(uint32_t *state);
/* n numbers of either sign, from 2^-3 to 8. */
void vectors_draw_reals(uint32_t *state, size_t n, float *x);

/* Formats of at most 8 bits that products have at scale 1; not those of scales (e8m0). */
bool vectors_is_operand(const nyb_format *format);

/* One product of a recipe: how its operands are quantized, and how it adds up. */
typedef int vectors_product_fn(void *user, const nyb_spec *a, const nyb_spec *b, const char *accum);
/* All those that have two quantized operands. Stops at the first that does not return CLI_OK. */
int vectors_recipe_products(vectors_product_fn *fn, void *user);

/* The generators: each writes (or checks) the files of its folder. */
int vectors_formats(vectors *v);
int vectors_quantizers(vectors *v);
int vectors_reflections(vectors *v);
int vectors_products(vectors *v);
int vectors_blocks(vectors *v);
int vectors_rows(vectors *v);
int vectors_sums(vectors *v);
int vectors_gradients(vectors *v);
int vectors_updates(vectors *v);

#endif
