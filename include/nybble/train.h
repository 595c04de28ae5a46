/* Training and evaluation of a model with a recipe. */
#ifndef NYBBLE_TRAIN_H
#define NYBBLE_TRAIN_H

#include <stdint.h>
#include <stdio.h>

#include <nybble/context.h>
#include <nybble/data.h>
#include <nybble/energy.h>
#include <nybble/model.h>
#include <nybble/recipe.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Everything a run is made of besides model, data and recipe. Fill with nyb_train_defaults first.
 * The field table below serves command lines, config files and help. Ranges include their ends;
 * beyond them nyb_train_option_set and nyb_train_create give NYB_INVALID. */
typedef struct nyb_train_options {
    int epochs;             /* 0 .. 10^6; FNT epochs of the recipe come on top */
    int batch;              /* samples per step, 1 .. 2^20 */
    double lr;              /* base (peak) learning rate, 0 .. 10^6 */
    char schedule[16];      /* constant, step, linear, cosine; NYB_UNKNOWN else */
    double warmup;          /* epochs of linear warm-up, 0 .. 10^6; fractions allowed */
    double momentum;        /* 0 .. 1 */
    int nesterov;           /* 0 or 1 */
    double weight_decay;    /* 0 .. 1000; not on batchnorm parameters and biases */
    double label_smoothing; /* 0 .. 0.999 */
    double clip_norm;       /* global gradient norm, 0 .. 10^30; 0: off */
    uint64_t seed;
    int augment_crop; /* pixels of padding before a random crop, 0 .. 64; 0: none */
    int augment_flip; /* 0 or 1 */
    /* 1: (x - mean) / std, NYB_INVALID with data for a model whose input is declared >= 0;
     * 0: x / 255, non-negative */
    int normalize;
    /* the next four: 0 .. 10^18 */
    uint64_t checkpoint_every; /* steps; 0: at the end of each epoch */
    uint64_t telemetry_every;  /* steps between "quant" lines; 0: off */
    uint64_t log_every;        /* steps between "step" lines; 0: 50 */
    uint64_t max_steps;        /* stop after this many steps; 0: no limit */
} nyb_train_options;

NYB_API void nyb_train_defaults(nyb_train_options *options);
NYB_API size_t nyb_train_option_count(void);
NYB_API const char *nyb_train_option_key(size_t i); /* "weight-decay" */
NYB_API const char *nyb_train_option_help(size_t i);
NYB_API int nyb_train_option_is_flag(size_t i); /* takes 0/1; --key alone means 1 */
/* NYB_UNKNOWN for a key or a schedule that does not exist, NYB_INVALID for NULL and for what is no
 * number or out of range; options are then unchanged. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_option_set(nyb_train_options *options, const char *key,
                                                       const char *value, nyb_error *err);
/* Returns what snprintf would, or -1 if i is not < nyb_train_option_count(). */
NYB_API int nyb_train_option_print(const nyb_train_options *options, size_t i, char *text,
                                   size_t n_bytes);

/* A run: model, recipe and options bound to memory. Model, recipe and data stay the caller's and
 * must outlive the run; the recipe is copied. data may be NULL where there is nothing to run or
 * evaluate: nyb_train_step and what explains. NYB_INVALID for NULL, for options out of their ranges
 * and for operands that do not go together, NYB_UNKNOWN for a schedule that does not exist,
 * NYB_SHAPE for data that do not fit the model (training samples fewer than a batch are an error of
 * what trains: nyb_train_run, _step and _batch), NYB_STATE for a model that is not finished,
 * NYB_LIMIT, NYB_MEMORY; *train is then NULL. */
typedef struct nyb_train nyb_train;
NYB_API NYB_MUST_CHECK nyb_status nyb_train_create(nyb_context *context, const nyb_model *model,
                                                   const nyb_recipe *recipe, const nyb_data *data,
                                                   const nyb_train_options *options,
                                                   nyb_train **train, nyb_error *err);
NYB_API void nyb_train_destroy(nyb_train **train);

/* What a caller is told while a run goes on. */
typedef enum nyb_event_kind { NYB_EVENT_STEP, NYB_EVENT_EPOCH } nyb_event_kind;
typedef struct nyb_event {
    nyb_event_kind kind;
    uint64_t step, n_steps; /* done, total */
    int epoch, n_epochs;    /* 1-based */
    double loss, lr;        /* STEP: of this step */
    /* EPOCH: means, fractions; STEP: train_acc alone, of the epoch so far */
    double train_loss, train_acc, test_loss, test_acc;
    double seconds, samples_per_s;
} nyb_event;
/* Return nonzero to stop: the run writes a checkpoint and returns NYB_INTERRUPTED; after its last
 * step there is nothing to stop. */
typedef int nyb_event_fn(void *user, const nyb_event *event);

