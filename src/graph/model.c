/* Building a model: layer calls append to a list and check shapes as they go. */
#include <stdio.h>

#include "graph/graph.h"
#include "io/io.h"

const char *nyb_slot_name(nyb_slot slot)
{
    static const char *const names[] = {
#define X(constant, word, role) word,
        NYB_SLOT_LIST(X)
#undef X
    };

    return names[slot];
}

nyb_status nyb_model_create(const char *name, nyb_model **model, nyb_error *err)
{
    nyb_model *m;

    *model = NULL;
    NYB_TRY(nyb_check_pointers(name, err));
    if (!nyb_text_is_utf8(name)) /* files find it, and the layers' names, in JSON */
        return nyb_fail(err, NYB_INVALID, "model '%s': its name is not UTF-8", name);
    m = nyb_alloc(sizeof *m);
    if (!m)
        return nyb_fail(err, NYB_MEMORY, "model '%s': out of memory", name);
    m->name = nyb_strdup(name);
    if (!m->name) {
        nyb_free(m);
        return nyb_fail(err, NYB_MEMORY, "model '%s': out of memory", name);
    }
    m->first_gemm = m->last_gemm = -1;
    *model = m;
    return NYB_OK;
}

void nyb_model_destroy(nyb_model **model)
{
    nyb_model *m = *model;

    if (!m)
        return;
    for (int i = 0; i < m->n_layers; i++)
        nyb_free(m->layers[i].name);
    nyb_free(m->layers);
    nyb_free(m->name);
    nyb_free(m);
    *model = NULL;
}

/* Room for one more layer, zeroed; NULL after a failure (recorded). */
static nyb_layer *grow(nyb_model *m)
{
    if (m->n_layers == m->n_capacity) {
        int n_capacity = m->n_capacity ? 2 * m->n_capacity : 32;
        nyb_layer *layers = nyb_alloc((size_t)n_capacity * sizeof *layers);

        if (!layers) {
            nyb_fail(&m->failure, NYB_MEMORY, "model '%s': out of memory", m->name);
            return NULL;
        }
        if (m->n_layers)
            memcpy(layers, m->layers, (size_t)m->n_layers * sizeof *layers);
        nyb_free(m->layers);
        m->layers = layers;
        m->n_capacity = n_capacity;
    }
    return &m->layers[m->n_layers];
}

/* UTF-8, and of no other layer. */
static bool check_name(nyb_model *m, const char *name)
{
    if (!nyb_text_is_utf8(name)) {
        nyb_fail(&m->failure, NYB_INVALID, "model '%s': the name of layer '%s' is not UTF-8",
                 m->name, name);
        return false;
    }
    for (int i = 0; i < m->n_layers; i++)
        if (!strcmp(m->layers[i].name, name)) {
            nyb_fail(&m->failure, NYB_INVALID, "model '%s' has two layers '%s'", m->name, name);
            return false;
        }
    return true;
}

static bool check_inputs(nyb_model *m, const nyb_op *op, const int *in, const char *name)
{
    if (m->finished) {
        nyb_fail(&m->failure, NYB_STATE, "model '%s': layer '%s' added after finish", m->name,
                 name);
        return false;
    }
    for (int i = 0; i < op->n_inputs; i++)
        if (in[i] < 0 || in[i] >= m->n_layers) {
            nyb_fail(&m->failure, NYB_INVALID, "layer '%s': input %d is no value of model '%s'",
                     name, i, m->name);
            return false;
        }
    return true;
}

