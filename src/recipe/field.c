#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "io/io.h"
#include "recipe/recipe.h"

/* ---- the table ---------------------------------------------------------------------------- */

#define X(constant, word, sentence) word,
static const char *const rounding_words[] = {NYB_ROUNDING_LIST(X) NULL};
static const char *const edge_words[] = {NYB_EDGE_LIST(X) NULL};
static const char *const eval_words[] = {NYB_EVAL_LIST(X) NULL};
static const char *const store_words[] = {NYB_STORE_LIST(X) NULL};
static const char *const recompute_words[] = {NYB_RECOMPUTE_LIST(X) NULL};
static const char *const span_words[] = {NYB_SPAN_LIST(X) NULL};
static const char *const policy_words[] = {NYB_POLICY_LIST(X) NULL};
static const char *const from_words[] = {NYB_FROM_LIST(X) NULL};
static const char *const ste_words[] = {NYB_STE_LIST(X) NULL};
static const char *const loss_scale_words[] = {NYB_LOSS_SCALE_LIST(X) NULL};
static const char *const engine_words[] = {NYB_ENGINE_LIST(X) NULL};
#undef X
#define X(constant, word, length, sentence) word,
static const char *const group_words[] = {NYB_GROUP_LIST(X) NULL};
static const char *const mix_words[] = {NYB_MIX_LIST(X) NULL};
#undef X
#define X(constant, word, edge, sentence) word,
static const char *const keep_words[] = {NYB_KEEP_LIST(X) NULL};
#undef X

/* FIELD_WORD writes any of these enums as an int. */
_Static_assert(sizeof(nyb_edge) == sizeof(int) && sizeof(nyb_eval_scale) == sizeof(int) &&
                   sizeof(nyb_policy) == sizeof(int) && sizeof(nyb_from) == sizeof(int) &&
                   sizeof(nyb_ste) == sizeof(int) && sizeof(nyb_loss_scale) == sizeof(int) &&
                   sizeof(nyb_engine) == sizeof(int) && sizeof(nyb_store) == sizeof(int) &&
                   sizeof(nyb_recompute) == sizeof(int) && sizeof(nyb_keep) == sizeof(int) &&
                   sizeof(nyb_span) == sizeof(int),
               "enums are ints");

typedef enum nyb_field_kind {
    FIELD_TEXT,
    FIELD_LAYERS,
    FIELD_SPEC,
    FIELD_FORMAT,
    FIELD_SCALE,
    FIELD_GROUP,
    FIELD_ROUNDING,
    FIELD_SR_BITS,
    FIELD_MIX,
    FIELD_NONNEG,
    FIELD_ACCUM,
    FIELD_UPDATE,
    FIELD_INT,
    FIELD_FLOAT,
    FIELD_WORD /* an enum, by the word of each constant */
} nyb_field_kind;

typedef struct nyb_field {
    const char *key;
    nyb_field_kind kind;
    bool is_part;
    size_t offset;  /* in struct nyb_recipe; of the spec for its parts */
    size_t n_bytes; /* FIELD_TEXT, FIELD_LAYERS */
    double lo, hi;  /* FIELD_INT, FIELD_FLOAT */
    const char *help;
    const char *const *words; /* FIELD_WORD, FIELD_GROUP, FIELD_ROUNDING: by value, NULL-ended */
} nyb_field;

#define AT(member)   offsetof(struct nyb_recipe, member)
#define SIZE(member) sizeof(((struct nyb_recipe *)NULL)->member)

