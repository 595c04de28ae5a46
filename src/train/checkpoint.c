/* state.safetensors (all of a run) and model.safetensors (what is deployed). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "quant/round.h"
#include "train/run.h"

/* ---- memory order and file order ------------------------------------------------------------- */

void nyb_param_export(const nyb_param *p, const float *memory, float *file)
{
    const size_t o = p->dims[0], c = p->dims[1], hw = p->n_dims == 4 ? p->dims[2] * p->dims[3] : 0;

    if (p->n_dims != 4) {
        memcpy(file, memory, p->n * sizeof *file);
        return;
    }
    for (size_t i = 0; i < o; i++)
        for (size_t k = 0; k < hw; k++)
            for (size_t j = 0; j < c; j++)
                file[(i * c + j) * hw + k] = memory[(i * hw + k) * c + j];
}

void nyb_param_import(const nyb_param *p, const float *file, float *memory)
{
    const size_t o = p->dims[0], c = p->dims[1], hw = p->n_dims == 4 ? p->dims[2] * p->dims[3] : 0;

    if (p->n_dims != 4) {
        memcpy(memory, file, p->n * sizeof *file);
        return;
    }
    for (size_t i = 0; i < o; i++)
        for (size_t k = 0; k < hw; k++)
            for (size_t j = 0; j < c; j++)
                memory[(i * hw + k) * c + j] = file[(i * c + j) * hw + k];
}

static int by_name(const void *a, const void *b)
{
    const nyb_param *const *pa = a, *const *pb = b;

    return strcmp((*pa)->name, (*pb)->name);
}

nyb_status nyb_weights_sha256(const nyb_graph *g, char hex[65], nyb_error *err)
{
    size_t n_max = 1;
    const nyb_param **sorted = nyb_alloc((size_t)g->n_params * sizeof *sorted);
    float *values;
    nyb_sha256 sha;

    for (int i = 0; i < g->n_params; i++)
        n_max = nyb_max(n_max, g->params[i].n);
    values = nyb_alloc(n_max * sizeof *values);
    if (!sorted || !values) {
        nyb_free(sorted);
        nyb_free(values);
        return nyb_fail(err, NYB_MEMORY, "out of memory while hashing the weights");
    }
    for (int i = 0; i < g->n_params; i++)
        sorted[i] = &g->params[i];
    qsort(sorted, (size_t)g->n_params, sizeof *sorted, by_name);
    nyb_sha256_begin(&sha);
    for (int i = 0; i < g->n_params; i++) {
        nyb_param_export(sorted[i], sorted[i]->value, values);
        nyb_sha256_add(&sha, sorted[i]->name, strlen(sorted[i]->name) + 1);
        nyb_sha256_add(&sha, values, sorted[i]->n * sizeof *values);
    }
    nyb_sha256_end(&sha, hex);
    nyb_free(sorted);
    nyb_free(values);
    return NYB_OK;
}

/* ---- a list of tensors to be written; owns names and data ------------------------------------ */

typedef struct bundle {
    nyb_st_tensor *tensors;
    size_t n, n_capacity;
    nyb_st_meta *meta; /* room for seven and one per parameter */
    size_t n_meta;
    bool failed; /* out of memory */
} bundle;

static char *print_name(const char *prefix, const char *name, const char *suffix)
{
    const size_t n = strlen(prefix) + strlen(name) + strlen(suffix) + 1;
    char *text = nyb_alloc(n);

    if (text)
        snprintf(text, n, "%s%s%s", prefix, name, suffix);
    return text;
}

/* Takes over data. */
static void put(bundle *b, char *name, const char *dtype, int n_dims, const size_t *dims,
                void *data, size_t n_bytes)
{
    nyb_st_tensor *t = &b->tensors[b->n];

    if (!name || !data || b->n == b->n_capacity) {
        nyb_free(name);
        nyb_free(data);
        b->failed = true;
        return;
    }
    *t = (nyb_st_tensor){
        .name = name, .dtype = dtype, .n_dims = n_dims, .data = data, .n_bytes = n_bytes};
    memcpy(t->dims, dims, (size_t)n_dims * sizeof *dims);
    b->n++;
}

