/* What the programs that time rivals share: operands, a clock, medians. */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS_MAX 10000
#define REPEATS_MIN 5

static inline void *rival_alloc(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) / 64 * 64);

    if (!p) {
        perror("rival");
        exit(EXIT_FAILURE);
    }
    memset(p, 0, n_bytes);
    return p;
}

/* Floats between -1 and 1. */
static inline float *rival_floats(size_t n)
{
    float *x = rival_alloc(n * sizeof *x);
    unsigned state = 1;

    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

static inline double rival_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int rival_by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Once to warm up, then until the milliseconds are over; prints "name": median. */
static inline void rival_measure(const char *name, void (*run)(void *arg), void *arg,
                                 double milliseconds)
{
    static double seconds[REPEATS_MAX];
    int repeats = 0;

    run(arg);
    const double end = rival_now() + milliseconds / 1000;
    while (repeats < REPEATS_MAX && (repeats < REPEATS_MIN || rival_now() < end)) {
        const double start = rival_now();

        run(arg);
        seconds[repeats++] = rival_now() - start;
    }
    qsort(seconds, (size_t)repeats, sizeof seconds[0], rival_by_value);
    printf("\"%s\": %.9f", name, seconds[repeats / 2]);
}

#endif