/* clang-format off */
#define OPERAND(key, member, what)                                                                 \
    {key, FIELD_SPEC, false, AT(member.spec), 0, 0, 0, what, NULL},                                \
    {key ".format", FIELD_FORMAT, true, AT(member.spec), 0, 0, 0, "its number format", NULL},      \
    {key ".scale", FIELD_SCALE, true, AT(member.spec), 0, 0, 0, "its scale rule", NULL},           \
    {key ".group", FIELD_GROUP, true, AT(member.spec), 0, 0, 0, "what shares one scale",           \
     group_words},                                                                                 \
    {key ".rounding", FIELD_ROUNDING, true, AT(member.spec), 0, 0, 0, "its rounding",              \
     rounding_words},                                                                              \
    {key ".sr_bits", FIELD_SR_BITS, true, AT(member.spec), 0, 0, 0,                                \
     "random bits of each stochastic rounding", NULL},                                             \
    {key ".mix", FIELD_MIX, true, AT(member.spec), 0, 0, 0,                                        \
     "orthogonal transform before rounding", mix_words},                                           \
    {key ".samples", FIELD_INT, false, AT(member.samples), 0, 1, NYB_SAMPLES_MAX,                  \
     "independent draws that are averaged (SMP)", NULL},                                           \
    {key ".pre", FIELD_FLOAT, false, AT(member.pre), 0, 0.001, 1000,                               \
     "factor before rounding", NULL},                                                              \
    {key ".post", FIELD_FLOAT, false, AT(member.post), 0, 0.001, 1000,                             \
     "factor of the rounded values", NULL}
#define NONNEG(key, member)                                                                        \
    {key ".nonneg", FIELD_NONNEG, false, AT(member.nonneg), 0, 0, 0,                               \
     "format instead where the input is known to be >= 0", NULL}
#define FROM(key, member)                                                                          \
    {key ".from", FIELD_WORD, false, AT(member.from), 0, 0, 0,                                     \
     "what is quantized: the tensor, or the forward's values again", from_words}
#define STE(key, member)                                                                           \
    {key ".ste", FIELD_WORD, false, AT(member.ste), 0, 0, 0,                                       \
     "gradient of clipped elements", ste_words}
#define EMA(key, member)                                                                           \
    {key ".ema", FIELD_FLOAT, false, AT(member.ema), 0, 0, 0.999999,                               \
     "decay of the exponential mean that decides between two neighbours (Q-EMA); 0: the nearer",   \
     NULL}
#define ACCUM(key, member, what)                                                                   \
    {key, FIELD_ACCUM, false, AT(member), 0, 0, 0, what, NULL}
/* clang-format on */

