/* nybble bench gemm: one product, x (m, k) by w (n, k). */
#include "bench.h"

int bench_gemm(nyb_context *context, const bench_values *v)
{
    nyb_error err;
    nyb_spec a_spec, b_spec;
    if (bench_parse_spec("--a", v->a, &a_spec) != CLI_OK ||
        bench_parse_spec("--b", v->b, &b_spec) != CLI_OK)
        return CLI_USAGE;
    bench_operand a = {0}, b = {0};
    bench_line l = {0};
    bench_layer layer = bench_layer_linear(v);
    bench_limits limits;
    bench_limits_init(&limits, context, v);
    nyb_status status = bench_operand_open(&a, context, &a_spec, v->m, v->k, 1, &err);
    if (status == NYB_OK)
        status = bench_operand_open(&b, context, &b_spec, v->n, v->k, 2, &err);
    if (status == NYB_OK)
        status =
            bench_measure_product("y = x w'", NYB_PLAN_Y, &layer, &a, &b, &limits, v, &l, &err);
    bench_operand_close(&a);
    bench_operand_close(&b);
    if (status != NYB_OK)
        return cli_fail("bench gemm", &err);
    return bench_report(context, "gemm", &l, 1, v->json, bench_describe_sizes(v));
}
