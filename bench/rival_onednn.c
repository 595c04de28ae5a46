/* Times oneDNN: products in f32, bf16 and s8, and the three products of a convolution. Prints JSON.
 * usage: rival_onednn gemm|linear TYPE M N K MILLISECONDS
 *        rival_onednn conv TYPE N H C O KERNEL STRIDE PAD GROUPS MILLISECONDS
 *        rival_onednn layer TYPE N H C MILLISECONDS
 *
 * gemm, linear: matrices in the plain layout, as ours. conv: every tensor in the layout that oneDNN
 * likes best, converting to it is not timed. layer: forward and backward of a 3x3 convolution of C
 * channels and a batch normalisation that does relu as well. What oneDNN has only in reference
 * code, or not at all, is left out. Threads: OMP_NUM_THREADS; instruction set: DNNL_MAX_CPU_ISA. */
#include <oneapi/dnnl/dnnl.h>

#include "rival.h"

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "rival_onednn: %s: status %d\n", what, (int)status);
    exit(EXIT_FAILURE);
}

/* ---- one primitive ----------------------------------------------------------------------------
 */

typedef struct work {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[3];
} work;

static void run(void *arg)
{
    const work *w = arg;

    check(dnnl_primitive_execute(w->primitive, stream, 3, w->args), "run");
    check(dnnl_stream_wait(stream), "wait");
}

static void add_memory(work *w, int i, int argument, const_dnnl_primitive_desc_t pd,
                       dnnl_query_t query)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, query, 0);
    const size_t n_bytes = dnnl_memory_desc_get_size(md);

    /* Small numbers in any type; floats that are no NaN. */
    void *memory = md->data_type == dnnl_f32 ? (void *)rival_floats(n_bytes / sizeof(float))
                                             : rival_alloc(n_bytes);
    w->args[i].arg = argument;
    check(dnnl_memory_create(&w->args[i].memory, md, engine, memory), "memory");
}

/* desc: NULL if oneDNN has none of it. */
static int measure(const char *name, const_dnnl_op_desc_t desc, const int arguments[3],
                   const dnnl_query_t queries[3], const_dnnl_primitive_desc_t hint, int comma,
                   double milliseconds)
{
    dnnl_primitive_desc_t pd;
    work w = {0};
    const char *how = "";

    if (dnnl_primitive_desc_create(&pd, desc, NULL, engine, hint) != dnnl_success)
        return 0;
    check(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &how), "query");
    if (strncmp(how, "ref", 3) == 0 || strstr(how, ":ref")) {
        dnnl_primitive_desc_destroy(pd);
        return 0;
    }
    check(dnnl_primitive_create(&w.primitive, pd), "primitive");
    for (int i = 0; i < 3; i++)
        add_memory(&w, i, arguments[i], pd, queries[i]);
    printf("%s\"%s\": {\"how\": \"%s\", ", comma ? ", " : "", name, how);
    rival_measure("median_s", run, &w, milliseconds);
    printf("}");
    for (int i = 0; i < 3; i++) {
        void *memory;

        dnnl_memory_get_data_handle(w.args[i].memory, &memory);
        dnnl_memory_destroy(w.args[i].memory);
        free(memory);
    }
    dnnl_primitive_destroy(w.primitive);
    dnnl_primitive_desc_destroy(pd);
    return 1;
}

/* ---- matrices ---------------------------------------------------------------------------------
 */

static dnnl_data_type_t type_of(const char *word)
{
    if (strcmp(word, "bf16") == 0)
        return dnnl_bf16;
    return strcmp(word, "s8") == 0 ? dnnl_s8 : dnnl_f32;
}

/* rows x cols; transposed: as it lies in memory, cols are rows. */
static dnnl_memory_desc_t matrix(size_t rows, size_t cols, int transposed, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)cols};
    dnnl_memory_desc_t md;

    check(dnnl_memory_desc_init_by_tag(&md, 2, dims, type, transposed ? dnnl_ba : dnnl_ab),
          "matrix");
    return md;
}