static const nyb_field fields[] = {
    {"name", FIELD_TEXT, false, AT(name), SIZE(name), 0, 0, "what reports call the recipe"},
    {"about", FIELD_TEXT, false, AT(about), SIZE(about), 0, 0, "one line on what it is"},
    {"source", FIELD_TEXT, false, AT(source), SIZE(source), 0, 0, "citation"},
    {"differs", FIELD_TEXT, false, AT(differs), SIZE(differs), 0, 0,
     "how this departs from the source"},
    OPERAND("fwd.x", fwd_x, "input of the forward product"),
    NONNEG("fwd.x", fwd_x),
    STE("fwd.x", fwd_x),
    OPERAND("fwd.w", fwd_w, "weights of the forward product"),
    STE("fwd.w", fwd_w),
    EMA("fwd.w", fwd_w),
    OPERAND("dgrad.dy", dgrad_dy, "output gradient, for the input gradient"),
    OPERAND("dgrad.w", dgrad_w, "weights, for the input gradient; as fwd.w: its codes are reused"),
    FROM("dgrad.w", dgrad_w),
    OPERAND("wgrad.dy", wgrad_dy,
            "output gradient, for the weight gradient; as dgrad.dy: its codes are reused"),
    OPERAND("wgrad.x", wgrad_x, "input, for the weight gradient; as fwd.x: its codes are reused"),
    NONNEG("wgrad.x", wgrad_x),
    FROM("wgrad.x", wgrad_x),
    ACCUM("fwd.accum", fwd_accum, "how the forward product adds up"),
    ACCUM("dgrad.accum", dgrad_accum, "how the input gradient adds up"),
    ACCUM("wgrad.accum", wgrad_accum, "how the weight gradient adds up"),
    {"engine", FIELD_WORD, false, AT(engine), 0, 0, 0, "who multiplies", engine_words},
    {"edges", FIELD_WORD, false, AT(edges), 0, 0, 0, "first layer and last linear layer",
     edge_words},
    {"shortcut", FIELD_WORD, false, AT(shortcut), 0, 0, 0, "projection shortcuts", edge_words},
    {"pointwise", FIELD_WORD, false, AT(pointwise), 0, 0, 0, "other 1x1 convolutions", edge_words},
    {"layers", FIELD_LAYERS, false, AT(layers), SIZE(layers), 0, 0,
     "layers by name or place, before those three: layer4.*:bf16 last2:f32"},
    {"update", FIELD_UPDATE, false, AT(update), 0, 0, 0,
     "format[/rounding] of weights and momenta in the optimizer's three updates", NULL},
    {"loss_scale", FIELD_WORD, false, AT(loss_scale), 0, 0, 0, "scaling of the loss gradient",
     loss_scale_words},
    {"loss_scale.start", FIELD_FLOAT, false, AT(loss_scale_start), 0, 0.0009765625, 16777216,
     "its first (or fixed) value, a power of two", NULL},
    {"store", FIELD_WORD, false, AT(store), 0, 0, 0,
     "batchnorm's inputs and the gradients that products leave for it", store_words},
    {"recompute", FIELD_WORD, false, AT(recompute), 0, 0, 0,
     "how batchnorm's backward pass gets its inputs", recompute_words},
    {"eval.scale", FIELD_WORD, false, AT(eval_scale), 0, 0, 0, "activation clips at evaluation",
     eval_words},
    {"eval.decay", FIELD_FLOAT, false, AT(eval_decay), 0, 0, 0.9999,
     "weight of the past in the mean of training's clips"},
    {"finish.epochs", FIELD_INT, false, AT(finish_epochs), 0, 0, 10000,
     "epochs at the end in which less is quantized (FNT, QAF), or in other formats"},
    {"finish.span", FIELD_WORD, false, AT(finish_span), 0, 0, 0, "which epochs these are",
     span_words},
    {"finish.keep", FIELD_WORD, false, AT(finish_keep), 0, 0, 0, "what they still quantize",
     keep_words},
    {"finish.lr", FIELD_FLOAT, false, AT(finish_lr), 0, 0, 1000,
     "peak learning rate of further epochs"},
    {"nonfinite", FIELD_WORD, false, AT(nonfinite), 0, 0, 0, "what a NaN or infinity does",
     policy_words},
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

/* ---- what a value may be -------------------------------------------------------------------- */

/* Appends to a list in text; what does not fit is left out. */
static void append(char *text, size_t n_bytes, const char *separator, const char *word)
{
    size_t used = strlen(text);
    size_t gap = used ? strlen(separator) : 0, n = strlen(word);
    if (used + gap + n + 1 > n_bytes)
        return;
    memcpy(text + used, separator, gap);
    memcpy(text + used + gap, word, n + 1);
}

int nyb_recipe_field_range(size_t i, char *text, size_t n_bytes)
{
    const nyb_field *f = &fields[i < N_FIELDS ? i : 0];
    char list[800] = "";
    if (i >= N_FIELDS)
        return -1;
    switch (f->kind) {
    case FIELD_GROUP:
    case FIELD_ROUNDING:
    case FIELD_MIX:
    case FIELD_WORD:
        for (const char *const *w = f->words; *w; w++)
            append(list, sizeof list, ", ", *w);
        break;
    case FIELD_NONNEG:
        append(list, sizeof list, ", ", "none");
        /* fall through */
    case FIELD_FORMAT:
        for (size_t k = 0; k < nyb_format_count(); k++)
            append(list, sizeof list, ", ", nyb_format_name(nyb_format_at(k)));
        break;
    case FIELD_SCALE:
        for (size_t k = 0; k < nyb_scale_rule_count(); k++)
            append(list, sizeof list, ", ", nyb_scale_rule_name(nyb_scale_rule_at(k)));
        break;
    case FIELD_SR_BITS:
        append(list, sizeof list, ", ", "16, 32");
        break;
    case FIELD_SPEC:
        append(list, sizeof list, ", ", "format/scale/group/rounding[/mix]");
        break;
    case FIELD_ACCUM:
        append(list, sizeof list, ", ", "format[/chunk][/rounding], f32: the engine's own");
        break;
    case FIELD_UPDATE:
        append(list, sizeof list, ", ", "format[/rounding], f32: not rounded");
        break;
    case FIELD_LAYERS:
        append(list, sizeof list, ", ", "none, PATTERN:WORD ... with words of edges");
        break;
    case FIELD_TEXT:
        snprintf(list, sizeof list, "text of at most %zu bytes", f->n_bytes - 1);
        break;
    case FIELD_INT:
    case FIELD_FLOAT:
        snprintf(list, sizeof list, "%.10g .. %.10g", f->lo, f->hi);
        break;
    }
    return snprintf(text, n_bytes, "%s", list);
}

/* ---- finding a key ------------------------------------------------------------------------ */

/* Levenshtein's distance, for words of at most 31 letters; longer ones are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], n = strlen(b);
    if (strlen(a) > 31 || n > 31)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = nyb_min(replaced, nyb_min(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

static nyb_status fail_unknown_key(const char *key, nyb_error *err)
{
    char close[120] = "", all[360] = "";
    size_t operand = 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (distance(key, fields[i].key) <= 2)
            append(close, sizeof close, ", ", fields[i].key);
        if (fields[i].kind == FIELD_SPEC)
            operand = strlen(fields[i].key);
        else if (operand && fields[i].key[operand] == '.' && i > 0 &&
                 strncmp(fields[i].key, fields[i - 1].key, operand) == 0)
            continue; /* an operand's own keys are named once */
        else
            operand = 0;
        append(all, sizeof all, ", ", fields[i].key);
    }
    if (*close)
        return nyb_fail(err, NYB_UNKNOWN, "a recipe has no key '%.60s'; close to it: %s", key,
                        close);
    return nyb_fail(err, NYB_UNKNOWN,
                    "a recipe has no key '%.60s'; its keys: %s; and of operands: .format .scale "
                    ".group .rounding .sr_bits .mix .samples .pre .post .nonneg .ste .ema .from",
                    key, all);
}

