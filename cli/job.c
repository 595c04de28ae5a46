#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "job.h"

#define CONFIG_MAX_BYTES (1u << 20)
#define RECIPE_PREFIX    "recipe."

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            return true;
    return false;
}

/* A spec is a line of config.txt. */
static int check_spec(const char *option, const char *spec)
{
    if (!has_control(spec))
        return CLI_OK;
    cli_error(option, "its value contains a control character");
    return CLI_USAGE;
}

int cli_job_set_options(cli_job *job, const cli_args *args)
{
    nyb_error err;
    const cli_model *record;
    if (check_spec("--model", job->model_spec) != CLI_OK)
        return CLI_USAGE;
    if (cli_model_find(job->model_spec, &record, &err) != NYB_OK)
        return cli_fail_argument("--model", &err);
    nyb_train_defaults(&job->options);
    record->defaults(&job->options);
    for (size_t i = 0; i < args->n_train; i++) {
        const char *key = nyb_train_option_key(args->train[i].index);
        if (nyb_train_option_set(&job->options, key, args->train[i].value, &err) != NYB_OK) {
            char what[64];
            snprintf(what, sizeof what, "--%s", key);
            return cli_fail_argument(what, &err);
        }
    }
    return CLI_OK;
}

int cli_job_open_recipe(cli_job *job, const cli_list *sets)
{
    nyb_error err;
    if (nyb_recipe_create(job->recipe_spec, &job->recipe, &err) != NYB_OK)
        return cli_fail_recipe("--recipe", job->recipe_spec, &err);
    return cli_apply_sets(job->recipe, sets);
}

int cli_job_open_context(cli_job *job)
{
    return cli_open_context(job->cpu, job->threads, &job->context);
}

int cli_job_open_data(cli_job *job, cli_input *input)
{
    nyb_error err;
    nyb_data_info info;
    if (check_spec("--data", job->data_spec) != CLI_OK)
        return CLI_USAGE;
    if (nyb_data_open(job->data_spec, &job->data, &err) != NYB_OK)
        return cli_fail_argument("--data", &err);
    nyb_data_limit(job->data, job->limit_train, job->limit_test);
    nyb_data_get_info(job->data, &info);
    *input = (cli_input){info.h, info.w, info.c, info.classes, !job->options.normalize};
    return CLI_OK;
}

int cli_job_build(cli_job *job, const cli_input *input)
{
    nyb_error err;
    if (cli_model_create(job->model_spec, input, &job->model, &err) != NYB_OK)
        return cli_fail_argument("--model", &err);
    if (nyb_train_create(job->context, job->model, job->recipe, job->data, &job->options,
                         &job->train, &err) != NYB_OK)
        return cli_fail_argument(job->model_spec, &err);
    return CLI_OK;
}

void cli_job_close(cli_job *job)
{
    nyb_train_destroy(&job->train);
    nyb_model_destroy(&job->model);
    nyb_recipe_destroy(&job->recipe);
    nyb_data_close(&job->data);
    nyb_context_destroy(&job->context);
    free(job->config);
}

int cli_job_parse_input(const cli_job *job, const char *text, size_t classes, cli_input *input)
{
    *input = (cli_input){.classes = classes, .nonneg = !job->options.normalize};
    if (cli_parse_image(text, &input->c, &input->h, &input->w))
        return CLI_OK;
    cli_error("--input", "'%s' is not of the form CxHxW, as 3x32x32", text);
    return CLI_USAGE;
}

/* ---- config.txt --------------------------------------------------------------------------- */

/* The path of the folder that a spec names, from the root on; NULL if it names none. */
static char *folder_of(const char *spec)
{
    const size_t n = strcspn(spec, ":");
    for (size_t i = 0; spec[n] && i < nyb_data_source_count(); i++) {
        const char *name = nyb_data_source_name(i);
        if (nyb_data_source_in_folder(i) && strlen(name) == n && strncmp(spec, name, n) == 0)
            return realpath(spec + n + 1, NULL);
    }
    return NULL;
}

/* SOURCE:PATH with the path from the root on, so that a run goes on wherever it is resumed; other
 * specs, and where a folder's name would break the line, as they are. */
static void print_data(const char *spec, FILE *out)
{
    char *path = folder_of(spec);
    if (path && !has_control(path))
        fprintf(out, "data = %.*s:%s\n", (int)strcspn(spec, ":"), spec, path);
    else
        fprintf(out, "data = %s\n", spec);
    free(path);
}