static int multiply(const char *name, dnnl_memory_desc_t a, dnnl_memory_desc_t b,
                    dnnl_memory_desc_t c, int comma, double milliseconds)
{
    static const int arguments[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    static const dnnl_query_t queries[] = {dnnl_query_src_md, dnnl_query_weights_md,
                                           dnnl_query_dst_md};
    dnnl_matmul_desc_t desc;

    if (dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c) != dnnl_success)
        return 0;
    return measure(name, &desc, arguments, queries, NULL, comma, milliseconds);
}

static void products(int linear, const char *word, size_t m, size_t n, size_t k,
                     double milliseconds)
{
    const dnnl_data_type_t type = type_of(word), out = type == dnnl_s8 ? dnnl_s32 : dnnl_f32;
    int done = multiply("fwd", matrix(m, k, 0, type), matrix(k, n, 1, type), matrix(m, n, 0, out),
                        1, milliseconds);

    if (!linear || !done)
        return;
    multiply("dx", matrix(m, n, 0, type), matrix(n, k, 0, type), matrix(m, k, 0, out), 1,
             milliseconds);
    multiply("dw", matrix(n, m, 1, type), matrix(m, k, 0, type), matrix(n, k, 0, out), 1,
             milliseconds);
}

/* ---- convolutions -----------------------------------------------------------------------------
 */

static dnnl_memory_desc_t image(dnnl_dim_t n, dnnl_dim_t c, dnnl_dim_t h, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {n, c, h, h};
    dnnl_memory_desc_t md;

    check(dnnl_memory_desc_init_by_tag(&md, 4, dims, type, dnnl_format_tag_any), "image");
    return md;
}

static dnnl_memory_desc_t weights(dnnl_dim_t groups, dnnl_dim_t o, dnnl_dim_t c, dnnl_dim_t r,
                                  dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {groups, o / groups, c / groups, r, r};
    dnnl_memory_desc_t md;

    if (groups == 1)
        return image(o, c, r, type);
    check(dnnl_memory_desc_init_by_tag(&md, 5, dims, type, dnnl_format_tag_any), "weights");
    return md;
}

