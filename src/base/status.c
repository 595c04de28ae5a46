#include <stdarg.h>
#include <stdio.h>

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

nyb_status nyb_fail(nyb_error *err, nyb_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}