/* Trains to the end (or max_steps). dir: the run folder, created if missing, or NULL for none:
 * config.txt, metrics.jsonl, events.out.tfevents.*, model.safetensors, state.safetensors,
 * summary.json; those of an earlier run are removed, if this one is not resumed from there, and so
 * are model and summary of an earlier call until this one has its own. config: text stored as
 * config.txt. NYB_INVALID for NULL, NYB_SHAPE for training samples fewer than a batch, NYB_STATE
 * without data and if another run writes to dir, NYB_NONFINITE as the recipe's policy has it,
 * NYB_INTERRUPTED if fn or nyb_train_set_stop's stopped it, NYB_IO, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_run(nyb_train *train, const char *dir,
                                                const char *config, nyb_event_fn *fn, void *user,
                                                nyb_error *err);

/* From now on nyb_train_run asks fn before each batch that it evaluates, which its events do not
 * tell of. Nonzero: it leaves the evaluation, also that after its last step, writes a checkpoint
 * and returns NYB_INTERRUPTED; when it goes on, it evaluates first, and ends as if nobody had
 * stopped it. NULL: nobody is asked. */
typedef int nyb_stop_fn(void *user);
NYB_API void nyb_train_set_stop(nyb_train *train, nyb_stop_fn *fn, void *user);

/* Whether nyb_train_run may replace another run that dir holds, as it does unless told otherwise;
 * 0: it returns NYB_STATE and leaves that run as it is. NYB_INVALID for NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_set_overwrite(nyb_train *train, int overwrite,
                                                          nyb_error *err);

/* Loads DIR/state.safetensors: masters, optimizer, scales, step. The next nyb_train_run goes on
 * exactly where it was written. NYB_SHAPE / NYB_UNKNOWN / NYB_INVALID if it belongs to another
 * model, recipe, batch or seed, NYB_CORRUPT if it does not say how far it got. A run that this
 * failed for has parts of both: destroy it. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_resume(nyb_train *train, const char *dir,
                                                   nyb_error *err);
/* Loads the parameters and activation clips of DIR/model.safetensors, for evaluation. NYB_SHAPE /
 * NYB_UNKNOWN if it belongs to another model, or stores its weights as codes of another format than
 * the recipe's; NYB_CORRUPT for codes that there are not. After a failure destroy the run. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_load_model(nyb_train *train, const char *dir,
                                                       nyb_error *err);

/* Writes DIR/state.safetensors and DIR/model.safetensors, for programs with their own loop; DIR is
 * created if missing, the summary of a run that ended there removed: it tells of another model.
 * NYB_INVALID for NULL, NYB_STATE if a run writes to it, NYB_IO, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_save(nyb_train *train, const char *dir, nyb_error *err);

/* logits [n][classes] of the samples x [n][h][w][c], as evaluation computes them: weights and
 * activations quantized as the recipe says, in batches of options.batch, the last one filled up
 * with repetitions (scales of activations that are not frozen look at a whole batch). NYB_INVALID
 * for NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_predict(nyb_train *train, const float *x, size_t n,
                                                    float *logits, nyb_error *err);

/* Mean loss and accuracy (fraction) on the test part. NYB_INVALID for NULL, NYB_STATE without data.
 */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_eval(nyb_train *train, double *loss, double *accuracy,
                                                 nyb_error *err);

/* One step on the caller's batch: x [batch][h][w][c], labels [batch], each below the model's
 * classes; *loss, unless loss is NULL: their mean, before the update. For programs with their own
 * loop, and for benchmarks. The learning rate is that of the schedule; of a run without data, which
 * has no epochs, options.lr: neither schedule nor warm-up nor FNT; or what nyb_train_set_lr says.
 * NYB_INVALID for labels and NULL; NYB_SHAPE for data with fewer training samples than a batch;
 * NYB_NONFINITE where the recipe stops at NaN and infinities, the weights are then those before. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_step(nyb_train *train, const float *x,
                                                 const int32_t *labels, double *loss,
                                                 nyb_error *err);

/* The learning rate of each nyb_train_step from now on (nyb_train_run keeps to its schedule).
 * NYB_INVALID if it is negative or not finite in f32. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_set_lr(nyb_train *train, double lr, nyb_error *err);

/* The batch that nyb_train_run would take for the step that comes next: shuffled, augmented, made
 * by a thread of its own while the caller was busy with the one before. x and labels are for
 * nyb_train_step, until the next call. NYB_INVALID for NULL, NYB_SHAPE for training samples fewer
 * than a batch, NYB_STATE without data. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_batch(nyb_train *train, const float **x,
                                                  const int32_t **labels, nyb_error *err);
/* What that thread has done so far: training batches, and the CPU time they took; 0 without data.
 */
NYB_API void nyb_train_get_loading(const nyb_train *train, uint64_t *n_batches, double *seconds);

/* One part of a step: a quantization, a product, an operator, or what comes around them. layer is
 * the model's and lives as long; the other strings are for good. */
