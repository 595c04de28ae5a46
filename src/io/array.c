#include <nybble/io.h>

#include "io/io.h"

_Static_assert(NYB_ARRAY_DIMS == NYB_NPY_DIMS, "public and internal arrays have the same rank");

nyb_status nyb_array_load(const char *path, nyb_array *array, nyb_error *err)
{
    *array = (nyb_array){0};
    nyb_npy npy;
    NYB_TRY(nyb_npy_load(path, &npy, err));
    float *values;
    nyb_status status = nyb_npy_to_f32(&npy, &values, err);
    if (status == NYB_OK) {
        array->n_dims = npy.n_dims;
        memcpy(array->dims, npy.dims, sizeof array->dims);
        array->n = npy.n;
        array->values = values;
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