static void put_param(bundle *b, const nyb_param *p, const char *prefix, const float *memory)
{
    float *file = nyb_alloc(p->n * sizeof *file);

    if (file)
        nyb_param_export(p, memory, file);
    put(b, print_name(prefix, p->name, ""), "F32", p->n_dims, p->dims, file, p->n * sizeof *file);
}

static void put_floats(bundle *b, char *name, const float *values, size_t n)
{
    float *copy = nyb_alloc(n * sizeof *copy);

    if (copy)
        memcpy(copy, values, n * sizeof *copy);
    put(b, name, "F32", 1, &n, copy, n * sizeof *copy);
}

static void bundle_free(bundle *b)
{
    for (size_t i = 0; i < b->n; i++) {
        nyb_free((void *)(uintptr_t)b->tensors[i].name);
        nyb_free((void *)(uintptr_t)b->tensors[i].data);
    }
    nyb_free(b->tensors);
    nyb_free(b->meta);
}

static void put_meta(bundle *b, const char *key, const char *value)
{
    b->meta[b->n_meta++] = (nyb_st_meta){key, value};
}

static nyb_status bundle_begin(bundle *b, const nyb_train *t, nyb_error *err)
{
    const nyb_graph *g = t->graph;

    *b = (bundle){0};
    b->n_capacity = (size_t)g->n_params * 3 + (size_t)g->model->n_gemms * (NYB_SLOTS + 2);
    b->tensors = nyb_alloc(b->n_capacity * sizeof *b->tensors);
    b->meta = nyb_alloc((9 + (size_t)g->n_params) * sizeof *b->meta);
    if (!b->tensors || !b->meta) {
        bundle_free(b);
        return nyb_fail(err, NYB_MEMORY, "out of memory while saving");
    }
    put_meta(b, "nybble", nyb_version());
    put_meta(b, "model", t->model->name);
    put_meta(b, "recipe", t->recipe.name);
    return NYB_OK;
}

static nyb_status bundle_save(const bundle *b, const char *dir, const char *file, nyb_error *err)
{
    char *path = print_name(dir, "/", file);
    nyb_status status;

    if (b->failed || !path)
        status = nyb_fail(err, NYB_MEMORY, "out of memory while saving '%s/%s'", dir, file);
    else
        status = nyb_st_save(path, b->tensors, b->n, b->meta, b->n_meta, err);
    nyb_free(path);
    return status;
}

/* ---- state ----------------------------------------------------------------------------------- */

/* The scale rule that the recipe gives a slot; NULL: the slot is f32. */
static const nyb_scale_rule *slot_rule(const nyb_train *t, int layer, nyb_slot slot)
{
    nyb_row rows[NYB_SLOTS];

    nyb_graph_rows(t->model, &t->recipe, layer, NYB_MODE_TRAIN, rows);
    return rows[slot].spec.format->grid == NYB_GRID_REAL ? NULL : rows[slot].spec.scale;
}

/* "layer1.0.conv1.fwd.x.sawb": a slot's name in files. */
static char *slot_key(const nyb_train *t, int layer, nyb_slot slot, const nyb_scale_rule *rule)
{
    char suffix[64];

    snprintf(suffix, sizeof suffix, ".%s.%s", nyb_slot_name(slot), rule->name);
    return print_name("", t->model->layers[layer].name, suffix);
}

/* In files: the rule's floats, of short rules as many as 0.1.0 always had, and the clip's two. */
#define SLOT_RULE_FLOATS 4
#define SLOT_FLOATS_MAX  (NYB_SCALE_STATE_MAX + 2)

static size_t slot_rule_floats(const nyb_scale_rule *rule)
{
    return nyb_max(rule->n_state, SLOT_RULE_FLOATS);
}

static void put_slot(bundle *b, char *key, const nyb_scale_rule *rule, const nyb_slot_state *state)
{
    const size_t n = slot_rule_floats(rule);
    float values[SLOT_FLOATS_MAX];

    memcpy(values, state->rule, n * sizeof *values);
    values[n] = state->clip_mean;
    values[n + 1] = state->started;
    put_floats(b, key, values, n + 2);
}

