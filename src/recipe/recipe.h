/* The record of a recipe: three products times two operands, and what surrounds them. */
#ifndef NYB_RECIPE_INTERNAL_H
#define NYB_RECIPE_INTERNAL_H

#include <nybble/recipe.h>

#include "gemm/conv.h"
#include "quant/quant.h"

/* X(constant, word, sentence) */
#define NYB_FROM_LIST(X)                                                                           \
    X(NYB_FROM_RAW, "raw", "the tensor itself")                                                    \
    X(NYB_FROM_FWD, "fwd", "the values of the forward's codes: quantized twice")
typedef enum nyb_from {
#define X(constant, word, sentence) constant,
    NYB_FROM_LIST(X)
#undef X
} nyb_from;

#define NYB_STE_LIST(X)                                                                            \
    X(NYB_STE_PASS, "pass", "the gradient passes everywhere")                                      \
    X(NYB_STE_MASK, "mask", "no gradient where the element was clipped")
typedef enum nyb_ste {
#define X(constant, word, sentence) constant,
    NYB_STE_LIST(X)
#undef X
} nyb_ste;

#define NYB_SAMPLES_MAX 16 /* of an operand; more would share random bits with other tensors' */

typedef struct nyb_row {
    nyb_spec spec;            /* format f32: the operand is not quantized                     */
    const nyb_format *nonneg; /* format instead where the graph knows x >= 0; NULL: spec's    */
    int samples;              /* SMP: independent draws averaged; 1 .. NYB_SAMPLES_MAX         */
    nyb_from from;            /* w of dgrad, x of wgrad                                       */
    nyb_ste ste;              /* fwd.x, fwd.w                                                 */
    float pre, post;          /* multipliers before rounding and of the result: 1; 3/4 and 4/3 */
    float ema; /* fwd.w: decay of the weights' mean that they round towards; 0: none */
} nyb_row;

_Static_assert(offsetof(nyb_row, spec) == 0, "field.c finds the row of a spec");

static inline bool nyb_row_is_f32(const nyb_row *row)
{
    return row->spec.format->grid == NYB_GRID_REAL;
}

/* The optimizer's three updates (L2, momentum, weight): f32, or rounded to a format. */
typedef struct nyb_update {
    const nyb_format *format;
    nyb_rounding rounding;
} nyb_update;

#define NYB_LOSS_SCALE_LIST(X)                                                                     \
    X(NYB_LOSS_SCALE_NONE, "none", "gradients of the loss itself")                                 \
    X(NYB_LOSS_SCALE_FIXED, "fixed", "gradients times loss_scale.start, taken back at the update") \
    X(NYB_LOSS_SCALE_DYNAMIC, "dynamic", "halved on overflow, doubled after 2000 good steps")
typedef enum nyb_loss_scale {
#define X(constant, word, sentence) constant,
    NYB_LOSS_SCALE_LIST(X)
#undef X
} nyb_loss_scale;

/* X(constant, word, sentence) */
#define NYB_EDGE_LIST(X)                                                                           \
    X(NYB_EDGE_F32, "f32", "not quantized")                                                        \
    X(NYB_EDGE_RECIPE, "recipe", "quantized as every other layer")                                 \
    X(NYB_EDGE_INT8, "int8", "int8, absmax, gradients stochastic")                                 \
    X(NYB_EDGE_FP8, "fp8", "e4m3b11 forward, e5m2 gradients, no scales")                           \
    X(NYB_EDGE_FP16, "fp16", "fp16 operands, no scales")                                           \
    X(NYB_EDGE_BF16, "bf16", "bf16 operands, no scales")                                           \
    X(NYB_EDGE_HBFP6, "hbfp6", "int6 in blocks of 64 with powers of two, gradients stochastic")
typedef enum nyb_edge {
#define X(constant, word, sentence) constant,
    NYB_EDGE_LIST(X)
#undef X
} nyb_edge;

#define NYB_EVAL_LIST(X)                                                                           \
    X(NYB_EVAL_FROZEN, "frozen", "activation clips frozen: exponential mean of training's")        \
    X(NYB_EVAL_BATCH, "batch", "activation clips from each evaluation batch")
