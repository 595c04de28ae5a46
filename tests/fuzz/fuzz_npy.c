#include <stdlib.h>

#include "fuzz.h"
#include "io/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    nyb_npy npy;
    nyb_error err;
    float *x;

    if (nyb_npy_parse(bytes, n_bytes, "fuzz", &npy, &err) != NYB_OK)
        return 0;
    if (npy.n > n_bytes)
        abort(); /* more elements than bytes were given */
    if (nyb_npy_to_f32(&npy, &x, &err) == NYB_OK)
        nyb_free(x);
    nyb_npy_free(&npy);
    return 0;
}
