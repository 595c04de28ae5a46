/* nybble bench quant: scale and encode of x (m, k). */
#include "bench.h"

int bench_quant(nyb_context *context, const bench_values *v)
{
    nyb_error err;
    nyb_spec spec;
    if (bench_parse_spec("--a", v->a, &spec) != CLI_OK)
        return CLI_USAGE;
    if (bench_is_real(&spec)) {
        cli_error("bench quant", "f32 is not quantized: another --a is needed");
        return CLI_USAGE;
    }
    bench_operand a = {0};
    bench_line l = {0};
    bench_limits limits;
    bench_limits_init(&limits, context, v);
    nyb_status status = bench_operand_open(&a, context, &spec, v->m, v->k, 1, &err);
    if (status == NYB_OK)
        status = bench_measure_encode("scale and encode", &a, &limits, v, &l, &err);
    bench_operand_close(&a);
    if (status != NYB_OK)
        return cli_fail("bench quant", &err);
    return bench_report(context, "quant", &l, 1, v->json, bench_describe_sizes(v));
}
