#!/usr/bin/env python3
"""Repeats gradients/ and updates/ of a folder of `nybble vectors` as docs/vectors.md describes them: draws
and their mean, factors, products, and the optimizer's three roundings. Needs nothing but Python.

    nybble vectors golden && python3 tests/oracle/vector_training.py golden"""
import math
import sys
from fractions import Fraction

from vector_base import Stream, f32, f32_float, load, load_json

DY_DX, DY_DW, X_DW = 2, 3, 4
E2M1 = [Fraction(v) for v in (0, .5, 1, 1.5, 2, 3, 4, 6)]


def up(position, r23):
    """Of a fraction between neighbours: whether it goes to the one farther from zero; halves to even
    are the caller's."""
    return r23 + math.floor(position * 2 ** 23) >= 2 ** 23


def to_integer(t, most, r23):
    size = min(abs(t), most)
    low = math.floor(size)
    n = round(size) if r23 is None else low + up(size - low, r23)
    return n if t > 0 else -n


def to_e3m0(t, r23):
    """0, 1, 2, 4 .. 64; between 0 and 1 as between 1 and 2 of 1 + |t|, rounded to f32."""
    assert r23 is not None
    size = f32(abs(t) + 1) if abs(t) < 1 else min(2 * abs(t), Fraction(128))
    e = 0
    while size >= 2 ** (e + 1):
        e += 1
    e += up(size / 2 ** e - 1, r23)
    return (1 if t > 0 else -1) * (Fraction(2) ** (e - 1) if e else 0)


def to_e2m1(t, r23):
    size = min(abs(t), E2M1[-1])
    i = max(i for i, v in enumerate(E2M1) if v <= size)
    if i + 1 < len(E2M1):
        position = (size - E2M1[i]) / (E2M1[i + 1] - E2M1[i])
        if r23 is None:
            i += position > Fraction(1, 2) or (position == Fraction(1, 2) and i % 2 == 1)
        else:
            i += up(position, r23)
    return E2M1[i] if t > 0 else -E2M1[i]


def grid_of(name, t, r23):
    if name.startswith("int"):
        return to_integer(t, 2 ** (int(name[3:]) - 1) - 1, r23)
    return {"e3m0": to_e3m0, "e2m1": to_e2m1}[name](t, r23)


def ceil_e8m0(absmax):
    """The least power of two not below absmax, by the 4 of e2m1's largest value."""
    power = Fraction(1)
    while power < absmax:
        power *= 2
    while power / 2 >= absmax:
        power /= 2
    return power / 4