/* false: the tensor is missing or of another length. */
static bool get_slot(const nyb_st_tensor *tensor, const nyb_scale_rule *rule, nyb_slot_state *state)
{
    const size_t n = slot_rule_floats(rule);
    float values[SLOT_FLOATS_MAX];

    if (!tensor || strcmp(tensor->dtype, "F32") != 0 || tensor->n_bytes != (n + 2) * sizeof *values)
        return false;
    memcpy(values, tensor->data, tensor->n_bytes);
    *state = (nyb_slot_state){.clip_mean = values[n], .started = values[n + 1]};
    memcpy(state->rule, values, n * sizeof *values);
    return true;
}

static nyb_slot_state *slot_of(const nyb_graph *g, int layer, nyb_slot slot)
{
    return &g->slots[(size_t)g->model->layers[layer].gemm * NYB_SLOTS + slot];
}

nyb_status nyb_state_save(const nyb_train *t, const char *dir, nyb_error *err)
{
    const nyb_graph *g = t->graph;
    char progress[NYB_PROGRESS_BYTES], seed[32], batch[32], recipe[65];
    nyb_status status;
    bundle b;

    NYB_TRY(nyb_recipe_sha256(&t->recipe, recipe, err));
    NYB_TRY(bundle_begin(&b, t, err));
    for (int i = 0; i < g->n_params; i++) {
        const nyb_param *p = &g->params[i];

        put_param(&b, p, p->trained ? "param." : "buffer.", p->value);
        if (p->trained)
            put_param(&b, p, "momentum.", p->momentum);
    }
    for (int i = 1; i < t->model->n_layers; i++)
        for (int s = 0; t->model->layers[i].gemm >= 0 && s < NYB_SLOTS; s++) {
            const nyb_scale_rule *rule = slot_rule(t, i, (nyb_slot)s);

            if (rule)
                put_slot(&b, slot_key(t, i, (nyb_slot)s, rule), rule, slot_of(g, i, (nyb_slot)s));
        }
    nyb_progress_print(&t->progress, progress);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)g->seed);
    snprintf(batch, sizeof batch, "%d", t->options.batch);
    put_meta(&b, "recipe_sha256", recipe);
    put_meta(&b, "seed", seed);
    put_meta(&b, "batch", batch);
    put_meta(&b, "progress", progress);
    status = bundle_save(&b, dir, "state.safetensors", err);
    bundle_free(&b);
    return status;
}

/* Reads one parameter-shaped tensor into memory order. */
static nyb_status load_param(const nyb_st_file *file, const char *prefix, const nyb_param *p,
                             float *memory, nyb_error *err)
{
    char *name = print_name(prefix, p->name, "");
    const nyb_st_tensor *tensor;
    nyb_status status = NYB_OK;

    if (!name)
        return nyb_fail(err, NYB_MEMORY, "out of memory while loading");
    tensor = nyb_st_find(file, name);
    if (!tensor)
        status = nyb_fail(err, NYB_UNKNOWN, "the file has no tensor '%s': another model?", name);
    else if (strcmp(tensor->dtype, "F32") || tensor->n_bytes != p->n * sizeof(float) ||
             tensor->n_dims != p->n_dims ||
             memcmp(tensor->dims, p->dims, (size_t)p->n_dims * sizeof *p->dims))
        status = nyb_fail(err, NYB_SHAPE, "tensor '%s' is %s with %zu bytes, want F32 with %zu",
                          name, tensor->dtype, tensor->n_bytes, p->n * sizeof(float));
    else
        nyb_param_import(p, tensor->data, memory);
    nyb_free(name);
    return status;
}

static nyb_status load_slots(nyb_train *t, const nyb_st_file *file, nyb_error *err)
{
    for (int i = 1; i < t->model->n_layers; i++)
        for (int s = 0; t->model->layers[i].gemm >= 0 && s < NYB_SLOTS; s++) {
            const nyb_scale_rule *rule = slot_rule(t, i, (nyb_slot)s);
            nyb_status status = NYB_OK;
            char *key;

            if (!rule)
                continue;
            key = slot_key(t, i, (nyb_slot)s, rule);
            if (!key)
                return nyb_fail(err, NYB_MEMORY, "out of memory while loading");
            if (!get_slot(nyb_st_find(file, key), rule, slot_of(t->graph, i, (nyb_slot)s)))
                status = nyb_fail(err, NYB_UNKNOWN,
                                  "the file has no scale state '%s': another recipe?", key);
            nyb_free(key);
            NYB_TRY(status);
        }
    return NYB_OK;
}