/* Appends a layer; returns its value, or -1 with the failure recorded. name NULL: op + index. */
static nyb_value append(nyb_model *m, const char *op_name, const char *name, const nyb_attr *attr,
                        int in0, int in1, bool shortcut)
{
    const nyb_op *op = nyb_op_find(op_name);
    const int in[NYB_OP_INPUTS] = {in0, in1};
    nyb_shape in_shape[NYB_OP_INPUTS] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    char made[64];
    nyb_error why = {0};
    nyb_layer *layer;
    bool nonneg = true, trained = op && op->n_params > 0;

    if (!m || m->failure.status != NYB_OK)
        return -1;
    if (!name) {
        snprintf(made, sizeof made, "%s%d", op_name, m->n_layers);
        name = made;
    }
    if (!op) {
        nyb_fail(&m->failure, NYB_UNKNOWN, "layer '%s': no operator '%s'", name, op_name);
        return -1;
    }
    if (!check_inputs(m, op, in, name) || !check_name(m, name))
        return -1;
    for (int i = 0; i < op->n_inputs; i++) {
        in_shape[i] = m->layers[in[i]].shape;
        nonneg = nonneg && m->layers[in[i]].nonneg;
        trained = trained || m->layers[in[i]].trained;
    }
    layer = grow(m);
    if (!layer)
        return -1;
    if (op->shape(attr, in_shape, &layer->shape, &why) != NYB_OK) {
        nyb_fail(&m->failure, why.status, "layer '%s': %s", name, why.text);
        return -1;
    }
    layer->name = nyb_strdup(name);
    if (!layer->name) {
        nyb_fail(&m->failure, NYB_MEMORY, "model '%s': out of memory", m->name);
        return -1;
    }
    layer->op = op;
    layer->attr = *attr;
    layer->in[0] = in0;
    layer->in[1] = in1;
    layer->nonneg = op->makes_nonneg || (op->keeps_nonneg && nonneg);
    layer->shortcut = shortcut;
    layer->trained = trained;
    layer->gemm = -1;
    if (op->is_gemm) {
        layer->gemm = m->n_gemms++;
        if (m->first_gemm < 0)
            m->first_gemm = m->n_layers;
        m->last_gemm = m->n_layers;
    }
    return m->n_layers++;
}

nyb_value nyb_input(nyb_model *m, size_t h, size_t w, size_t c, int nonneg)
{
    nyb_layer *layer;
    size_t n = 0;

    if (!m || m->failure.status != NYB_OK)
        return -1;
    if (m->n_layers) {
        nyb_fail(&m->failure, NYB_STATE, "model '%s': a second input", m->name);
        return -1;
    }
    if (!h || !w || !c || !nyb_mul_size(h, w, &n) || !nyb_mul_size(n, c, &n) || n > SIZE_MAX / 64) {
        nyb_fail(&m->failure, NYB_INVALID, "model '%s': input %zux%zux%zu", m->name, h, w, c);
        return -1;
    }
    layer = grow(m);
    if (!layer)
        return -1;
    layer->name = nyb_strdup("input");
    if (!layer->name) {
        nyb_fail(&m->failure, NYB_MEMORY, "model '%s': out of memory", m->name);
        return -1;
    }
    layer->shape = (nyb_shape){1, h, w, c};
    layer->nonneg = nonneg != 0;
    layer->gemm = -1;
    return m->n_layers++;
}

/* There are options; one group, or as many as channels and outputs. */
static bool check_options(nyb_model *m, nyb_value x, const char *name, const nyb_conv2d_options *o)
{
    size_t c;

    if (!m || m->failure.status != NYB_OK)
        return false;
    if (!o) {
        nyb_fail(&m->failure, NYB_INVALID, "layer '%s': the options are NULL",
                 name ? name : "conv2d");
        return false;
    }
    c = x >= 0 && x < m->n_layers ? m->layers[x].shape.c : o->groups;
    if (o->groups <= 1 || (o->groups == c && o->groups == o->out))
        return true;
    nyb_fail(&m->failure, NYB_INVALID,
             "layer '%s': %zu groups from %zu to %zu channels; possible are 1 group, or as many as "
             "both (depthwise: groups = out = channels)",
             name ? name : "conv2d", o->groups, c, o->out);
    return false;
}

nyb_value nyb_conv2d(nyb_model *m, nyb_value x, const char *name, const nyb_conv2d_options *o)
{
    if (!check_options(m, x, name, o))
        return -1;
    const nyb_attr attr = {.out = o->out,
                           .kernel = o->kernel,
                           .stride = o->stride,
                           .pad = o->pad,
                           .bias = o->bias != 0};
    return append(m, o->groups > 1 ? "depthwise_conv2d" : "conv2d", name, &attr, x, 0,
                  o->shortcut != 0);
}

