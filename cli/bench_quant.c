/* nybble bench quant: scale and encode of x (m, k), and how long it takes to read x. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

typedef struct reading {
    nyb_context *context;
    float *x;
    size_t n_bytes;
} reading;

static nyb_status read_again(void *arg, nyb_error *err)
{
    reading *r = arg;
    (void)err;
    nyb_stream_run(r->context, NYB_STREAM_READ, r->x, r->n_bytes, 1);
    return NYB_OK;
}

/* Of a copy that lies as nyb_stream_run wants it, up to a remainder that it would not take. */
static nyb_status measure_read(nyb_context *context, const bench_operand *a, const bench_values *v,
                               bench_line *l, nyb_error *err)
{
    size_t unit = 1024 * nyb_context_threads(context), all = a->rows * a->cols * sizeof(float);
    reading r = {context, NULL, all / unit * unit};
    if (r.n_bytes == 0)
        return NYB_OK;
    r.x = aligned_alloc(64, r.n_bytes);
    if (!r.x) {
        cli_error("bench quant", "no memory for %zu bytes", r.n_bytes);
        exit(CLI_FAILURE);
    }
    memcpy(r.x, a->x, r.n_bytes);
    *l = (bench_line){.name = "a pure read of x",
                      .engine = "",
                      .kernel = "",
                      .unit = "elements",
                      .work = (double)r.n_bytes / sizeof(float),
                      .elements = (double)r.n_bytes / sizeof(float),
                      .bytes = (double)r.n_bytes};
    nyb_status status = bench_measure(read_again, &r, v, &l->spread, err);
    free(r.x);
    return status;
}

int bench_quant(nyb_context *context, const bench_values *v)
{
    nyb_error err;
    nyb_spec spec;
    if (bench_parse_spec("--a", v->a, &spec) != CLI_OK)
        return CLI_USAGE;
    if (bench_is_real(&spec)) {
        cli_error("bench quant",
                  "codes of at most 8 bits are timed, %s has none: another --a is needed", v->a);
        return CLI_USAGE;
    }
    bench_operand a = {0};
    bench_line lines[2] = {{0}};
    bench_limits limits;
    bench_limits_init(&limits, context, v);
    nyb_status status = bench_operand_open(&a, context, &spec, v->m, v->k, 1, &err);
    if (status == NYB_OK)
        status = bench_measure_encode("scale and encode", &a, &limits, v, &lines[0], &err);
    if (status == NYB_OK)
        status = measure_read(context, &a, v, &lines[1], &err);
    bench_operand_close(&a);
    if (status != NYB_OK)
        return cli_fail("bench quant", &err);
    return bench_report(context, "quant", lines, lines[1].name ? 2 : 1, v->json,
                        bench_describe_sizes(v));
}