static const nyb_field *find(const char *key)
{
    for (size_t i = 0; i < N_FIELDS; i++)
        if (strcmp(fields[i].key, key) == 0)
            return &fields[i];
    return NULL;
}

/* ---- setting ------------------------------------------------------------------------------ */

static nyb_status fail_value(const nyb_field *f, const char *value, nyb_status status,
                             nyb_error *err)
{
    char range[400];
    nyb_recipe_field_range((size_t)(f - fields), range, sizeof range);
    return nyb_fail(err, status, "%s = '%.60s' is not one of: %s", f->key, value, range);
}

static bool find_word(const char *const *words, const char *word, int *index)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], word) == 0) {
            *index = i;
            return true;
        }
    return false;
}

bool nyb_edge_find(const char *word, nyb_edge *edge)
{
    int index;

    if (!find_word(edge_words, word, &index))
        return false;
    *edge = (nyb_edge)index;
    return true;
}

static nyb_status set_word(const nyb_field *f, const char *value, int *index, nyb_error *err)
{
    return find_word(f->words, value, index) ? NYB_OK : fail_value(f, value, NYB_UNKNOWN, err);
}

static nyb_status set_number(const nyb_field *f, const char *value, double *number, nyb_error *err)
{
    const char *end;
    errno = 0;
    double v = nyb_number_parse(value, &end);
    if (end == value || *end || errno == ERANGE)
        return nyb_fail(err, NYB_INVALID, "%s = '%.60s' is not a number", f->key, value);
    if (f->kind == FIELD_INT && v != floor(v))
        return nyb_fail(err, NYB_INVALID, "%s = %.60s is not a whole number", f->key, value);
    if (!(v >= f->lo && v <= f->hi))
        return nyb_fail(err, NYB_INVALID, "%s = %.60s is out of its range %.10g .. %.10g", f->key,
                        value, f->lo, f->hi);
    *number = v;
    return NYB_OK;
}

static nyb_status set_text(const nyb_field *f, const char *value, char *text, nyb_error *err)
{
    if (strlen(value) >= f->n_bytes)
        return nyb_fail(err, NYB_LIMIT, "%s is %zu bytes long; at most %zu fit", f->key,
                        strlen(value), f->n_bytes - 1);
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < ' ')
            return nyb_fail(err, NYB_INVALID, "%s contains a control character", f->key);
    if (strcmp(f->key, "name") == 0 && *value == 0)
        return nyb_fail(err, NYB_INVALID, "name is empty");
    if (strcmp(f->key, "name") == 0 && !nyb_text_is_utf8(value)) /* it is looked for in JSON */
        return nyb_fail(err, NYB_INVALID, "name is not UTF-8");
    memcpy(text, value, strlen(value) + 1);
    return NYB_OK;
}

