#include <stdlib.h>

#include "data/parse.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    for (int n_dims = 1; n_dims <= 3; n_dims += 2) {
        size_t dims[3] = {1, 1, 1};
        const uint8_t *data;
        nyb_error err;

        if (nyb_idx_parse(bytes, n_bytes, n_dims, "fuzz", dims, &data, &err) != NYB_OK)
            continue;
        /* What is promised is there: the last byte can be read. */
        size_t n = dims[0] * dims[1] * dims[2];
        volatile uint8_t last = n ? data[n - 1] : 0;
        (void)last;
        if (data + n != bytes + n_bytes)
            abort();
    }
    return 0;
}
