/* What the files that compile a program share: growing lists, operands, shapes. */
#ifndef NYB_BUILD_H
#define NYB_BUILD_H

#include "graph/graph.h"

typedef struct nyb_builder {
    nyb_graph *g;
    nyb_program *p;
    nyb_error *err;
    nyb_status status; /* the first failure; later calls then do nothing useful */
    int *value;        /* [n_layers] buffer of the output                       */
    int *grad;         /* [n_layers] buffer of dLoss/dOutput, or -1             */
    int *saved;        /* [n_layers] buffer that forward leaves, or -1          */
    int *stored;       /* [n_layers] buffer of the input in bf16, or -1         */
    int *x, *w;        /* [n_layers] quant of fwd.x and fwd.w, or -1            */
    int *sampled;      /* [n_layers] buffer of the pixels of x that are seen, or -1 */
} nyb_builder;

void nyb_build_fail(nyb_builder *b, nyb_status status);
/* Room for one more item in a list; false when out of memory. */
bool nyb_build_reserve(nyb_builder *b, void **items, int n, int *n_capacity, size_t item_bytes);
int nyb_build_buffer(nyb_builder *b, const char *what, int layer, nyb_home home, int param,
                     size_t n_bytes);
/* A zeroed step, every buffer -1; counted by n_steps++ when it is filled. */
nyb_step *nyb_build_step(nyb_builder *b, nyb_step_kind kind, int layer);
void nyb_build_scratch(nyb_builder *b, size_t n_bytes);
/* A layer's output shape with the batch. */
nyb_shape nyb_build_shape(const nyb_builder *b, int layer);
/* The buffer of a layer's own parameter, or of its gradient. */
int nyb_build_param(nyb_builder *b, int layer, int index, nyb_home home);
/* The gradient buffer of an input, and whether to add to what other consumers left there. */
int nyb_build_gradient(nyb_builder *b, int layer, bool *add);
void nyb_build_op_args(nyb_builder *b, int layer, nyb_op_args *args);

/* build_operand.c: operands of products */

/* What an operand is, and how its tensor is had. */
typedef struct nyb_wanted {
    const nyb_row *row;
    size_t group; /* of a grouped product, else 0: values or the codes of one scale */
    bool packs;   /* the product is one of codes of one scale, also where they are rounded first */
    bool fills;   /* grouped dW: rows of pixels are filled up to whole blocks of codes */
    bool unmixes; /* the other operand is not mixed */
    bool scaled;  /* of packed codes, only those that are worth their units times one scale */
    int draws;    /* of codes that the product takes the mean of; 1: samples are averaged before */
} nyb_wanted;

nyb_conv_shape nyb_build_product_shape(const nyb_builder *b, int layer);
/* A window that shifts breaks groups of pixels: x is then rounded tap by tap. */
bool nyb_build_needs_taps(const nyb_builder *b, int layer, const nyb_row *x);
/* moments, scale, encode of one real buffer. shares >= 0: its moments and scale are taken.
 * observe: moments and scale only. Returns the quant, or -1 after a failure. */
int nyb_build_packed(nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec, int real,
                     int sample, int shares, bool observe);
/* A tensor to rounded values or grouped codes; from >= 0: the values of an earlier quant instead of
 * the real buffer. taps: a quant for the patch rows of one tap, rounded by the taps step. sample:
 * which draw. */
int nyb_build_rounded(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want, int real,
                      int sample, int from, bool taps);
/* Whether the values of an earlier quant (or -1) that a row rounds again are mixed, as they were
 * rounded, and what the row's product gives is therefore, too. */
bool nyb_build_stays_mixed(const nyb_builder *b, const nyb_row *row, int former);
bool nyb_build_same_spec(const nyb_spec *a, const nyb_spec *b);
/* Groups and mixes that do not follow the contraction are the same for every product. */
bool nyb_build_axis_free(const nyb_spec *spec);
/* Whether an operand may use what an earlier quant of the same tensor left. */
bool nyb_build_may_share(const nyb_quant *q, const nyb_wanted *want, bool down);
/* Whether packed codes of one scale, several draws of dy maybe, are all that a row asks for. */
bool nyb_build_packs(const nyb_row *row, nyb_slot slot);
nyb_source nyb_build_source_of(const nyb_builder *b, int quant);
/* The operand of a slot: a quant of the real buffer, or the buffer itself. former: an earlier quant
 * of the same tensor, or -1. */
nyb_source nyb_build_source(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want,
                            int real, int former);
/* The draws of dy that a product takes; former: n_former of an earlier product of the same tensor,
 * which are used as far as they may be shared. */
void nyb_build_draws(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want, int real,
                     const nyb_source *former, int n_former, nyb_source draws[NYB_SAMPLES_MAX]);
/* The same as a product of groups takes it: its codes in another order where they are not yet. */
nyb_source nyb_build_order(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want,
                           nyb_source source);
/* Whether a row's tensor is one of small integers times one scale once it is mixed, or less a zero
 * among them, or has lines: codes as well, if the other operand is one, too. */
bool nyb_build_rounds_units(const nyb_row *row, nyb_slot slot);
/* Whether the codes of a row's tensor are worth what a line says (packed.h), which a product can
 * take: of x and dy, each sample's or that of all, with or without offset, in dW each sample's,
 * without; of w, each filter's, without, in the forward product. dy's samples may be reflected: dX
 * takes that back. */
bool nyb_build_has_lines(const nyb_row *row, nyb_slot slot);
/* Whether a row's tensor is packed codes of one scale that a grouped product may take. */
bool nyb_build_packs_units(const nyb_row *row, nyb_slot slot);
/* Whether dW's taps see x at other pixels than its own. */
bool nyb_build_has_window(const nyb_builder *b, int layer);

/* build_sum.c: how products sum */

/* What an operand's elements are: codes of a format, or f32. */
const nyb_format *nyb_build_format(const nyb_builder *b, const nyb_source *s);
/* How an engine sums the operands a and second, which are not in groups. mf only where it has the
 * product, and does not add up in an accumulator of its own. */
nyb_conv_options nyb_build_options(const nyb_builder *b, int layer, nyb_product product,
                                   const nyb_source *a, const nyb_source *second);
/* The length of a product's groups, which are summed exactly; 0: it has none. Both operands are
 * small integers, at least one in blocks or tiles; the shorter block counts. */
size_t nyb_build_group(const nyb_builder *b, int layer, nyb_product product, const nyb_row *rows);
/* Whether a product's operands are small integers times one scale where they are rounded first,
 * too. */
bool nyb_build_sums_codes(const nyb_builder *b, int layer, nyb_product product,
                          const nyb_row *rows);
/* How many draws of its first operand a product takes the mean of. group, packs: those two. */
int nyb_build_count_draws(const nyb_builder *b, int layer, nyb_product product, const nyb_row *rows,
                          size_t group, bool packs);
/* An accumulator of integers has no use for an operand that is no codes of one scale. */
nyb_status nyb_build_check_codes(const nyb_builder *b, const nyb_step *s,
                                 const nyb_conv_options *options);
/* n: of the draws of dgrad.dy. Those with factors are codes, which a product has to sum; no
 * rounding takes their mean. */
nyb_status nyb_build_check_draws(const nyb_builder *b, int layer, const nyb_row *row, int n);

/* build_gemm.c */
void nyb_build_gemm_forward(nyb_builder *b, int layer);
void nyb_build_gemm_backward(nyb_builder *b, int layer);

#endif
