#!/usr/bin/env python3
"""Reads a folder of `nybble vectors` as docs/vectors.md describes it, with outsiders' arithmetic.

    pip install ml_dtypes==0.6.0 numpy
    nybble vectors golden && python3 tests/oracle/vectors.py golden"""
import glob
import json
import os
import sys

import ml_dtypes
import numpy as np

TYPES = {"e4m3fn": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2, "e4m3": ml_dtypes.float8_e4m3,
         "e4m3b11": ml_dtypes.float8_e4m3b11fnuz, "e3m2": ml_dtypes.float6_e3m2fn,
         "e2m3": ml_dtypes.float6_e2m3fn, "e2m1": ml_dtypes.float4_e2m1fn, "bf16": ml_dtypes.bfloat16,
         "fp16": np.float16}
BLOCKS = {"block16": 16, "block32": 32, "block64": 64}
OVERFLOW = 1  # row of encode.codes: nearest, not saturating


def check_formats(folder):
    for name, dtype in TYPES.items():
        stem = os.path.join(folder, "formats", name)
        values = np.load(stem + ".values.npy")
        word = np.uint16 if len(values) > 256 else np.uint8
        assert np.array_equal(values, np.arange(len(values)).astype(word).view(dtype).astype(np.float32),
                              equal_nan=True), name
        x, codes = np.load(stem + ".encode.x.npy"), np.load(stem + ".encode.codes.npy")
        with np.errstate(all="ignore"):
            wanted = x.astype(dtype).view(word)
        same = (codes[OVERFLOW] == wanted) | np.isnan(x)
        assert same.all(), (name, x[~same][0])
        print(f"{name}: {len(values)} values, {len(x)} codes as in ml_dtypes")


def check_products(folder):
    names = json.load(open(os.path.join(folder, "products", "products.json")))["formats"]
    operands, exact = {}, 0
    for name in names:
        values = np.load(os.path.join(folder, "formats", f"{name}.values.npy")).astype(np.float64)
        operands[name] = {w: values[np.load(os.path.join(folder, "products", f"{name}.{w}.npy"))]
                          for w in ("x", "w", "dy")}
    for a in names:
        got = {w: np.load(os.path.join(folder, "products", f"{a}.{w}.npy")) for w in ("y", "dx", "dw")}
        for i, b in enumerate(names):
            p, q = operands[a], operands[b]
            for word, want in (("y", p["x"] @ q["w"].T), ("dx", p["dy"] @ q["w"]), ("dw", p["dy"].T @ q["x"])):
                equal = np.array_equal(got[word][i], want.astype(np.float32))
                exact += equal
                assert equal or np.allclose(got[word][i], want, rtol=1e-5, atol=1e-6 * np.abs(want).max())
                assert equal or not (a[:3] == "int" and b[:3] == "int"), (a, b)
    print(f"products: {3 * len(names) ** 2}, {exact} of them the rounded exact sums")


def check_quantizers(folder):
    n = 0
    for path in glob.glob(os.path.join(folder, "quantizers", "*.block*.codes.npy")):
        stem = path[:-len(".codes.npy")]
        case = json.load(open(stem + ".json"))
        values = np.load(os.path.join(folder, "formats", case["format"] + ".values.npy"))
        x = np.load(os.path.join(folder, "quantizers", case["x"]))
        codes, scales = np.load(path), np.load(stem + ".scales.npy")
        gap = np.diff(np.sort(values[np.isfinite(values)])).max()
        for i, spec in enumerate(case["cases"]):
            if spec.split("/")[1:] != ["absmax", case["group"], "nearest"] or abs(values.min()) != values.max():
                continue
            each = scales[i].reshape(x.shape[0], -1, 3).repeat(BLOCKS[case["group"]], 1)[:, :x.shape[1]]
            back = each[..., 1] + values[codes[i]] * each[..., 0] * each[..., 2]
            finite = np.isfinite(x)
            assert (np.abs(back - x)[finite] <= (gap / 2 * 1.0001 * each[..., 0])[finite] + 1e-30).all(), spec
            n += 1
    print(f"quantizers: {n} of absmax within half a gap of their input")


if __name__ == "__main__":
    check_formats(sys.argv[1])
    check_products(sys.argv[1])
    check_quantizers(sys.argv[1])
