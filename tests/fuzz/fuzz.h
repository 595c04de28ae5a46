/* A fuzz target: one function that eats any bytes. libFuzzer drives it, or replay.c. */
#ifndef NYB_FUZZ_H
#define NYB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

#endif