/* The format alone changes; scale and rounding stay, except that an operand that was not quantized
 * takes the new format's defaults. */
static nyb_status set_format(const nyb_field *f, const char *value, nyb_spec *spec, nyb_error *err)
{
    const nyb_format *format = nyb_format_find(value);
    if (!format)
        return fail_value(f, value, NYB_UNKNOWN, err);
    bool was_real = spec->format->grid == NYB_GRID_REAL;
    if (was_real || format->grid == NYB_GRID_REAL)
        return nyb_spec_parse(value, spec, err);
    spec->format = format;
    return NYB_OK;
}

/* A part of an operand other than its format. */
static nyb_status set_part(const nyb_field *f, const char *value, nyb_spec *spec, nyb_error *err)
{
    if (spec->format->grid == NYB_GRID_REAL)
        return nyb_fail(err, NYB_INVALID,
                        "%s: this operand is f32, not quantized; set its format first", f->key);
    int index = 0;
    if (f->kind == FIELD_SCALE) {
        const nyb_scale_rule *rule = nyb_scale_rule_find(value);
        if (!rule)
            return fail_value(f, value, NYB_UNKNOWN, err);
        spec->scale = rule;
    } else if (f->kind == FIELD_GROUP) {
        NYB_TRY(set_word(f, value, &index, err));
        spec->group = (nyb_group)index;
    } else if (f->kind == FIELD_ROUNDING) {
        NYB_TRY(set_word(f, value, &index, err));
        spec->rounding = (nyb_rounding)index;
    } else if (f->kind == FIELD_MIX) {
        NYB_TRY(set_word(f, value, &index, err));
        spec->mix = (nyb_mix)index;
    } else {
        if (strcmp(value, "16") != 0 && strcmp(value, "32") != 0)
            return fail_value(f, value, NYB_INVALID, err);
        spec->sr_bits = value[0] == '1' ? 16 : 32;
    }
    return NYB_OK;
}

static nyb_status set_spec(const nyb_field *f, const char *value, nyb_spec *spec, nyb_error *err)
{
    nyb_error inner;
    nyb_status status = nyb_spec_parse(value, spec, &inner);
    if (status != NYB_OK)
        return nyb_fail(err, status, "%s = '%.60s': %s", f->key, value, inner.text);
    return NYB_OK;
}

static nyb_status set_nonneg(const nyb_field *f, const char *value, const nyb_format **format,
                             nyb_error *err)
{
    if (strcmp(value, "none") == 0) {
        *format = NULL;
        return NYB_OK;
    }
    const nyb_format *found = nyb_format_find(value);
    if (!found)
        return fail_value(f, value, NYB_UNKNOWN, err);
    *format = found;
    return NYB_OK;
}

static nyb_status set_accum(const nyb_field *f, const char *value, nyb_accum *accum, nyb_error *err)
{
    nyb_error inner;
    nyb_status status = nyb_accum_parse(value, accum, &inner);
    if (status != NYB_OK)
        return nyb_fail(err, status, "%s = '%.60s': %s", f->key, value, inner.text);
    return NYB_OK;
}

/* format[/rounding]; a format of floats. */
static nyb_status set_update(const nyb_field *f, const char *value, nyb_update *update,
                             nyb_error *err)
{
    nyb_update made = {.rounding = NYB_ROUND_STOCHASTIC};
    char word[64];
    const char *slash = strchr(value, '/');
    snprintf(word, sizeof word, "%.*s", slash ? (int)(slash - value) : 63, value);
    made.format = nyb_format_find(word);
    if (!made.format || (made.format->grid != NYB_GRID_FLOAT && made.format->grid != NYB_GRID_REAL))
        return nyb_fail(err, NYB_UNKNOWN,
                        "%s = '%.60s': the format is f32, fp16, bf16, dlfloat16, or eXmY", f->key,
                        value);
    if (slash && strcmp(slash + 1, "nearest") == 0)
        made.rounding = NYB_ROUND_NEAREST;
    else if (slash && strcmp(slash + 1, "stochastic") != 0)
        return nyb_fail(err, NYB_UNKNOWN, "%s = '%.60s': the rounding is nearest or stochastic",
                        f->key, value);
    *update = made;
    return NYB_OK;
}