/* What the state must share with the run that goes on; files of 0.1.0 do not say all of it. */
static nyb_status check_meta(const nyb_st_file *file, const char *key, const char *want,
                             nyb_error *err)
{
    const char *found = nyb_st_meta_find(file, key);

    if (found && strcmp(found, want) != 0)
        return nyb_fail(err, NYB_INVALID, "the state was made with %s '%s', not '%s'", key, found,
                        want);
    return NYB_OK;
}

/* The name alone could stand for other fields than it did. */
static nyb_status check_recipe(const nyb_train *t, const nyb_st_file *file, nyb_error *err)
{
    const char *found = nyb_st_meta_find(file, "recipe_sha256");
    char want[65];

    NYB_TRY(check_meta(file, "recipe", t->recipe.name, err));
    NYB_TRY(nyb_recipe_sha256(&t->recipe, want, err));
    if (found && strcmp(found, want) != 0)
        return nyb_fail(
            err, NYB_INVALID,
            "the state was made with another recipe of the name '%s': its fields differ",
            t->recipe.name);
    return NYB_OK;
}

static nyb_status load_state(nyb_train *t, const nyb_st_file *file, nyb_error *err)
{
    const char *progress = nyb_st_meta_find(file, "progress");
    const char *seed = nyb_st_meta_find(file, "seed");
    nyb_progress read = t->progress;
    nyb_graph *g = t->graph;
    char batch[32];

    if (!progress || !seed || !nyb_progress_scan(progress, &read))
        return nyb_fail(err, NYB_CORRUPT, "state.safetensors does not say how far the run got");
    if (strtoull(seed, NULL, 10) != g->seed)
        return nyb_fail(err, NYB_INVALID, "the state was made with seed %s, not %llu", seed,
                        (unsigned long long)g->seed);
    snprintf(batch, sizeof batch, "%d", t->options.batch);
    NYB_TRY(check_meta(file, "model", t->model->name, err));
    NYB_TRY(check_recipe(t, file, err));
    NYB_TRY(check_meta(file, "batch", batch, err));
    nyb_graph_forget_codes(g);
    for (int i = 0; i < g->n_params; i++) {
        nyb_param *p = &g->params[i];

        NYB_TRY(load_param(file, p->trained ? "param." : "buffer.", p, p->value, err));
        if (p->trained)
            NYB_TRY(load_param(file, "momentum.", p, p->momentum, err));
    }
    NYB_TRY(load_slots(t, file, err));
    t->progress = read;
    return NYB_OK;
}

/* Opens dir/name and hands it to load. */
static nyb_status load_file(nyb_train *t, const char *dir, const char *name,
                            nyb_status (*load)(nyb_train *, const nyb_st_file *, nyb_error *),
                            nyb_error *err)
{
    char *path = print_name(dir, "/", name);
    nyb_st_file *file = NULL;
    nyb_status status;

    if (!path)
        return nyb_fail(err, NYB_MEMORY, "out of memory while loading '%s'", dir);
    status = nyb_st_load(path, &file, err);
    if (status == NYB_OK)
        status = load(t, file, err);
    nyb_st_close(&file);
    nyb_free(path);
    return status;
}

nyb_status nyb_state_load(nyb_train *t, const char *dir, nyb_error *err)
{
    return load_file(t, dir, "state.safetensors", load_state, err);
}

/* ---- model: weights as the forward product reads them ---------------------------------------- */

