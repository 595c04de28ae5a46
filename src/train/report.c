/* The run folder: metrics.jsonl, TensorBoard events, summary.json. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "train/run.h"

struct nyb_report {
    nyb_train *train;
    int lock;   /* the folder, opened */
    char *path; /* of metrics.jsonl */
    FILE *metrics;
    nyb_events *events;
};

static char *join(const char *dir, const char *file)
{
    const size_t n = strlen(dir) + strlen(file) + 2;
    char *path = nyb_alloc(n);

    if (path)
        snprintf(path, n, "%s/%s", dir, file);
    return path;
}

/* mkdir -p. */
static nyb_status make_dir(const char *dir, nyb_error *err)
{
    char *path = nyb_strdup(dir);
    nyb_status status = NYB_OK;

    if (!path)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    for (char *p = path + 1; status == NYB_OK; p++) {
        const char end = *p;

        if (end != '/' && end != 0)
            continue;
        *p = 0;
        if (mkdir(path, 0777) && errno != EEXIST)
            status = nyb_fail(err, NYB_IO, "cannot create folder '%s': %s", path, strerror(errno));
        *p = end;
        if (!end)
            break;
    }
    nyb_free(path);
    return status;
}

static nyb_status write_text(const char *dir, const char *file, const char *text, nyb_error *err)
{
    char *path = join(dir, file);
    nyb_atomic_file *out = NULL;
    nyb_status status;

    if (!path)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    status = nyb_atomic_open(path, &out, err);
    if (status == NYB_OK) {
        fputs(text, nyb_atomic_stream(out));
        status = nyb_atomic_commit(&out, err);
    }
    nyb_free(path);
    return status;
}

/* metrics.jsonl, cut back to what the resumed state knows of. */
static nyb_status open_metrics(nyb_report *r, nyb_error *err)
{
    const uint64_t keep = r->train->progress.n_metrics;

    r->metrics = fopen(r->path, keep ? "r+" : "w");
    if (!r->metrics && keep) /* somebody removed it */
        r->metrics = fopen(r->path, "w");
    if (!r->metrics)
        return nyb_fail(err, NYB_IO, "cannot open '%s': %s", r->path, strerror(errno));
    if (fseeko(r->metrics, 0, SEEK_END))
        return nyb_fail(err, NYB_IO, "cannot seek in '%s': %s", r->path, strerror(errno));
    if ((uint64_t)ftello(r->metrics) > keep &&
        (ftruncate(fileno(r->metrics), (off_t)keep) || fseeko(r->metrics, 0, SEEK_END)))
        return nyb_fail(err, NYB_IO, "cannot cut '%s' to %llu bytes: %s", r->path,
                        (unsigned long long)keep, strerror(errno));
    return NYB_OK;
}

nyb_folder nyb_folder_of(const char *dir)
{
    struct stat s;

    if (stat(dir, &s))
        return (nyb_folder){.known = false};
    return (nyb_folder){.known = true, .device = s.st_dev, .inode = s.st_ino};
}

bool nyb_train_is_at_home(const nyb_train *t, const char *dir)
{
    const nyb_folder here = nyb_folder_of(dir), home = t->home;

    return here.known && home.known && here.device == home.device && here.inode == home.inode;
}