class Operand:
    """A matrix of values and how it is quantized: spec, factors, draws (streams)."""

    def __init__(self, values, cols, spec, case, slot, streams):
        self.name, self.rule, self.group, rounding = spec.split("/")
        self.pre = f32(Fraction(f32_float(float(case.get(slot + ".pre", 1)))))
        self.post = f32(Fraction(f32_float(float(case.get(slot + ".post", 1)))))
        self.cols, self.x = cols, values
        self.bits = 32 if rounding.endswith(":32") else 16
        self.streams = streams if rounding.startswith("stochastic") else [None] * len(streams)
        self.plain = self.pre == self.post == 1

    def scale(self, row, col):
        """Of the group of an element; blocks lie down the rows."""
        if self.group == "tensor":
            most = {"int4": 7, "int8": 127, "e3m0": 64}[self.name]
            return f32(max(map(abs, self.x)) / most)
        first = row // 16 * 16
        block = [abs(self.x[r * self.cols + col]) for r in range(first, first + 16)]
        return ceil_e8m0(max(block))

    def draw(self, stream):
        """Grid values and scales."""
        grid, scales, cache = [], [], {}
        for i, v in enumerate(self.x):
            at = (0, 0) if self.group == "tensor" else (i // self.cols // 16, i % self.cols)
            if at not in cache:
                cache[at] = self.scale(i // self.cols, i % self.cols)
            t = f32(v * f32(f32(1 / cache[at]) * self.pre))
            grid.append(grid_of(self.name, t, stream.r23(i, self.bits) if stream else None))
            scales.append(cache[at])
        return grid, scales

    def values(self):
        """The mean of the draws, the first one added last."""
        draws = [[f32(f32(g * s) * self.post) for g, s in zip(*self.draw(stream))]
                 for stream in self.streams]
        if len(draws) == 1:
            return draws[0]
        share = f32(Fraction(1, len(draws)))
        total = draws[1]
        for more in draws[2:] + draws[:1]:
            total = [f32(a + b) for a, b in zip(total, more)]
        return [f32(v * share) for v in total]


def column(values, cols, j):
    return values[j::cols]


def product_of_codes(dy, x):
    """One scale each: exact over all draws."""
    draws, (x_grid, x_scales) = [dy.draw(s) for s in dy.streams], x.draw(x.streams[0])
    scale, share = f32(draws[0][1][0] * x_scales[0]), f32(Fraction(1, len(draws)))
    sums = [sum(a * b for grid, _ in draws
                for a, b in zip(column(grid, dy.cols, n), column(x_grid, x.cols, k)))
            for n in range(dy.cols) for k in range(x.cols)]
    return [f32(f32(f32(s) * scale) * share) for s in sums]


def product_of_blocks(dy, x):
    draws, (x_grid, x_scales) = [dy.draw(s) for s in dy.streams], x.draw(x.streams[0])
    out = []
    for n in range(dy.cols):
        for k in range(x.cols):
            total = Fraction(0)
            for grid, scales in draws:
                a, a_scale = column(grid, dy.cols, n), column(scales, dy.cols, n)
                b, b_scale = column(x_grid, x.cols, k), column(x_scales, x.cols, k)
                for m in range(0, len(a), 16):
                    exact = f32(sum(u * v for u, v in zip(a[m:m + 16], b[m:m + 16])))
                    total = f32(exact * f32(a_scale[m] * b_scale[m]) + total)
            out.append(f32(total * f32(Fraction(1, len(draws)))))
    return out


def product_of_values(dy, x):
    out, a, b = [], dy.values(), x.values()
    for n in range(dy.cols):
        for k in range(x.cols):
            total = Fraction(0)
            for u, v in zip(column(a, dy.cols, n), column(b, x.cols, k)):
                total = f32(u * v + total)
            out.append(total)
    return out


def check_gradients(folder):
    about = load_json(folder, "gradients", "gradients.json")
    m, n, k = about["m"], about["n"], about["k"]
    x, dy, dw = ([Fraction(v) for v in load(folder, "gradients", word + ".npy")[1]]
                 for word in ("x", "dy", "dw"))
    assert len(x) == m * k and len(dy) == m * n
    for i, case in enumerate(about["cases"]):
        def streams(slot, role, shared):
            return [Stream(about["seed"], about["step"], shared if shared and j == 0 else role, j,
                           about["tensor"]) for j in range(int(case.get(slot + ".samples", 1)))]

        shared = DY_DX if case.get("dgrad.dy") == case["wgrad.dy"] else None
        a = Operand(dy, n, case["wgrad.dy"], case, "wgrad.dy", streams("wgrad.dy", DY_DW, shared))
        b = Operand(x, k, case["wgrad.x"], case, "wgrad.x", streams("wgrad.x", X_DW, None))
        if not a.plain or len(b.streams) > 1:
            want = product_of_values(a, b)
        else:
            want = product_of_codes(a, b) if a.group == "tensor" else product_of_blocks(a, b)
        got = dw[i * n * k:(i + 1) * n * k]
        for j in range(n * k):
            assert got[j] == want[j], (case, j, float(got[j]), float(want[j]))
    print(f"gradients: {len(dw)} numbers of {len(about['cases'])} cases")


# Mantissa bits, exponent of the least normal number, largest value.
FLOATS = {"e6m9": (9, -30, Fraction(2) ** 33 * (1 - Fraction(1, 2 ** 10))), "bf16": (7, -126, None),
          "fp16": (10, -14, 65504), "e4m3": (3, -6, 240)}


def to_float(x, name, stream, i):
    man_bits, least, largest = FLOATS[name]
    x = f32(x)
    if x == 0:
        return x
    e = least
    while Fraction(2) ** (e + 1) <= abs(x):
        e += 1
    ulp = Fraction(2) ** (e - man_bits)
    n = abs(x) / ulp
    assert largest is None or abs(x) <= largest
    if stream is None:
        n = round(n)
    else:
        n = math.floor(n) + up(n - math.floor(n), stream.r23(i, 16 if man_bits >= 7 else 32))
    return n * ulp if x > 0 else -n * ulp


def check_updates(folder):
    about = load_json(folder, "updates", "updates.json")
    (steps, classes, inputs), w = load(folder, "updates", "w.npy")
    (_, batch, _), x = load(folder, "updates", "x.npy")
    dw, after = (load(folder, "updates", word + ".npy")[1] for word in ("dw", "after"))
    n, at = classes * inputs, 0
    for s in range(steps):
        for i in range(n):
            want = sum((Fraction(1, classes) - (m % classes == i // inputs)) / batch *
                       Fraction(x[(s * batch + m) * inputs + i % inputs]) for m in range(batch))
            assert want == Fraction(dw[s * n + i]) and w[s * n + i] == w[s * n + i % inputs]
    for case in about["cases"]:
        name, rounding = case["update"].split("/")
        lr, momentum, decay = (Fraction(f32_float(case[key])) for key in ("lr", "momentum", "weight_decay"))
        v = [Fraction(0)] * n
        for s in range(steps):
            l2, mom, upd = (None if rounding == "nearest" else
                            Stream(about["seed"], s, role, 0, about["tensor"]) for role in (8, 9, 10))
            for i in range(n):
                weight, d = Fraction(w[s * n + i]), Fraction(dw[s * n + i])
                if decay:
                    d = to_float(d + f32(decay * weight), name, l2, i)
                if momentum:
                    v[i] = to_float(d + f32(momentum * v[i]), name, mom, i)
                    d = f32(d + f32(momentum * v[i])) if case["nesterov"] else v[i]
                want = to_float(weight - f32(lr * d), name, upd, i)
                assert Fraction(after[at]) == want, (case, s, i, after[at], float(want))
                at += 1
    assert at == len(after)
    print(f"updates: {at} numbers of {len(about['cases'])} cases")


if __name__ == "__main__":
    check_updates(sys.argv[1])
    check_gradients(sys.argv[1])