typedef enum nyb_eval_scale {
#define X(constant, word, sentence) constant,
    NYB_EVAL_LIST(X)
#undef X
} nyb_eval_scale;

#define NYB_STORE_LIST(X)                                                                          \
    X(NYB_STORE_F32, "f32", "as they are computed")                                                \
    X(NYB_STORE_BF16, "bf16", "rounded to the nearest bf16, which all that read them see")         \
    X(NYB_STORE_BF16_STOCHASTIC, "bf16/stochastic", "rounded to a neighbour in bf16, unbiased")
typedef enum nyb_store {
#define X(constant, word, sentence) constant,
    NYB_STORE_LIST(X)
#undef X
} nyb_store;

#define NYB_RECOMPUTE_LIST(X)                                                                      \
    X(NYB_RECOMPUTE_NONE, "none", "kept from the forward pass")                                    \
    X(NYB_RECOMPUTE_PRODUCTS, "products", "multiplied again from operands that are kept anyway")
typedef enum nyb_recompute {
#define X(constant, word, sentence) constant,
    NYB_RECOMPUTE_LIST(X)
#undef X
} nyb_recompute;

/* X(constant, word, edge, sentence); edge: what layers that are quantized become */
#define NYB_KEEP_LIST(X)                                                                           \
    X(NYB_KEEP_WEIGHTS, "weights", NYB_EDGE_RECIPE, "FNT: activations and gradients are f32")      \
    X(NYB_KEEP_FORWARD, "forward", NYB_EDGE_RECIPE,                                                \
      "QAF: gradients are bf16, and so are the values they meet")                                  \
    X(NYB_KEEP_F32, "f32", NYB_EDGE_F32, "nothing; nor does evaluation")                           \
    X(NYB_KEEP_BF16, "bf16", NYB_EDGE_BF16, "what was quantized is bf16, in evaluation too")       \
    X(NYB_KEEP_FP16, "fp16", NYB_EDGE_FP16, "... fp16")                                            \
    X(NYB_KEEP_FP8, "fp8", NYB_EDGE_FP8, "... e4m3b11 forward, e5m2 gradients")                    \
    X(NYB_KEEP_HBFP6, "hbfp6", NYB_EDGE_HBFP6, "... int6 in blocks of 64 with powers of two")
typedef enum nyb_keep {
#define X(constant, word, edge, sentence) constant,
    NYB_KEEP_LIST(X)
#undef X
} nyb_keep;

#define NYB_SPAN_LIST(X)                                                                           \
    X(NYB_SPAN_FURTHER, "further", "epochs after those of the run, whose rate is a triangle")      \
    X(NYB_SPAN_LAST, "last", "the run's own last epochs, and its own rate")
typedef enum nyb_span {
#define X(constant, word, sentence) constant,
    NYB_SPAN_LIST(X)
#undef X
} nyb_span;

#define NYB_POLICY_LIST(X)                                                                         \
    X(NYB_POLICY_STOP, "stop", "end the run with an error that names step and layer")              \
    X(NYB_POLICY_SKIP, "skip", "leave the weights as they are for this step")                      \
    X(NYB_POLICY_CONTINUE, "continue", "count, and go on")
typedef enum nyb_policy {
#define X(constant, word, sentence) constant,
    NYB_POLICY_LIST(X)
#undef X
} nyb_policy;

/* Copied by assignment: it owns nothing. */
struct nyb_recipe {
    char name[160], about[160], source[320], differs[960];
    /* w of dgrad and x of wgrad are shared with fwd when specs agree */
    nyb_row fwd_x, fwd_w, dgrad_dy, dgrad_w, wgrad_dy, wgrad_x;
    nyb_edge edges;     /* first convolution (or first GEMM) and last linear */
    nyb_edge shortcut;  /* 1x1 shortcut convolutions */
    nyb_edge pointwise; /* other 1x1 convolutions */
    char layers[200];   /* rules for layers by name or place, before those three; "": none */
    nyb_accum fwd_accum, dgrad_accum, wgrad_accum;
    nyb_update update;
    nyb_loss_scale loss_scale;
    float loss_scale_start; /* 65536 */
    nyb_engine engine;
    nyb_store store; /* pre-activations of batch normalisation, and gradients that a product leaves
                        for it */
    nyb_recompute recompute; /* how its backward pass gets those pre-activations */
    nyb_eval_scale eval_scale;
    float eval_decay;     /* of the exponential mean: 0.9 */
    int finish_epochs;    /* at the end, of which less or something else is quantized */
    nyb_span finish_span; /* which epochs these are */
    nyb_keep finish_keep; /* what still is quantized */
    float finish_lr;      /* peak of further epochs' triangle */
    nyb_policy nonfinite;
};

