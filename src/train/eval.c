/* Mean loss and accuracy on the test part. */
#include <math.h>

#include "base/math.h"
#include "train/run.h"

/* -log softmax(row)[label]; *right: the largest logit (first of equals) is the label's. */
static double row_loss(const float *row, size_t classes, int32_t label, bool *right)
{
    size_t best = 0;
    float sum = 0.0f;

    for (size_t c = 1; c < classes; c++)
        if (row[c] > row[best])
            best = c;
    for (size_t c = 0; c < classes; c++)
        sum += nyb_expf(row[c] - row[best]);
    *right = best == (size_t)label;
    return (double)nyb_logf(sum) - (double)(row[label] - row[best]);
}

/* Fills the graph's input with n samples, repeating them where the batch is longer. */
static void fill_input(nyb_graph *g, const float *x, const int32_t *labels, size_t n)
{
    const size_t size = nyb_shape_size(g->model->layers[0].shape);

    for (size_t i = 0; i < g->batch; i++) {
        memcpy(g->input + i * size, x + i % n * size, size * sizeof *x);
        g->labels[i] = labels[i % n];
    }
}

nyb_status nyb_train_eval_mode(nyb_train *t, nyb_mode mode, double *loss, double *accuracy,
                               nyb_error *err)
{
    nyb_graph *g = t->graph;
    const nyb_program *p = &g->programs[mode];
    const size_t classes = nyb_model_classes(t->model);
    const float *logits = p->steps[p->n_forward - 1].args.in[0];
    const float *x;
    const int32_t *labels;
    size_t n, n_samples = 0, n_right = 0;
    double sum = 0.0;

    if (!t->test_loader)
        return nyb_fail(err, NYB_STATE, "this run has no data to evaluate on");
    nyb_loader_seek(t->test_loader, 0, 0);
    while ((n = nyb_loader_next(t->test_loader, &x, &labels)) > 0) {
        fill_input(g, x, labels, n);
        nyb_graph_forward(g, mode, 0);
        for (size_t i = 0; i < n; i++) {
            bool right;

            sum += row_loss(logits + i * classes, classes, labels[i], &right);
            n_right += right;
        }
        n_samples += n;
    }
    if (n_samples == 0)
        return nyb_fail(err, NYB_STATE, "the test part is empty");
    *loss = sum / (double)n_samples;
    *accuracy = (double)n_right / (double)n_samples;
    return NYB_OK;
}

nyb_status nyb_train_eval(nyb_train *t, double *loss, double *accuracy, nyb_error *err)
{
    return nyb_train_eval_mode(t, NYB_MODE_EVAL, loss, accuracy, err);
}