/* Two runs that wrote to one folder would leave a mixture of both. */
static nyb_status lock_dir(const char *dir, int *lock, nyb_error *err)
{
    *lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return nyb_fail(err, NYB_IO, "cannot open folder '%s': %s", dir, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return nyb_fail(err, NYB_STATE, "another run writes to '%s'", dir);
    return NYB_OK; /* file systems without locks: as if it were ours */
}

/* What must not be lost; config.txt alone is left by a run that never began. */
static bool holds_run(int lock)
{
    static const char *const files[] = {"state.safetensors", "model.safetensors", "summary.json"};
    bool holds = false;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        holds = holds || faccessat(lock, files[i], F_OK, 0) == 0;
    return holds;
}

/* How an earlier call ended: this one may end otherwise, or be killed. Where there is a summary,
 * there is the model that it tells of. */
static void clear_results(int lock)
{
    unlinkat(lock, "summary.json", 0);
    unlinkat(lock, "model.safetensors", 0);
}

/* What an earlier run left, which is not the beginning of this one. */
static void clear_dir(int lock)
{
    const int copy = dup(lock);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    clear_results(lock);
    unlinkat(lock, "state.safetensors", 0);
    unlinkat(lock, "config.txt", 0);
    if (!dir && copy >= 0)
        close(copy);
    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0)
            unlinkat(lock, entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static nyb_status open_files(nyb_report *r, const char *dir, const char *config, nyb_error *err)
{
    NYB_TRY(lock_dir(dir, &r->lock, err));
    if (nyb_train_is_at_home(r->train, dir)) {
        clear_results(r->lock);
    } else if (r->train->keeps_runs && holds_run(r->lock)) {
        return nyb_fail(err, NYB_STATE, "'%s' holds a run already", dir);
    } else {
        clear_dir(r->lock);
        r->train->progress.n_metrics = 0;
    }
    if (config)
        NYB_TRY(write_text(dir, "config.txt", config, err));
    r->path = join(dir, "metrics.jsonl");
    if (!r->path)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    NYB_TRY(open_metrics(r, err));
    return nyb_events_create(dir, &r->events, err);
}

nyb_status nyb_report_open(nyb_train *t, const char *dir, const char *config, nyb_report **report,
                           nyb_error *err)
{
    nyb_report *r;
    nyb_status status;

    *report = NULL;
    NYB_TRY(make_dir(dir, err));
    r = nyb_alloc(sizeof *r);
    if (!r)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    r->train = t;
    r->lock = -1;
    status = open_files(r, dir, config, err);
    if (status != NYB_OK)
        nyb_report_close(&r);
    *report = r;
    return status;
}

void nyb_report_close(nyb_report **report)
{
    nyb_report *r = *report;

    if (!r)
        return;
    nyb_report_measure(r, false);
    if (r->metrics)
        fclose(r->metrics);
    nyb_events_destroy(&r->events);
    if (r->lock >= 0)
        close(r->lock);
    nyb_free(r->path);
    nyb_free(r);
    *report = NULL;
}

bool nyb_folder_is_finished(const char *dir)
{
    char *path = join(dir, "summary.json");
    const bool finished = path && access(path, F_OK) == 0;

    nyb_free(path);
    return finished;
}

nyb_status nyb_train_set_overwrite(nyb_train *t, int overwrite, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t, err));
    t->keeps_runs = !overwrite;
    return NYB_OK;
}

nyb_status nyb_train_save(nyb_train *t, const char *dir, nyb_error *err)
{
    int lock = -1;
    nyb_status status;

    NYB_TRY(nyb_check_pointers(t && dir, err));
    const uint64_t n_metrics = t->progress.n_metrics;
    NYB_TRY(make_dir(dir, err));
    const uint32_t former = nyb_cpu_fp_enter();
    status = lock_dir(dir, &lock, err);
    if (!nyb_train_is_at_home(t, dir))
        t->progress.n_metrics = 0; /* that file is another run's */
    if (status == NYB_OK)
        unlinkat(lock, "summary.json", 0); /* it tells of another model */
    if (status == NYB_OK)
        status = nyb_state_save(t, dir, err);
    if (status == NYB_OK)
        status = nyb_model_save(t, dir, err);
    nyb_cpu_fp_restore(former);
    t->progress.n_metrics = n_metrics;
    if (lock >= 0)
        close(lock);
    return status;
}

nyb_status nyb_report_flush(nyb_report *r, nyb_error *err)
{
    if (!r)
        return NYB_OK;
    if (fflush(r->metrics) || ferror(r->metrics))
        return nyb_fail(err, NYB_IO, "cannot write '%s': %s", r->path, strerror(errno));
    r->train->progress.n_metrics = (uint64_t)ftello(r->metrics);
    return nyb_events_flush(r->events, err);
}

void nyb_report_step(nyb_report *r, const nyb_event *e)
{
    nyb_json j;

    if (!r)
        return;
    nyb_json_begin(&j, r->metrics, false);
    nyb_json_object(&j, NULL);
    nyb_json_string(&j, "kind", "step");
    nyb_json_int(&j, "step", (int64_t)e->step);
    nyb_json_int(&j, "epoch", e->epoch);
    nyb_json_double(&j, "loss", e->loss);
    nyb_json_double(&j, "lr", e->lr);
    nyb_json_double(&j, "samples_per_s", e->samples_per_s);
    nyb_json_end(&j);
    nyb_events_scalar(r->events, (int64_t)e->step, "train/loss", (float)e->loss);
    nyb_events_scalar(r->events, (int64_t)e->step, "train/lr", (float)e->lr);
}

