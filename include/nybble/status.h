/* How nybble's functions report failure: a status to test, and a sentence to print. */
#ifndef NYBBLE_STATUS_H
#define NYBBLE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NYB_API               __attribute__((visibility("default")))
#define NYB_MUST_CHECK        __attribute__((warn_unused_result))
#define NYB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define NYB_API
#define NYB_MUST_CHECK
#define NYB_PRINTF(fmt, args)
#endif

/* X(constant, word that logs print, sentence) */
#define NYB_STATUS_LIST(X)                                                                         \
    X(NYB_OK, "ok", "success")                                                                     \
    X(NYB_INVALID, "invalid", "an argument is out of its range")                                   \
    X(NYB_SHAPE, "shape", "shapes do not agree")                                                   \
    X(NYB_UNKNOWN, "unknown", "no such name")                                                      \
    X(NYB_IO, "io", "the operating system refused a file operation")                               \
    X(NYB_CORRUPT, "corrupt", "a file is malformed or truncated")                                  \
    X(NYB_MEMORY, "memory", "out of memory")                                                       \
    X(NYB_LIMIT, "limit", "a size is too large to represent")                                      \
    X(NYB_NONFINITE, "nonfinite", "a value is NaN or infinite")                                    \
    X(NYB_STATE, "state", "the object is not in the state this call needs")                        \
    X(NYB_INTERRUPTED, "interrupted", "interrupted by the user")

typedef enum nyb_status {
#define X(constant, word, sentence) constant,
    NYB_STATUS_LIST(X)
#undef X
} nyb_status;

/* Filled by a failing function; the caller owns it. Passing NULL for a nyb_error * is allowed
 * everywhere: the status alone is then returned. After success its content is unchanged. */
typedef struct nyb_error {
    nyb_status status;
    char text[480]; /* one sentence naming the values that disagreed, no final newline; of what is
                     too long the middle is "..." */
} nyb_error;

/* The word ("shape") and the sentence of a status. Never NULL. */
NYB_API const char *nyb_status_name(nyb_status status);
NYB_API const char *nyb_status_text(nyb_status status);

/* Writes the sentence into err (if not NULL) and returns status. */
NYB_API nyb_status nyb_fail(nyb_error *err, nyb_status status, const char *format, ...)
    NYB_PRINTF(3, 4);

/* Returns from the caller with the status of a failing expression. */
#define NYB_TRY(expression)                                                                        \
    do {                                                                                           \
        nyb_status nyb_try_status = (expression);                                                  \
        if (nyb_try_status != NYB_OK)                                                              \
            return nyb_try_status;                                                                 \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
