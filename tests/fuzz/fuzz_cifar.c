#include <stdlib.h>

#include "data/parse.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    for (size_t n_labels = 1; n_labels <= 2; n_labels++) {
        const size_t n = n_bytes / (n_labels + NYB_CIFAR_PIXELS),
                     classes = n_labels == 1 ? 10 : 100;
        uint8_t *labels = malloc(n + 1), *pixels = malloc(n * NYB_CIFAR_PIXELS + 1);
        nyb_error err;

        if (labels && pixels &&
            nyb_cifar_parse(bytes, n_bytes, n_labels, classes, "fuzz", labels, pixels, &err) ==
                NYB_OK)
            for (size_t i = 0; i < n; i++)
                if (labels[i] >= classes)
                    abort();
        free(labels);
        free(pixels);
    }
    return 0;
}
