/* A model's layers, and the programs they compile to: explicit steps in one planned memory. */
#ifndef NYB_GRAPH_H
#define NYB_GRAPH_H

#include <nybble/model.h>
#include <nybble/train.h>

#include "gemm/conv.h"
#include "gemm/depthwise.h"
#include "gemm/group_conv.h"
#include "gemm/store.h"
#include "op/op.h"
#include "quant/householder.h"
#include "quant/regroup.h"
#include "recipe/recipe.h"

/* ---- the model: what the caller described --------------------------------------------------- */

typedef struct nyb_layer {
    const nyb_op *op; /* NULL: the input */
    char *name;       /* "layer1.0.conv1"; "relu3" where the caller gave none */
    nyb_attr attr;
    int in[NYB_OP_INPUTS]; /* layers whose outputs are read */
    nyb_shape shape;       /* of the output, n = 1 */
    bool nonneg;           /* the output is known to be >= 0 */
    bool shortcut;
    bool trained; /* it, or a layer that leads to it, has parameters: its gradient is wanted */
    int gemm;     /* index among GEMM layers (the random streams' tensor), or -1 */
} nyb_layer;

struct nyb_model {
    char *name;
    nyb_layer *layers;
    int n_layers, n_capacity;
    int n_gemms, first_gemm, last_gemm; /* layers; -1: none */
    nyb_error failure;                  /* the first; status NYB_OK: none */
    bool finished;                      /* then the last layer is softmax_xent */
};

/* The operand positions of a GEMM layer: the six rows of a recipe. X(constant, word, role) */
#define NYB_SLOT_LIST(X)                                                                           \
    X(NYB_SLOT_FWD_X, "fwd.x", NYB_RNG_X_FWD)                                                      \
    X(NYB_SLOT_FWD_W, "fwd.w", NYB_RNG_W_FWD)                                                      \
    X(NYB_SLOT_DGRAD_DY, "dgrad.dy", NYB_RNG_DY_DX)                                                \
    X(NYB_SLOT_DGRAD_W, "dgrad.w", NYB_RNG_W_DX)                                                   \
    X(NYB_SLOT_WGRAD_DY, "wgrad.dy", NYB_RNG_DY_DW)                                                \
    X(NYB_SLOT_WGRAD_X, "wgrad.x", NYB_RNG_X_DW)
typedef enum nyb_slot {
#define X(constant, word, role) constant,
    NYB_SLOT_LIST(X)
#undef X
} nyb_slot;
#define NYB_SLOTS 6
const char *nyb_slot_name(nyb_slot slot);

/* What a (layer, slot) remembers between steps; all floats, saved in checkpoints. */
typedef struct nyb_slot_state {
    float rule[NYB_SCALE_STATE_MAX]; /* of the scale rule */
    float clip_mean;                 /* exponential mean of training's clips (fwd.x) */
    float started; /* 1 once clip_mean holds a clip, or learned parameters have begun; else 0 */
} nyb_slot_state;

/* ---- a program: the steps of one mode ------------------------------------------------------- */

/* X(constant, word) */
#define NYB_MODE_LIST(X)                                                                           \
    X(NYB_MODE_TRAIN, "train")                                                                     \
    X(NYB_MODE_FINISH, "finish")           /* what finish.keep leaves; other sums exact */         \
    X(NYB_MODE_EVAL, "eval")               /* the recipe's forward, as deployed */                 \
    X(NYB_MODE_EVAL_FINISH, "eval-finish") /* weights quantized, activations f32 */
typedef enum nyb_mode {
#define X(constant, word) constant,
    NYB_MODE_LIST(X)
#undef X
} nyb_mode;
#define NYB_MODES 4
_Static_assert(NYB_MODES == NYB_MODE_EVAL_FINISH + 1, "all of them");

/* With a backward pass. */
static inline bool nyb_mode_trains(nyb_mode mode)
{
    return mode == NYB_MODE_TRAIN || mode == NYB_MODE_FINISH;
}

/* Quantized is what finish.keep says. */
static inline bool nyb_mode_finishes(nyb_mode mode)
{
    return mode == NYB_MODE_FINISH || mode == NYB_MODE_EVAL_FINISH;
}

/* Where a buffer lives: planned ones share memory by lifetime, the others are always there. */
typedef enum nyb_home {
    NYB_HOME_PLANNED,
    NYB_HOME_INPUT,
    NYB_HOME_RESULT,
    NYB_HOME_PARAM,   /* params[param].value */
    NYB_HOME_GRADIENT /* params[param].gradient */
} nyb_home;

