/* A locale whose numbers have a comma: an installed one, or one that is made for the test. */
#ifndef COMMA_H
#define COMMA_H

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* false: there is none, nor what makes one. */
static bool comma_begin(char folder[64])
{
    char command[160];

    folder[0] = '\0';
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") || setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
        return true;
    snprintf(folder, 64, "/tmp/nybble-locale-XXXXXX");
    if (!mkdtemp(folder))
        return false;
    snprintf(command, sizeof command,
             "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' > /dev/null 2>&1", folder);
    return system(command) == 0 && setenv("LOCPATH", folder, 1) == 0 &&
           setlocale(LC_NUMERIC, "de_DE.UTF-8");
}

static void comma_end(const char *folder)
{
    char command[96];

    setlocale(LC_NUMERIC, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (folder[0] && system(command) != 0)
        printf("left %s\n", folder);
}

#endif
