/* Drives a fuzz target without libFuzzer: the seeds, all their prefixes, and random changes of
 * them, the same at every run. usage: fuzz_X COUNT SEED-FILE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MAX_BYTES 65536

static uint64_t random_state = 1;

static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

/* The target sees memory of exactly the input's length, so that sanitizers see one byte more. */
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);

    if (!exact)
        exit(1);
    memcpy(exact, bytes, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static void run_changed(const uint8_t *seed, size_t n)
{
    static const char interesting[] = "\0\xff\x7f\x80{}[]()\"',:-<>= \n0129.eE";
    static uint8_t bytes[MAX_BYTES];
    size_t n_changes = 1 + random_below(4);

    memcpy(bytes, seed, n);
    while (n && n_changes-- > 0) {
        size_t at = random_below(n);
        switch (random_below(4)) {
        case 0: /* a bit */
            bytes[at] ^= (uint8_t)(1u << random_below(8));
            break;
        case 1: /* a byte with a meaning */
            bytes[at] = (uint8_t)interesting[random_below(sizeof interesting - 1)];
            break;
        case 2: /* cut out */
            memmove(bytes + at, bytes + at + 1, n - at - 1);
            n--;
            break;
        case 3: /* copied from elsewhere */
            bytes[at] = bytes[random_below(n)];
            break;
        }
    }
    run(bytes, n);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

    for (int i = 2; i < argc; i++) {
        static uint8_t seed[MAX_BYTES];
        FILE *in = fopen(argv[i], "rb");
        if (!in) {
            perror(argv[i]);
            return 1;
        }
        size_t n = fread(seed, 1, sizeof seed, in);
        fclose(in);
        for (size_t cut = n > 2000 ? n - 2000 : 0; cut <= n; cut++)
            run(seed, cut);
        for (long c = 0; c < count; c++)
            run_changed(seed, n);
    }
    printf("%d seeds, %ld changes of each\n", argc - 2, count);
    return argc > 2 ? 0 : 1;
}