void nyb_report_epoch(nyb_report *r, const nyb_event *e)
{
    nyb_json j;

    if (!r)
        return;
    nyb_json_begin(&j, r->metrics, false);
    nyb_json_object(&j, NULL);
    nyb_json_string(&j, "kind", "epoch");
    nyb_json_int(&j, "epoch", e->epoch);
    nyb_json_double(&j, "train_loss", e->train_loss);
    nyb_json_double(&j, "train_acc", e->train_acc);
    nyb_json_double(&j, "test_loss", e->test_loss);
    nyb_json_double(&j, "test_acc", e->test_acc);
    nyb_json_double(&j, "seconds", e->seconds);
    nyb_json_end(&j);
    nyb_events_scalar(r->events, (int64_t)e->step, "train/epoch_loss", (float)e->train_loss);
    nyb_events_scalar(r->events, (int64_t)e->step, "train/epoch_acc", (float)e->train_acc);
    nyb_events_scalar(r->events, (int64_t)e->step, "test/loss", (float)e->test_loss);
    nyb_events_scalar(r->events, (int64_t)e->step, "test/acc", (float)e->test_acc);
}

/* ---- quantization telemetry ------------------------------------------------------------------ */

#define LOG2_BUCKETS 64
#define LOG2_LOWEST  (-48)

/* Histogram of log2|x| over the non-zero finite elements, one bucket an octave. */
static void log2_histogram(nyb_report *r, const char *tag, const float *x, size_t n)
{
    double limit[LOG2_BUCKETS], count[LOG2_BUCKETS] = {0};
    double lo = INFINITY, hi = -INFINITY, sum = 0, sum_squares = 0, total = 0;

    for (int i = 0; i < LOG2_BUCKETS; i++)
        limit[i] = LOG2_LOWEST + i + 1;
    for (size_t i = 0; i < n; i++) {
        int e;

        if (x[i] == 0.0f || !isfinite(x[i]))
            continue;
        e = (int)(nyb_bits_of(x[i]) >> 23 & 255) - 127;
        e = e < LOG2_LOWEST ? LOG2_LOWEST : e;
        e = e >= LOG2_LOWEST + LOG2_BUCKETS ? LOG2_LOWEST + LOG2_BUCKETS - 1 : e;
        count[e - LOG2_LOWEST]++;
        lo = fmin(lo, e);
        hi = fmax(hi, e + 1);
        sum += e;
        sum_squares += (double)e * e;
        total++;
    }
    if (total > 0)
        nyb_events_histogram(r->events, (int64_t)r->train->progress.step, tag, lo, hi, total, sum,
                             sum_squares, LOG2_BUCKETS, limit, count);
}

static void scalar_of(nyb_report *r, const char *layer, const char *slot, const char *what,
                      double value)
{
    char tag[160];

    snprintf(tag, sizeof tag, "quant/%s/%s/%s", layer, slot, what);
    nyb_events_scalar(r->events, (int64_t)r->train->progress.step, tag, (float)value);
}

