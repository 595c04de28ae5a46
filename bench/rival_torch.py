#!/usr/bin/env python3
"""Times single products of the oneDNN, and in f32 of the MKL, that PyTorch brings along. Prints JSON.

    rival_torch.py gemm|linear TYPES M N K THREADS MILLISECONDS
    rival_torch.py conv TYPES N H C O KERNEL STRIDE PAD GROUPS THREADS MILLISECONDS

TYPES are some of f32,bf16,s8. gemm: x w', and the same once more with weights packed beforehand.
linear, conv: the three products of a step. Images are channels_last. bf16: so are the results. s8:
s8 x s8 to int32; u8s8: to f32, scaled. What has run, and how long, is oneDNN's own report: changes of
layout and all that PyTorch does around it do not count. A way that does not run what it is named
after, or reference code, is left out."""
import argparse
import contextlib
import ctypes
import json
import os
import re
import statistics
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

REPEATS_MIN = 5  # as in rival.h
ELSEWHERE = "not by oneDNN"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "s8": torch.int8}


def version_of(pattern):
    found = re.search(pattern + r" v?([0-9.]+)", torch.__config__.show())
    return found[1] if found else "?"


TORCH = f"of PyTorch {torch.__version__.partition('+')[0]}"
ONEDNN = f"oneDNN {version_of('MKL-DNN')} {TORCH}"
PACKED = f"oneDNN {version_of('MKL-DNN')} (packed weights) {TORCH}"
MKL = f"MKL {version_of('Math Kernel Library Version')} {TORCH}"


# ---- measuring ------------------------------------------------------------------------------------


@contextlib.contextmanager
def reports(file):
    """oneDNN writes what it runs to standard output, by C: here into a file."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    stdout = os.dup(1)
    os.dup2(file.fileno(), 1)
    try:
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            yield
    finally:
        flush(None)
        os.dup2(stdout, 1)
        os.close(stdout)


def primitives(file):
    """(implementation, seconds) of what was run, but for changes of layout."""
    file.seek(0)
    found = []
    for line in file.read().decode().splitlines():
        words = line.split(",")
        if words[0] == "onednn_verbose" and "exec" in words:
            primitive, how = words[words.index("exec") + 2:][:2]
            if primitive != "reorder":
                found.append((how or primitive, float(words[-1]) / 1000))
    return found


def repeat(run, milliseconds):
    """Seconds of each time: once to warm up, then until the milliseconds are over."""
    seconds = []
    run()
    end = time.perf_counter() + milliseconds / 1000
    while len(seconds) < REPEATS_MIN or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(run, milliseconds):
    with tempfile.TemporaryFile() as file:
        with reports(file):
            seconds = repeat(run, milliseconds)
        found = primitives(file)
    if not found:
        return {"how": ELSEWHERE, "median_s": statistics.median(seconds)}
    hows = dict.fromkeys(how for how, _ in found)
    return {"how": ", ".join(hows), "median_s": statistics.median([s for _, s in found[1:]])}


def measure_all(name, runs, milliseconds):
    """{product: how and how long} of {product: function}; {} if they are not what the name says."""
    found = {}
    for product, run in runs.items():
        found[product] = measure(run, milliseconds)
        how = found[product]["how"]
        if (how == ELSEWHERE) != name.startswith("MKL") or how.startswith("ref") or ":ref" in how:
            return {}
    return found


# ---- matrices -------------------------------------------------------------------------------------


def values(word, *shape):
    """Integers are of 4 bits, as ours are."""
    if word == "s8":
        return torch.randint(-8, 8, shape, dtype=torch.int8)
    return torch.randn(shape).to(DTYPES[word])


def linear_of_onednn(a, b):
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def packed_of(word, x, w):
    """x w' as a function, w packed."""
    if word != "s8":
        packed = torch.ops.mkldnn._reorder_linear_weight(w, x.shape[0])
        return lambda: linear_of_onednn(x, packed)
    packed = torch.ops.onednn.qlinear_prepack(w, list(x.shape))
    n = w.shape[0]
    codes, scales, zeros = (x + 8).to(torch.uint8), torch.ones(n), torch.zeros(n, dtype=torch.int32)
    return lambda: torch.ops.onednn.qlinear_pointwise(codes, 1.0, 0, packed, scales, zeros, None, 1.0,
                                                      0, torch.float32, "none", [], "")


def matrices(bench, word, shape):
    """{rival: {product: function}} of x [m][k], w [n][k], dy [m][n]."""
    m, n, k = shape
    x, w, dy = values(word, m, k), values(word, n, k), values(word, m, n)
    pairs = {"fwd": (x, w), "dx": (dy, w.t()), "dw": (dy.t(), x.t())}
    if bench == "gemm":
        pairs = {"fwd": pairs["fwd"]}
    result = torch.int32 if word == "s8" else DTYPES[word]
    multiply = torch._int_mm if word == "s8" else torch.mm
    outs = {p: torch.empty(a.shape[0], b.shape[0], dtype=result) for p, (a, b) in pairs.items()}
    plain = {p: lambda a=a, b=b, out=outs[p]: multiply(a, b.t(), out=out)
             for p, (a, b) in pairs.items()}
    ways = {f"{ONEDNN} {word}": plain}
    if word == "f32":
        ways = {f"{MKL} f32": plain,
                f"{ONEDNN} f32": {p: lambda a=a, b=b: linear_of_onednn(a, b)
                                  for p, (a, b) in pairs.items()}}
    if bench == "gemm":
        ways[f"{PACKED} {'u8s8' if word == 's8' else word}"] = {"fwd": packed_of(word, x, w)}
    return ways


# ---- convolutions ---------------------------------------------------------------------------------


def convolutions(word, shape):
    if word == "s8":
        return {}
    n, h, c, o, kernel, stride, pad, groups = shape
    x, w = (values(word, *dims).to(memory_format=torch.channels_last)
            for dims in ((n, c, h, h), (o, c // groups, kernel, kernel)))

    def forward():
        return F.conv2d(x, w, None, stride, pad, 1, groups)

    dy = torch.randn_like(forward())

    def backward(*wanted):
        return torch.ops.aten.convolution_backward(dy, x, w, None, [stride] * 2, [pad] * 2, [1, 1],
                                                   False, [0, 0], groups, [*wanted, False])

    return {f"{ONEDNN} {word}": {"fwd": forward,
                                 "dx": lambda: backward(True, False),
                                 "dw": lambda: backward(False, True)}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("bench", choices=("gemm", "linear", "conv"))
    parser.add_argument("types")
    parser.add_argument("numbers", type=int, nargs="+")
    args = parser.parse_args()
    *shape, threads, milliseconds = args.numbers
    if len(shape) != (8 if args.bench == "conv" else 3):
        sys.exit("rival_torch: not as many numbers as a shape needs")
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    rivals = {}
    with torch.no_grad():
        for word in args.types.split(","):
            ways = (convolutions(word, shape) if args.bench == "conv"
                    else matrices(args.bench, word, shape))
            for name, runs in ways.items():
                found = measure_all(name, runs, milliseconds)
                if found:
                    rivals[name] = found
    print(json.dumps(rivals))


if __name__ == "__main__":
    main()
