#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

bool cli_parse_u64(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long v = strtoull(text, &end, 10);
    if (*end || errno)
        return false;
    *value = v;
    return true;
}

bool cli_parse_size(const char *text, size_t lo, size_t hi, size_t *value)
{
    uint64_t v;
    if (!cli_parse_u64(text, &v) || v < lo || v > hi)
        return false;
    *value = (size_t)v;
    return true;
}

bool cli_parse_image(const char *text, size_t *c, size_t *h, size_t *w)
{
    char copy[64];
    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    char *first = strchr(copy, 'x');
    char *second = first ? strchr(first + 1, 'x') : NULL;
    if (!second)
        return false;
    *first = 0;
    *second = 0;
    return cli_parse_size(copy, 1, 65536, c) && cli_parse_size(first + 1, 1, 65536, h) &&
           cli_parse_size(second + 1, 1, 65536, w);
}

void *cli_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        cli_error("memory", "%zu x %zu bytes are not to be had", n, size);
        exit(CLI_FAILURE);
    }
    return p;
}

char *cli_join(const char *folder, const char *name)
{
    const size_t n_bytes = strlen(folder) + strlen(name) + 2;
    char *path = cli_alloc(n_bytes, 1);
    snprintf(path, n_bytes, "%s/%s", folder, name);
    return path;
}

bool cli_exists(const char *folder, const char *name)
{
    char *path = cli_join(folder, name);
    bool found = access(path, F_OK) == 0;
    free(path);
    return found;
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cli_quantile(double *times, size_t n, double q)
{
    qsort(times, n, sizeof *times, compare);
    return times[(size_t)((double)(n - 1) * q + 0.5)];
}
