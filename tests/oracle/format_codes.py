#!/usr/bin/env python3
"""Hashes of every code's value and of the codes of 196,608 inputs, from others than the library.

    pip install ml_dtypes==0.6.0 gfloat==0.5.2 numpy
    python3 tests/oracle/format_codes.py CODE_TABLES_TSV > tests/oracle/format_codes.inc

tests/unit/test_format_codes.c compares. Four sources, one row for each format that a source knows:
  tables     the published code tables (format, code, class, hexfloat, decimal, fp32 bits)
  ml_dtypes  and numpy's own float16
  gfloat     its own records of the OCP formats, and records made here for others
  model      below: a sorted list of values, midpoints, a rule for ties; in double, where midpoints
             of neighbouring values are exact

decode: FNV-1a 64 of the f32 images of codes 0, 1 .., little endian, NaN as 7fc00000. encode: of the
codes (1, 2 or 4 bytes, little endian) of the f32 images i << 16 | low, low = 0000, 0001, ffff
outermost, i = 0 .. 65535, to nearest, saturating and overflowing; 0 where a source has no opinion. A
NaN's code is not the source's: NUMERICS 8.2 prescribes it."""
import sys
from bisect import bisect_left
from importlib.metadata import version

import gfloat
import ml_dtypes
import numpy as np
from gfloat import formats as known

INF = float("inf")
INPUTS = np.concatenate([((np.arange(65536, dtype=np.uint32) << np.uint32(16)) | np.uint32(low))
                         for low in (0x0000, 0x0001, 0xFFFF)]).view(np.float32)


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def images(values):
    with np.errstate(over="ignore", invalid="ignore"):
        bits = np.asarray(values, dtype=np.float64).astype(np.float32).view(np.uint32).copy()
        bits[np.isnan(np.asarray(values, dtype=np.float64))] = 0x7FC00000
    return fnv(bits.astype("<u4").tobytes())


# ---- the model ----------------------------------------------------------------------------------


class Format:
    """values[code]; nan: code of NaN or None; inf: code of Inf or None; sign: bit of the sign."""

    def __init__(self, bits, values, nan=None, inf=None, sign=0, ties="even", top=None):
        self.bits, self.values, self.nan, self.inf, self.sign = bits, values, nan, inf, sign
        self.ties, self.signed_nan = ties, bool(sign)
        self.top, self.flush = top, 0.0
        half = values[:sign] if sign else values
        self.pos = sorted((v, c) for c, v in enumerate(half) if v == v and abs(v) != INF)
        self.grid = [v for v, _ in self.pos]
        self.mids = [(a + b) / 2 for a, b in zip(self.grid, self.grid[1:])]

    def nearest(self, y):
        i = bisect_left(self.mids, y)  # mids[i - 1] < y <= mids[i]
        code = self.pos[i][1]
        if i < len(self.mids) and y == self.mids[i]:
            above = self.pos[i + 1][1]
            if self.ties == "up" or (self.ties == "even" and code % 2):
                code = above
            elif self.ties == "even integer" and self.grid[i] % 2:
                code = above
        return code

    def over(self, y):
        """Is a magnitude rounded beyond the largest value?"""
        if y == INF:
            return True
        if self.top is None or y <= self.grid[-1]:
            return False
        middle = (self.grid[-1] + self.top) / 2
        return y > middle or (y == middle and (self.ties == "up" or self.pos[-1][1] % 2 == 1))

    def encode(self, x, saturate):
        negative = np.signbit(x)
        y = float(x)
        if y != y:
            if self.nan is None:
                return self.nearest(0.0)
            return self.nan | (self.sign if negative and self.signed_nan else 0)
        if not self.sign:  # ascending values, one list
            if self.nan is not None and not saturate and (y <= 0 or self.over(y)):
                return self.nan
            return self.nearest(max(y, self.grid[0]))
        y = abs(y)
        if not saturate and self.over(y) and (self.inf or self.nan) is not None:
            code = self.inf if self.inf is not None else self.nan
            return code | (self.sign if negative and self.signed_nan else 0)
        code = 0 if y < self.flush else self.nearest(y)
        return code | (self.sign if negative and (code or self.keeps_zero) else 0)

    keeps_zero = True


