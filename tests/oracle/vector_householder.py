#!/usr/bin/env python3
"""Repeats householder/ of a folder of `nybble vectors` as docs/vectors.md describes it, stage by stage:
plan, reflection, scales, codes, values. Needs nothing but Python.

    nybble vectors golden && python3 tests/oracle/vector_householder.py golden [ROWS CASE]

With ROWS and CASE (13 uint4/psq/row/nearest/householder) prints the stages of that one."""
import math
import sys

from vector_base import Stream, f32_float as f32, load, load_json

TINY = 2.0 ** -126


def counted(x):
    """What a quantizer sees: 0 where x is not finite, or a subnormal."""
    return x if math.isfinite(x) and abs(x) >= TINY else 0.0


def inverse_cube_root(w):
    q = math.floor((math.frexp(w)[1] - 1) / 3)
    m = math.ldexp(w, -3 * q)
    assert 1 <= m < 8
    y = 1.13 if m < 2 else 1.44 if m < 4 else 1.79
    for _ in range(6):
        t = y * y
        y = y - (t * y - m) / (3.0 * t)
    return 1.0 / math.ldexp(y, q)


def factors(leader, follower, n):
    root = math.sqrt(n)
    off = 1.0 / (n - root)
    largest = max(1.0 / root, abs(1.0 - off) if n > 2 else 0.0, off if n > 2 else 0.0)
    r1 = inverse_cube_root(leader / root)
    r2 = inverse_cube_root(follower * largest / (n - 1))
    norm = math.sqrt(1.0 / (r1 * r1) + 1.0 / (r2 * r2))
    return f32(r1 * norm), f32(r2 * norm)


def plan_of(ranges):
    """[(rows, s1, s2)]: the leader of a group first."""
    n = len(ranges)
    if n == 1:
        return [([0], 1.0, 1.0)]
    order = sorted(range(n), key=lambda i: (-ranges[i], i))
    v = [ranges[i] for i in order]
    total, followers = 0.0, 0
    for a in v:
        total += a
    while True:
        followers += 1
        total -= v[n - followers]
        if followers + 1 >= n or followers * v[n - followers - 1] / total >= 1.0:
            break
    leaders, share, at, plan = n - followers, 0.0, n - followers, []
    for g in range(leaders):
        share += followers * v[g] / total
        end = leaders + math.floor(share + 0.5) if g + 1 < leaders else n
        assert end > at
        s1, s2 = factors(v[g], v[at], end - at + 1)
        plan.append(([order[g]] + order[at:end], s1, s2))
        at = end
    return plan


def reflect(plan, x, inverse):
    y = [None] * len(x)
    for rows, s1, s2 in plan:
        n, root = len(rows), math.sqrt(len(rows))
        a, b = f32(1.0 / root), f32(1.0 / (n - root)) if n > 1 else 0.0
        before, after = (1.0, 1.0), (f32(1 / s1), f32(1 / s2))
        if not inverse:
            before, after = (s1, s2), (1.0, 1.0)
        scaled = [[f32(before[k > 0] * v) for v in x[row]] for k, row in enumerate(rows)]
        out = [[] for _ in rows]
        for column in zip(*scaled):
            leader, total = column[0], 0.0
            for v in column[1:]:
                total = f32(total + v)
            t = f32(f32(leader * a) - f32(total * b))
            out[0].append(f32(f32(f32(leader + total) * a) * after[0]))
            for k, v in enumerate(column[1:]):
                out[k + 1].append(f32(f32(v + t) * after[1]))
        for row, values in zip(rows, out):
            y[row] = values
    return y


def next_up(scale):
    step = 2.0 ** (math.frexp(scale)[1] - 24)
    return scale + step


def line_of(y, top):
    """Scale and offset of a row by psq."""
    low, high = min(y), max(y)
    if low == high:
        return 0.0, low
    offset, high = f32(low - f32(1e-8)), f32(high + f32(1e-8))
    scale = f32((high - offset) / top)
    while f32(f32(high - offset) * f32(1 / scale)) > top:
        scale = next_up(scale)
    return scale, offset


def code_of(t, top, r23):
    t = min(max(t, 0.0), top)
    low = math.floor(t)
    if r23 is None:
        return round(t)
    return low + (r23 + math.floor((t - low) * 2 ** 23) >= 2 ** 23)


def stages(about, spec, x):
    """plan, T x, lines, codes, Q(T x), values"""
    name, _, _, rounding, _ = spec.split("/")
    top = 2 ** int(name[4:]) - 1
    plan = plan_of([f32(f32(max(r) - min(r)) + f32(1e-8)) for r in x])
    y = reflect(plan, x, False)
    lines = [line_of(row, top) for row in y]
    stream = Stream(about["seed"], about["step"], 15, about["draw"])
    bits = 32 if rounding.endswith(":32") else 16
    codes, reflected = [], []
    for i, (row, (scale, offset)) in enumerate(zip(y, lines)):
        inverse = f32(1 / scale) if scale else 0.0
        codes.append([code_of(f32(f32(v - offset) * inverse), top,
                              None if rounding == "nearest" else stream.r23(i * len(row) + j, bits))
                      for j, v in enumerate(row)])
        reflected.append([f32(offset + f32(c * scale)) for c in codes[-1]])
    return plan, y, lines, codes, reflected, reflect(plan, reflected, True)


def flat(rows):
    return [v for row in rows for v in row]


def same(what, got, want):
    assert len(got) == len(want), what
    for i, (a, b) in enumerate(zip(got, want)):
        assert a == b, (*what, i, a, b)


def input_of(folder, n, cols):
    """Rows: what is not finite counts as 0 in sums, and not at all in ranges, where 0 is no less."""
    x = load(folder, "householder", f"{n}.x.npy")[1]
    return [[counted(v) for v in x[i * cols:(i + 1) * cols]] for i in range(n)]


def check(folder):
    about, groups = load_json(folder, "householder", "householder.json"), 0
    cols = about["cols"]
    for n in about["rows"]:
        files = {word: load(folder, "householder", f"{n}.{word}.npy")[1]
                 for word in ("scales", "offsets", "codes", "reflected", "values")}
        x = input_of(folder, n, cols)
        for i, spec in enumerate(about["cases"]):
            plan, _, lines, codes, reflected, values = stages(about, spec, x)
            a_case = {"scales": [s for s, _ in lines], "offsets": [o for _, o in lines],
                      "codes": flat(codes), "reflected": flat(reflected), "values": flat(values)}
            for word, want in a_case.items():
                same((n, spec, word), files[word][i * len(want):(i + 1) * len(want)], want)
        groups = max(groups, len(plan))
    assert groups >= 2 and len(about["cases"]) >= 12
    print(f"householder: {len(about['cases'])} cases of {about['rows']} rows, up to {groups} groups")


def show(folder, n, spec):
    about = load_json(folder, "householder", "householder.json")
    plan, y, lines, codes, reflected, values = stages(about, spec, input_of(folder, n, about["cols"]))
    for rows, s1, s2 in plan:
        print(f"leader {rows[0]}, followers {rows[1:]}, s1 {s1:.9g}, s2 {s2:.9g}")
    for i in range(n):
        print(f"row {i}: scale {lines[i][0]:.9g}, offset {lines[i][1]:.9g}")
        for word, numbers in (("T x", y), ("code", codes), ("worth", reflected), ("value", values)):
            print(f"  {word:5}", " ".join(f"{v:.9g}" for v in numbers[i]))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        show(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        check(sys.argv[1])
