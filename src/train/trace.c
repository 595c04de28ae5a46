/* The parts of a step, told to a caller who has a clock. */
#include <stdio.h>

#include "train/run.h"

static size_t graph_steps(const nyb_train *t)
{
    return (size_t)t->graph->programs[nyb_train_mode(t)].n_steps;
}

size_t nyb_train_trace_count(const nyb_train *t)
{
    return graph_steps(t) + NYB_TRAIN_PARTS;
}

void nyb_train_trace_part(const nyb_train *t, nyb_train_part part)
{
    if (t->graph->trace_fn)
        nyb_graph_trace(t->graph, graph_steps(t) + (size_t)part);
}

void nyb_train_trace(nyb_train *t, nyb_trace_fn *fn, void *user)
{
    t->trace_fn = fn;
    t->trace_user = user;
}

/* Of all parameters, or of the means of weights. */
static uint64_t bytes_of(const nyb_graph *g, bool means)
{
    uint64_t n = 0;

    for (int i = 0; i < g->n_params; i++)
        if (means ? g->params[i].mean_of != NULL : g->params[i].trained)
            n += g->params[i].n * sizeof(float);
    return n;
}

static void describe_part(const nyb_train *t, nyb_train_part part, nyb_trace_line *line)
{
    static const char *const words[] = {
#define X(constant, word) word,
        NYB_TRAIN_PART_LIST(X)
#undef X
    };
    const nyb_graph *g = t->graph;
    const uint64_t n = bytes_of(g, false), n_means = bytes_of(g, true);

    snprintf(line->kind, sizeof line->kind, "%s", words[part]);
    switch (part) {
    case NYB_TRAIN_PART_INPUT:
        line->read_bytes = line->written_bytes =
            g->batch * nyb_shape_size(g->model->layers[0].shape) * sizeof(float) + g->n_small_bytes;
        return;
    case NYB_TRAIN_PART_GRADIENTS:
        line->read_bytes = t->options.clip_norm > 0.0 ? n : 0;
        return;
    case NYB_TRAIN_PART_UPDATE: /* masters, momenta; gradients; means, from masters again */
        line->read_bytes = 3 * n + 2 * n_means;
        line->written_bytes = 2 * n + n_means;
        return;
    }
}

void nyb_train_trace_at(const nyb_train *t, size_t i, nyb_trace_line *line)
{
    const size_t n = graph_steps(t);

    *line = (nyb_trace_line){.layer = "", .op = "", .slot = "", .engine = "", .kernel = ""};
    if (i < n)
        nyb_graph_trace_at(t->graph, nyb_train_mode(t), (int)i, line);
    else if (i < n + NYB_TRAIN_PARTS)
        describe_part(t, (nyb_train_part)(i - n), line);
}
