/* Times OpenBLAS: one sgemm, or the three of a linear layer's step. Prints JSON.
 * usage: rival_openblas gemm|linear M N K THREADS MILLISECONDS */
#include <cblas.h>

#include "rival.h"

void openblas_set_num_threads(int n);
char *openblas_get_corename(void);

typedef struct job {
    int m, n, k; /* x [m][k], w [n][k], dy [m][n] */
    int linear;  /* all three products, or y alone */
    float *x, *w, *dy, *y, *dx, *dw;
} job;

static void run(void *arg)
{
    const job *j = arg;

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, j->m, j->n, j->k, 1, j->x, j->k, j->w,
                j->k, 0, j->y, j->n);
    if (!j->linear)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, j->m, j->k, j->n, 1, j->dy, j->n, j->w,
                j->k, 0, j->dx, j->k);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, j->n, j->k, j->m, 1, j->dy, j->n, j->x,
                j->k, 0, j->dw, j->k);
}

int main(int argc, char **argv)
{
    if (argc != 7 || (strcmp(argv[1], "gemm") != 0 && strcmp(argv[1], "linear") != 0)) {
        fprintf(stderr, "usage: rival_openblas gemm|linear M N K THREADS MILLISECONDS\n");
        return 2;
    }
    job j = {.m = atoi(argv[2]), .n = atoi(argv[3]), .k = atoi(argv[4])};
    const size_t m = (size_t)j.m, n = (size_t)j.n, k = (size_t)j.k;

    j.linear = strcmp(argv[1], "linear") == 0;
    j.x = rival_floats(m * k);
    j.w = rival_floats(n * k);
    j.dy = rival_floats(m * n);
    j.y = rival_floats(m * n);
    j.dx = rival_floats(m * k);
    j.dw = rival_floats(n * k);
    openblas_set_num_threads(atoi(argv[5]));
    printf("{\"rival\": \"OpenBLAS %s\", ", openblas_get_corename());
    rival_measure("median_s", run, &j, atof(argv[6]));
    printf("}\n");
    return 0;
}