static void measured(void *user, const nyb_quant *q, const float *real, const float *values)
{
    nyb_report *r = user;
    const char *layer = r->train->model->layers[q->layer].name, *slot = nyb_slot_name(q->slot);
    const size_t n = q->view.rows * q->view.cols;
    nyb_quant_stats stats;
    char spec[96], tag[160];
    nyb_json j;

    if (q->sample > 0 || q->mixed || (q->rounds && nyb_mix_length(q->spec.mix) > 0 && !q->unmixes))
        return; /* mixed values are those of another basis */
    if (values)
        nyb_quant_measure_values(q->spec.format, real, values, NULL, n, &stats);
    else
        nyb_quant_measure(real, &q->packed, &stats);
    nyb_spec_print(&q->spec, spec, sizeof spec);
    nyb_json_begin(&j, r->metrics, false);
    nyb_json_object(&j, NULL);
    nyb_json_string(&j, "kind", "quant");
    nyb_json_int(&j, "step", (int64_t)r->train->progress.step);
    nyb_json_string(&j, "layer", layer);
    nyb_json_string(&j, "operand", slot);
    nyb_json_string(&j, "spec", spec);
    nyb_json_double(&j, "amax", stats.amax);
    nyb_json_double(&j, "scale", stats.scale);
    nyb_json_double(&j, "underflow", stats.underflow);
    nyb_json_double(&j, "zero", stats.zero);
    nyb_json_double(&j, "clip", stats.clip);
    nyb_json_double(&j, "mse", stats.mse);
    nyb_json_double(&j, "bias", stats.bias);
    nyb_json_int(&j, "n_nan", (int64_t)stats.n_nan);
    nyb_json_int(&j, "n_inf", (int64_t)stats.n_inf);
    nyb_json_end(&j);
    scalar_of(r, layer, slot, "amax", stats.amax);
    scalar_of(r, layer, slot, "underflow", stats.underflow);
    if (!isnan(stats.clip))
        scalar_of(r, layer, slot, "clip", stats.clip);
    scalar_of(r, layer, slot, "mse", stats.mse);
    snprintf(tag, sizeof tag, "quant/%s/%s/log2_abs", layer, slot);
    log2_histogram(r, tag, real, n);
}

void nyb_report_measure(nyb_report *r, bool on)
{
    nyb_graph *g = r ? r->train->graph : NULL;

    if (!g)
        return;
    g->measure = on;
    g->measure_fn = measured;
    g->measure_user = r;
}

/* ---- summary.json ---------------------------------------------------------------------------- */

static void summary_fields(const nyb_train *t, nyb_json *j)
{
    nyb_train_summary s;

    nyb_train_summarize(t, &s);
    nyb_json_string(j, "model", t->model->name);
    if (t->data)
        nyb_json_string(j, "data", t->data->name);
    nyb_json_string(j, "recipe", t->recipe.name);
    nyb_json_int(j, "epochs", nyb_train_epochs(t));
    nyb_json_int(j, "batch", t->options.batch);
    nyb_json_uint(j, "seed", t->options.seed);
    nyb_json_int(j, "threads", (int64_t)nyb_context_threads(t->context));
    nyb_json_string(j, "cpu", nyb_context_cpu(t->context));
    nyb_json_int(j, "steps", (int64_t)s.step);
    nyb_json_int(j, "skipped_steps", (int64_t)t->progress.n_skipped);
    if (t->data) {
        nyb_json_double(j, "test_acc", s.test_acc);
        nyb_json_double(j, "test_loss", s.test_loss);
    }
    if (!isnan(t->finish_acc))
        nyb_json_double(j, "test_acc_f32_activations", s.test_acc_f32_activations);
    nyb_json_double(j, "seconds", s.seconds);
    nyb_json_double(j, "samples_per_s", s.samples_per_s);
    nyb_json_int(j, "parameters", (int64_t)s.n_parameters);
    nyb_json_int(j, "saved_activation_bytes", (int64_t)s.saved_activation_bytes);
    nyb_json_int(j, "saved_quantized_bytes", (int64_t)s.saved_quantized_bytes);
    nyb_json_int(j, "saved_quantized_f32_bytes", (int64_t)s.saved_quantized_f32_bytes);
    nyb_json_int(j, "arena_bytes", (int64_t)s.arena_bytes);
    nyb_json_int(j, "peak_rss_bytes", (int64_t)s.peak_rss_bytes);
    nyb_json_string(j, "weights_sha256", s.weights_sha256);
    nyb_json_string(j, "version", nyb_version());
}

void nyb_train_print_summary(const nyb_train *t, FILE *out)
{
    nyb_json j;

    nyb_json_begin(&j, out, true);
    nyb_json_object(&j, NULL);
    summary_fields(t, &j);
    nyb_json_end(&j);
}

nyb_status nyb_report_summary(const nyb_train *t, const char *dir, nyb_error *err)
{
    char *path = join(dir, "summary.json");
    nyb_atomic_file *out = NULL;
    nyb_status status;

    if (!path)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    status = nyb_atomic_open(path, &out, err);
    if (status == NYB_OK) {
        nyb_train_print_summary(t, nyb_atomic_stream(out));
        status = nyb_atomic_commit(&out, err);
    }
    nyb_free(path);
    return status;
}