/* The codes of a quantized weight tensor, one byte each, in files' order; and its scale. */
static nyb_status weight_codes(const nyb_train *t, const nyb_param *p, const nyb_spec *spec,
                               uint8_t *codes, float *scale, nyb_error *err)
{
    const bool depthwise = t->model->layers[p->layer].op->depthwise;
    const size_t taps = p->n_dims == 4 ? p->dims[2] * p->dims[3] : 1, o = p->dims[0];
    const size_t hw = depthwise ? 1 : taps, c = depthwise ? taps : p->dims[1];
    nyb_packed packed = {.format = spec->format, .rows = o * hw, .cols = c};
    nyb_slot_state state = *slot_of(t->graph, p->layer, NYB_SLOT_FWD_W);
    const int gemm = t->model->layers[p->layer].gemm;
    const float fixed = t->graph->weight_scale[gemm];
    const nyb_stream stream = {/* evaluation's */
                               .seed = t->graph->seed,
                               .tensor = (uint32_t)gemm,
                               .role = NYB_RNG_W_FWD};
    void *scratch = nyb_alloc(nyb_moments_scratch_bytes(packed.rows, c));
    nyb_moments moments;

    packed.pitch = nyb_packed_pitch(c);
    packed.codes = nyb_alloc(nyb_packed_bytes(spec->format, packed.rows, c));
    if (!scratch || !packed.codes) {
        nyb_free(scratch);
        nyb_free(packed.codes);
        return nyb_fail(err, NYB_MEMORY, "out of memory while saving '%s'", p->name);
    }
    nyb_moments_run(t->context, p->value, packed.rows, c, scratch, &moments);
    packed.scale = fixed != 0.0f ? fixed : nyb_scale_choose(spec, &moments, state.rule);
    nyb_encode_run(t->context, spec, &stream, p->value, &packed);
    for (size_t i = 0; i < o; i++)
        for (size_t k = 0; k < hw; k++)
            for (size_t j = 0; j < c; j++)
                codes[(i * c + j) * hw + k] = (uint8_t)nyb_packed_get(&packed, i * hw + k, j);
    *scale = packed.scale;
    nyb_free(scratch);
    nyb_free(packed.codes);
    return NYB_OK;
}

static void describe(const nyb_param *p, const nyb_format *format, char text[256])
{
    int at = snprintf(text, 256, "{\"format\":\"%s\",\"order\":\"low-nibble-first\",\"shape\":[",
                      format->name);

    for (int i = 0; i < p->n_dims; i++)
        at += snprintf(text + at, 256 - (size_t)at, "%s%zu", i ? "," : "", p->dims[i]);
    snprintf(text + at, 256 - (size_t)at, "]}");
}

static nyb_status put_weight(bundle *b, const nyb_train *t, const nyb_param *p,
                             const nyb_spec *spec, nyb_error *err)
{
    const bool nybbles = spec->format->bits == 4;
    const size_t n_bytes = nybbles ? (p->n + 1) / 2 : p->n;
    uint8_t *codes = nyb_alloc(p->n + 1); /* zeroed: the last high nybble */
    float scale = 0.0f;
    nyb_status status;

    if (!codes)
        return nyb_fail(err, NYB_MEMORY, "out of memory while saving '%s'", p->name);
    status = weight_codes(t, p, spec, codes, &scale, err);
    if (status != NYB_OK) {
        nyb_free(codes);
        return status;
    }
    for (size_t i = 0; nybbles && i < n_bytes; i++)
        codes[i] = (uint8_t)(codes[2 * i] | (2 * i + 1 < p->n ? codes[2 * i + 1] << 4 : 0));
    put(b, print_name("", p->name, ".codes"), "U8", 1, &n_bytes, codes, n_bytes);
    put_floats(b, print_name("", p->name, ".scale"), &scale, 1);
    return NYB_OK;
}

/* Weights with one scale that follows from them alone and whose values encode to the same codes
 * again; others (the mean of several draws is no code) are stored as masters, from which the
 * forward product rounds them again. */
static bool stored_as_codes(const nyb_row *row)
{
    return nyb_spec_packs(&row->spec) && row->spec.scale->choose && row->samples == 1 &&
           row->pre == 1.0f && row->post == 1.0f && row->ema == 0.0f &&
           row->spec.format->multiples == 0;
}

