#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <nybble/status.h>

const char *nyb_status_name(nyb_status status)
{
    switch (status) {
#define X(constant, word, sentence)                                                                \
    case constant:                                                                                 \
        return word;
        NYB_STATUS_LIST(X)
#undef X
    }
    return "?";
}

const char *nyb_status_text(nyb_status status)
{
    switch (status) {
#define X(constant, word, sentence)                                                                \
    case constant:                                                                                 \
        return sentence;
        NYB_STATUS_LIST(X)
#undef X
    }
    return "?";
}

#define SENTENCE_MAX 8192 /* above that of the longest path */

/* A sentence that is too long, for a path most often, lacks its middle: why it failed is at the
 * end. */
static void shorten(const char *text, char *to, size_t n_bytes)
{
    static const char gap[] = " ... ";
    const size_t n = strlen(text), n_head = n_bytes / 2, n_gap = sizeof gap - 1;

    if (n < n_bytes) {
        memcpy(to, text, n + 1);
        return;
    }
    const size_t n_tail = n_bytes - 1 - n_head - n_gap;
    memcpy(to, text, n_head);
    memcpy(to + n_head, gap, n_gap);
    memcpy(to + n_head + n_gap, text + n - n_tail, n_tail + 1);
}

nyb_status nyb_fail(nyb_error *err, nyb_status status, const char *format, ...)
{
    if (err) {
        char text[SENTENCE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        shorten(text, err->text, sizeof err->text);
        err->status = status;
    }
    return status;
}
