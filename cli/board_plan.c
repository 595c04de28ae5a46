/* Which runs a campaign has, and what tells them apart. */
#include <stdlib.h>
#include <string.h>

#include "board.h"

const board_preset board_presets[] = {
    {"mlp", "fashion-mnist", "mlp", "3", "edges=recipe", 0},
    {"resnet14s", "fashion-mnist", "resnet14s", "4", NULL, 20000},
    {"resnet14", "fashion-mnist", "resnet14", "10", NULL, 0},
    {0},
};

const board_preset *board_preset_find(const char *name)
{
    for (const board_preset *p = board_presets; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

/* ---- words -------------------------------------------------------------------------------- */

static char *copy_word(const char *text, size_t length)
{
    char *word = cli_alloc(length + 1, 1);
    memcpy(word, text, length);
    return word;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Cuts comma separated texts. A model's widths have commas of their own ("mlp:300,100"): with
 * `letters` only a comma before a letter, '.' or '/' separates. */
static size_t split(const cli_list *list, bool letters, char **words, size_t n_max)
{
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        const char *start = list->items[i], *end = start;
        for (;; end++) {
            if (*end && (*end != ',' || (letters && !is_letter(end[1]))))
                continue;
            if (n < n_max)
                words[n++] = copy_word(start, (size_t)(end - start));
            if (!*end)
                break;
            start = end + 1;
        }
    }
    return n;
}

static void free_words(char **words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(words[i]);
}

/* ---- recipes ------------------------------------------------------------------------------ */

/* Where "+key=value" begins, or the end. */
static const char *next_override(const char *text)
{
    for (; *text; text++) {
        if (*text != '+')
            continue;
        size_t key = strspn(text + 1, "abcdefghijklmnopqrstuvwxyz_.0123456789");
        if (key > 0 && is_letter(text[1]) && text[1 + key] == '=')
            break;
    }
    return text;
}

/* What a recipe changes, one "key = value" a line. Only differences from f32, so that a key which
 * a later version adds does not change the text of a recipe that does not use it. */
static char *describe_recipe(const nyb_recipe *recipe, const nyb_recipe *base)
{
    char *text = NULL, value[1024], plain[1024];
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    for (size_t i = 0; out && i < nyb_recipe_field_count(); i++) {
        const char *key = nyb_recipe_field_key(i);
        if (nyb_recipe_field_is_part(i) || strcmp(key, "name") == 0 || strcmp(key, "about") == 0 ||
            strcmp(key, "source") == 0 || strcmp(key, "differs") == 0)
            continue;
        nyb_recipe_field_print(recipe, i, value, sizeof value);
        nyb_recipe_field_print(base, i, plain, sizeof plain);
        if (strcmp(value, plain) != 0)
            fprintf(out, "%s = %s\n", key, value);
    }
    if (!out || fclose(out) != 0 || !text)
        return cli_alloc(1, 1);
    return text;
}

/* An entry is the name of its runs: a key that is there twice would give one recipe two names. */
static int check_entry(const char *entry)
{
    for (const char *at = next_override(entry); *at; at = next_override(at + 1)) {
        const size_t key = strcspn(at, "=") + 1;
        for (const char *later = next_override(at + 1); *later; later = next_override(later + 1))
            if (strncmp(at, later, key) == 0) {
                cli_error("--recipes", "%.160s: %.*s is there twice", entry, (int)key - 2, at + 1);
                return CLI_USAGE;
            }
    }
    return CLI_OK;
}

/* "name+key=value+key=value" */
static int open_entry(const char *entry, board_recipe *r)
{
    nyb_error err;
    if (check_entry(entry) != CLI_OK)
        return CLI_USAGE;
    const char *end = next_override(entry);
    char *name = copy_word(entry, (size_t)(end - entry));
    nyb_status status = nyb_recipe_create(name, &r->recipe, &err);
    if (status == NYB_OK) {
        const size_t n_bytes = strlen(nyb_recipe_name(r->recipe)) + strlen(end) + 1;
        r->label = cli_alloc(n_bytes, 1);
        snprintf(r->label, n_bytes, "%s%s", nyb_recipe_name(r->recipe), end);
    }
    free(name);
    while (status == NYB_OK && *end) {
        const char *equals = strchr(end, '=');
        const char *next = next_override(equals);
        char *key = copy_word(end + 1, (size_t)(equals - end - 1));
        char *value = copy_word(equals + 1, (size_t)(next - equals - 1));
        status = nyb_recipe_set(r->recipe, key, value, &err);
        free(key);
        free(value);
        end = next;
    }
    if (status == NYB_OK)
        return CLI_OK;
    char what[200];
    snprintf(what, sizeof what, "--recipes %.160s", entry);
    return cli_fail_argument(what, &err);
}

static int add_recipe(board_plan *plan, const char *entry, const cli_list *sets,
                      const nyb_recipe *base)
{
    board_recipe *r = &plan->recipes[plan->n_recipes++];
    int exit_status = open_entry(entry, r);
    if (exit_status == CLI_OK)
        exit_status = cli_apply_sets(r->recipe, sets);
    if (exit_status != CLI_OK)
        return exit_status;
    r->text = describe_recipe(r->recipe, base);
    for (size_t i = 0; i + 1 < plan->n_recipes; i++) {
        const board_recipe *other = &plan->recipes[i];
        if (strcmp(other->label, r->label) != 0)
            continue;
        if (strcmp(other->text, r->text) != 0) {
            cli_error("--recipes", "two different recipes are called '%s'", r->label);
            return CLI_USAGE;
        }
        nyb_recipe_destroy(&r->recipe);
        free(r->label);
        free(r->text);
        plan->n_recipes--;
        break;
    }
    return CLI_OK;
}

static int add_all(board_plan *plan, const cli_list *sets, const nyb_recipe *base)
{
    int exit_status = CLI_OK;
    for (size_t i = 0; i < nyb_recipe_count() && exit_status == CLI_OK; i++)
        exit_status = add_recipe(plan, nyb_recipe_name_at(i), sets, base);
    return exit_status;
}

static int make_recipes(board_plan *plan, const board_request *request)
{
    nyb_error err;
    nyb_recipe *base;
    if (nyb_recipe_create("f32", &base, &err) != NYB_OK)
        return cli_fail("f32", &err);
    char *words[BOARD_WORDS_MAX];
    size_t n = split(&request->recipes, false, words, BOARD_WORDS_MAX);
    plan->recipes = cli_alloc((n + 1) * (nyb_recipe_count() + 1), sizeof *plan->recipes);
    int exit_status = n == 0 ? add_all(plan, &request->sets, base) : CLI_OK;
    for (size_t i = 0; i < n && exit_status == CLI_OK; i++)
        exit_status = strcmp(words[i], "all") == 0
                          ? add_all(plan, &request->sets, base)
                          : add_recipe(plan, words[i], &request->sets, base);
    free_words(words, n);
    nyb_recipe_destroy(&base);
    return exit_status;
}

/* ---- models ------------------------------------------------------------------------------- */

/* No result depends on these, or they are told apart otherwise. */
static bool is_ignored(const char *key)
{
    static const char *const keys[] = {"seed", "checkpoint-every", "telemetry-every", "log-every"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Told even where they have their default. */
static bool is_told(const char *key)
{
    static const char *const keys[] = {"epochs",   "batch",        "lr",       "schedule", "warmup",
                                       "momentum", "weight-decay", "nesterov", "normalize"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* As one would write it on the command line, but not `--recipe` and `--seed`. */
static char *describe_setup(const board_request *request, const nyb_train_options *options)
{
    char *text = NULL, value[64], plain[64];
    size_t n_bytes;
    nyb_train_options defaults;
    nyb_train_defaults(&defaults);
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return cli_alloc(1, 1);
    fprintf(out, "--data %s", request->data);
    if (request->limit_train)
        fprintf(out, " --limit-train %zu", request->limit_train);
    if (request->limit_test)
        fprintf(out, " --limit-test %zu", request->limit_test);
    for (size_t i = 0; i < nyb_train_option_count(); i++) {
        const char *key = nyb_train_option_key(i);
        nyb_train_option_print(options, i, value, sizeof value);
        nyb_train_option_print(&defaults, i, plain, sizeof plain);
        if (!is_ignored(key) && (is_told(key) || strcmp(value, plain) != 0))
            fprintf(out, " --%s%s%s", key, nyb_train_option_is_flag(i) ? "=" : " ", value);
    }
    cli_list sets = request->sets;
    cli_keep_last_sets(&sets);
    for (size_t i = 0; i < sets.n; i++)
        fprintf(out, " --set %s", sets.items[i]);
    if (fclose(out) != 0 || !text)
        return cli_alloc(1, 1);
    return text;
}

static int make_models(board_plan *plan, const board_request *request, const cli_args *args)
{
    char *words[BOARD_WORDS_MAX];
    size_t n = split(&request->models, true, words, BOARD_WORDS_MAX);
    int exit_status = CLI_OK;
    plan->models = cli_alloc(n + 1, sizeof *plan->models);
    for (size_t i = 0; i < n && exit_status == CLI_OK; i++) {
        cli_job job = {.model_spec = words[i]};
        exit_status = cli_job_set_options(&job, args);
        for (size_t j = 0; j < plan->n_models; j++)
            if (exit_status == CLI_OK && strcmp(plan->models[j].spec, words[i]) == 0) {
                cli_error("--models", "'%s' is named twice", words[i]);
                exit_status = CLI_USAGE;
            }
        if (exit_status != CLI_OK)
            break;
        board_model *m = &plan->models[plan->n_models++];
        m->spec = copy_word(words[i], strlen(words[i]));
        m->options = job.options;
        m->setup = describe_setup(request, &m->options);
    }
    free_words(words, n);
    return exit_status;
}

/* ---- seeds, jobs -------------------------------------------------------------------------- */

static int make_seeds(board_plan *plan, const board_request *request)
{
    char *words[BOARD_WORDS_MAX];
    size_t n = split(&request->seeds, false, words, BOARD_WORDS_MAX);
    int exit_status = CLI_OK;
    plan->seeds = cli_alloc(n + 1, sizeof *plan->seeds);
    for (size_t i = 0; i < n && exit_status == CLI_OK; i++) {
        uint64_t seed;
        bool is_new = true;
        if (!cli_parse_u64(words[i], &seed)) {
            cli_error("--seeds", "'%s' is not a whole number; 1,2,3 would be right", words[i]);
            exit_status = CLI_USAGE;
            break;
        }
        for (size_t j = 0; j < plan->n_seeds; j++)
            is_new = is_new && plan->seeds[j] != seed;
        if (is_new)
            plan->seeds[plan->n_seeds++] = seed;
    }
    free_words(words, n);
    return exit_status;
}

/* FNV-1a, 64 bits */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (hash ^ '\n') * UINT64_C(0x100000001b3);
}

static void make_jobs(board_plan *plan)
{
    plan->jobs =
        cli_alloc(plan->n_models * plan->n_seeds * plan->n_recipes + 1, sizeof *plan->jobs);
    for (size_t m = 0; m < plan->n_models; m++)
        for (size_t s = 0; s < plan->n_seeds; s++)
            for (size_t r = 0; r < plan->n_recipes; r++) {
                board_job *job = &plan->jobs[plan->n_jobs++];
                *job = (board_job){
                    .model = &plan->models[m], .recipe = &plan->recipes[r], .seed = plan->seeds[s]};
                uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), job->model->spec);
                hash = hash_text(hash, job->model->setup);
                hash = hash_text(hash, job->recipe->text);
                snprintf(job->hash, sizeof job->hash, "%016llx", (unsigned long long)hash);
            }
}

int board_plan_make(board_plan *plan, const board_request *request, const cli_args *args)
{
    *plan = (board_plan){0};
    int exit_status = make_recipes(plan, request);
    if (exit_status == CLI_OK)
        exit_status = make_models(plan, request, args);
    if (exit_status == CLI_OK)
        exit_status = make_seeds(plan, request);
    if (exit_status == CLI_OK)
        make_jobs(plan);
    return exit_status;
}

void board_plan_free(board_plan *plan)
{
    for (size_t i = 0; i < plan->n_recipes; i++) {
        nyb_recipe_destroy(&plan->recipes[i].recipe);
        free(plan->recipes[i].label);
        free(plan->recipes[i].text);
    }
    for (size_t i = 0; i < plan->n_models; i++) {
        free(plan->models[i].spec);
        free(plan->models[i].setup);
    }
    free(plan->recipes);
    free(plan->models);
    free(plan->seeds);
    free(plan->jobs);
    *plan = (board_plan){0};
}