/* One GEMM weight: its codes and scale, or f32; and the clip of the layer's input. */
static nyb_status put_gemm(bundle *b, const nyb_train *t, const nyb_param *p, char text[256],
                           nyb_error *err)
{
    const nyb_slot_state *x = slot_of(t->graph, p->layer, NYB_SLOT_FWD_X);
    nyb_row rows[NYB_SLOTS];

    nyb_graph_rows(t->model, &t->recipe, p->layer, NYB_MODE_EVAL, rows);
    if (rows[NYB_SLOT_FWD_X].spec.format->grid != NYB_GRID_REAL && x->clip_mean > 0.0f)
        put_floats(b, print_name("", t->model->layers[p->layer].name, ".input.clip"), &x->clip_mean,
                   1);
    if (!stored_as_codes(&rows[NYB_SLOT_FWD_W])) {
        put_param(b, p, "", p->value);
        return NYB_OK;
    }
    describe(p, rows[NYB_SLOT_FWD_W].spec.format, text);
    put_meta(b, p->name, text);
    return put_weight(b, t, p, &rows[NYB_SLOT_FWD_W].spec, err);
}

/* A number for each channel, as "0.49,0.48,0.45". */
static void print_channels(const float *values, size_t n, char text[4 * NYB_NUMBER_BYTES])
{
    char number[NYB_NUMBER_BYTES];

    *text = 0;
    for (size_t c = 0; c < n && c < 4; c++) {
        strcat(text, c > 0 ? "," : "");
        strcat(text, nyb_number_print_float(values[c], number));
    }
}

nyb_status nyb_model_save(const nyb_train *t, const char *dir, nyb_error *err)
{
    const nyb_graph *g = t->graph;
    char(*texts)[256] = nyb_alloc((size_t)g->n_params * sizeof *texts);
    char mean[4 * NYB_NUMBER_BYTES], std[4 * NYB_NUMBER_BYTES];
    nyb_status status;
    bundle b;

    if (!texts)
        return nyb_fail(err, NYB_MEMORY, "out of memory while saving '%s'", dir);
    status = bundle_begin(&b, t, err);
    if (status != NYB_OK) {
        nyb_free(texts);
        return status;
    }
    if (t->data && t->options.normalize) {
        print_channels(t->data->mean, t->data->c, mean);
        print_channels(t->data->std, t->data->c, std);
        put_meta(&b, "input.mean", mean);
        put_meta(&b, "input.std", std);
    }
    for (int i = 0; i < g->n_params && status == NYB_OK; i++) {
        const nyb_param *p = &g->params[i];

        if (t->model->layers[p->layer].gemm >= 0 && p->index == 0 && !p->rule)
            status = put_gemm(&b, t, p, texts[i], err);
        else
            put_param(&b, p, "", p->value);
    }
    if (status == NYB_OK)
        status = bundle_save(&b, dir, "model.safetensors", err);
    bundle_free(&b);
    nyb_free(texts);
    return status;
}

/* A weight stored as codes: value = decoded code * scale goes to the master, and the scale is
 * fixed, so that encoding again gives the same codes. */
static nyb_status load_codes(nyb_train *t, const nyb_st_file *file, nyb_param *p,
                             const nyb_spec *spec, nyb_error *err)
{
    char *names[2] = {print_name("", p->name, ".codes"), print_name("", p->name, ".scale")};
    const nyb_st_tensor *codes = names[0] ? nyb_st_find(file, names[0]) : NULL;
    const nyb_st_tensor *scale = names[1] ? nyb_st_find(file, names[1]) : NULL;
    const size_t n_bytes = spec->format->bits == 4 ? (p->n + 1) / 2 : p->n;
    const char *about = nyb_st_meta_find(file, p->name);
    float *values = nyb_alloc(p->n * sizeof *values), s;
    nyb_status status = NYB_OK;
    char want[256];

    describe(p, spec->format, want);
    if (!values || !names[0] || !names[1])
        status = nyb_fail(err, NYB_MEMORY, "out of memory while loading '%s'", p->name);
    else if (!about || strcmp(about, want) != 0)
        status = nyb_fail(err, NYB_SHAPE, "'%s' is %s, this recipe has %s", p->name,
                          about ? about : "not described", want);
    else if (!codes || !scale || codes->n_bytes != n_bytes || scale->n_bytes != sizeof(float) ||
             strcmp(scale->dtype, "F32"))
        status =
            nyb_fail(err, NYB_SHAPE, "'%s' is not stored as %zu bytes of %s codes with a scale",
                     p->name, n_bytes, spec->format->name);
    if (status == NYB_OK) {
        const uint8_t *bytes = codes->data;

        memcpy(&s, scale->data, sizeof s);
        if (!(s >= 0.0f && isfinite(s)))
            status = nyb_fail(err, NYB_CORRUPT, "the scale of '%s' is %g", p->name, (double)s);
        for (size_t i = 0; i < p->n && status == NYB_OK; i++) {
            const unsigned code =
                spec->format->bits == 4 ? bytes[i / 2] >> 4 * (i % 2) & 15 : bytes[i];

            values[i] = nyb_format_decode(spec->format, code) * s;
            if (code >= spec->format->n_codes || !isfinite(values[i]))
                status = nyb_fail(err, NYB_CORRUPT, "'%s' has a code %u, which %s has not", p->name,
                                  code, spec->format->name);
        }
    }
    if (status == NYB_OK) {
        nyb_param_import(p, values, p->value);
        t->graph->weight_scale[t->model->layers[p->layer].gemm] = s;
    }
    nyb_free(names[0]);
    nyb_free(names[1]);
    nyb_free(values);
    return status;
}