/* A piece of memory, live from step `first` to step `last`, maybe with a gap. */
typedef struct nyb_buffer {
    const char *what; /* "output", "codes", "gradient", ... */
    int layer;
    nyb_home home;
    int param; /* index into graph->params, or -1 */
    size_t n_bytes;
    int first, last; /* -1: never used */
    int gone, again; /* not live after step `gone` until step `again` fills it again; -1: no gap */
    size_t offset;   /* planned: in the program's part of the arena */
    void *memory;    /* set by nyb_program_bind */
} nyb_buffer;

static inline bool nyb_buffer_is_live(const nyb_buffer *b, int step)
{
    return b->first <= step && step <= b->last &&
           (b->again < 0 || step <= b->gone || step >= b->again);
}

/* How the codes of one quant come from those of another. */
typedef enum nyb_order {
    NYB_ORDER_OWN,     /* they do not: rounded or encoded */
    NYB_ORDER_ROWS,    /* the same rows in other groups */
    NYB_ORDER_TURNED,  /* rows become columns */
    NYB_ORDER_WINDOWS, /* turned, under each tap */
} nyb_order;

/* One quantized tensor of a program: packed codes (one scale), be they encoded or rounded first,
 * grouped codes (a scale for each block), or rounded real values. */
typedef struct nyb_quant {
    int layer; /* a GEMM layer */
    nyb_slot slot;
    nyb_spec spec;
    int real, codes; /* buffers; codes -1: observed only, or rounded */
    int blocks;      /* buffer of real's moments in blocks, left by its producer; -1: none */
    bool unstored;   /* real is not in memory: the encode step's producer makes its rows */
    nyb_block_moments *block_moments; /* it, bound; NULL: moments are taken from real */
    bool late;  /* this step's scale was known before real; the encode step leaves its moments */
    int shares; /* quant whose moments and scale this one takes (SMP samples), or -1 */
    int param;  /* of a learned scale rule: index into graph->params, or -1 */
    int mean;   /* of weights that round towards it: index into graph->params, or -1 */
    uint8_t role, sample;
    nyb_moments moments;
    nyb_packed packed; /* packed.scale is this step's scale */

    bool rounds;  /* by round.h: values, or codes */
    bool packs;   /* to packed codes */
    int lines;    /* buffer of what they are worth; -1: one scale, maybe a zero */
    int reflects; /* buffer of the reflection that they were rounded after, which the product's
                     result takes back; -1: none */
    nyb_householder reflection;
    int values;  /* buffer; -1: packed or grouped */
    bool groups; /* codes, and scales in the order of groups; others have one scale */
    int scales;  /* buffer; -1: not grouped */
    nyb_grouped grouped;
    size_t taps;  /* of nyb_round_codes: 1, of weights along dY those of the filter */
    bool windows; /* grouped holds all taps of x, one after the other */
    int from;     /* quant whose values are rounded again instead of real, or -1 */
    bool mixed;   /* these are mixed, in the basis in which they were rounded: the product's result
                     is, too, until an ste step takes it back */
    nyb_order order;
    int order_of; /* quant whose codes these are in another order, or -1 */
    nyb_view view;
    uint8_t product; /* the signs of a random mix are those of a product */
    int samples;     /* draws that are averaged in values */
    int draws;       /* draws, this one among them, that a product takes the mean of */
    bool unmixes;    /* values are in the tensor's own basis again */
    float pre, post;
} nyb_quant;

/* What a quant leaves for products: buffers, some maybe -1. */
#define NYB_QUANT_BUFFERS 5
static inline void nyb_quant_buffers(const nyb_quant *q, int list[NYB_QUANT_BUFFERS])
{
    list[0] = q->values;
    list[1] = q->codes;
    list[2] = q->scales;
    list[3] = q->lines;
    list[4] = q->reflects;
}

/* Whether products take its codes, of one scale. */
static inline bool nyb_quant_is_packed(const nyb_quant *q)
{
    return !q->rounds || q->packs;
}

