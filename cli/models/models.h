/* The built-in models: builders on the public API. */
#ifndef CLI_MODELS_H
#define CLI_MODELS_H

#include <nybble/nybble.h>

typedef struct cli_input {
    size_t h, w, c, classes;
    int nonneg; /* the input is known to be >= 0 (not normalised) */
} cli_input;

typedef struct cli_model {
    const char *name, *about;
    const void *family; /* what the builder knows of this member */
    /* Sets what differs from nyb_train_defaults. */
    void (*defaults)(nyb_train_options *options);
    /* rest: what stands after "name:" or "". Adds layers, returns the logits; sets err if rest is
     * wrong (layer errors are nyb_model_finish's to tell). */
    nyb_value (*build)(const void *family, nyb_model *model, const cli_input *input,
                       const char *rest, nyb_error *err);
} cli_model;

/* All models; NULL-terminated. Adding one: its record, and its word in models.c. */
extern const cli_model *const cli_models[];

/* Numbers in 1..most from "300,100"; how many there are, or -1: none, more than n_max, or wrong. */
int cli_parse_numbers(const char *text, size_t most, int n_max, size_t *numbers);

/* Training options that convolutional networks begin with. */
void cli_conv_defaults(nyb_train_options *options);

/* "name" or "name:rest" -> record; NYB_UNKNOWN lists the names. */
NYB_MUST_CHECK nyb_status cli_model_find(const char *spec, const cli_model **record,
                                         nyb_error *err);
/* The finished model. On failure *model is NULL. */
NYB_MUST_CHECK nyb_status cli_model_create(const char *spec, const cli_input *input,
                                           nyb_model **model, nyb_error *err);

#endif
