/* How far a run got, as text: "step=12 loss_sum=3.5 ...". */
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "train/run.h"

typedef enum kind { KIND_U64, KIND_DOUBLE, KIND_FLOAT } kind;

typedef struct field {
    const char *key;
    kind kind;
    size_t offset;
} field;

#define AT(member) offsetof(nyb_progress, member)
static const field fields[] = {
    {"step", KIND_U64, AT(step)},
    {"loss_sum", KIND_DOUBLE, AT(loss_sum)},
    {"correct", KIND_DOUBLE, AT(correct)},
    {"samples", KIND_U64, AT(n_samples)},
    {"skipped", KIND_U64, AT(n_skipped)},
    {"seconds", KIND_DOUBLE, AT(seconds)},
    {"metrics", KIND_U64, AT(n_metrics)},
    {"test_loss", KIND_DOUBLE, AT(test_loss)},
    {"test_acc", KIND_DOUBLE, AT(test_acc)},
    /* states of 0.1.0 end here: what the recipe begins with stays */
    {"loss_scale", KIND_FLOAT, AT(scaler.scale)},
    {"good", KIND_U64, AT(scaler.n_good)},
};
#undef AT
#define N_FIELDS (sizeof fields / sizeof *fields)
#define N_OLD    (N_FIELDS - 2)

static void print_field(const field *f, const nyb_progress *p, char text[NYB_NUMBER_BYTES])
{
    const char *at = (const char *)p + f->offset;
    uint64_t whole;
    double d;
    float x;

    switch (f->kind) {
    case KIND_U64:
        memcpy(&whole, at, sizeof whole);
        snprintf(text, NYB_NUMBER_BYTES, "%llu", (unsigned long long)whole);
        return;
    case KIND_DOUBLE:
        memcpy(&d, at, sizeof d);
        nyb_number_print(d, text);
        return;
    case KIND_FLOAT:
        memcpy(&x, at, sizeof x);
        nyb_number_print_float(x, text);
        return;
    }
}

void nyb_progress_print(const nyb_progress *p, char text[NYB_PROGRESS_BYTES])
{
    char number[NYB_NUMBER_BYTES];
    size_t at = 0;

    for (size_t i = 0; i < N_FIELDS; i++) {
        print_field(&fields[i], p, number);
        at += (size_t)snprintf(text + at, NYB_PROGRESS_BYTES - at, "%s%s=%s", i ? " " : "",
                               fields[i].key, number);
    }
}

/* The field at *text, which moves behind it; false if something else stands there. */
static bool scan_field(const field *f, const char **text, nyb_progress *p)
{
    const size_t n = strlen(f->key);
    const char *at = *text + strspn(*text, " "), *end;
    char *to = (char *)p + f->offset, *last;
    uint64_t whole;
    double d;

    if (strncmp(at, f->key, n) != 0 || at[n] != '=')
        return false;
    at += n + 1;
    whole = strtoull(at, &last, 10);
    d = nyb_number_parse(at, &end);
    switch (f->kind) {
    case KIND_U64:
        memcpy(to, &whole, sizeof whole);
        end = last;
        break;
    case KIND_DOUBLE:
        memcpy(to, &d, sizeof d);
        break;
    case KIND_FLOAT:
        memcpy(to, &(float){(float)d}, sizeof(float));
        break;
    }
    *text = end;
    return end != at && (*end == ' ' || *end == '\0');
}

bool nyb_progress_scan(const char *text, nyb_progress *p)
{
    nyb_progress read = *p;
    size_t n = 0;

    while (n < N_FIELDS && *text != '\0' && scan_field(&fields[n], &text, &read))
        n++;
    if (*text != '\0' || (n != N_FIELDS && n != N_OLD) ||
        !(read.scaler.scale > 0.0f && read.scaler.scale <= NYB_LOSS_SCALE_MAX))
        return false;
    *p = read;
    return true;
}
