#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models.h"

#define MODEL_LIST(X)                                                                              \
    X(mlp)                                                                                         \
    X(resnet8)                                                                                     \
    X(resnet14)                                                                                    \
    X(resnet14s)                                                                                   \
    X(resnet20)                                                                                    \
    X(resnet32)                                                                                    \
    X(resnet44)                                                                                    \
    X(resnet56)                                                                                    \
    X(resnet18)                                                                                    \
    X(resnet34)                                                                                    \
    X(plain)                                                                                       \
    X(mobilenet)                                                                                   \
    X(mobilenet3)

#define X(name) extern const cli_model cli_model_##name;
MODEL_LIST(X)
#undef X

#define X(name) &cli_model_##name,
const cli_model *const cli_models[] = {MODEL_LIST(X) NULL};
#undef X

nyb_status cli_model_find(const char *spec, const cli_model **record, nyb_error *err)
{
    size_t length = strcspn(spec, ":");
    char names[300] = "";
    for (const cli_model *const *m = cli_models; *m; m++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", (*m)->name);
        if (strlen((*m)->name) == length && strncmp((*m)->name, spec, length) == 0) {
            *record = *m;
            return NYB_OK;
        }
    }
    return nyb_fail(err, NYB_UNKNOWN, "no model is called '%.*s'; there are %s",
                    (int)(length < 60 ? length : 60), spec, names);
}

nyb_status cli_model_create(const char *spec, const cli_input *input, nyb_model **model,
                            nyb_error *err)
{
    *model = NULL;
    const cli_model *record;
    NYB_TRY(cli_model_find(spec, &record, err));
    NYB_TRY(nyb_model_create(spec, model, err));
    const char *colon = strchr(spec, ':');
    nyb_error own = {.status = NYB_OK};
    nyb_value logits = record->build(record->family, *model, input, colon ? colon + 1 : "", &own);
    nyb_status status;
    if (own.status != NYB_OK)
        status = nyb_fail(err, own.status, "%s", own.text);
    else
        status = nyb_model_finish(*model, logits, err);
    if (status != NYB_OK)
        nyb_model_destroy(model);
    return status;
}

int cli_parse_numbers(const char *text, size_t most, int n_max, size_t *numbers)
{
    int n = 0;
    while (n < n_max) {
        char *end;
        if (*text < '1' || *text > '9')
            return -1;
        unsigned long number = strtoul(text, &end, 10);
        if (number > most)
            return -1;
        numbers[n++] = number;
        if (*end == 0)
            return n;
        if (*end != ',')
            return -1;
        text = end + 1;
    }
    return -1;
}

void cli_conv_defaults(nyb_train_options *options)
{
    options->batch = 128;
    options->lr = 0.1;
    options->momentum = 0.9;
    options->nesterov = 1;
    options->weight_decay = 5e-4;
    options->warmup = 0.5;
    snprintf(options->schedule, sizeof options->schedule, "linear");
    options->normalize = 1;
}