/* A built-in recipe: the text of a recipe file, read by the same code as a user's. */
typedef struct nyb_recipe_record {
    const char *name, *about, *source;
    const char *differs; /* one sentence: how this departs from the source */
    const char *base;    /* the recipe whose fields it starts from; NULL: all defaults (f32); its
                            source and differs hold where those above are NULL */
    const char *fields;  /* `key = value` lines */
} nyb_recipe_record;

/* NULL-terminated. Adding one: its file, and its word in the list of src/recipe/meson.build. */
extern const nyb_recipe_record *const nyb_recipe_records[];

/* ---- field.c: the one table of keys ------------------------------------------------------- */

/* A recipe of f32 everywhere: where every recipe begins. */
NYB_MUST_CHECK nyb_status nyb_recipe_init(nyb_recipe *recipe, nyb_error *err);
/* Sets one key; checks words and ranges, not the combination. */
NYB_MUST_CHECK nyb_status nyb_recipe_set_field(nyb_recipe *recipe, const char *key,
                                               const char *value, nyb_error *err);
/* Whether setting field i makes it pointless that field `earlier` was set before: it is the same, a
 * part of it, or `nonneg` of another format. */
bool nyb_recipe_field_undoes(size_t i, size_t earlier);
/* nyb_recipe_field_count() if no field is called so. */
size_t nyb_recipe_field_find(const char *key);
/* check.c: what single fields cannot know: whether every operand and product can exist. */
NYB_MUST_CHECK nyb_status nyb_recipe_check(const nyb_recipe *recipe, nyb_error *err);
/* The part of it that holds after each change of a key: operands, not yet whole products. */
NYB_MUST_CHECK nyb_status nyb_recipe_check_rows(const nyb_recipe *recipe, nyb_error *err);

/* SHA-256 of what decides results: "key = value" lines of the fields that f32 has otherwise, so
 * that a key which a later version adds changes no older hash. Names and texts do not count, nor
 * does `recompute`: the same bits. */
NYB_MUST_CHECK nyb_status nyb_recipe_sha256(const nyb_recipe *recipe, char hex[65], nyb_error *err);

/* Whether a word names an edge, and which. */
bool nyb_edge_find(const char *word, nyb_edge *edge);

/* ---- layers.c: rules for single layers ------------------------------------------------------ */

/* Of the layers with products, in the model's order, those whose name a shell pattern fits, or the
 * first or last of them: firstN, lastN, firstN%, lastN% (to the nearest number of layers). The
 * first rule that fits a layer counts. */
typedef struct nyb_layer_rule {
    char pattern[64];
    nyb_edge edge;
} nyb_layer_rule;

/* The next rule of a text, which then begins behind it; false: there is none, or, where err has a
 * text, what is there is none. */
bool nyb_layer_rule_next(const char **text, nyb_layer_rule *rule, nyb_error *err);
NYB_MUST_CHECK nyb_status nyb_layer_rules_check(const char *text, nyb_error *err);
/* index: of the layer, among the n with products. */
bool nyb_layer_rule_fits(const nyb_layer_rule *rule, const char *name, size_t index, size_t n);

/* ---- text.c: recipe files ----------------------------------------------------------------- */

/* Applies `key = value` lines; each key once, and none that a later one undoes. where names the
 * text in errors ("my.recipe"). A `base` line is handed to set_base, and must come first. */
typedef nyb_status nyb_recipe_base_fn(nyb_recipe *recipe, const char *base, int depth,
                                      nyb_error *err);
NYB_MUST_CHECK nyb_status nyb_recipe_apply_text(nyb_recipe *recipe, const char *where,
                                                const char *text, nyb_recipe_base_fn *set_base,
                                                int depth, nyb_error *err);

#endif