def floating(exp, man, bias, special="none", subnormals=True, ties="even"):
    sign = 1 << (exp + man)
    half, top = [], None
    for code in range(sign):
        e, m = code >> man, code & ((1 << man) - 1)
        v = (m * 2.0 ** (1 - bias - man) if e == 0 and subnormals
             else 0.0 if code == 0 else (1 + m * 2.0**-man) * 2.0 ** (e - bias))
        half.append(v)
    top_exponent = sign - (1 << man)
    nan = inf = None
    step = 2.0 ** ((1 << exp) - 1 - bias - man)
    if special == "ieee":
        top = half[top_exponent]
        nan, inf = top_exponent | (1 << man >> 1), top_exponent
        half[top_exponent:] = [INF] + [float("nan")] * ((1 << man) - 1)
        if man == 0:
            nan = None
    elif special in ("fn", "merged"):
        top, nan = half[-1], sign - 1
        half[-1] = float("nan")
    elif special == "fnuz":
        top, nan = half[-1] + step, sign
    values = half + [-v for v in half]
    if special == "fnuz":
        values[sign] = float("nan")
    f = Format(1 + exp + man, values, nan, inf, sign, ties, top)
    if special == "fnuz":
        f.signed_nan = f.keeps_zero = False
    return f


def integers(n, signed, full=False):
    lo, hi = (-(2 ** (n - 1)), 2 ** (n - 1) - 1) if signed else (0, 2**n - 1)
    values = [float(c) for c in range(hi + 1)] + [float(c) for c in range(lo, 0)]
    f = Format(n, values, ties="even integer")
    if signed and not full:  # the lowest is read, never written
        f.pos = f.pos[1:]
        f.grid, f.mids = f.grid[1:], f.mids[1:]
    return f


def magnitudes(bits, half, ties):
    f = Format(bits, half + [-v for v in half], sign=len(half), ties=ties)
    return f


class Luq(Format):
    """Below alpha the published encoder rounds 1 + |x| to f32 first."""

    keeps_zero = False

    def nearest(self, y):
        if y < 1:
            y = float(np.float32(1) + np.float32(y)) - 1
        return super().nearest(y)


def luq(bits, top):
    half = [0.0] + [2.0**k for k in range(top + 1)]
    half += [float("nan")] * ((1 << (bits - 1)) - len(half))
    return Luq(bits, half + [-v for v in half], sign=len(half), ties="up")


def models():
    nf4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
           -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
           0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
           0.7229568362236023, 1.0]  # of bitsandbytes, f32
    m = {"int%d" % n: integers(n, True) for n in range(2, 9)}
    m.update({"uint%d" % n: integers(n, False) for n in range(2, 9)})
    m.update({"int%df" % n: integers(n, True, full=True) for n in (2, 4, 8)})
    m["ternary"] = integers(2, True)
    m["binary"] = Format(1, [-1.0, 1.0], ties="up")
    m["odd2"] = Format(2, [-3.0, -1.0, 1.0, 3.0], ties="up")
    m["nf4"] = Format(4, [float(np.float32(v)) for v in nf4], ties="down")
    m["e8m0"] = Format(8, [2.0 ** (c - 127) for c in range(255)] + [float("nan")], nan=255, ties="up",
                       top=2.0**128)
    m["e3m0"], m["e4m0"] = luq(4, 6), luq(8, 7)
    m["e3m0r4"] = magnitudes(4, [0.0] + [4.0 ** (e - 4) for e in range(1, 8)], "up")
    m["e3m0r4odd"] = magnitudes(4, [0.0] + [2 * 4.0 ** (e - 4) for e in range(1, 8)], "up")
    m["e2m1"], m["e1m2"] = floating(2, 1, 1), floating(1, 2, 1)
    m["e3m2"], m["e2m3"] = floating(3, 2, 3), floating(2, 3, 1)
    m["fp7"] = floating(4, 2, 1, subnormals=False)
    m["e4m3fn"], m["e5m2"] = floating(4, 3, 7, "fn"), floating(5, 2, 15, "ieee")
    m["e4m3"], m["e4m3b11"] = floating(4, 3, 7, "ieee"), floating(4, 3, 11, "fnuz")
    m["e4m3dl11"] = floating(4, 3, 11, "merged", subnormals=False)
    m["e5m2dl15"] = floating(5, 2, 15, "merged", subnormals=False)
    m["fp16"], m["bf16"] = floating(5, 10, 15, "ieee"), floating(8, 7, 127, "ieee")
    m["tf32"] = floating(8, 10, 127, "ieee")
    m["dlfloat16"] = floating(6, 9, 31, "merged", subnormals=False, ties="up")
    m["dlfloat16"].flush = 2.0**-31 * (1 + 2.0**-10)
    for name, (e, man, bias) in GENERIC.items():
        m[name] = floating(e, man, bias, "ieee" if (e, bias) == (8, 127) else "none")
    return m


