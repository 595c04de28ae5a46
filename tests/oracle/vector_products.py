#!/usr/bin/env python3
"""Repeats blocks/, rows/ and sums/ of a folder of `nybble vectors` as docs/vectors.md describes them, one
product after the other, in exact fractions rounded to f32, and quantizers/ of integers with one
scale; needs nothing but Python.

    nybble vectors golden && python3 tests/oracle/vector_products.py golden"""
import json
import math
import os
import sys
from fractions import Fraction

from vector_base import f32, load, rounded


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
    with open(os.path.join(folder, "blocks", "blocks.json")) as f:
        about = json.load(f)
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


def dot_sums(x, w, accum):
    """accum: format[/chunk]; f32 alone is one fused chain."""
    name, _, chunk = accum.partition("/")
    if name == "f32":
        total = Fraction(0)
        for a, b in zip(x, w):
            total = f32(a * b + total)
        return total
    man_bits = {"fp16": 10, "bf16": 7, "dlfloat16": 9, "e6m9": 9}[name]
    chunk, total = int(chunk or len(x)), Fraction(0)

    def narrow(v):
        return rounded(f32(v), man_bits, away=name == "dlfloat16")

    for k in range(0, len(x), chunk):
        part = Fraction(0)
        for a, b in zip(x[k:k + chunk], w[k:k + chunk]):
            part = narrow(part + f32(a * b))
        total = narrow(total + part)
    return total


def check_sums(folder):
    with open(os.path.join(folder, "sums", "sums.json")) as f:
        about = json.load(f)
    m, n, k, formats = about["m"], about["n"], about["k"], about["formats"]
    x, w, y = ([Fraction(v) for v in load(folder, "sums", role + ".npy")[1]] for role in ("x", "w", "y"))
    for i, case in enumerate(about["cases"]):
        a, b = formats.index(case["x"]) * m, formats.index(case["w"]) * n
        for j in range(m * n):
            want = dot_sums(x[(a + j // n) * k:][:k], w[(b + j % n) * k:][:k], case["accum"])
            got = y[i * m * n + j]
            assert got == want, (case, j, float(got), float(want))
    assert len(about["cases"]) > 50
    print(f"sums: {len(y)} numbers of {len(about['cases'])} products")


def check_rows(folder):
    with open(os.path.join(folder, "rows", "rows.json")) as f:
        about = json.load(f)
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
        with open(os.path.join(folder, "quantizers", f"{name}.tensor.json")) as f:
            case = json.load(f)["cases"].index(f"{name}/absmax/tensor/nearest")
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
