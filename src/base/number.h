/* Numbers as text with a decimal point, whatever the locale of the program around us. */
#ifndef NYB_NUMBER_H
#define NYB_NUMBER_H

#define NYB_NUMBER_BYTES 40

/* The fewest digits that read back as the same number; "nan", "inf", "-inf". Returns text. */
const char *nyb_number_print(double value, char text[NYB_NUMBER_BYTES]);
/* The same for a float, which takes fewer. */
const char *nyb_number_print_float(float value, char text[NYB_NUMBER_BYTES]);

/* What strtod makes of text in the C locale: hexadecimal and "inf", too; errno as it sets it. *end:
 * behind the number, or text if there is none. A number of 255 characters or more is none. */
double nyb_number_parse(const char *text, const char **end);

/* The float nearest to a number, whatever the caller's rounding mode. */
float nyb_number_to_float(double value);

#endif
