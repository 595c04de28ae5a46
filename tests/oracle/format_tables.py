#!/usr/bin/env python3
"""What each code of a format is worth, by two libraries that share no code.

    pip install ml_dtypes==0.6.0 numpy
    python3 tests/oracle/format_tables.py --write     format_tables.txt, from ml_dtypes
    python3 tests/oracle/format_tables.py NYBBLE      compares `nybble format show` with it

A table is the float32 values of codes 0, 1, 2 ..., little endian, +-0 told apart; what is kept is its
SHA-256. ml_dtypes has no power-of-two formats with a zero, so e3m0 is not here: its table is rebuilt
from bit fields in tests/unit/test_format.c. The comparison needs neither of the two packages."""
import hashlib
import json
import os
import struct
import subprocess
import sys

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "format_tables.txt")


def digest(values):
    return hashlib.sha256(struct.pack(f"<{len(values)}f", *values)).hexdigest()


def write():
    import ml_dtypes
    import numpy as np

    # our name: its type, and the bits of a code
    types = {"int2": (ml_dtypes.int2, 2), "int4": (ml_dtypes.int4, 4), "uint4": (ml_dtypes.uint4, 4),
             "e2m1": (ml_dtypes.float4_e2m1fn, 4), "int8": (np.int8, 8),
             "int2f": (ml_dtypes.int2, 2), "int4f": (ml_dtypes.int4, 4), "int8f": (np.int8, 8)}
    with open(FILE, "w", encoding="utf-8") as file:
        for name, (dtype, bits) in types.items():
            codes = np.arange(2**bits, dtype=np.uint8)
            if name.startswith("int") and bits < 8:  # stored sign-extended
                codes = ((codes.astype(np.int8) << (8 - bits)) >> (8 - bits)).view(np.uint8)
            values = codes.view(dtype).astype(np.float32)
            file.write(f"{name} {digest([float(v) for v in values])}\n")


def compare(nybble):
    failures = 0
    with open(FILE, encoding="utf-8") as file:
        for line in file:
            name, wanted = line.split()
            out = subprocess.run([nybble, "format", "show", name, "--json"], check=True,
                                 capture_output=True, text=True).stdout
            if digest(json.loads(out)["values"]) != wanted:
                print(f"{name}: its table is not that of ml_dtypes")
                failures += 1
    return failures != 0


if __name__ == "__main__":
    sys.exit(write() if sys.argv[1:] == ["--write"] else compare(sys.argv[1]))
