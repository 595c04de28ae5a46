#include <nybble/io.h>

#include "io/io.h"

_Static_assert(NYB_ARRAY_DIMS == NYB_NPY_DIMS, "public and internal arrays have the same rank");

/* Whether f32 lacks some of the numbers. */
static int is_rounded(const nyb_npy *npy, const float *values)
{
#define COMPARE(word, type)                                                                        \
    if (strcmp(npy->dtype, word) == 0)                                                             \
        for (size_t i = 0; i < npy->n; i++) {                                                      \
            const long double from = ((const type *)npy->data)[i];                                 \
            if (from == from && (long double)values[i] != from)                                    \
                return 1;                                                                          \
        }
    COMPARE("i4", int32_t)
    COMPARE("u4", uint32_t)
    COMPARE("i8", int64_t)
    COMPARE("u8", uint64_t)
    COMPARE("f8", double)
#undef COMPARE
    return 0;
}

nyb_status nyb_array_load(const char *path, nyb_array *array, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(array, err));
    *array = (nyb_array){0};
    NYB_TRY(nyb_check_pointers(path, err));
    nyb_npy npy;
    NYB_TRY(nyb_npy_load(path, &npy, err));
    float *values;
    nyb_status status = nyb_npy_to_f32(&npy, &values, err);
    if (status == NYB_OK) {
        array->n_dims = npy.n_dims;
        memcpy(array->dims, npy.dims, sizeof array->dims);
        array->n = npy.n;
        array->values = values;
        array->rounded = is_rounded(&npy, values);
    }
    nyb_npy_free(&npy);
    return status;
}

void nyb_array_free(nyb_array *array)
{
    nyb_free(array->values);
    *array = (nyb_array){0};
}

nyb_status nyb_array_save(const char *path, const float *values, int n_dims, const size_t *dims,
                          nyb_error *err)
{
    return nyb_npy_save(path, "f4", values, n_dims, dims, err);
}

nyb_status nyb_array_save_bytes(const char *path, const unsigned char *bytes, int n_dims,
                                const size_t *dims, nyb_error *err)
{
    return nyb_npy_save(path, "u1", bytes, n_dims, dims, err);
}
