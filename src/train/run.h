/* A run: the graph, the data, and everything that must survive a crash. */
#ifndef NYB_TRAIN_RUN_H
#define NYB_TRAIN_RUN_H

#include <nybble/train.h>
#include <sys/stat.h>

#include "data/data.h"
#include "grad/grad.h"
#include "io/io.h"
#include "optim/optim.h"

/* What a checkpoint stores besides tensors; exact resume needs all of it. */
typedef struct nyb_progress {
    uint64_t step;      /* updates done (skipped ones count) */
    double loss_sum;    /* of the running epoch, over samples */
    double correct;     /* of the running epoch */
    uint64_t n_samples; /* of the running epoch */
    uint64_t n_skipped; /* steps the non-finite policy dropped */
    double seconds;     /* wall clock, all sessions of the run */
    uint64_t n_metrics; /* bytes of metrics.jsonl that belong to this state */
    double test_loss, test_acc;
    nyb_loss_scaler scaler;
} nyb_progress;

#define NYB_PROGRESS_BYTES 512
void nyb_progress_print(const nyb_progress *p, char text[NYB_PROGRESS_BYTES]);
/* false: text is not one that was printed; p is unchanged. */
bool nyb_progress_scan(const char *text, nyb_progress *p);

/* A folder by what it is, not by its name. */
typedef struct nyb_folder {
    bool known;
    dev_t device;
    ino_t inode;
} nyb_folder;
nyb_folder nyb_folder_of(const char *dir);    /* not known if there is none */
bool nyb_folder_is_finished(const char *dir); /* it has the summary of a whole run */

typedef struct nyb_report nyb_report;

struct nyb_train {
    nyb_context *context;
    const nyb_model *model;
    const nyb_data *data; /* or NULL */
    struct nyb_recipe recipe;
    nyb_train_options options;
    nyb_graph *graph;
    nyb_loader *train_loader, *test_loader; /* NULL without data, or without a batch of it */
    uint64_t steps_per_epoch;
    uint64_t next_load;   /* the step whose batch train_loader gives next, if nobody seeks */
    nyb_folder home;      /* which holds this run's checkpoint: progress.n_metrics is of its file */
    nyb_stop_fn *stop_fn; /* or NULL */
    void *stop_user;
    bool keeps_runs; /* nyb_train_run leaves folders alone that hold another run */
    double own_rate; /* of nyb_train_step; NaN: the schedule's */
    nyb_progress progress;
    void *scratch;       /* of nyb_grad_norm */
    double step_seconds; /* of the steps since the run was opened, evaluation not counted */
    uint64_t n_step_samples;
    nyb_trace_fn *trace_fn;
    void *trace_user;
    double finish_acc;     /* test accuracy as FNT trained: f32 activations; NaN: not measured */
    size_t peak_rss_bytes; /* of the process when the last run ended; 0: none has */
};

/* ---- loop.c ---- */

/* Data have a batch to train on (NYB_SHAPE), if there are data. */
NYB_MUST_CHECK nyb_status nyb_train_check_samples(const nyb_train *t, nyb_error *err);

/* ---- report.c ---- */

/* Whether the folder is t->home. */
bool nyb_train_is_at_home(const nyb_train *t, const char *dir);

/* ---- options.c ---- */

/* Each field in its range (NYB_INVALID), a schedule that there is (NYB_UNKNOWN). */
NYB_MUST_CHECK nyb_status nyb_train_options_check(const nyb_train_options *options, nyb_error *err);

/* ---- step.c ---- */

/* The learning rate and mode of the next update. */
nyb_mode nyb_train_mode(const nyb_train *t);
float nyb_train_rate(const nyb_train *t);
int nyb_train_epochs(const nyb_train *t); /* FNT included */
uint64_t nyb_train_total_steps(const nyb_train *t);
/* Forward, backward, update on graph->input and graph->labels. */
NYB_MUST_CHECK nyb_status nyb_train_update(nyb_train *t, float rate, double *loss,
                                           double *n_correct, nyb_error *err);

/* Weights to the format of the recipe's updates: where they begin. */
void nyb_train_round_weights(nyb_train *t);

/* What a step does besides the graph's steps. X(constant, word) */
#define NYB_TRAIN_PART_LIST(X)                                                                     \
    X(NYB_TRAIN_PART_INPUT, "input") /* the batch is copied, buffers are kept for a skip */        \
    X(NYB_TRAIN_PART_GRADIENTS, "gradients") /* finiteness, the scale of the loss, clipping */     \
    X(NYB_TRAIN_PART_UPDATE, "update")       /* the optimizer */
typedef enum nyb_train_part {
#define X(constant, word) constant,
    NYB_TRAIN_PART_LIST(X)
#undef X
} nyb_train_part;
#define NYB_TRAIN_PARTS 3

/* ---- trace.c: the graph's steps, then these, are the parts of a trace ---- */
void nyb_train_trace_part(const nyb_train *t, nyb_train_part part);

/* ---- eval.c: NYB_INTERRUPTED, if stop (or NULL) says so before one of the batches ---- */
NYB_MUST_CHECK nyb_status nyb_train_eval_mode(nyb_train *t, nyb_mode mode, nyb_stop_fn *stop,
                                              void *user, double *loss, double *accuracy,
                                              nyb_error *err);

/* ---- checkpoint.c: atomic; a killed run keeps the former file ---- */
NYB_MUST_CHECK nyb_status nyb_state_save(const nyb_train *t, const char *dir, nyb_error *err);
NYB_MUST_CHECK nyb_status nyb_state_load(nyb_train *t, const char *dir, nyb_error *err);
NYB_MUST_CHECK nyb_status nyb_model_save(const nyb_train *t, const char *dir, nyb_error *err);
/* Between memory (OHWI) and files (OIHW). Other parameters: a copy. */
void nyb_param_export(const nyb_param *p, const float *memory, float *file);
void nyb_param_import(const nyb_param *p, const float *file, float *memory);
/* SHA-256 over name, a zero byte and values (files' order) of all parameters and buffers, sorted by
 * name. */
NYB_MUST_CHECK nyb_status nyb_weights_sha256(const nyb_graph *g, char hex[65], nyb_error *err);

/* ---- report.c: the run folder's metrics.jsonl, TensorBoard events, summary.json ---- */
NYB_MUST_CHECK nyb_status nyb_report_open(nyb_train *t, const char *dir, const char *config,
                                          nyb_report **report, nyb_error *err);
void nyb_report_close(nyb_report **report);
/* report may be NULL: nothing is written. */
void nyb_report_step(nyb_report *report, const nyb_event *event);
void nyb_report_epoch(nyb_report *report, const nyb_event *event);
/* Starts measuring every encode of the next step, as "quant" lines. */
void nyb_report_measure(nyb_report *report, bool on);
/* Flushes, and fails if anything written so far did not reach the disk. Sets n_metrics. */
NYB_MUST_CHECK nyb_status nyb_report_flush(nyb_report *report, nyb_error *err);
NYB_MUST_CHECK nyb_status nyb_report_summary(const nyb_train *t, const char *dir, nyb_error *err);

#endif
