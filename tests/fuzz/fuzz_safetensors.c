#include <stdlib.h>

#include "fuzz.h"
#include "io/io.h"

/* Every byte that the reader vouches for is read. */
static unsigned touch(const nyb_st_file *file)
{
    unsigned sum = 0;

    for (size_t i = 0; i < nyb_st_count(file); i++) {
        const nyb_st_tensor *t = nyb_st_at(file, i);
        if ((uintptr_t)t->data % 8 != 0 || nyb_st_find(file, t->name) != t)
            abort();
        for (size_t b = 0; b < t->n_bytes; b++)
            sum += ((const uint8_t *)t->data)[b];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    static volatile unsigned sink;
    uint8_t *own = nyb_alloc(n_bytes);
    nyb_st_file *file;
    nyb_error err;

    if (!own)
        return 0;
    if (n_bytes)
        memcpy(own, bytes, n_bytes);
    if (nyb_st_parse(own, n_bytes, "fuzz", &file, &err) != NYB_OK)
        return 0;
    sink = touch(file);
    (void)sink;
    (void)nyb_st_meta_find(file, "format");
    nyb_st_close(&file);
    return 0;
}
