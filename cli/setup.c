#include <string.h>

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
