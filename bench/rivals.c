/* Times OpenBLAS: one sgemm, or the three of a linear layer's step. Prints JSON.
 * usage: rivals gemm|linear M N K THREADS MILLISECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cblas.h>

#define REPEATS_MAX 10000
#define REPEATS_MIN 5

void openblas_set_num_threads(int n);
char *openblas_get_corename(void);

typedef struct job {
    int m, n, k; /* x [m][k], w [n][k], dy [m][n] */
    int linear;  /* all three products, or y alone */
    float *x, *w, *dy, *y, *dx, *dw;
} job;

static float *filled(size_t n)
{
    float *x = malloc(n * sizeof *x);
    unsigned state = 1;

    if (!x) {
        perror("rivals");
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

static void run(const job *j)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, j->m, j->n, j->k, 1, j->x, j->k, j->w,
                j->k, 0, j->y, j->n);
    if (!j->linear)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, j->m, j->k, j->n, 1, j->dy, j->n, j->w,
                j->k, 0, j->dx, j->k);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, j->n, j->k, j->m, 1, j->dy, j->n, j->x,
                j->k, 0, j->dw, j->k);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
    static double seconds[REPEATS_MAX];
    int repeats = 0;

    if (argc != 7 || (strcmp(argv[1], "gemm") != 0 && strcmp(argv[1], "linear") != 0)) {
        fprintf(stderr, "usage: rivals gemm|linear M N K THREADS MILLISECONDS\n");
        return 2;
    }
    job j = {.m = atoi(argv[2]), .n = atoi(argv[3]), .k = atoi(argv[4])};
    const size_t m = (size_t)j.m, n = (size_t)j.n, k = (size_t)j.k;
    j.linear = strcmp(argv[1], "linear") == 0;
    j.x = filled(m * k);
    j.w = filled(n * k);
    j.dy = filled(m * n);
    j.y = filled(m * n);
    j.dx = filled(m * k);
    j.dw = filled(n * k);
    openblas_set_num_threads(atoi(argv[5]));
    run(&j);
    const double end = now() + atof(argv[6]) / 1000;
    while (repeats < REPEATS_MIN || (now() < end && repeats < REPEATS_MAX)) {
        const double start = now();
        run(&j);
        seconds[repeats++] = now() - start;
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, by_value);
    printf("{\"rival\": \"OpenBLAS %s\", \"bench\": \"%s\", \"m\": %d, \"n\": %d, \"k\": %d, "
           "\"threads\": %s, \"median_s\": %.9g, \"p10_s\": %.9g, \"p90_s\": %.9g, "
           "\"repeats\": %d}\n",
           openblas_get_corename(), argv[1], j.m, j.n, j.k, argv[5], seconds[repeats / 2],
           seconds[repeats / 10], seconds[repeats * 9 / 10], repeats);
    free(j.x);
    free(j.w);
    free(j.dy);
    free(j.y);
    free(j.dx);
    free(j.dw);
    return 0;
}