GENERIC = {"e6m9": (6, 9, 31), "e5m3": (5, 3, 15), "e1m0": (1, 0, 0), "e4m3b7": (4, 3, 7),
           "e3m4b9": (3, 4, 9), "e2m0": (2, 0, 1), "e7m2b0": (7, 2, 0), "e8m4": (8, 4, 127),
           "e8m0b127": (8, 0, 127), "e8m3b130": (8, 3, 130), "e5m10b24": (5, 10, 24),
           "e1m14b100": (1, 14, 100), "e2m1b1": (2, 1, 1)}


def size(bits):
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def codes_fnv(codes, bits):
    return fnv(np.asarray(codes, dtype="<u%d" % size(bits)).tobytes())


def of_model(f):
    def encode(saturate):
        return codes_fnv([f.encode(x, saturate) for x in INPUTS], f.bits)

    return images(f.values), encode(True), encode(False)


# ---- the libraries ------------------------------------------------------------------------------


def finish(codes, f):
    """The codes of NaN are prescribed, also for what overflows to it. Subnormal numbers of f32 are
    left out for e8m0: ml_dtypes takes 1.01 2^-127 up to 2^-126."""
    codes = np.asarray(codes).astype(np.uint32).copy()
    for i in np.flatnonzero(np.isnan(INPUTS)):
        codes[i] = f.encode(INPUTS[i], True)
    for i in np.flatnonzero(np.isnan(np.asarray(f.values)[codes])):
        codes[i] = f.nan | (f.sign if np.signbit(INPUTS[i]) and f.signed_nan else 0)
    if not f.sign:
        for i in np.flatnonzero((INPUTS > 0) & (INPUTS < 2.0**-126)):
            codes[i] = f.encode(INPUTS[i], False)
    return codes_fnv(codes, f.bits)


def clipped(f):
    return np.clip(np.nan_to_num(INPUTS, nan=0.0), -f.grid[-1] if f.sign else None, f.grid[-1])


def of_ml_dtypes(name, f):
    types = {"e4m3fn": "float8_e4m3fn", "e5m2": "float8_e5m2", "e4m3": "float8_e4m3",
             "e4m3b11": "float8_e4m3b11fnuz", "e3m2": "float6_e3m2fn", "e2m3": "float6_e2m3fn",
             "e2m1": "float4_e2m1fn", "e8m0": "float8_e8m0fnu", "bf16": "bfloat16"}
    ints = {"int2": "int2", "int4": "int4", "int2f": "int2", "int4f": "int4", "uint2": "uint2",
            "uint4": "uint4"}
    word = np.uint16 if f.bits > 8 else np.uint8
    codes = np.arange(1 << f.bits, dtype=word)
    if name in ints:
        if name.startswith("int"):  # stored sign-extended
            codes = ((codes.astype(np.int8) << (8 - f.bits)) >> (8 - f.bits)).view(np.uint8)
        return images(codes.view(getattr(ml_dtypes, ints[name])).astype(np.float32)), 0, 0
    if name not in types and name != "fp16":
        return None
    dtype = np.float16 if name == "fp16" else getattr(ml_dtypes, types[name])
    decode = images(codes.view(dtype).astype(np.float32))
    with np.errstate(all="ignore"):
        saturating = clipped(f).astype(dtype).view(word)
        overflowing = INPUTS.astype(dtype).view(word)
    sat = 0 if name == "e8m0" else finish(saturating, f)  # it has no opinion on what is not positive
    ovf = finish(overflowing, f) if f.nan is not None else 0
    return decode, sat, ovf