nyb_status nyb_recipe_set_field(nyb_recipe *recipe, const char *key, const char *value,
                                nyb_error *err)
{
    const nyb_field *f = find(key);
    if (!f)
        return fail_unknown_key(key, err);
    void *member = (char *)recipe + f->offset;
    double number = 0;
    int index = 0;
    switch (f->kind) {
    case FIELD_LAYERS:
        value = strcmp(value, "none") == 0 ? "" : value;
        NYB_TRY(nyb_layer_rules_check(value, err));
        /* fall through */
    case FIELD_TEXT:
        return set_text(f, value, member, err);
    case FIELD_SPEC:
        NYB_TRY(set_spec(f, value, member, err));
        ((nyb_row *)member)->nonneg = NULL; /* it was the former format's */
        return NYB_OK;
    case FIELD_FORMAT:
        NYB_TRY(set_format(f, value, member, err));
        ((nyb_row *)member)->nonneg = NULL;
        return NYB_OK;
    case FIELD_SCALE:
    case FIELD_GROUP:
    case FIELD_ROUNDING:
    case FIELD_SR_BITS:
    case FIELD_MIX:
        return set_part(f, value, member, err);
    case FIELD_NONNEG:
        return set_nonneg(f, value, member, err);
    case FIELD_ACCUM:
        return set_accum(f, value, member, err);
    case FIELD_UPDATE:
        return set_update(f, value, member, err);
    case FIELD_INT:
        NYB_TRY(set_number(f, value, &number, err));
        *(int *)member = (int)number;
        return NYB_OK;
    case FIELD_FLOAT:
        NYB_TRY(set_number(f, value, &number, err));
        *(float *)member = nyb_number_to_float(number);
        return NYB_OK;
    case FIELD_WORD:
        NYB_TRY(set_word(f, value, &index, err));
        memcpy(member, &index, sizeof index);
        return NYB_OK;
    }
    return NYB_OK;
}

/* ---- printing ----------------------------------------------------------------------------- */

/* The word of a part; "" if it does not apply. */
static const char *part_word(const nyb_field *f, const nyb_spec *spec)
{
    bool is_real = spec->format->grid == NYB_GRID_REAL;
    if (f->kind == FIELD_FORMAT)
        return nyb_format_name(spec->format);
    if (is_real)
        return "";
    if (f->kind == FIELD_SCALE)
        return nyb_scale_rule_name(spec->scale);
    if (f->kind == FIELD_GROUP)
        return group_words[spec->group];
    if (f->kind == FIELD_ROUNDING)
        return rounding_words[spec->rounding];
    if (f->kind == FIELD_MIX)
        return mix_words[spec->mix];
    if (!nyb_rounding_draws(spec->rounding))
        return "";
    return spec->sr_bits == 32 ? "32" : "16";
}

static int print_spec(const nyb_spec *spec, char *text, size_t n_bytes)
{
    if (spec->format->grid == NYB_GRID_REAL)
        return snprintf(text, n_bytes, "%s", nyb_format_name(spec->format));
    return nyb_spec_print(spec, text, n_bytes);
}

static int print_update(const nyb_update *update, char *text, size_t n_bytes)
{
    const bool exact = update->format->grid == NYB_GRID_REAL;

    return snprintf(text, n_bytes, "%s%s%s", update->format->name, exact ? "" : "/",
                    exact ? "" : rounding_words[update->rounding]);
}

