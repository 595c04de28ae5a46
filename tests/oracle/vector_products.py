#!/usr/bin/env python3
"""Repeats blocks/, rows/ and sums/ of a folder of `nybble vectors` as docs/vectors.md describes them, one
product after the other, in exact fractions rounded to f32, and quantizers/ of integers with one
scale; needs nothing but Python.

    nybble vectors golden && python3 tests/oracle/vector_products.py golden"""
import math
import sys
from fractions import Fraction

from vector_base import Stream, f32, f32_float, load, load_json, rounded


def dot_blocks(x, w, block):
    """x, w: values, scales of 16 and level of a row each."""
    total = Fraction(0)
    for k in range(0, len(x[0]), block):
        exact = sum(a * b for a, b in zip(x[0][k:k + block], w[0][k:k + block]))
        total = f32(f32(exact) * f32(x[1][k // 16] * w[1][k // 16]) + total)
    return f32(total * f32(x[2] * w[2]))


def block_rows(folder, role, operands):
    """rows[operand][row]: values, scales, level."""
    (_, rows, k), codes = load(folder, "blocks", role + ".codes.npy")
    (_, _, parts), scales = load(folder, "blocks", role + ".scales.npy")
    _, levels = load(folder, "blocks", role + ".levels.npy")
    result = {}
    for i, spec in enumerate(operands):
        _, values = load(folder, "formats", spec.split("/")[0] + ".values.npy")
        result[spec] = [([Fraction(values[c]) for c in codes[(i * rows + r) * k:][:k]],
                         [Fraction(s) for s in scales[(i * rows + r) * parts:][:parts]],
                         Fraction(levels[i])) for r in range(rows)]
    return result


LENGTHS = {"block16": 16, "block32": 32, "block64": 64, "tile16": 16}


def length(spec):
    """Codes that share a scale; those of int4m share a factor, others of one scale nothing."""
    return LENGTHS.get(spec.split("/")[2], 16 if spec.startswith("int4m/") else math.inf)


def check_scales(spec, rows):
    """What shares a scale in a spec shares it here."""
    group, scales = spec.split("/")[2], [row[1] for row in rows]
    if group == "tensor":
        assert all(s == int(s) for row in scales for s in row), spec
    elif group == "tile16":
        assert all(row == scales[0] for row in scales), spec
    else:
        apart = LENGTHS[group] // 16
        assert all(s == row[i // apart * apart] for row in scales for i, s in enumerate(row)), spec


def check_blocks(folder):
    about = load_json(folder, "blocks", "blocks.json")
    x, w = (block_rows(folder, role, about["operands"]) for role in ("x", "w"))
    for spec in about["operands"]:
        check_scales(spec, x[spec])
        check_scales(spec, w[spec])
    _, y = load(folder, "blocks", "y.npy")
    m, n = about["m"], about["n"]
    for i, case in enumerate(about["cases"]):
        assert case["block"] == min(length(case["x"]), length(case["w"])), case
        for j in range(m * n):
            want = dot_blocks(x[case["x"]][j // n], w[case["w"]][j % n], case["block"])
            assert Fraction(y[i * m * n + j]) == want, (case, j, y[i * m * n + j], float(want))
    assert len(about["cases"]) > 100 and sum(v != 0 for v in y) > len(y) / 2
    print(f"blocks: {len(y)} numbers of {len(about['cases'])} products")


# Mantissa bits, exponent of the least normal number, largest value of what sums are rounded to.
FLOATS = {
    "fp16": (10, -14, 65504),
    "bf16": (7, -126, Fraction(2) ** 128 * (1 - Fraction(1, 2 ** 8))),
    "tf32": (10, -126, Fraction(2) ** 128 * (1 - Fraction(1, 2 ** 11))),
    "dlfloat16": (9, -31, Fraction(2) ** 33 * (1 - Fraction(2, 2 ** 10))),
    "e6m9": (9, -30, Fraction(2) ** 33 * (1 - Fraction(1, 2 ** 10))),
    "e6m5": (5, -30, Fraction(2) ** 33 * (1 - Fraction(1, 2 ** 6))),
    "e4m3": (3, -6, 240),
}
INTEGERS = {"int8": 127, "int12": 2047, "int16": 32767}


class Generator:
    """xorshift32 of one output."""

    def __init__(self, start, output):
        z = (output + start[0]) % 2 ** 32
        z = (z ^ z >> 16) * 0x85ebca6b % 2 ** 32
        z = (z ^ z >> 13) * 0xc2b2ae35 % 2 ** 32
        self.z = z ^ z >> 16 ^ start[1] or 1

    def next(self):
        self.z ^= self.z << 13 & 0xffffffff
        self.z ^= self.z >> 17
        self.z ^= self.z << 5 & 0xffffffff
        return self.z


def exponent_of(x):
    e = math.frexp(x)[1] - 1
    assert Fraction(2) ** e <= abs(x) < Fraction(2) ** (e + 1)
    return e


def narrow(x, name, bits):
    """x as f32 has it, in the format; bits: None, or the random ones as a fraction."""
    man_bits, least, largest = FLOATS[name]
    x = f32(x)
    if abs(x) >= largest:
        return Fraction(largest if x > 0 else -largest)
    if bits is None:
        return rounded(x, man_bits, away=name == "dlfloat16")
    if x == 0:
        return x
    ulp = Fraction(2) ** (max(exponent_of(x), least) - man_bits)
    n = math.floor(abs(x) / ulp + bits)
    return n * ulp if x > 0 else -n * ulp


def dot_integers(x, w, name, chunk, units):
    total, most, clamped = Fraction(0), INTEGERS[name], 0
    for k in range(0, len(x), chunk):
        part = 0
        for a, b in zip(x[k:k + chunk], w[k:k + chunk]):
            want = part + a * b / units
            assert want == int(want)
            part = max(-most, min(most, want))
            clamped += part != want
        total = f32(total + part)
    return f32(total * units), clamped


def dot_f32(x, w):
    """One fused chain. Doubles hold the products; where they do not hold a sum, fractions do."""
    total = 0.0
    for a, b in zip(map(float, x), map(float, w)):
        product = a * b
        wide = product + total
        part = wide - product
        exact = (product - (wide - part)) + (total - part) == 0
        total = f32_float(wide) if exact else float(f32(Fraction(product) + Fraction(total)))
    return Fraction(total)


def dot_sums(x, w, accum, start, output):
    """accum: format[/chunk][/rounding]; f32 alone is one fused chain."""
    name, *rest = accum.split("/")
    if name == "f32":
        return dot_f32(x, w)
    chunk = next((int(r) for r in rest if r.isdigit()), len(x))
    drawn = next((r for r in rest if r.startswith("stochastic")), None)
    total = Fraction(0)
    generator = Generator(start, output)
    n_bits = int(drawn.partition(":")[2] or 23 - FLOATS[name][0]) if drawn else 0

    def rnd(v):
        bits = Fraction(generator.next() >> (32 - n_bits), 2 ** n_bits) if drawn else None
        return narrow(v, name, bits)

    for k in range(0, len(x), chunk):
        part = Fraction(0)
        for a, b in zip(x[k:k + chunk], w[k:k + chunk]):
            part = rnd(part + f32(a * b))
        total = rnd(total + part)
    return total


def unit_of(folder, name):
    """Of a format's values: all are whole multiples of the least positive one."""
    values = load(folder, "formats", name + ".values.npy")[1]
    return Fraction(min(v for v in values if v > 0))


def check_sums(folder):
    about = load_json(folder, "sums", "sums.json")
    m, n, k, formats = about["m"], about["n"], about["k"], about["formats"]
    start = Stream(about["seed"], about["step"], 16).block(0)
    x, w, y = ([Fraction(v) for v in load(folder, "sums", role + ".npy")[1]] for role in ("x", "w", "y"))
    clamped, pairs = {}, set()
    for i, case in enumerate(about["cases"]):
        a, b = formats.index(case["x"]) * m, formats.index(case["w"]) * n
        accum, name = case["accum"], case["accum"].split("/")[0]
        pairs.add((case["x"], case["w"]))
        for j in range(m * n):
            row, col = x[(a + j // n) * k:][:k], w[(b + j % n) * k:][:k]
            if name in INTEGERS:
                units = unit_of(folder, case["x"]) * unit_of(folder, case["w"])
                chunk = int(accum.partition("/")[2] or k)
                want, more = dot_integers(row, col, name, chunk, units)
                clamped[name] = clamped.get(name, 0) + more
            else:
                want = dot_sums(row, col, accum, start, j)
            got = y[i * m * n + j]
            assert got == want, (case, j, float(got), float(want))
    assert len(about["cases"]) > 300 and set(clamped) == set(INTEGERS) and min(clamped.values()) > 10
    assert all((a, b) in pairs and (b, a) in pairs for a in ("tf32", "bf16") for b in ("e2m1", "int8"))
    print(f"sums: {len(y)} numbers of {len(about['cases'])} products, clamped {clamped}")


def check_rows(folder):
    about = load_json(folder, "rows", "rows.json")
    m, n, k = about["m"], about["n"], about["k"]
    sides = {}
    for role, rows in (("x", m), ("w", n)):
        _, codes = load(folder, "rows", role + ".codes.npy")
        _, scales = load(folder, "rows", role + ".scales.npy")
        _, offsets = load(folder, "rows", role + ".offsets.npy")
        sides[role] = []
        for i, spec in enumerate(about[role]):
            _, values = load(folder, "formats", spec.split("/")[0] + ".values.npy")
            sides[role].append([([Fraction(values[c]) for c in codes[j * k:][:k]],
                                 Fraction(scales[j]), Fraction(offsets[j]))
                                for j in range(i * rows, (i + 1) * rows)])
            if "/tensor/" in spec:
                assert len({row[1:] for row in sides[role][i]}) == 1, spec
    _, y = load(folder, "rows", "y.npy")
    numbers, shifted = iter(y), 0
    for x in sides["x"]:
        for w, spec in zip(sides["w"], about["w"]):
            of_rows = "/row/" in spec
            for values, scale, offset in x:
                for w_values, w_scale, w_offset in w:
                    shared = 1 if of_rows else w_scale
                    t = f32(f32(sum(a * b for a, b in zip(values, w_values))) * f32(scale * shared))
                    if offset:
                        t = f32(t + f32(f32(sum(w_values)) * f32(offset * shared)))
                    want, got = f32(t * w_scale) if of_rows else t, Fraction(next(numbers))
                    assert w_offset == 0 and got == want, (spec, float(got), float(want))
                    shifted += offset != 0
    assert len(y) == len(sides["x"]) * len(sides["w"]) * m * n and shifted > len(y) / 5
    print(f"rows: {len(y)} numbers, {shifted} with offsets")


def check_integers(folder):
    """Codes of x * f32(1 / scale); some inputs tell that from x / scale."""
    for bits in (4, 8):
        most, name = 2 ** (bits - 1) - 1, f"int{bits}"
        cases = load_json(folder, "quantizers", f"{name}.tensor.json")["cases"]
        case = cases.index(f"{name}/absmax/tensor/nearest")
        _, x = load(folder, "quantizers", "tensor.x.npy")
        codes = load(folder, "quantizers", f"{name}.tensor.codes.npy")[1][case * len(x):]
        finite = [(Fraction(v), code) for v, code in zip(x, codes) if math.isfinite(v)]
        scale = f32(max(abs(v) for v, _ in finite) / most)
        inverse, others = f32(1 / scale), 0
        for v, code in finite:
            want, divided = (max(-most, min(most, round(f32(y)))) for y in (v * inverse, v / scale))
            got = code - 2 ** bits if code > most else code
            assert got == want, (name, float(v), got, want)
            others += want != divided
        assert others >= 2, name
        print(f"quantizers: {len(finite)} of {name}, {others} would be others by division")


if __name__ == "__main__":
    check_integers(sys.argv[1])
    check_blocks(sys.argv[1])
    check_rows(sys.argv[1])
    check_sums(sys.argv[1])
