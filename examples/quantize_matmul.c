/* Quantizes two matrices to 4 bits, multiplies the codes, and compares with f32. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <nybble/nybble.h>

enum { M = 64, N = 48, K = 256 };

static void check(nyb_status status, const nyb_error *err)
{
    if (status == NYB_OK)
        return;
    fprintf(stderr, "quantize_matmul: %s: %s\n", nyb_status_name(status), err->text);
    exit(EXIT_FAILURE);
}

int main(void)
{
    static float x[M * K], w[N * K], y4[M * N], y32[M * N];
    nyb_error err;
    nyb_context *context;
    nyb_spec x_spec, w_spec;
    nyb_matrix *x4, *w4;

    /* activations are never negative, weights have both signs */
    for (int i = 0; i < M * K; i++)
        x[i] = (float)fabs(sin(0.37 * i));
    for (int i = 0; i < N * K; i++)
        w[i] = (float)sin(0.11 * i);

    check(nyb_context_create("auto", 0, &context, &err), &err);
    check(nyb_spec_parse("uint4/absmax/tensor/nearest", &x_spec, &err), &err);
    check(nyb_spec_parse("int4/absmax/tensor/nearest", &w_spec, &err), &err);

    /* seed, step and draw matter only to stochastic rounding */
    check(nyb_matrix_create(context, &x_spec, x, M, K, 0, 0, 0, &x4, &err), &err);
    check(nyb_matrix_create(context, &w_spec, w, N, K, 0, 0, 0, &w4, &err), &err);

    /* y = x w': exact integer sums of products of codes, scaled once */
    check(nyb_matmul_y(context, x4, w4, NULL, y4, &err), &err);
    check(nyb_matmul_f32_y(context, x, w, NULL, M, N, K, y32, &err), &err);

    double error = 0, norm = 0;
    for (int i = 0; i < M * N; i++) {
        error += pow((double)y4[i] - (double)y32[i], 2);
        norm += pow((double)y32[i], 2);
    }
    printf("x: %d values in %zu bytes, w: %d values in %zu bytes\n", M * K, nyb_matrix_bytes(x4),
           N * K, nyb_matrix_bytes(w4));
    printf("relative error of the 4-bit product: %.3f\n", sqrt(error / norm));

    nyb_matrix_destroy(&x4);
    nyb_matrix_destroy(&w4);
    nyb_context_destroy(&context);
    return error < 0.1 * norm ? EXIT_SUCCESS : EXIT_FAILURE;
}