/* X(constant, word) */
#define NYB_STEP_LIST(X)                                                                           \
    X(NYB_STEP_MOMENTS, "moments")                                                                 \
    X(NYB_STEP_SCALE, "scale")                                                                     \
    X(NYB_STEP_ENCODE, "encode")                                                                   \
    X(NYB_STEP_ROUND, "round")     /* a tensor to rounded real values, or grouped codes */         \
    X(NYB_STEP_REGROUP, "regroup") /* codes to the order of another product */                     \
    X(NYB_STEP_SAMPLE, "sample")   /* the pixels of an f32 tensor that a 1x1 window sees */        \
    X(NYB_STEP_AGAIN, "again")     /* a tensor that batchnorm made, made again for dW */           \
    X(NYB_STEP_PRODUCT, "gemm")                                                                    \
    X(NYB_STEP_REPEAT, "gemm again") /* a product of the forward pass, for the backward pass */    \
    X(NYB_STEP_TAPS, "taps")         /* dW, each tap's patch rows rounded for themselves */        \
    X(NYB_STEP_REFLECT, "reflect")   /* a gradient of reflected samples to that of samples */      \
    X(NYB_STEP_ESTIMATE, "ste")      /* from the gradient of a quantized tensor to the tensor's */ \
    X(NYB_STEP_FORWARD, "forward")                                                                 \
    X(NYB_STEP_BACKWARD, "backward")
typedef enum nyb_step_kind {
#define X(constant, word) constant,
    NYB_STEP_LIST(X)
#undef X
} nyb_step_kind;

/* An operand of a product while a program is built: a quant or a real buffer; the other is -1. */
typedef struct nyb_source {
    int quant, real;
} nyb_source;

typedef struct nyb_step {
    nyb_step_kind kind;
    int layer;
    int quant; /* moments, scale, encode, round, regroup, taps (x), reflect, ste */

    /* product */
    nyb_product product;
    nyb_conv *conv;           /* owned; NULL: group or depthwise */
    nyb_group_conv *group;    /* owned; of grouped operands, else NULL */
    nyb_depthwise *depthwise; /* owned; of depthwise layers, else NULL */
    nyb_conv_shape shape;     /* taps: of the layer; conv is the 1x1 product of one tap; sample */
    int tap;                  /* taps: buffer of one tap's dw, or of the scales of all taps */
    int n_a;
    nyb_source a[NYB_SAMPLES_MAX], b;
    nyb_operand a_bound[NYB_SAMPLES_MAX], b_bound;
    const nyb_grouped *a_grouped[NYB_SAMPLES_MAX], *b_grouped;
    const float *bias;
    bool add;
    bool rounds; /* to bf16 */
    bool masks;  /* ste: where rounding clipped there is no gradient */
    bool mixed;  /* ste: the gradient is that of mixed values */
    int keeper;  /* the batchnorm layer for which a forward product stores bf16 */
    int out;

    bool half; /* product: out, backward: dout is a buffer of bf16 */

    /* forward, backward: buffers while building, then bound into args */
    int in[NYB_OP_INPUTS], dout, din[NYB_OP_INPUTS], saved;
    int residual, mask, kept, stored, blocks, coefs; /* of args.fused */
    int producer; /* encode, again: the step that makes rows of a tensor nobody stored; repeat: the
                     product; or -1 */
    int lagging;  /* that step: the quant, whose scale may be known beforehand; or -1 */
    nyb_op_args args;
} nyb_step;

typedef struct nyb_program {
    nyb_mode mode;
    nyb_step *steps;
    int n_steps, n_steps_capacity;
    int n_forward; /* steps before the first backward step */
    nyb_buffer *buffers;
    int n_buffers, n_buffers_capacity;
    nyb_quant *quants;
    int n_quants, n_quants_capacity;
    size_t n_bytes;   /* of the plan */
    size_t n_scratch; /* bytes */
} nyb_program;

/* ---- the graph: model x recipe x batch, bound to memory ------------------------------------- */

typedef struct nyb_param {
    int layer, index;
    const struct nyb_scale_rule *rule; /* of a learned scale; NULL: the layer's own */
    char *name;                        /* "layer1.0.conv1.weight" */
    size_t n;
    int n_dims;
    size_t dims[4]; /* as PyTorch: OIHW, [out, in], [c] */
    bool trained;   /* false: a buffer (running mean) */
    bool learns;    /* trained, and the last backward pass left its gradient */
    bool decay;
    float *value, *gradient, *momentum; /* gradient, momentum: trained only */
    /* A buffer that no layer has: the exponential mean of a layer's weights (index -1). */
    const struct nyb_param *mean_of;
} nyb_param;

