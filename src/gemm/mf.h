/* MF-BPROP: products of small integers and e3m0 codes without a multiplication (NUMERICS 1.9). */
#ifndef NYB_MF_H
#define NYB_MF_H

#include "format/format.h"
#include "gemm/tile.h"

/* Chmiel et al., ICLR 2023: a magnitude m = 2^l 1.f times 2^(e-1) is the floating-point number with
 * exponent l + e and mantissa f: one small table of (l, f), one addition of exponents, one
 * exclusive or of signs. [1,4,2] holds it for m <= 7 (fp7), [1,4,3] for m <= 15. Here the latter:
 * sign << 7 | exponent << 3 | mantissa, worth 2^(exponent-1) (1 + mantissa/8); 0 is zero. */
uint8_t nyb_mf_product(int integer, unsigned e3m0_code); /* |integer| <= 15 */
/* What that is worth, as an integer: -960 .. 960. */
int32_t nyb_mf_value(uint8_t product);

/* True if one format is e3m0 and the other has only integers of magnitude 15 or less. */
bool nyb_mf_can(const nyb_format *a, const nyb_format *b);
/* The tile for a pair that can. It reads bytes as nyb_mf_bytes makes them, is not biased, and gives
 * the sums of the s8 tiles. Never NULL. */
const nyb_tile_s8 *nyb_mf_choose(uint32_t cpu, const nyb_format *a);
/* What a tile reads for each code: e3m0: sign << 7 | exponent code; integers: themselves. */
void nyb_mf_bytes(const nyb_format *format, uint8_t bytes[256]);

/* Tiles whose a is e3m0, best first, NULL-terminated; and the one whose b is. */
extern const nyb_tile_s8 *const nyb_mf_list[];
extern const nyb_tile_s8 nyb_mf_avx512, nyb_mf_avx2, nyb_mf_ref, nyb_mf_ref_b;

#endif
