/* Test vectors of number formats: what codes are worth, and which code a number takes. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

/* Codes of a format of at most 16 bits are all listed; of wider ones every 251st. */
#define WIDE_STEP 251
/* At most so many codes contribute the numbers around them to the encode cases. */
#define ENCODE_CODES 256
#define PER_CODE     4 /* the value, the middle to the next, and its neighbours */

static const float specials[] = {
    0.0f,     -0.0f,   0x1p-149f, -0x1p-149f, 0x1.fffffcp-127f, FLT_MIN,
    -FLT_MIN, FLT_MAX, -FLT_MAX,  INFINITY,   -INFINITY,        NAN,
};
#define N_SPECIALS (sizeof specials / sizeof *specials)
#define N_LIMITS   26 /* max (1 + 2^-k), k = 0 .. 12, and negated */

/* How the encode cases are rounded: rows of codes. */
static const struct {
    const char *rounding;
    nyb_rounding constant;
    int saturate;
    uint32_t r23;
} rows[] = {
    {"nearest", NYB_ROUND_NEAREST, 1, 0},
    {"nearest", NYB_ROUND_NEAREST, 0, 0},
    {"stochastic", NYB_ROUND_STOCHASTIC, 1, 0},
    {"stochastic", NYB_ROUND_STOCHASTIC, 1, 1},
    {"stochastic", NYB_ROUND_STOCHASTIC, 1, 0x2aaaaa},
    {"stochastic", NYB_ROUND_STOCHASTIC, 1, 0x400000},
    {"stochastic", NYB_ROUND_STOCHASTIC, 1, 0x7fffff},
};
#define N_ROWS (sizeof rows / sizeof *rows)

static size_t list_codes(const nyb_format *f, unsigned step, float **codes, float **values)
{
    const size_t n_all = (size_t)1 << nyb_format_bits(f), n = (n_all + step - 1) / step;

    *codes = cli_alloc(n, sizeof **codes);
    *values = cli_alloc(n, sizeof **values);
    for (size_t i = 0; i < n; i++) {
        (*codes)[i] = (float)(i * step);
        (*values)[i] = nyb_format_decode(f, (unsigned)i * step);
    }
    return n;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Numbers whose code is a question: values, middles, just beside the middles, ends. */
static size_t list_cases(const nyb_format *f, const float *values, size_t n_values, float **cases)
{
    float *sorted = cli_alloc(n_values, sizeof *sorted), *x;
    size_t n_sorted = 0, n = 0, step;

    for (size_t i = 0; i < n_values; i++)
        if (isfinite(values[i]))
            sorted[n_sorted++] = values[i];
    qsort(sorted, n_sorted, sizeof *sorted, ascending);
    step = n_sorted / ENCODE_CODES + 1;
    *cases = x = cli_alloc(PER_CODE * n_sorted + N_SPECIALS + N_LIMITS, sizeof *x);
    for (size_t i = 0; i < n_sorted; i += step) {
        const float next = i + 1 < n_sorted ? sorted[i + 1] : sorted[i];
        const float middle = sorted[i] + 0.5f * (next - sorted[i]);

        x[n++] = sorted[i];
        if (middle == sorted[i])
            continue;
        x[n++] = nextafterf(middle, -INFINITY);
        x[n++] = middle;
        x[n++] = nextafterf(middle, INFINITY);
    }
    for (size_t i = 0; i < N_SPECIALS; i++)
        x[n++] = specials[i];
    for (int k = 0; k < N_LIMITS / 2; k++) {
        x[n] = nyb_format_max(f) * (1.0f + ldexpf(1.0f, -k));
        x[n + 1] = -x[n];
        n += 2;
    }
    free(sorted);
    return n;
}

static json_t *describe(const nyb_format *f, unsigned step)
{
    json_t *list = json_array();

    for (size_t r = 0; r < N_ROWS; r++)
        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:I}", "rounding", rows[r].rounding, "saturate",
                                        rows[r].saturate, "r23", (json_int_t)rows[r].r23));
    return json_pack("{s:s, s:s, s:i, s:f, s:i, s:o}", "format", nyb_format_name(f), "about",
                     nyb_format_about(f), "bits", nyb_format_bits(f), "max",
                     (double)nyb_format_max(f), "code_step", (int)step, "encode_rows", list);
}

static int write_encode(vectors *v, const nyb_format *f, const float *values, size_t n_values)
{
    const char *const names[N_ROWS] = {
        "nearest, saturating",        "nearest, not saturating",    "stochastic, r23 = 0",
        "stochastic, r23 = 1",        "stochastic, r23 = 0x2aaaaa", "stochastic, r23 = 0x400000",
        "stochastic, r23 = 0x7fffff",
    };
    float *x, *codes;
    const size_t n = list_cases(f, values, n_values, &x), dims[2] = {N_ROWS, n};
    char path[120];
    int exit_status;

    codes = cli_alloc(N_ROWS * n, sizeof *codes);
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t i = 0; i < n; i++)
            codes[r * n + i] =
                (float)nyb_format_encode(f, x[i], rows[r].constant, rows[r].r23, rows[r].saturate);
    snprintf(path, sizeof path, "formats/%s.encode.x.npy", nyb_format_name(f));
    exit_status = vectors_floats(v, path, x, 1, &n, NULL);
    snprintf(path, sizeof path, "formats/%s.encode.codes.npy", nyb_format_name(f));
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(v, path, codes, 2, dims, names);
    free(x);
    free(codes);
    return exit_status;
}

static int write_format(vectors *v, const nyb_format *f)
{
    const unsigned step = nyb_format_bits(f) > 16 ? WIDE_STEP : 1;
    float *codes, *values;
    const size_t n = list_codes(f, step, &codes, &values);
    char path[120];
    int exit_status;

    snprintf(path, sizeof path, "formats/%s.json", nyb_format_name(f));
    exit_status = vectors_json(v, path, describe(f, step));
    snprintf(path, sizeof path, "formats/%s.values.npy", nyb_format_name(f));
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(v, path, values, 1, &n, NULL);
    if (exit_status == CLI_OK)
        exit_status = write_encode(v, f, values, n);
    free(codes);
    free(values);
    return exit_status;
}

int vectors_formats(vectors *v)
{
    int exit_status = vectors_folder(v, "formats");

    for (size_t i = 0; i < nyb_format_count() && exit_status == CLI_OK; i++)
        if (nyb_format_bits(nyb_format_at(i)) < 32)
            exit_status = write_format(v, nyb_format_at(i));
    return exit_status;
}