/* NULL: evaluation looks at its batches. */
static nyb_status find_clip(const nyb_train *t, const nyb_st_file *file, int layer,
                            const nyb_st_tensor **clip, nyb_error *err)
{
    char *name = print_name("", t->model->layers[layer].name, ".input.clip");
    nyb_status status = NYB_OK;

    if (!name)
        return nyb_fail(err, NYB_MEMORY, "out of memory while loading");
    *clip = nyb_st_find(file, name);
    if (*clip && ((*clip)->n_bytes != sizeof(float) || strcmp((*clip)->dtype, "F32") != 0))
        status = nyb_fail(err, NYB_SHAPE, "'%s' is %s with %zu bytes, want F32 with 4", name,
                          (*clip)->dtype, (*clip)->n_bytes);
    nyb_free(name);
    return status;
}

static nyb_status load_model(nyb_train *t, const nyb_st_file *file, nyb_error *err)
{
    nyb_graph *g = t->graph;

    /* Scales and clips of the model that was here are not this one's. */
    nyb_graph_forget_codes(g);
    memset(g->slots, 0, (size_t)g->model->n_gemms * NYB_SLOTS * sizeof *g->slots);
    for (int i = 0; i < g->n_params; i++) {
        nyb_param *p = &g->params[i];
        nyb_row rows[NYB_SLOTS];
        const nyb_st_tensor *clip = NULL;

        if (p->mean_of &&
            !nyb_st_find(file, p->name)) { /* of another recipe: its weights are there */
            nyb_graph_begin_means(g, p->mean_of);
            continue;
        }
        if (t->model->layers[p->layer].gemm < 0 || p->index != 0 || p->rule) {
            NYB_TRY(load_param(file, "", p, p->value, err));
            if (p->rule)
                nyb_graph_begin_learned(g, p);
            continue;
        }
        nyb_graph_rows(t->model, &t->recipe, p->layer, NYB_MODE_EVAL, rows);
        NYB_TRY(find_clip(t, file, p->layer, &clip, err));
        if (clip) {
            nyb_slot_state *x = slot_of(g, p->layer, NYB_SLOT_FWD_X);

            memcpy(&x->clip_mean, clip->data, sizeof(float));
            if (!(x->clip_mean > 0.0f && isfinite(x->clip_mean)))
                return nyb_fail(err, NYB_CORRUPT, "the clip of the input of '%s' is %g",
                                t->model->layers[p->layer].name, (double)x->clip_mean);
            x->started = 1.0f;
        }
        /* Masters under a recipe that would store codes: post-training quantization. */
        if (!stored_as_codes(&rows[NYB_SLOT_FWD_W]) || nyb_st_find(file, p->name))
            NYB_TRY(load_param(file, "", p, p->value, err));
        else
            NYB_TRY(load_codes(t, file, p, &rows[NYB_SLOT_FWD_W].spec, err));
    }
    return NYB_OK;
}

nyb_status nyb_train_load_model(nyb_train *t, const char *dir, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t && dir, err));
    const uint32_t former = nyb_cpu_fp_enter();
    const nyb_status status = load_file(t, dir, "model.safetensors", load_model, err);
    nyb_cpu_fp_restore(former);
    return status;
}
