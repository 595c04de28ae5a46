"""Writes and prints small .npy files without NumPy: npy.py write FILE SHAPE VALUE... | print FILE"""
import ast
import struct
import sys


def write(path, shape, values):
    shape = tuple(int(d) for d in shape.split(",") if d)
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': %r, }" % (shape,)
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    with open(path, "wb") as out:
        out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        out.write(struct.pack("<%df" % len(values), *map(float, values)))


def show(path):
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:10 + size].decode())
    kind = {"<f4": "f", "|u1": "B"}[header["descr"]]
    body = data[10 + size:]
    values = struct.unpack("<%d%s" % (len(body) // struct.calcsize(kind), kind), body)
    print(",".join(map(str, header["shape"])) + ":", *("%g" % v for v in values))


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    show(sys.argv[2])