def of_gfloat(name, f):
    record = {"e4m3fn": "ocp_e4m3", "e5m2": "ocp_e5m2", "e3m2": "ocp_e3m2", "e2m3": "ocp_e2m3",
              "e2m1": "ocp_e2m1", "fp16": "binary16", "bf16": "bfloat16"}
    own = {"e4m3": (4, 3, 7, 7), "tf32": (8, 10, 127, 1023), "e1m2": (1, 2, 1, None)}
    own.update({n: p + (None,) for n, p in GENERIC.items() if p[0] < 8 and p[1] > 0})
    if name == "e8m0":
        info = known.format_info_ocp_e8m0
        return images(gfloat.decode_ndarray(info, np.arange(256))), 0, 0
    if name in record:
        info = getattr(known, "format_info_" + record[name])
    elif name in own:
        exp, man, bias, nans = own[name]
        info = gfloat.FormatInfo(name, 1 + exp + man, man + 1, bias=bias, is_signed=True,
                                 domain=gfloat.Domain.Finite if nans is None else gfloat.Domain.Extended,
                                 has_nz=True, num_high_nans=nans or 0, has_subnormals=True,
                                 is_twos_complement=False)
    else:
        return None
    decode = images(gfloat.decode_ndarray(info, np.arange(1 << f.bits)))
    result = [decode]
    for saturate in (True, False):
        if not saturate and f.nan is None:
            result.append(0)
            continue
        x = np.nan_to_num(INPUTS, nan=0.0, posinf=np.inf, neginf=-np.inf).astype(np.float64)
        if saturate:
            x = clipped(f).astype(np.float64)
        rounded = gfloat.round_ndarray(info, x, gfloat.RoundMode.TiesToEven, saturate)
        result.append(finish(gfloat.encode_ndarray(info, rounded), f))
    return tuple(result)


def of_tables(path):
    ours = {"E4M3FN": "e4m3fn", "E4M3B11FNUZ": "e4m3b11", "E4M3": "e4m3", "E4M3DL11": "e4m3dl11",
            "E5M2": "e5m2", "E5M2DL15": "e5m2dl15", "E3M2": "e3m2", "E2M3": "e2m3", "E2M1": "e2m1",
            "E1M2": "e1m2", "E3M0_LUQ": "e3m0", "E3M0_R4": "e3m0r4", "E4M2_FP7": "fp7",
            "E8M0": "e8m0", "INT4": "int4", "UINT4": "uint4", "INT2": "int2"}
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in list(file)[1:]:
            name, code, *_, bits = line.split("\t")
            assert len(rows.setdefault(name, [])) == int(code, 16)
            rows[name].append(int(bits, 16))
    return {ours[n]: fnv(np.asarray(b, dtype="<u4").tobytes()) for n, b in rows.items() if n in ours}


def main():
    print("/* Made by format_codes.py: ml_dtypes %s, gfloat %s, numpy %s. Not to be edited. */"
          % (ml_dtypes.__version__, version("gfloat"), np.__version__))

    def row(name, source, hashes):
        print('{"%s", "%s", 0x%016x, 0x%016x, 0x%016x},' % ((name, source) + tuple(hashes)))

    tables = of_tables(sys.argv[1])
    for name, f in models().items():
        if name in tables:
            row(name, "tables", (tables[name], 0, 0))
        for source, of in (("ml_dtypes", of_ml_dtypes), ("gfloat", of_gfloat)):
            hashes = of(name, f)
            if hashes:
                row(name, source, hashes)
        row(name, "model", of_model(f))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
