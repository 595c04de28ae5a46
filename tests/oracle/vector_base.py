"""What the oracles of a folder of `nybble vectors` share: files, roundings in exact fractions, and
the random bits of docs/determinism.md. Needs nothing but Python."""
import ast
import json
import os
import struct
from fractions import Fraction


def load_json(folder, *path):
    with open(os.path.join(folder, *path)) as f:
        return json.load(f)


def load(folder, *path):
    """Shape and numbers of a .npy file."""
    with open(os.path.join(folder, *path), "rb") as f:
        data = f.read()
    size = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:10 + size].decode())
    kind = {"<f4": "f", "|u1": "B"}[header["descr"]]
    body = data[10 + size:]
    return header["shape"], struct.unpack("<%d%s" % (len(body) // struct.calcsize(kind), kind), body)


def rounded(x, man_bits, away=False):
    """x to the nearest number of so many mantissa bits, ties to even or away from zero."""
    if x == 0:
        return Fraction(0)
    x = Fraction(x)
    n, d = abs(x.numerator), x.denominator
    exponent = n.bit_length() - d.bit_length()  # or one more than that of x
    if n << max(-exponent, 0) < d << max(exponent, 0):
        exponent -= 1
    shift = man_bits - exponent
    n, d = n << max(shift, 0), d << max(-shift, 0)
    whole, rest = divmod(n, d)
    if 2 * rest > d or (2 * rest == d and (away or whole % 2)):
        whole += 1
    size = Fraction(whole << max(-shift, 0), 1 << max(shift, 0))
    return size if x > 0 else -size


def f32(x):
    return rounded(x, 23)


def f32_float(x):
    """The f32 nearest to a double that is finite and in range."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


# ---- AES rounds ----------------------------------------------------------------------------------


def times2(a):
    return a << 1 ^ (0x11b if a & 0x80 else 0)


def times(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = times2(a), b >> 1
    return product


def substitute(a):
    """FIPS 197: the inverse in GF(2^8), then an affine map."""
    inverse = next((b for b in range(256) if times(a, b) == 1), 0)
    out = 0x63
    for shift in range(5):
        out ^= inverse << shift | inverse >> (8 - shift)
    return out & 0xff


SBOX = [substitute(a) for a in range(256)]


def aes_round(state, key, last):
    """Bytes in columns, as AES-NI has them."""
    s = [SBOX[state[(4 * (col + row) + row) % 16]] for col in range(4) for row in range(4)]
    if not last:
        s = [times2(s[c + r]) ^ times2(s[c + (r + 1) % 4]) ^ s[c + (r + 1) % 4] ^
             s[c + (r + 2) % 4] ^ s[c + (r + 3) % 4] for c in (0, 4, 8, 12) for r in range(4)]
    return [a ^ b for a, b in zip(s, key)]


def ars5(counter, seed):
    """Four words of a counter of four words."""
    low, high = seed, 0
    state = list(struct.pack("<4I", *counter))
    state = [a ^ b for a, b in zip(state, struct.pack("<QQ", low, high))]
    for i in range(5):
        low = (low + 0x9E3779B97F4A7C15) % 2 ** 64
        high = (high + 0xBB67AE8584CAA73B) % 2 ** 64
        state = aes_round(state, struct.pack("<QQ", low, high), i == 4)
    return struct.unpack("<4I", bytes(state))


assert ars5((0, 0, 0, 0), 0) == (0x7ecce06f, 0x7cdc3bca, 0x15513c87, 0x29d24c9b)


class Stream:
    """The random bits of one use."""

    def __init__(self, seed, step, role, sample=0, tensor=0):
        self.seed, self.step, self.role, self.sample, self.tensor = seed, step, role, sample, tensor
        self.blocks = {}

    def block(self, q):
        if q not in self.blocks:
            self.blocks[q] = ars5((q & 0xffffffff, q >> 32 | self.sample << 8 | self.role << 16,
                                   self.tensor, self.step), self.seed)
        return self.blocks[q]

    def r23(self, i, bits=16):
        """What rounding adds to 23 bits of mantissa, for element i."""
        if bits == 32:
            return self.block(i >> 2)[i & 3] >> 9
        word = self.block(i >> 3)[(i & 7) >> 1]
        return (word >> 16 if i & 1 else word & 0xffff) << 7 | 64
