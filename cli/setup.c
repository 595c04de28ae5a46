#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

int cli_apply_sets(nyb_recipe *recipe, const cli_list *sets)
{
    for (size_t i = 0; i < sets->n; i++) {
        const char *equals = strchr(sets->items[i], '=');
        char key[64];
        size_t length = equals ? (size_t)(equals - sets->items[i]) : 0;
        if (length == 0 || length >= sizeof key) {
            cli_error("--set", "'%s' is not of the form key=value", sets->items[i]);
            cli_hint("nybble recipe keys");
            return CLI_USAGE;
        }
        memcpy(key, sets->items[i], length);
        key[length] = 0;
        nyb_error err;
        if (nyb_recipe_set(recipe, key, equals + 1, &err) != NYB_OK) {
            int exit_status = cli_fail_argument("--set", &err);
            cli_hint("nybble recipe keys");
            return exit_status;
        }
    }
    return CLI_OK;
}

void cli_keep_last_sets(cli_list *sets)
{
    size_t n = 0;
    for (size_t i = 0; i < sets->n; i++) {
        const size_t key = strcspn(sets->items[i], "=") + 1;
        bool again = false;
        for (size_t j = i + 1; j < sets->n; j++)
            again = again || strncmp(sets->items[i], sets->items[j], key) == 0;
        if (!again)
            sets->items[n++] = sets->items[i];
    }
    sets->n = n;
}

int cli_fail_recipe(const char *what, const char *name, const nyb_error *err)
{
    int exit_status = cli_fail_argument(what, err);
    const char *plus = strchr(name, '+');
    if (plus && strchr(plus, '=')) /* a name as tables have it */
        cli_hint("keys are changed by --set: %.*s --set %s", (int)(plus - name), name, plus + 1);
    else if (err->status == NYB_UNKNOWN)
        cli_hint("nybble recipe list");
    return exit_status;
}

int cli_open_context(const char *cpu, size_t n_threads, nyb_context **context)
{
    nyb_error err;
    if (nyb_context_create(cpu, n_threads, context, &err) == NYB_OK)
        return CLI_OK;
    static const char variable[] = "NYBBLE_CPU: "; /* where the word came from */
    const size_t n = sizeof variable - 1;
    if (strncmp(err.text, variable, n) != 0)
        return cli_fail_argument("--cpu", &err);
    cli_error("NYBBLE_CPU", "%s", err.text + n);
    return CLI_USAGE;
}

/* ---- files -------------------------------------------------------------------------------- */

/* One file under two names: that there is, or that would be written into one folder. A device is no
 * file that could be lost. */
static bool same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    const bool there_a = stat(a, &of_a) == 0, there_b = stat(b, &of_b) == 0;
    if (there_a && there_b)
        return of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino && S_ISREG(of_a.st_mode);
    if (there_a || there_b)
        return false;
    const char *end_a = strrchr(a, '/'), *end_b = strrchr(b, '/');
    char *folder_a = strndup(end_a ? a : ".", end_a ? (size_t)(end_a - a) + 1 : 1);
    char *folder_b = strndup(end_b ? b : ".", end_b ? (size_t)(end_b - b) + 1 : 1);
    const bool same = strcmp(end_a ? end_a + 1 : a, end_b ? end_b + 1 : b) == 0 && folder_a &&
                      folder_b && stat(folder_a, &of_a) == 0 && stat(folder_b, &of_b) == 0 &&
                      of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
    free(folder_a);
    free(folder_b);
    return same;
}

/* While PATH is being written it is PATH.tmp. */
static bool is_written_over(const char *path, const char *written)
{
    const size_t n_bytes = strlen(written) + sizeof ".tmp";
    char *temp = cli_alloc(n_bytes, 1);
    snprintf(temp, n_bytes, "%s.tmp", written);
    const bool same = same_file(path, written) || same_file(path, temp);
    free(temp);
    return same;
}

int cli_check_files(const cli_file *files, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; files[i].path && j < i; j++) {
            if (files[i].is_input || !files[j].path ||
                !is_written_over(files[j].path, files[i].path))
                continue;
            if (files[j].is_input)
                cli_error(files[i].name, "'%s' would overwrite the input %s", files[i].path,
                          files[j].path);
            else
                cli_error(files[i].name, "'%s' is where %s goes", files[i].path, files[j].name);
            return CLI_USAGE;
        }
    return CLI_OK;
}