static void convolution(const char *word, const dnnl_dim_t v[8], double milliseconds)
{
    static const int fwd[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    static const int dx[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
    static const int dw[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
    static const dnnl_query_t of_fwd[] = {dnnl_query_src_md, dnnl_query_weights_md,
                                          dnnl_query_dst_md};
    static const dnnl_query_t of_dx[] = {dnnl_query_diff_src_md, dnnl_query_weights_md,
                                         dnnl_query_diff_dst_md};
    static const dnnl_query_t of_dw[] = {dnnl_query_src_md, dnnl_query_diff_weights_md,
                                         dnnl_query_diff_dst_md};
    const dnnl_data_type_t type = type_of(word);
    const dnnl_dim_t n = v[0], h = v[1], c = v[2], o = v[3], r = v[4];
    const dnnl_dims_t strides = {v[5], v[5]}, pads = {v[6], v[6]};
    const dnnl_alg_kind_t how = dnnl_convolution_direct;
    const dnnl_memory_desc_t x = image(n, c, h, type), w = weights(v[7], o, c, r, type),
                             y = image(n, o, (h + 2 * v[6] - r) / v[5] + 1, type);
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint;

    check(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training, how, &x, &w, NULL, &y,
                                             strides, pads, pads),
          "forward");
    if (dnnl_primitive_desc_create(&hint, &desc, NULL, engine, NULL) != dnnl_success)
        return;
    measure("fwd", &desc, fwd, of_fwd, NULL, 1, milliseconds);
    check(dnnl_convolution_backward_data_desc_init(&desc, how, &x, &w, &y, strides, pads, pads),
          "backward data");
    measure("dx", &desc, dx, of_dx, hint, 1, milliseconds);
    check(dnnl_convolution_backward_weights_desc_init(&desc, how, &x, &w, NULL, &y, strides, pads,
                                                      pads),
          "backward weights");
    measure("dw", &desc, dw, of_dw, hint, 1, milliseconds);
    dnnl_primitive_desc_destroy(hint);
}

/* ---- layers -----------------------------------------------------------------------------------
 */

#define LAYER_STEPS 5

typedef struct step {
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[8];
    int n_args;
} step;

static void run_layer(void *arg)
{
    const step *steps = arg;

    for (int i = 0; i < LAYER_STEPS; i++)
        check(dnnl_primitive_execute(steps[i].primitive, stream, steps[i].n_args, steps[i].args),
              "run");
    check(dnnl_stream_wait(stream), "wait");
}

/* False if oneDNN has none of it, or reference code only. */
static int step_init(step *s, const_dnnl_op_desc_t desc, const_dnnl_primitive_desc_t hint)
{
    const char *how = "";

    *s = (step){0};
    if (dnnl_primitive_desc_create(&s->pd, desc, NULL, engine, hint) != dnnl_success)
        return 0;
    check(dnnl_primitive_desc_query(s->pd, dnnl_query_impl_info_str, 0, &how), "query");
    if (strncmp(how, "ref", 3) == 0 || strstr(how, ":ref"))
        return 0;
    check(dnnl_primitive_create(&s->primitive, s->pd), "primitive");
    return 1;
}

/* An argument's memory: that of an earlier one if it has the same layout, else its own. */
static dnnl_memory_t bind(step *s, int argument, dnnl_query_t query, dnnl_memory_t earlier)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(s->pd, query, 0), *other = NULL;
    dnnl_memory_t memory = earlier;

    if (earlier)
        check(dnnl_memory_get_memory_desc(earlier, &other), "memory");
    if (!other || !dnnl_memory_desc_equal(md, other)) {
        const size_t n_bytes = dnnl_memory_desc_get_size(md);
        void *own = md->data_type == dnnl_f32 ? (void *)rival_floats(n_bytes / sizeof(float))
                                              : rival_alloc(n_bytes);

        check(dnnl_memory_create(&memory, md, engine, own), "memory");
    }
    s->args[s->n_args++] = (dnnl_exec_arg_t){argument, memory};
    return memory;
}

/* x -> y -> z, dz -> dy -> dx; what was made is the process's to free. */
static void layer(const char *word, dnnl_dim_t n, dnnl_dim_t h, dnnl_dim_t c, double milliseconds)
{
    const dnnl_data_type_t type = type_of(word);
    const dnnl_dims_t ones = {1, 1};
    const dnnl_alg_kind_t how = dnnl_convolution_direct;
    const unsigned flags = dnnl_use_scaleshift | dnnl_fuse_norm_relu;
    const dnnl_memory_desc_t x = image(n, c, h, type), w = image(c, c, 3, type), *y;
    static step steps[LAYER_STEPS];
    step *const fwd = &steps[0], *const norm = &steps[1], *const back = &steps[2];
    step *const dx = &steps[3], *const dw = &steps[4];
    dnnl_convolution_desc_t conv;
    dnnl_batch_normalization_desc_t bn;

    check(dnnl_convolution_forward_desc_init(&conv, dnnl_forward_training, how, &x, &w, NULL, &x,
                                             ones, ones, ones),
          "forward");
    if (!step_init(fwd, &conv, NULL))
        return;
    y = dnnl_primitive_desc_query_md(fwd->pd, dnnl_query_dst_md, 0);
    check(dnnl_batch_normalization_forward_desc_init(&bn, dnnl_forward_training, y, 1e-5f, flags),
          "batchnorm");
    if (!step_init(norm, &bn, NULL))
        return;
    check(dnnl_batch_normalization_backward_desc_init(&bn, dnnl_backward, y, y, 1e-5f, flags),
          "batchnorm backward");
    if (!step_init(back, &bn, norm->pd))
        return;
    check(dnnl_convolution_backward_data_desc_init(&conv, how, &x, &w, &x, ones, ones, ones),
          "backward data");
    if (!step_init(dx, &conv, fwd->pd))
        return;
    check(
        dnnl_convolution_backward_weights_desc_init(&conv, how, &x, &w, NULL, &x, ones, ones, ones),
        "backward weights");
    if (!step_init(dw, &conv, fwd->pd))
        return;
    const dnnl_memory_t mx = bind(fwd, DNNL_ARG_SRC, dnnl_query_src_md, NULL);
    const dnnl_memory_t mw = bind(fwd, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, NULL);
    const dnnl_memory_t my = bind(fwd, DNNL_ARG_DST, dnnl_query_dst_md, NULL);

    bind(norm, DNNL_ARG_SRC, dnnl_query_src_md, my);
    bind(norm, DNNL_ARG_DST, dnnl_query_dst_md, NULL);
    const dnnl_memory_t scale = bind(norm, DNNL_ARG_SCALE_SHIFT, dnnl_query_weights_md, NULL);
    const dnnl_memory_t mask = bind(norm, DNNL_ARG_WORKSPACE, dnnl_query_workspace_md, NULL);
    const dnnl_memory_desc_t *moments =
        dnnl_primitive_desc_query_md(norm->pd, dnnl_query_dst_md, 1);
    dnnl_memory_t mean, variance;
    check(dnnl_memory_create(&mean, moments, engine, rival_floats((size_t)c)), "mean");
    check(dnnl_memory_create(&variance, moments, engine, rival_floats((size_t)c)), "variance");
    norm->args[norm->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_MEAN, mean};
    norm->args[norm->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_VARIANCE, variance};

    bind(back, DNNL_ARG_SRC, dnnl_query_src_md, my);
    bind(back, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md, NULL);
    const dnnl_memory_t dy = bind(back, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md, NULL);
    bind(back, DNNL_ARG_SCALE_SHIFT, dnnl_query_weights_md, scale);
    bind(back, DNNL_ARG_DIFF_SCALE_SHIFT, dnnl_query_diff_weights_md, NULL);
    bind(back, DNNL_ARG_WORKSPACE, dnnl_query_workspace_md, mask);
    back->args[back->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_MEAN, mean};
    back->args[back->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_VARIANCE, variance};

    bind(dx, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md, dy);
    bind(dx, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, mw);
    bind(dx, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md, NULL);
    bind(dw, DNNL_ARG_SRC, dnnl_query_src_md, mx);
    bind(dw, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md, dy);
    bind(dw, DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md, NULL);
    printf(", ");
    rival_measure("median_s", run_layer, steps, milliseconds);
}

int main(int argc, char **argv)
{
    const int is_conv = argc == 12 && strcmp(argv[1], "conv") == 0;
    const int is_linear = argc == 7 && strcmp(argv[1], "linear") == 0;
    const int is_layer = argc == 7 && strcmp(argv[1], "layer") == 0;

    if (!is_conv && !is_linear && !is_layer && (argc != 7 || strcmp(argv[1], "gemm") != 0)) {
        fprintf(stderr,
                "usage: rival_onednn gemm|linear TYPE M N K MILLISECONDS\n"
                "       rival_onednn conv TYPE N H C O KERNEL STRIDE PAD GROUPS MILLISECONDS\n"
                "       rival_onednn layer TYPE N H C MILLISECONDS\n");
        return 2;
    }
    const dnnl_version_t *version = dnnl_version();

    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    printf("{\"rival\": \"oneDNN %d.%d %s\"", version->major, version->minor, argv[2]);
    if (is_conv) {
        dnnl_dim_t v[8];

        for (int i = 0; i < 8; i++)
            v[i] = atol(argv[3 + i]);
        convolution(argv[2], v, atof(argv[11]));
    } else if (is_layer) {
        layer(argv[2], atol(argv[3]), atol(argv[4]), atol(argv[5]), atof(argv[6]));
    } else {
        products(is_linear, argv[2], (size_t)atol(argv[3]), (size_t)atol(argv[4]),
                 (size_t)atol(argv[5]), atof(argv[6]));
    }
    printf("}\n");
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
    return 0;
}