typedef struct nyb_graph {
    nyb_context *context;
    const nyb_model *model;
    struct nyb_recipe recipe;
    size_t batch;
    uint64_t seed;
    nyb_attr loss; /* of softmax_xent: label smoothing */

    nyb_param *params; /* trained ones and buffers, in layer order */
    int n_params;
    nyb_slot_state *slots; /* [n_gemms][NYB_SLOTS] */
    float *weight_scale;   /* [n_gemms] scale of weights loaded as codes; 0: chosen each step */

    float *input;    /* [batch][h][w][c] */
    int32_t *labels; /* [batch] */
    float *result;   /* mean loss, number correct */

    /* Buffers (BN) and slots, contiguous: what a skipped step must undo. */
    void *small, *small_backup;
    size_t n_small_bytes;

    uint8_t *arena;
    size_t n_arena_bytes, n_persistent_bytes, n_plan_bytes, n_scratch_bytes;
    nyb_program programs[NYB_MODES];
    bool has_program[NYB_MODES];

    uint64_t n_nonfinite; /* of this step, over all quantized tensors */
    int nonfinite_layer;  /* where first seen, or -1 */
    nyb_slot nonfinite_slot;

    /* Telemetry: called after each encode while measure is true. */
    bool measure;
    void (*measure_fn)(void *user, const nyb_quant *quant, const float *real,
                       const float *values); /* NULL: packed */
    void *measure_user;

    nyb_trace_fn *trace_fn; /* told of each step before it runs, unless NULL */
    void *trace_user;
} nyb_graph;

/* rows.c: the rows that apply to one layer in one mode: recipe, edges, shortcuts, sign knowledge.
 * The one place that decides which tensor is quantized how. */
void nyb_graph_rows(const nyb_model *model, const struct nyb_recipe *recipe, int layer,
                    nyb_mode mode, nyb_row rows[NYB_SLOTS]);

/* Whether each rule of `layers` is about some layer. */
NYB_MUST_CHECK nyb_status nyb_graph_check_layers(const nyb_model *model,
                                                 const struct nyb_recipe *recipe, nyb_error *err);

/* Whether a mode has other formats than training: those of the last epochs. */
bool nyb_graph_is_replaced(const struct nyb_recipe *recipe, nyb_mode mode);

/* What the recipe lets a GEMM layer be instead of its rows; NYB_EDGE_RECIPE: nothing else. */
nyb_edge nyb_graph_edge(const nyb_model *model, const struct nyb_recipe *recipe, int layer);

/* Compiles all programs the recipe needs, plans one arena, initialises the parameters from seed. */
NYB_MUST_CHECK nyb_status nyb_graph_create(nyb_context *context, const nyb_model *model,
                                           const struct nyb_recipe *recipe, size_t batch,
                                           uint64_t seed, float label_smoothing, nyb_graph **graph,
                                           nyb_error *err);
void nyb_graph_destroy(nyb_graph **graph);

/* The learned parameters of a (layer, slot): index into graph->params, or -1. */
int nyb_graph_find_learned(const nyb_graph *graph, int layer, nyb_slot slot);
/* The exponential mean of a layer's weights: index into graph->params, or -1. */
int nyb_graph_find_mean(const nyb_graph *graph, int layer);
/* Means of these weights (NULL: of all) begin again, at the weights. */
void nyb_graph_begin_means(nyb_graph *graph, const nyb_param *weights);

/* build.c: fills program->steps, buffers, quants. */
NYB_MUST_CHECK nyb_status nyb_program_build(nyb_graph *graph, nyb_program *program, nyb_error *err);
/* fuse.c: rewrites the steps. */
NYB_MUST_CHECK nyb_status nyb_program_fuse(nyb_graph *graph, nyb_program *program, nyb_error *err);
/* plan.c: the buffers that a step reads or writes, some maybe twice; returns how many. */
#define NYB_STEP_BUFFERS (NYB_QUANT_BUFFERS * (NYB_SAMPLES_MAX + 3) + 24)
int nyb_step_buffers(const nyb_program *program, const nyb_step *step, int list[NYB_STEP_BUFFERS]);
/* plan.c: lifetimes to offsets (largest first, lowest free offset); sets n_bytes. */
void nyb_program_plan(nyb_program *program);
/* plan.c: offsets to pointers, once the arena exists. */
void nyb_program_bind(nyb_graph *graph, nyb_program *program, uint8_t *plan, uint8_t *scratch);
void nyb_program_free(nyb_program *program);

/* run.c: input and labels are in graph->input, graph->labels; result in graph->result.
 * step selects the random bits. Neither allocates. */