int nyb_recipe_field_print(const nyb_recipe *recipe, size_t i, char *text, size_t n_bytes)
{
    const nyb_field *f = &fields[i < N_FIELDS ? i : 0];
    const void *member = (const char *)recipe + f->offset;
    const char *word = "";
    char number[NYB_NUMBER_BYTES];
    int index;
    if (i >= N_FIELDS)
        return -1;
    switch (f->kind) {
    case FIELD_TEXT:
        word = member;
        break;
    case FIELD_LAYERS:
        word = *(const char *)member ? member : "none";
        break;
    case FIELD_SPEC:
        return print_spec(member, text, n_bytes);
    case FIELD_FORMAT:
    case FIELD_SCALE:
    case FIELD_GROUP:
    case FIELD_ROUNDING:
    case FIELD_SR_BITS:
    case FIELD_MIX:
        word = part_word(f, member);
        break;
    case FIELD_ACCUM:
        return nyb_accum_print(member, text, n_bytes);
    case FIELD_UPDATE:
        return print_update(member, text, n_bytes);
    case FIELD_NONNEG: {
        const nyb_format *format = *(const nyb_format *const *)member;
        word = format ? nyb_format_name(format) : "none";
        break;
    }
    case FIELD_INT:
        return snprintf(text, n_bytes, "%d", *(const int *)member);
    case FIELD_FLOAT:
        word = nyb_number_print_float(*(const float *)member, number);
        break;
    case FIELD_WORD:
        memcpy(&index, member, sizeof index);
        word = f->words[index];
        break;
    }
    return snprintf(text, n_bytes, "%s", word);
}

int nyb_recipe_print(const nyb_recipe *recipe, const char *key, char *text, size_t n_bytes)
{
    const nyb_field *f = find(key);
    return f ? nyb_recipe_field_print(recipe, (size_t)(f - fields), text, n_bytes) : -1;
}

size_t nyb_recipe_field_count(void)
{
    return N_FIELDS;
}

const char *nyb_recipe_field_key(size_t i)
{
    return i < N_FIELDS ? fields[i].key : NULL;
}

const char *nyb_recipe_field_help(size_t i)
{
    return i < N_FIELDS ? fields[i].help : NULL;
}

int nyb_recipe_field_is_part(size_t i)
{
    return i < N_FIELDS && fields[i].is_part;
}

size_t nyb_recipe_field_find(const char *key)
{
    const nyb_field *f = find(key);
    return f ? (size_t)(f - fields) : N_FIELDS;
}

bool nyb_recipe_field_undoes(size_t i, size_t earlier)
{
    const nyb_field *f = &fields[i], *g = &fields[earlier];
    if (i == earlier)
        return true;
    /* the keys of one operand begin alike: fwd.x, fwd.x.format, fwd.x.nonneg */
    const size_t n = strlen(f->key) - (f->kind == FIELD_FORMAT ? strlen(".format") : 0);
    if ((f->kind != FIELD_SPEC && f->kind != FIELD_FORMAT) || strncmp(f->key, g->key, n) != 0)
        return false;
    return g->kind == FIELD_NONNEG || (f->kind == FIELD_SPEC && g->is_part);
}

/* ---- the whole ---------------------------------------------------------------------------- */

nyb_status nyb_recipe_init(nyb_recipe *recipe, nyb_error *err)
{
    nyb_spec real;
    NYB_TRY(nyb_spec_parse("f32", &real, err));
    nyb_row row = {.spec = real, .samples = 1, .pre = 1.0f, .post = 1.0f};
    nyb_accum exact = {.format = real.format};
    *recipe = (nyb_recipe){
        .name = "f32",
        .fwd_x = row,
        .fwd_w = row,
        .dgrad_dy = row,
        .dgrad_w = row,
        .wgrad_dy = row,
        .wgrad_x = row,
        .edges = NYB_EDGE_F32,
        .shortcut = NYB_EDGE_F32,
        .pointwise = NYB_EDGE_RECIPE,
        .fwd_accum = exact,
        .dgrad_accum = exact,
        .wgrad_accum = exact,
        .update = {.format = real.format},
        .loss_scale_start = 65536.0f,
        .store = NYB_STORE_F32,
        .recompute = NYB_RECOMPUTE_NONE,
        .eval_scale = NYB_EVAL_FROZEN,
        .eval_decay = 0.9f,
        .finish_epochs = 0,
        .finish_lr = 0.02f,
        .nonfinite = NYB_POLICY_STOP,
    };
    return NYB_OK;
}
