/* Mean loss and accuracy on the test part. */
#include "train/run.h"

/* Fills the graph's input with n samples, repeating them, and the labels, where the batch is
 * longer. */
static void fill_input(nyb_graph *g, const float *x, size_t n, const int32_t *labels,
                       size_t n_labels)
{
    const size_t size = nyb_shape_size(g->model->layers[0].shape);

    for (size_t i = 0; i < g->batch; i++) {
        memcpy(g->input + i * size, x + i % n * size, size * sizeof *x);
        g->labels[i] = labels[i % n_labels];
    }
}

nyb_status nyb_train_eval_mode(nyb_train *t, nyb_mode mode, nyb_stop_fn *stop, void *user,
                               double *loss, double *accuracy, nyb_error *err)
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
        if (stop && stop(user))
            return nyb_fail(err, NYB_INTERRUPTED, "stopped after %zu test samples", n_samples);
        fill_input(g, x, n, labels, n);
        nyb_graph_forward(g, mode, 0);
        for (size_t i = 0; i < n; i++) {
            bool right;

            sum += (double)nyb_softmax_xent_row(logits + i * classes, classes, (size_t)labels[i],
                                                &right);
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

nyb_status nyb_train_predict(nyb_train *t, const float *x, size_t n, float *logits, nyb_error *err)
{
    static const int32_t no_labels[1] = {0};

    NYB_TRY(nyb_check_pointers(t && (n == 0 || (x && logits)), err));
    nyb_graph *g = t->graph;
    const nyb_program *p = &g->programs[NYB_MODE_EVAL];
    const size_t classes = nyb_model_classes(t->model);
    const size_t size = nyb_shape_size(g->model->layers[0].shape);
    const uint32_t former = nyb_cpu_fp_enter();
    for (size_t first = 0, now; first < n; first += now) {
        now = nyb_min(n - first, g->batch);
        fill_input(g, x + first * size, now, no_labels, 1);
        nyb_graph_forward(g, NYB_MODE_EVAL, 0);
        memcpy(logits + first * classes, p->steps[p->n_forward - 1].args.in[0],
               now * classes * sizeof *logits);
    }
    nyb_cpu_fp_restore(former);
    return NYB_OK;
}

nyb_status nyb_train_eval(nyb_train *t, double *loss, double *accuracy, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t && loss && accuracy, err));
    const uint32_t former = nyb_cpu_fp_enter();
    const nyb_status status =
        nyb_train_eval_mode(t, NYB_MODE_EVAL, NULL, NULL, loss, accuracy, err);
    nyb_cpu_fp_restore(former);
    return status;
}