void nyb_graph_forward(nyb_graph *graph, nyb_mode mode, uint32_t step);
void nyb_graph_backward(nyb_graph *graph, nyb_mode mode, uint32_t step);
/* The first layer whose output holds a NaN or Inf when the forward program runs again on the same
 * input, or -1. Slow; for error messages. */
int nyb_graph_find_nonfinite(nyb_graph *graph, nyb_mode mode, uint32_t step);
/* The weights are others than those that were loaded as codes: each has a scale of its own again.
 */
void nyb_graph_forget_codes(nyb_graph *graph);

/* requantize.c: a learned scale (a parameter with a rule) was set from outside. Where it is 0 it
 * has not begun: the next tensor starts it. */
void nyb_graph_begin_learned(nyb_graph *graph, const nyb_param *param);
/* The steps that rounded operands need. */
void nyb_run_round(nyb_graph *graph, nyb_program *program, const nyb_step *s, bool training,
                   uint32_t step);
void nyb_run_regroup(nyb_graph *graph, nyb_program *program, const nyb_step *s);
void nyb_run_taps(nyb_graph *graph, nyb_program *program, nyb_step *s, uint32_t step);
void nyb_run_sample(nyb_graph *graph, nyb_program *program, nyb_step *s);
/* The random bits of a product's sums, if its accumulator draws; tap: of a product for one tap. */
nyb_stream nyb_sum_stream(const nyb_graph *graph, const nyb_step *product, size_t tap,
                          uint32_t step);
void nyb_run_reflect(nyb_graph *graph, nyb_program *program, nyb_step *s, uint32_t step);
/* run.c: n elements of dx to the step's output as store = bf16 leaves them. */
void nyb_store_gradient(const nyb_graph *graph, const nyb_step *s, const float *dx, size_t n,
                        uint32_t step);
void nyb_run_estimate(nyb_graph *graph, nyb_program *program, nyb_step *s, uint32_t step);
/* The random bits of a quant's elements in a step. */
nyb_stream nyb_quant_stream(const nyb_graph *g, const nyb_quant *q, uint32_t step);
nyb_slot_state *nyb_slot_state_of(const nyb_graph *graph, const nyb_quant *quant);
/* The moments of x, and the graph's count of what is not finite and where it was seen first. */
void nyb_run_moments(nyb_graph *graph, nyb_quant *quant, const float *x, size_t rows, size_t cols,
                     void *scratch);
/* What evaluation's frozen clip remembers of this step's (fwd.x). */
void nyb_observe_clip(const nyb_graph *graph, const nyb_quant *quant, float clip);
/* Parameters of a learned rule for this step: initialised from x at the first; copy: where an
 * untrained graph's are kept. NULL: the rule has none. */
float *nyb_learned_params(nyb_graph *graph, const nyb_quant *quant, const float *x, bool training,
                          float copy[NYB_SCALE_PARAMS_MAX], void *scratch);

/* print.c */
typedef struct nyb_kept {
    size_t quantized, quantized_f32; /* inputs of quantized GEMMs: as codes; as they were f32 */
    size_t total;                    /* everything that lives from forward into backward */
} nyb_kept;
nyb_kept nyb_program_kept(const nyb_program *program);
void nyb_graph_print(const nyb_graph *graph, FILE *out);
size_t nyb_graph_explain_count(const nyb_graph *graph);
void nyb_graph_explain_at(const nyb_graph *graph, size_t i, nyb_explain_line *line);
/* The i-th product of a program, or NULL; again: it is one that is repeated. */
const nyb_step *nyb_graph_product_step(const nyb_program *program, size_t i, bool *again);
/* Multiply-adds, all samples and taps. */
uint64_t nyb_graph_step_macs(const nyb_step *step);
const char *nyb_graph_step_engine(const nyb_step *step);
const char *nyb_graph_step_kernel(const nyb_step *step);

/* trace.c: what a step is, and the least it moves */
const char *nyb_step_kind_name(nyb_step_kind kind);
/* "relu", or of a step that was fused "batchnorm+relu+moments". */
void nyb_graph_op_word(const nyb_graph *graph, const nyb_step *step, char *text, size_t n_bytes);
void nyb_graph_trace_at(const nyb_graph *graph, nyb_mode mode, int step, nyb_trace_line *line);
static inline void nyb_graph_trace(const nyb_graph *graph, size_t part)
{
    if (graph->trace_fn)
        graph->trace_fn(graph->trace_user, part);
}

/* energy.c: of the product of explain line i */
void nyb_graph_energy_at(const nyb_graph *graph, size_t i, nyb_energy *energy);

#endif
