/* Files of test vectors: written, or compared number by number. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vectors.h"

#define PATH_BYTES 4096

static int full_path(const vectors *v, const char *path, char *full)
{
    if (snprintf(full, PATH_BYTES, "%s%s%s", v->dir, *path ? "/" : "", path) < PATH_BYTES)
        return CLI_OK;
    cli_error(v->dir, "the name is too long");
    return CLI_FAILURE;
}

int vectors_folder(const vectors *v, const char *path)
{
    char full[PATH_BYTES];

    if (v->check)
        return CLI_OK;
    if (full_path(v, path, full) != CLI_OK)
        return CLI_FAILURE;
    if (mkdir(full, 0777) == 0 || errno == EEXIST)
        return CLI_OK;
    cli_error(full, "cannot make the folder: %s", strerror(errno));
    return CLI_FAILURE;
}

/* ---- arrays ------------------------------------------------------------------------------- */

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void print_dims(char *text, size_t n_bytes, int n_dims, const size_t *dims)
{
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < n_dims && used < n_bytes; i++)
        used += (size_t)snprintf(text + used, n_bytes - used, "%s%zu", i ? ", " : "", dims[i]);
}

/* Element i as an index of every dimension. */
static void print_index(char *text, size_t n_bytes, size_t i, int n_dims, const size_t *dims)
{
    size_t at[NYB_ARRAY_DIMS] = {0};

    for (int d = n_dims - 1; d >= 0; d--) {
        at[d] = i % dims[d];
        i /= dims[d];
    }
    print_dims(text, n_bytes, n_dims, at);
}

static int compare(const char *full, const float *want, int n_dims, const size_t *dims,
                   const char *const *cases, const nyb_array *got)
{
    char a[128], b[128];
    size_t per_case = 1;

    if (got->n_dims != n_dims || memcmp(got->dims, dims, (size_t)n_dims * sizeof *dims) != 0) {
        print_dims(a, sizeof a, got->n_dims, got->dims);
        print_dims(b, sizeof b, n_dims, dims);
        cli_error(full, "its shape is (%s), not (%s)", a, b);
        return CLI_FAILURE;
    }
    if (got->rounded) {
        cli_error(full, "some of its numbers are not f32, as those of the folder are");
        return CLI_FAILURE;
    }
    for (int d = 1; d < n_dims; d++)
        per_case *= dims[d];
    for (size_t i = 0; i < got->n; i++)
        if (!same_bits(got->values[i], want[i])) {
            const char *name = cases ? cases[i / per_case] : NULL;

            print_index(a, sizeof a, i, n_dims, dims);
            cli_error(full, "[%s] is %.9g (%a), not %.9g (%a)%s%s", a, (double)got->values[i],
                      (double)got->values[i], (double)want[i], (double)want[i], name ? ": " : "",
                      name ? name : "");
            return CLI_FAILURE;
        }
    return CLI_OK;
}

static size_t count(int n_dims, const size_t *dims)
{
    size_t n = 1;

    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    return n;
}

static int check_array(const char *full, const float *want, int n_dims, const size_t *dims,
                       const char *const *cases)
{
    nyb_array got;
    nyb_error err;
    int exit_status;

    if (nyb_array_load(full, &got, &err) != NYB_OK)
        return cli_fail("vectors", &err);
    exit_status = compare(full, want, n_dims, dims, cases, &got);
    nyb_array_free(&got);
    return exit_status;
}

int vectors_floats(vectors *v, const char *path, const float *values, int n_dims,
                   const size_t *dims, const char *const *cases)
{
    char full[PATH_BYTES];
    nyb_error err;

    if (full_path(v, path, full) != CLI_OK)
        return CLI_FAILURE;
    v->n_files++;
    v->n_numbers += count(n_dims, dims);
    if (v->check)
        return check_array(full, values, n_dims, dims, cases);
    if (nyb_array_save(full, values, n_dims, dims, &err) != NYB_OK)
        return cli_fail("vectors", &err);
    return CLI_OK;
}

int vectors_bytes(vectors *v, const char *path, const unsigned char *bytes, int n_dims,
                  const size_t *dims, const char *const *cases)
{
    const size_t n = count(n_dims, dims);
    char full[PATH_BYTES];
    nyb_error err;

    if (full_path(v, path, full) != CLI_OK)
        return CLI_FAILURE;
    v->n_files++;
    v->n_numbers += n;
    if (v->check) {
        float *want = cli_alloc(n, sizeof *want);
        int exit_status;

        for (size_t i = 0; i < n; i++)
            want[i] = bytes[i];
        exit_status = check_array(full, want, n_dims, dims, cases);
        free(want);
        return exit_status;
    }
    if (nyb_array_save_bytes(full, bytes, n_dims, dims, &err) != NYB_OK)
        return cli_fail("vectors", &err);
    return CLI_OK;
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* Writes where a and b differ first ("cases[3].spec"); false if nowhere. */
static bool json_differs(const json_t *got, const json_t *want, char *where, size_t n_bytes)
{
    char inner[200] = "";
    const char *key;
    json_t *item;
    size_t i;

    where[0] = '\0';
    if (json_equal(got, want))
        return false;
    if (json_is_object(got) && json_is_object(want)) {
        json_object_foreach((json_t *)want, key, item)
        {
            if (json_differs(json_object_get(got, key), item, inner, sizeof inner)) {
                snprintf(where, n_bytes, ".%s%s", key, inner);
                return true;
            }
        }
        json_object_foreach((json_t *)got, key, item)
        {
            if (!json_object_get(want, key)) {
                snprintf(where, n_bytes, ".%s", key);
                return true;
            }
        }
    }
    if (json_is_array(got) && json_is_array(want) && json_array_size(got) == json_array_size(want))
        json_array_foreach((json_t *)want, i, item)
        {
            if (json_differs(json_array_get(got, i), item, inner, sizeof inner)) {
                snprintf(where, n_bytes, "[%zu]%s", i, inner);
                return true;
            }
        }
    return true;
}

static int check_json(const char *full, const json_t *want)
{
    json_error_t error;
    json_t *got = json_load_file(full, 0, &error);
    char where[240];
    int exit_status = CLI_OK;

    if (!got) {
        cli_error(full, "%s", error.text);
        return CLI_FAILURE;
    }
    if (json_differs(got, want, where, sizeof where)) {
        cli_error(full, "differs at '%s'", where[0] == '.' ? where + 1 : where);
        exit_status = CLI_FAILURE;
    }
    json_decref(got);
    return exit_status;
}

static int write_json(const char *full, const json_t *json)
{
    FILE *out = fopen(full, "w");
    bool good;

    if (!out) {
        cli_error(full, "cannot write: %s", strerror(errno));
        return CLI_FAILURE;
    }
    good = json_dumpf(json, out, JSON_INDENT(1) | JSON_ENCODE_ANY) == 0 && fputc('\n', out) != EOF;
    good = fclose(out) == 0 && good;
    if (!good)
        cli_error(full, "cannot write: %s", strerror(errno));
    return good ? CLI_OK : CLI_FAILURE;
}

int vectors_json(vectors *v, const char *path, json_t *json)
{
    char full[PATH_BYTES];
    int exit_status = full_path(v, path, full);

    if (!json) {
        cli_error(path, "no memory for JSON");
        return CLI_FAILURE;
    }
    v->n_files++;
    if (exit_status == CLI_OK)
        exit_status = v->check ? check_json(full, json) : write_json(full, json);
    json_decref(json);
    return exit_status;
}

json_t *vectors_list(const char *const *texts, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}