static _Noreturn void no_memory(void)
{
    cli_error("config.txt", "no memory for its text");
    exit(CLI_FAILURE);
}

char *cli_job_config(const cli_job *job)
{
    char *text = NULL, value[1024];
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        no_memory();
    fprintf(out, "# nybble %s: everything that decides this run; `nybble train --resume` and\n",
            nyb_version());
    fprintf(out, "# `nybble eval` read it back\n");
    print_data(job->data_spec, out);
    fprintf(out, "limit-train = %zu\nlimit-test = %zu\nmodel = %s\n", job->limit_train,
            job->limit_test, job->model_spec);
    fprintf(out, "# threads and instruction set, on which no result depends: %zu, %s\n",
            nyb_context_threads(job->context), nyb_context_cpu(job->context));
    for (size_t i = 0; i < nyb_train_option_count(); i++) {
        nyb_train_option_print(&job->options, i, value, sizeof value);
        fprintf(out, "%s = %s\n", nyb_train_option_key(i), value);
    }
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        nyb_recipe_field_print(job->recipe, i, value, sizeof value);
        if (*value && !nyb_recipe_field_is_part(i))
            fprintf(out, RECIPE_PREFIX "%s = %s\n", nyb_recipe_field_key(i), value);
    }
    if (fclose(out) != 0 || !text)
        no_memory();
    return text;
}

static const char *const spec_keys[] = {"data", "limit-train", "limit-test", "model"};
#define N_SPEC_KEYS (sizeof spec_keys / sizeof spec_keys[0])

static size_t key_count(void)
{
    return N_SPEC_KEYS + nyb_train_option_count() + nyb_recipe_field_count();
}

/* The i-th key of a config.txt, without RECIPE_PREFIX. */
static const char *key_at(size_t i, bool *of_recipe)
{
    const size_t n_fixed = N_SPEC_KEYS + nyb_train_option_count();
    *of_recipe = i >= n_fixed;
    if (i < N_SPEC_KEYS)
        return spec_keys[i];
    return *of_recipe ? nyb_recipe_field_key(i - n_fixed) : nyb_train_option_key(i - N_SPEC_KEYS);
}

/* Which of the keys this is; key_count() if it is none. */
static size_t find_key(const char *key)
{
    bool wanted = strncmp(key, RECIPE_PREFIX, strlen(RECIPE_PREFIX)) == 0, of_recipe;
    if (wanted)
        key += strlen(RECIPE_PREFIX);
    for (size_t i = 0; i < key_count(); i++)
        if (strcmp(key_at(i, &of_recipe), key) == 0 && of_recipe == wanted)
            return i;
    return key_count();
}

/* Of the recipe: a config.txt that lacks one means an empty one. */
static const char *const text_keys[] = {"about", "source", "differs"};
#define N_TEXT_KEYS (sizeof text_keys / sizeof text_keys[0])

/* Whether every config.txt has this key: all but parts of others, and texts that may be empty. */
static bool is_always_there(size_t i)
{
    bool of_recipe;
    const char *key = key_at(i, &of_recipe);
    bool is_text = false;
    for (size_t j = 0; j < N_TEXT_KEYS; j++)
        is_text = is_text || strcmp(key, text_keys[j]) == 0;
    return !of_recipe ||
           (!nyb_recipe_field_is_part(i - N_SPEC_KEYS - nyb_train_option_count()) && !is_text);
}

static int check_keys(const bool *seen, const char *path)
{
    for (size_t i = 0; i < key_count(); i++) {
        bool of_recipe;
        const char *key = key_at(i, &of_recipe);
        if (seen[i] || !is_always_there(i))
            continue;
        cli_error(path, "the line %s%s = ... is missing", of_recipe ? RECIPE_PREFIX : "", key);
        return CLI_FAILURE;
    }
    return CLI_OK;
}

/* The whole file as a string in *text, or false with errno. */
static bool read_text(const char *path, char **text)
{
    struct stat st;
    bool is_file = stat(path, &st) != 0 || S_ISREG(st.st_mode); /* else it may never end */
    FILE *in = is_file ? fopen(path, "rb") : NULL;
    errno = is_file ? errno : EINVAL;
    if (!in)
        return false;
    char *bytes = cli_alloc(CONFIG_MAX_BYTES + 1, 1);
    size_t n = fread(bytes, 1, CONFIG_MAX_BYTES, in);
    bool bad = ferror(in) || memchr(bytes, 0, n);
    fclose(in);
    if (bad || n == CONFIG_MAX_BYTES) {
        free(bytes);
        errno = EINVAL;
        return false;
    }
    *text = bytes;
    return true;
}

