#!/bin/bash
# Tests of `nybble vectors`: vectors.sh NYBBLE. Writes a folder, breaks copies of it, checks them.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")")
update=0
. "$here/lib.sh"

run 0 vectors golden
run 0 vectors --check golden
grep -q "all as computed here" "$work/out" || fail "the check does not say that it was done"
run 0 vectors --check golden --json --threads 3 --cpu ref
is_json
same "$(json "$work/out" 'j["files"]')" "$(find "$work/golden" -type f | wc -l)" "files"
[ "$(du -sk "$work/golden" | cut -f1)" -le 10240 ] || fail "the folder is above 10 MB"
python3 -c 'import json, sys; [json.load(open(f)) for f in sys.argv[1:]]' "$work"/golden/*.json \
    "$work"/golden/*/*.json || fail "a file is not JSON"
for what in products householder training; do
    python3 "$here/../oracle/vector_$what.py" "$work/golden" || fail "$what are not as described"
done

# broken FILE: FILE with one byte of its data flipped is refused, and named
broken() {
    cp "$work/golden/$1" "$work/kept"
    python3 - "$work/golden/$1" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = bytearray(f.read())
    data[-len(data) // 5] ^= 0x04
    f.seek(0)
    f.write(data)
PY
    run 1 vectors --check golden
    says "golden/$1"
    mv "$work/kept" "$work/golden/$1"
}
broken formats/e2m1.values.npy
broken formats/e4m3fn.encode.codes.npy
broken quantizers/e3m0.block16.codes.npy
grep -q 'e3m0/[a-z0-9_]*/block16' "$work/err" || fail "the case is not named: $(cat "$work/err")"
broken quantizers/bf16.tensor.values.npy
broken quantizers/e2m1.block16.scales.npy
broken quantizers/block32.x.npy
broken householder/5.x.npy
broken householder/13.codes.npy
broken householder/13.scales.npy
broken householder/2.offsets.npy
broken householder/13.reflected.npy
broken householder/13.values.npy
grep -q 'psq/row/.*/householder' "$work/err" || fail "the case is not named: $(cat "$work/err")"
broken products/int4.w.npy
broken products/int4.dw.npy
broken blocks/x.scales.npy
broken blocks/w.codes.npy
broken blocks/y.npy
grep -q '/block[0-9]* *.* x ' "$work/err" || fail "the case is not named: $(cat "$work/err")"
broken rows/x.offsets.npy
broken rows/y.npy
broken sums/x.npy
broken sums/y.npy
grep -q ' in [a-z0-9/:]*$' "$work/err" || fail "the case is not named: $(cat "$work/err")"

broken gradients/dy.npy
broken gradients/dw.npy
grep -q 'wgrad\|/stochastic' "$work/err" || fail "the case is not named: $(cat "$work/err")"
broken updates/x.npy
broken updates/after.npy

# changed SUMS-ACCUMULATOR: a number of such a sum that is another is refused, and named
changed() {
    cp "$work/golden/sums/y.npy" "$work/kept"
    python3 - "$work/golden/sums" "$1" <<'PY'
import json, struct, sys
about = json.load(open(sys.argv[1] + "/sums.json"))
case = [c["accum"] for c in about["cases"]].index(sys.argv[2])
with open(sys.argv[1] + "/y.npy", "rb+") as f:
    f.seek(10 + struct.unpack("<H", f.read(10)[8:])[0] + 4 * about["m"] * about["n"] * case)
    f.write(struct.pack("<f", 123.25))
PY
    run 1 vectors --check golden
    says "golden/sums/y.npy" " in $1"
    mv "$work/kept" "$work/golden/sums/y.npy"
}
changed int12
changed tf32
changed e6m5/stochastic:9

# numbers that f32 would round to the right ones
cp "$work/golden/blocks/y.npy" "$work/y.npy"
python3 - "$work/golden/blocks/y.npy" <<'END'
import ast, array, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<H", data[8:10])[0]
header, values = data[10:10 + n].decode(), array.array("f", data[10 + n:])
header = header.replace("<f4", "<f8").encode()
near = array.array("d", (x * (1 + 1e-9) for x in values))
open(sys.argv[1], "wb").write(data[:10] + header + near.tobytes())
END
run 1 vectors --check golden
says "blocks/y.npy" "not f32"
mv "$work/y.npy" "$work/golden/blocks/y.npy"

# the index and both numbers are named
cp "$work/golden/formats/int4.values.npy" "$work/int4.npy"
npy write golden/formats/int4.values.npy 16 0 1 2 3 4 5 6 7 -8 -7 -6 -5 -4 -3.5 -2 -1
run 1 vectors --check golden
says "golden/formats/int4.values.npy" "[13]" "-3.5" "-3 "
npy write golden/formats/int4.values.npy 2,8 0 1 2 3 4 5 6 7 -8 -7 -6 -5 -4 -3 -2 -1
run 1 vectors --check golden
says "(2, 8)" "(16)"
rm "$work/golden/formats/int4.values.npy"
run 1 vectors --check golden
says "int4.values.npy"
cp "$work/int4.npy" "$work/golden/formats/int4.values.npy"
sed -i 's/"bits": 4/"bits": 5/' "$work/golden/formats/int4.json"
run 1 vectors --check golden
says "formats/int4.json" "bits"
echo '{' >"$work/golden/formats/int4.json"
run 1 vectors --check golden
says "formats/int4.json"
run 1 vectors --check no-such-folder
says "no-such-folder"
echo file >"$work/file"
run 1 vectors file
says "file"
run 2 vectors
says "1 needed"

finish
