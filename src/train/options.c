/* The options of a run as one field table: command line, config files and help read it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "optim/optim.h"
#include "train/run.h"

typedef enum kind { KIND_INT, KIND_U64, KIND_DOUBLE, KIND_FLAG, KIND_SCHEDULE } kind;

typedef struct field {
    const char *key, *help;
    kind kind;
    size_t offset;
    double lo, hi; /* inclusive */
} field;

#define AT(member) offsetof(nyb_train_options, member)
static const field fields[] = {
    {"epochs", "passes over the training part; FNT's come on top", KIND_INT, AT(epochs), 0, 1e6},
    {"batch", "samples per step", KIND_INT, AT(batch), 1, 1 << 20},
    {"lr", "base (peak) learning rate", KIND_DOUBLE, AT(lr), 0, 1e6},
    {"schedule", "constant, step (x0.1 at 50 and 75 %), linear or cosine", KIND_SCHEDULE,
     AT(schedule), 0, 0},
    {"warmup", "epochs of linear warm-up; fractions allowed", KIND_DOUBLE, AT(warmup), 0, 1e6},
    {"momentum", "of SGD", KIND_DOUBLE, AT(momentum), 0, 1},
    {"nesterov", "Nesterov's momentum", KIND_FLAG, AT(nesterov), 0, 1},
    {"weight-decay", "L2, not on batchnorm parameters and biases", KIND_DOUBLE, AT(weight_decay), 0,
     1e3},
    {"label-smoothing", "of the cross-entropy", KIND_DOUBLE, AT(label_smoothing), 0, 0.999},
    {"clip-norm", "largest global gradient norm; 0: off", KIND_DOUBLE, AT(clip_norm), 0, 1e30},
    {"seed", "of everything random", KIND_U64, AT(seed), 0, 0x1p64},
    {"augment-crop", "pixels of padding before a random crop; 0: none", KIND_INT, AT(augment_crop),
     0, 64},
    {"augment-flip", "random horizontal flip", KIND_FLAG, AT(augment_flip), 0, 1},
    {"normalize", "pixels (x/255 - mean) / std; 0: x/255, non-negative", KIND_FLAG, AT(normalize),
     0, 1},
    {"checkpoint-every", "steps between checkpoints; 0: each epoch", KIND_U64, AT(checkpoint_every),
     0, 1e18},
    {"telemetry-every", "steps between quantization statistics; 0: off", KIND_U64,
     AT(telemetry_every), 0, 1e18},
    {"log-every", "steps between step lines; 0: 50", KIND_U64, AT(log_every), 0, 1e18},
    {"max-steps", "stop after this many steps; 0: no limit", KIND_U64, AT(max_steps), 0, 1e18},
};
#undef AT
#define N_FIELDS (sizeof fields / sizeof *fields)

void nyb_train_defaults(nyb_train_options *options)
{
    *options = (nyb_train_options){.epochs = 10,
                                   .batch = 128,
                                   .lr = 0.1,
                                   .schedule = "linear",
                                   .warmup = 0.5,
                                   .momentum = 0.9,
                                   .nesterov = 1,
                                   .weight_decay = 5e-4,
                                   .seed = 1,
                                   .normalize = 1};
}

size_t nyb_train_option_count(void)
{
    return N_FIELDS;
}

const char *nyb_train_option_key(size_t i)
{
    return i < N_FIELDS ? fields[i].key : NULL;
}

const char *nyb_train_option_help(size_t i)
{
    return i < N_FIELDS ? fields[i].help : NULL;
}

int nyb_train_option_is_flag(size_t i)
{
    return i < N_FIELDS && fields[i].kind == KIND_FLAG;
}

static bool is_schedule(const char *word)
{
#define X(constant, name, sentence)                                                                \
    if (!strcmp(word, name))                                                                       \
        return true;
    NYB_SCHEDULE_LIST(X)
#undef X
    return false;
}

static nyb_status fail_number(const field *f, const char *value, nyb_error *err)
{
    char upto[32];

    snprintf(upto, sizeof upto, "%.0f", f->hi);
    if (f->kind == KIND_DOUBLE)
        return nyb_fail(err, NYB_INVALID, "%s = '%s': want a number from %.10g to %.10g", f->key,
                        value, f->lo, f->hi);
    return nyb_fail(err, NYB_INVALID, "%s = '%s': want a whole number from %.0f to %s", f->key,
                    value, f->lo, f->hi < 0x1p64 ? upto : "2^64 - 1");
}