/* One "key = value" line. The recipe's own name is set last: other keys would append to it. */
static nyb_status apply_line(cli_job *job, const char *key, const char *value, const char **name,
                             nyb_error *err)
{
    if (strncmp(key, RECIPE_PREFIX, strlen(RECIPE_PREFIX)) == 0) {
        key += strlen(RECIPE_PREFIX);
        if (strcmp(key, "name") == 0) {
            *name = value;
            return NYB_OK;
        }
        return nyb_recipe_set(job->recipe, key, value, err);
    }
    if (strcmp(key, "data") == 0) {
        job->own_data_spec = value;
        job->data_spec = job->data_spec ? job->data_spec : value;
        return NYB_OK;
    }
    if (strcmp(key, "model") == 0) {
        job->model_spec = value;
        return NYB_OK;
    }
    size_t *limit = strcmp(key, "limit-train") == 0  ? &job->limit_train
                    : strcmp(key, "limit-test") == 0 ? &job->limit_test
                                                     : NULL;
    if (!limit)
        return nyb_train_option_set(&job->options, key, value, err);
    if (!cli_parse_size(value, 0, SIZE_MAX, limit))
        return nyb_fail(err, NYB_CORRUPT, "%s = '%.60s' is not a whole number", key, value);
    return NYB_OK;
}

/* Cuts a line at its " = ", notes its key and applies it; false after reporting what is wrong. */
static bool read_line(cli_job *job, const char *path, int number, char *line, bool *seen,
                      const char **name)
{
    nyb_error err;
    char *equals = strstr(line, " = ");
    if (!equals) {
        cli_error(path, "line %d is not of the form key = value", number);
        return false;
    }
    *equals = 0;
    size_t key = find_key(line);
    if (key < key_count() && seen[key]) {
        cli_error(path, "line %d: %s is there a second time", number, line);
        return false;
    }
    if (key < key_count())
        seen[key] = true;
    if (apply_line(job, line, equals + 3, name, &err) != NYB_OK) {
        cli_error(path, "line %d: %s", number, err.text);
        return false;
    }
    return true;
}

static int read_lines(cli_job *job, const char *path, bool *seen)
{
    nyb_error err;
    const char *name = NULL;
    char *next = job->config;
    for (int number = 1; next; number++) {
        char *line = next;
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        if (*line && *line != '#' && !read_line(job, path, number, line, seen, &name))
            return CLI_FAILURE;
    }
    int exit_status = check_keys(seen, path);
    if (exit_status == CLI_OK && nyb_recipe_set(job->recipe, "name", name, &err) != NYB_OK)
        return cli_fail(path, &err);
    return exit_status;
}

int cli_job_read_config(cli_job *job, const char *dir)
{
    nyb_error err;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/config.txt", dir);
    if (!*dir || n < 0 || (size_t)n >= sizeof path) {
        cli_error("config.txt", "the name of its folder is %s", *dir ? "too long" : "empty");
        return CLI_FAILURE;
    }
    if (!read_text(path, &job->config)) {
        cli_error(path, "%s", errno == EINVAL ? "not a config.txt" : strerror(errno));
        cli_hint("a run folder is what `nybble train --out DIR` writes");
        return CLI_FAILURE;
    }
    nyb_train_defaults(&job->options);
    nyb_status status = nyb_recipe_create("f32", &job->recipe, &err);
    for (size_t i = 0; status == NYB_OK && i < N_TEXT_KEYS; i++)
        status = nyb_recipe_set(job->recipe, text_keys[i], "", &err);
    if (status != NYB_OK)
        return cli_fail(path, &err);
    bool *seen = cli_alloc(key_count(), sizeof *seen);
    int exit_status = read_lines(job, path, seen);
    free(seen);
    return exit_status;
}

/* ---- lists for help texts ----------------------------------------------------------------- */

void cli_print_models(FILE *out)
{
    fprintf(out, "\nModels:\n");
    for (const cli_model *const *m = cli_models; *m; m++)
        fprintf(out, "  %-12s %s\n", (*m)->name, (*m)->about);
}

void cli_print_recipes(FILE *out)
{
    fprintf(out, "\nRecipes (or a file; `nybble recipe show NAME`):\n");
    for (size_t i = 0; i < nyb_recipe_count(); i++)
        fprintf(out, "  %-12s %s\n", nyb_recipe_name_at(i), nyb_recipe_about_at(i));
}