nyb_value nyb_linear(nyb_model *m, nyb_value x, const char *name, size_t out, int bias)
{
    const nyb_attr attr = {.out = out, .bias = bias != 0};

    return append(m, "linear", name, &attr, x, 0, false);
}

nyb_value nyb_batchnorm(nyb_model *m, nyb_value x, const char *name)
{
    const nyb_attr attr = {.eps = 1e-5f, .momentum = 0.1f};

    return append(m, "batchnorm", name, &attr, x, 0, false);
}

nyb_value nyb_relu(nyb_model *m, nyb_value x)
{
    return append(m, "relu", NULL, &(nyb_attr){0}, x, 0, false);
}

nyb_value nyb_add(nyb_model *m, nyb_value a, nyb_value b)
{
    return append(m, "add", NULL, &(nyb_attr){0}, a, b, false);
}

nyb_value nyb_maxpool(nyb_model *m, nyb_value x, size_t kernel, size_t stride, size_t pad)
{
    return append(m, "maxpool", NULL, &(nyb_attr){.kernel = kernel, .stride = stride, .pad = pad},
                  x, 0, false);
}

nyb_value nyb_avgpool(nyb_model *m, nyb_value x, size_t kernel, size_t stride, size_t pad)
{
    return append(m, "avgpool", NULL, &(nyb_attr){.kernel = kernel, .stride = stride, .pad = pad},
                  x, 0, false);
}

nyb_value nyb_global_avgpool(nyb_model *m, nyb_value x)
{
    return append(m, "global_avgpool", NULL, &(nyb_attr){0}, x, 0, false);
}

nyb_value nyb_flatten(nyb_model *m, nyb_value x)
{
    return append(m, "flatten", NULL, &(nyb_attr){0}, x, 0, false);
}

nyb_status nyb_model_finish(nyb_model *m, nyb_value logits, nyb_error *err)
{
    nyb_shape s;

    NYB_TRY(nyb_check_pointers(m, err));
    if (m->failure.status == NYB_OK && (logits < 1 || logits >= m->n_layers))
        nyb_fail(&m->failure, NYB_INVALID, "model '%s': the logits are no layer of it", m->name);
    if (m->failure.status == NYB_OK) {
        s = m->layers[logits].shape;
        if (s.h != 1 || s.w != 1 || s.c < 2)
            nyb_fail(&m->failure, NYB_SHAPE,
                     "model '%s': logits are %zux%zux%zu, want 1x1xclasses with 2 or more classes",
                     m->name, s.h, s.w, s.c);
    }
    if (m->failure.status == NYB_OK && m->n_gemms == 0)
        nyb_fail(&m->failure, NYB_INVALID, "model '%s' has no trained layer", m->name);
    append(m, "softmax_xent", "loss", &(nyb_attr){0}, logits, 0, false);
    if (m->failure.status != NYB_OK)
        return nyb_fail(err, m->failure.status, "%s", m->failure.text);
    m->finished = true;
    return NYB_OK;
}

const char *nyb_model_name(const nyb_model *m)
{
    return m->name;
}

size_t nyb_model_parameters(const nyb_model *m)
{
    size_t n = 0;

    for (int i = 1; i < m->n_layers; i++) {
        const nyb_layer *layer = &m->layers[i];
        const nyb_shape in[NYB_OP_INPUTS] = {m->layers[layer->in[0]].shape,
                                             m->layers[layer->in[1]].shape};

        for (int p = 0; p < layer->op->n_params; p++)
            n += layer->op->param_size(&layer->attr, in, p);
    }
    return n;
}

size_t nyb_model_classes(const nyb_model *m)
{
    return m->finished ? m->layers[m->layers[m->n_layers - 1].in[0]].shape.c : 0;
}

void nyb_model_input_shape(const nyb_model *m, size_t *h, size_t *w, size_t *c)
{
    const nyb_shape none = {0, 0, 0, 0};
    const nyb_shape s = m->n_layers ? m->layers[0].shape : none;

    *h = s.h;
    *w = s.w;
    *c = s.c;
}