static nyb_status set_number(const field *f, char *at, const char *value, nyb_error *err)
{
    const char *end;
    char *last;
    double d;
    unsigned long long u = 0;

    d = nyb_number_parse(value, &end);
    if (end == value || *end || !(d >= f->lo && d <= f->hi))
        return fail_number(f, value, err);
    if (f->kind == KIND_DOUBLE) {
        memcpy(at, &d, sizeof d);
        return NYB_OK;
    }
    errno = 0;
    u = strtoull(value, &last, 10);
    if (*last || errno || value[0] == '-')
        return fail_number(f, value, err);
    if (f->kind == KIND_U64) {
        const uint64_t wide = u;

        memcpy(at, &wide, sizeof wide);
    } else {
        const int i = (int)u;

        memcpy(at, &i, sizeof i);
    }
    return NYB_OK;
}

static double number_of(const field *f, const nyb_train_options *options)
{
    const char *at = (const char *)options + f->offset;
    double d = 0.0;
    uint64_t wide;
    int whole;

    switch (f->kind) {
    case KIND_INT:
    case KIND_FLAG:
        memcpy(&whole, at, sizeof whole);
        return (double)whole;
    case KIND_U64:
        memcpy(&wide, at, sizeof wide);
        return (double)wide;
    case KIND_DOUBLE:
        memcpy(&d, at, sizeof d);
        return d;
    case KIND_SCHEDULE:
        return 0.0;
    }
    return d;
}

nyb_status nyb_train_options_check(const nyb_train_options *options, nyb_error *err)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        const field *f = &fields[i];
        const double d = number_of(f, options);

        if (f->kind != KIND_SCHEDULE && !(d >= f->lo && d <= f->hi))
            return nyb_fail(err, NYB_INVALID, "%s = %.10g: want a number from %.10g to %.10g",
                            f->key, d, f->lo, f->hi);
    }
    if (!memchr(options->schedule, 0, sizeof options->schedule) || !is_schedule(options->schedule))
        return nyb_fail(err, NYB_UNKNOWN, "schedule '%.15s': want constant, step, linear or cosine",
                        options->schedule);
    return NYB_OK;
}

nyb_status nyb_train_option_set(nyb_train_options *options, const char *key, const char *value,
                                nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(options && key && value, err));
    for (size_t i = 0; i < N_FIELDS; i++) {
        char *at = (char *)options + fields[i].offset;

        if (strcmp(fields[i].key, key))
            continue;
        if (fields[i].kind != KIND_SCHEDULE)
            return set_number(&fields[i], at, value, err);
        if (!is_schedule(value))
            return nyb_fail(err, NYB_UNKNOWN,
                            "schedule '%s': want constant, step, linear or cosine", value);
        snprintf(at, sizeof options->schedule, "%s", value);
        return NYB_OK;
    }
    return nyb_fail(err, NYB_UNKNOWN, "no training option '%s'", key);
}

int nyb_train_option_print(const nyb_train_options *options, size_t i, char *text, size_t n_bytes)
{
    const char *at = (const char *)options + (i < N_FIELDS ? fields[i].offset : 0);
    char number[NYB_NUMBER_BYTES];
    int whole;
    uint64_t wide;
    double d;

    if (i >= N_FIELDS)
        return -1;
    switch (fields[i].kind) {
    case KIND_INT:
    case KIND_FLAG:
        memcpy(&whole, at, sizeof whole);
        return snprintf(text, n_bytes, "%d", whole);
    case KIND_U64:
        memcpy(&wide, at, sizeof wide);
        return snprintf(text, n_bytes, "%llu", (unsigned long long)wide);
    case KIND_DOUBLE:
        memcpy(&d, at, sizeof d);
        return snprintf(text, n_bytes, "%s", nyb_number_print(d, number));
    case KIND_SCHEDULE:
        return snprintf(text, n_bytes, "%s", at);
    }
    return 0;
}