typedef struct nyb_trace_line {
    char kind[64];      /* "encode", "gemm dx", "batchnorm+relu forward", "update" ... */
    const char *layer;  /* "layer1.0.conv1"; "" where there is none; so are the next four */
    const char *op;     /* of the layer: "conv2d" */
    const char *slot;   /* what is quantized: "fwd.x" */
    const char *engine; /* of a product */
    const char *kernel;
    const nyb_format *a, *b; /* operands of a product, else NULL */
    size_t shape[4];         /* n, h, w, c of the layer's output */
    uint64_t macs;
    /* Each tensor once, whole: the least that moves if none is in a cache already. Vectors of a
     * value per channel do not count. */
    uint64_t read_bytes, written_bytes;
} nyb_trace_line;
/* Parts of the step that comes next, in no order of time. */
NYB_API size_t nyb_train_trace_count(const nyb_train *train);
/* Beyond the last part all strings are "", the rest is 0 and NULL. */
NYB_API void nyb_train_trace_at(const nyb_train *train, size_t i, nyb_trace_line *line);
/* From now on nyb_train_step calls fn when part i begins, and thereby the former ends; with
 * nyb_train_trace_count when the last one ends. fn reads the clock, results do not change. NULL:
 * no more. */
typedef void nyb_trace_fn(void *user, size_t i);
NYB_API void nyb_train_trace(nyb_train *train, nyb_trace_fn *fn, void *user);

typedef struct nyb_train_summary {
    uint64_t step;
    double test_acc, test_loss, seconds, samples_per_s;
    double test_acc_f32_activations;  /* after FNT: weights quantized, activations f32; else 0 */
    size_t saved_quantized_bytes;     /* kept for backward: inputs of quantized GEMMs, as codes */
    size_t saved_quantized_f32_bytes; /* the same tensors in f32 */
    size_t saved_activation_bytes;    /* everything kept for backward */
    size_t arena_bytes;               /* the whole planned memory */
    size_t peak_rss_bytes;            /* of the process when nyb_train_run ended; before: now */
    size_t n_parameters;
    char weights_sha256[65]; /* masters, their means (fwd.w.ema) and BN buffers, by name, little
                                endian */
} nyb_train_summary;
NYB_API void nyb_train_summarize(const nyb_train *train, nyb_train_summary *summary);
/* What stands in summary.json: a JSON object that also names model, data, recipe and options. */
NYB_API void nyb_train_print_summary(const nyb_train *train, FILE *out);

/* What the graph compiler decided. One line per product of each GEMM layer. layer is the model's
 * and lives as long; the other strings are for good. */
typedef struct nyb_explain_line {
    const char *layer;   /* "layer1.0.conv1" */
    const char *product; /* "fwd", "dgrad", "wgrad", "fwd again" (recompute = products) */
    char a[96], b[96];   /* operand specs: x w / dy w / dy x */
    const char *engine, *kernel;
    uint64_t macs;       /* per step (whole batch) */
    size_t saved_bytes;  /* kept for backward because of this product */
    uint64_t sum_length; /* products in the longest of its sums */
} nyb_explain_line;
NYB_API size_t nyb_train_explain_count(const nyb_train *train);
/* Beyond the last line the strings are NULL, a and b "", the rest 0; so is the energy below. */
NYB_API void nyb_train_explain_at(const nyb_train *train, size_t i, nyb_explain_line *line);
/* Operations and energy of the product of line i. */
NYB_API void nyb_train_energy_at(const nyb_train *train, size_t i, nyb_energy *energy);
/* The step list and the memory plan as tables; the plan's rows add up to arena_bytes. */
NYB_API void nyb_train_print_plan(const nyb_train *train, FILE *out);

/* Parameters and buffers (batchnorm's means and variances), in the order of the layers; name is the
 * run's. Learned scales ("fc.fwd.x.lsq") are parameters, behind the others; one of 0 has not begun:
 * the next step takes it from its data. Last come exponential means of weights ("fc.weight.ema",
 * buffers): setting a weight starts its own again, there. NYB_INVALID for NULL, NYB_UNKNOWN past
 * the end. */
typedef struct nyb_tensor_info {
    const char *name; /* "fc.weight" */
    size_t n;         /* floats */
    int n_dims;       /* 1, 2 or 4 */
    size_t dims[4];   /* as PyTorch: OIHW, [out, in], [c]; 0 behind n_dims */
    int trained;      /* 0: a buffer */
} nyb_tensor_info;
NYB_API size_t nyb_train_tensor_count(const nyb_train *train);
NYB_API NYB_MUST_CHECK nyb_status nyb_train_tensor_at(const nyb_train *train, size_t i,
                                                      nyb_tensor_info *info, nyb_error *err);
/* Reads and writes a parameter or buffer by name ("fc.weight"), in PyTorch's order (OIHW). n is the
 * number of floats; NYB_UNKNOWN, NYB_SHAPE, NYB_INVALID for NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_train_get_tensor(const nyb_train *train, const char *name,
                                                       float *values, size_t n, nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_train_set_tensor(nyb_train *train, const char *name,
                                                       const float *values, size_t n,
                                                       nyb_error *err);

#ifdef __cplusplus
}
#endif
#endif
