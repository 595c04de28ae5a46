/* Number formats: what each code of a format is worth. */
#ifndef NYBBLE_FORMAT_H
#define NYBBLE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable record; all of them are in one list. value(code) = decode(code) * scale. */
typedef struct nyb_format nyb_format;

/* The number of formats, and the i-th (0 <= i < count) in the order `nybble format list` shows. */
NYB_API size_t nyb_format_count(void);
NYB_API const nyb_format *nyb_format_at(size_t i);

/* NULL if no format has this name. */
NYB_API const nyb_format *nyb_format_find(const char *name);

/* As find, but a failure (NYB_UNKNOWN) lists the valid names. */
NYB_API NYB_MUST_CHECK nyb_status nyb_format_parse(const char *name, const nyb_format **format,
                                                   nyb_error *err);

NYB_API const char *nyb_format_name(const nyb_format *format);
NYB_API const char *nyb_format_about(const nyb_format *format);
/* Bits of one code: 2, 4, 8; 32 for f32, which has no codes. */
NYB_API int nyb_format_bits(const nyb_format *format);
/* The value of a code at scale 1 (0 <= code < 2^bits; bits <= 8). NaN codes give a quiet NaN. */
NYB_API float nyb_format_decode(const nyb_format *format, unsigned code);
/* Largest finite magnitude at scale 1 that an encoder produces. */
NYB_API float nyb_format_max(const nyb_format *format);
/* True if all codes are small integers times one unit: operands of the exact s8 engine. */
NYB_API int nyb_format_is_integer(const nyb_format *format);

#ifdef __cplusplus
}
#endif
#endif
