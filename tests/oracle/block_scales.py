#!/usr/bin/env python3
"""Blocks quantized by libraries that share no code with nybble; writes block_scales.h.

    pip install gfloat==0.5.2 ml_dtypes==0.6.0 numpy
    python3 tests/oracle/block_scales.py | clang-format > tests/oracle/block_scales.h

MX: gfloat's quantize_block with compute_scale_amax (the specification's FLOOR), blocks of 32 of the
4096 elements of NUMERICS 1.4. NVFP4: its formulas in numpy float32, the roundings by ml_dtypes,
blocks of 16. MXINT8's -128 is ours -127. What is kept is FNV-1a 64 of the little-endian f32 values,
-0 as 0."""
import struct

import gfloat
import ml_dtypes
import numpy as np
from gfloat import formats as gf

MASK = (1 << 64) - 1


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def known_vector():
    """tests/unit/known.h: FNV of its bytes is 25cabd7dfa6005ce."""
    x = []
    for i in range(4096):
        u = philox((i >> 2, 255 << 16, 0, 0), (1, 0))[i & 3]
        m = 1.0 + (u >> 12 & 0x7FFFF) / 524288.0
        x.append((-m if u >> 31 else m) * 2.0 ** -(u >> 8 & 15))
    return np.array(x, dtype=np.float32)


def fnv(values):
    h = 0xCBF29CE484222325
    for byte in (np.asarray(values, dtype="<f4") + np.float32(0)).tobytes():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def mx(x, block_format):
    out = []
    for i in range(0, len(x), block_format.k):
        block = x[i:i + block_format.k].astype(np.float64)
        values = gfloat.quantize_block(block_format, block, gfloat.compute_scale_amax)
        if block_format.name == "mxint8":
            scale = gfloat.compute_scale_amax(block_format.etype.emax, block)
            values = np.maximum(values, -127 / 64 * scale)
        out.append(values)
    return np.concatenate(out)


def nvfp4(x, val_max, top):
    """NUMERICS 7.4: the tensor's scale is applied first, as a reciprocal."""
    f = np.float32
    s_enc = f(val_max) * f(top) / np.abs(x).max()
    s_dec = f(1) / s_enc
    out = []
    for i in range(0, len(x), 16):
        block = x[i:i + 16]
        v = np.abs(block).max() * (s_enc * (f(1) / f(val_max)))
        sb = f(np.minimum(v, f(448)).astype(ml_dtypes.float8_e4m3fn))
        enc = np.minimum(f(1) / (sb * s_dec), np.finfo(f).max)
        y = np.clip(block * enc, f(-6), f(6)).astype(ml_dtypes.float4_e2m1fn).astype(f)
        out.append(y * sb * s_dec)
    return np.concatenate(out)


def main():
    x = known_vector()
    assert fnv(x) == 0x25CABD7DFA6005CE
    print("/* Made by block_scales.py with gfloat 0.5.2 and ml_dtypes 0.6.0; see there. */")
    print("#ifndef BLOCK_SCALES_H\n#define BLOCK_SCALES_H\n\n#include <stdint.h>\n")
    print("static const struct {")
    print("    const char *format, *rule;\n    int block;\n    uint64_t fnv;\n} block_scales[] = {")
    for name, block_format in (("e2m1", gf.format_info_mxfp4_e2m1), ("e3m2", gf.format_info_mxfp6_e3m2),
                               ("e2m3", gf.format_info_mxfp6_e2m3), ("e4m3fn", gf.format_info_mxfp8_e4m3),
                               ("e5m2", gf.format_info_mxfp8_e5m2), ("int8", gf.format_info_mxint8)):
        print(f'    {{"{name}", "e8m0", 32, 0x{fnv(mx(x, block_format)):016x}}},')
    print(f'    {{"e2m1", "e4m3", 16, 0x{fnv(nvfp4(x, 6, 448)):016x}}},')
    guard = np.float32(6) / (np.float32(17) / np.float32(16))
    print(f'    {{"e2m1", "e4m3_over17", 16, 0x{fnv(nvfp4(x, guard, 448)):016x}}},')
    print("};\n\n#endif")


if __name__ == "__main__":
    main()
