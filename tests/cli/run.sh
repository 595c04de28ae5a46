#!/bin/bash
# Tests of the command line: run.sh NYBBLE [--update]. --update rewrites expected/.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")")
update=0
[ "${2:-}" = --update ] && update=1
. "$here/lib.sh"

verbs="train eval recipe format explain quantize matmul accumulate bench vectors info"

# ---- help and usage ----------------------------------------------------------------------------
run 0 --help
matches help
run 0 help
matches help
for verb in $verbs; do
    run 0 "$verb" --help
    matches "help_$verb"
    run 0 help "$verb"
    matches "help_$verb"
done
run 0 bench recipes --help
matches help_bench_recipes
run 0 bench accumulators --help
matches help_bench_accumulators
run 0 --version
run 2
run 2 trian
says "trian" "train" "quantize"
run 2 help trian
says "trian"
for verb in $verbs; do
    run 2 "$verb" --no-such-option
    says "$verb" "--no-such-option" "nybble $verb --help"
done
run 2 format show
says "show"
run 2 format show int4 int8
says "int8"
run 2 quantize int4
says "3 needed"
run 2 quantize int4 a b --threads
says "--threads needs a value"
run 2 quantize int4 a b --json=1
says "--json takes no value"
run 2 quantize int4 a b -q
says "-q"
for threads in 0 10000 -1 2x ""; do
    run 2 info --threads "$threads"
    says "--threads" "1..1024"
done
run 2 info --cpu avx3
says "avx3" "avx512vnni"
NYBBLE_CPU=avx3 run 2 info
says "nybble: NYBBLE_CPU: cpu 'avx3'" "avx512vnni"
(cd "$work" && "$nybble" format list >/dev/full 2>err) && fail "a full disk went unnoticed"
grep -q "standard output" "$work/err" || fail "no word of the full disk"

# ---- formats and recipes -----------------------------------------------------------------------
run 0 format list
matches format_list
run 0 format list --json
is_json
run 0 format rules
run 0 format rules --json
python3 -c 'import json, sys
rules = {r["name"]: r for r in json.load(open(sys.argv[1]))}
assert len(rules) > 30 and all(r["about"] and r["source"] for r in rules.values()), rules
assert "ICLR" in rules["absmax"]["source"]' "$work/out" || fail "format rules --json"
run 2 format rules now
for format in f32 int4 uint4 e3m0 e3m2 nf4 dlfloat16 e6m9; do
    run 0 format show $format
    matches "format_$format"
    run 0 format show $format --json
    is_json
done
run 0 format show nf4 --json # the fewest digits of a float
same "$(json "$work/out" 'j["values"][0:2]')" "[-1.0, -0.6961928]" "values of nf4"
run 2 format show int9
says "int9" "e3m0" "eXmYbB"
run 2 format show e9m3
says "e9m3" "X 1..8"
run 0 recipe list
matches recipe_list
for recipe in $(awk 'NR > 2 {print $1}' "$work/out"); do
    run 0 recipe show "$recipe"
    matches "recipe_$recipe"
    run 0 recipe show "$recipe" --json
    is_json
done
run 0 recipe list --json
is_json
run 0 recipe keys
run 0 recipe keys --json
is_json
run 0 recipe show luq --set wgrad.dy.samples=2 --set dgrad.dy.scale=hindsight --json
same "$(json "$work/out" 'j["wgrad.dy.samples"], j["dgrad.dy"]')" \
    "(2, 'e3m0/hindsight/tensor/stochastic')" "--set"
# of one key, the last value is the recipe's, and the only one in its name
run 0 recipe show luq --set edges=recipe --set wgrad.dy.samples=2 --set edges=int8 --json
same "$(json "$work/out" 'j["edges"], j["name"]')" "('int8', 'luq+wgrad.dy.samples=2+edges=int8')" "a key set twice"
for key in about source differs; do
    run 0 recipe show luq --set "$key"=$'\xc3\xa4 \xed\xa0\x80 \xf0\x9f\x98\x80 \xe2\x82' --json
    same "$(json "$work/out" "ascii(j['$key'])")" \
        "'\\xe4 \\ufffd\\ufffd\\ufffd \\U0001f600 \\ufffd\\ufffd'" "$key that is not UTF-8"
done
run 2 recipe show luq --set name=$'caf\xe9'
says "name is not UTF-8"
run 2 recipe show lug
says "lug" "luq_naive" "hint: nybble recipe list"
run 2 recipe show luq+edges=recipe
says "luq --set edges=recipe"
run 1 explain --model mlp --recipe luq+wgrad.dy.samples=2
says "luq --set wgrad.dy.samples=2"
run 2 recipe show luq --set wgrad.dy.sample=2
says "wgrad.dy.samples"
run 2 recipe show luq --set wgrad.dy.samples=0
says "1 .. 16"
run 2 recipe show luq --set fwd.x.rounding=flush
says "fwd.x" "flush"
run 2 recipe show luq --set samples
says "key=value"
printf 'base = luq\nedges = recipe # all\n' >"$work/mine.recipe"
run 0 recipe show mine.recipe --json
same "$(json "$work/out" 'j["name"], j["edges"]')" "('mine', 'recipe')" "recipe file"
printf 'base = luq\nedge = recipe\n' >"$work/bad.recipe"
run 2 recipe show ./bad.recipe
says "bad.recipe:2" "edges"
run 1 recipe show ./none.recipe
says "none.recipe"

printf 'base = luq\nedges = recipe\n\nedges = f32\n' >"$work/bad.recipe"
run 1 recipe show ./bad.recipe
says "bad.recipe:4" "edges" "line 2"

mkfifo "$work/pipe.recipe"
run 1 recipe show ./pipe.recipe
says "pipe.recipe" "a pipe or a device"

# ---- quantize ----------------------------------------------------------------------------------
run 1 quantize int4 /dev/zero q.npy
says "/dev/zero" "a pipe or a device"
npy write x.npy 2,3 0 1 -2.5 3.4 7 -7
run 0 quantize int4/absmax x.npy q.npy --codes c.npy --json
is_json
same "$(json "$work/out" 'j["scale"], j["n"], j["shape"], j["underflow"]')" \
    "(1.0, 6, [2, 3], 0.0)" "int4"
npy print q.npy
prints "2,3: 0 1 -2 3 7 -7"
npy print c.npy
prints "2,3: 0 1 14 3 7 9"
for codes in ./q.npy "$work/q.npy" ../"$(basename "$work")"/new.npy; do # one file under two names
    run 2 quantize int4/absmax x.npy "$(basename "$codes")" --codes "$codes"
    says "--codes"
done
# LUQ's grid, to nearest: halves go up, 1.5 is the boundary of an octave
npy write g.npy 8 64 1 0.4 0.5 1.5 -3 48 -0.25
run 0 quantize e3m0/absmax/tensor/nearest g.npy q.npy --codes c.npy
npy print q.npy
prints "8: 64 1 0 1 2 -4 64 0"
npy print c.npy
prints "8: 7 1 0 1 2 11 7 0"
npy write n.npy 4 nan inf 2 -2
run 0 quantize int8/absmax n.npy q.npy --json
same "$(json "$work/out" 'j["n_nan"], j["n_inf"], j["amax"]')" "(1, 1, 2.0)" "NaN and Inf"
npy print q.npy
prints "4: 0 2 2 -2"
npy write z.npy 0
run 0 quantize e3m0 z.npy q.npy --json
is_json
npy print q.npy
prints "0:"
npy write zeros.npy 3 0 0 0
run 0 quantize e3m0 zeros.npy q.npy
npy print q.npy
prints "3: 0 0 0"
python3 "$here/npy.py" write "$work/r.npy" 4099 $(seq -f '0.%04.0f' 4099)
run 0 quantize e3m0 r.npy a.npy --seed 3 --draw 1 --threads 3
run 0 quantize e3m0 r.npy b.npy --seed 3 --draw 1 --cpu ref --threads 1
cmp "$work/a.npy" "$work/b.npy" || fail "codes depend on CPU or threads"
run 0 quantize e3m0 r.npy b.npy --seed 3 --draw 2
cmp -s "$work/a.npy" "$work/b.npy" && fail "--draw changes nothing"
# Blocks along axis 0 of x are blocks along the rows of its transpose.
python3 - "$work" <<'EOF'
import struct, sys
def save(path, rows, cols, f):
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (rows, cols)
    head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
    with open(sys.argv[1] + '/' + path, 'wb') as out:
        out.write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode())
        out.write(b''.join(struct.pack('<f', f(i, j)) for i in range(rows) for j in range(cols)))
value = lambda i, j: ((i * 37 + j * 101) % 97 - 48) / 7.0 * (1 + i % 5)
save('t.npy', 48, 20, value)
save('tt.npy', 20, 48, lambda i, j: value(j, i))
EOF
run 0 quantize e2m1/e8m0/block32/nearest t.npy ta.npy --axis 0
run 0 quantize e2m1/e8m0/block32/nearest tt.npy tb.npy
python3 - "$work" <<'EOF' || fail "quantize --axis 0 is not that of the transpose"
import struct, sys
def load(path, n):
    with open(sys.argv[1] + '/' + path, 'rb') as file:
        return struct.unpack('<%df' % n, file.read()[-4 * n:])
a, b = load('ta.npy', 960), load('tb.npy', 960)
sys.exit(any(a[i * 20 + j] != b[j * 48 + i] for i in range(48) for j in range(20)))
EOF
run 0 quantize int4m t.npy ta.npy --axis 0
run 2 quantize int4 t.npy ta.npy --axis 0
says "--axis" "one scale"
run 2 quantize int4/absmax/row t.npy ta.npy --axis 2
says axis
run 2 quantize int4/saw x.npy q.npy
says "saw" "sawb"
run 2 quantize int4/absmax/tensor/flush x.npy q.npy
says "flush"
npy write s.npy 2,16 6 1 1 1 1 1 1 1 1 1 1 1 1 1 1 -1 12 1 1 1 1 1 1 1 1 1 1 1 1 1 1 -1
run 0 quantize e2m1/e8m0/block16 s.npy q.npy
grep -q "^scale  *-  each group has its own" "$work/out" || fail "the scale of groups: $(cat "$work/out")"
run 0 quantize f32 s.npy q.npy
grep -q "^scale  *1  " "$work/out" && grep -q "^NaN .* copied" "$work/out" || fail "what f32 does"
run 0 quantize e2m1/e8m0/block16 s.npy q.npy --scales sc.npy --offsets of.npy --json
same "$(json "$work/out" 'j["level"]')" 1.0 "level"
npy print sc.npy
prints "2,1: 1 2"
npy print of.npy
prints "2,1: 0 0"
run 0 quantize uint4/psq/row/nearest s.npy q.npy --offsets of.npy
npy print of.npy
prints "2,1: -1 -1"
run 0 quantize int4/absmax/channel s.npy q.npy --scales sc.npy
grep -q "^level *1 " "$work/out" || fail "no level"
run 2 quantize int4 x.npy q.npy --codes q.npy
says "--codes" "OUT.npy"
run 0 quantize int4 x.npy /dev/null --codes /dev/null
run 2 quantize int4 x.npy q.npy --codes c.npy --scales c.npy
says "--scales" "--codes"
run 1 quantize f32 x.npy q.npy --scales sc.npy
run 2 quantize f32 x.npy q.npy --codes c.npy
says "no codes"
deep=$(printf 'folder/%.0s' $(seq 100))
run 1 quantize int4 "$deep/x.npy" q.npy
says "cannot read folder/" " ... " "No such file or directory"
run 1 quantize int4 none.npy q.npy
says "none.npy"
run 1 quantize int4 x.npy none/q.npy
says "none/q.npy"
head -c 100 "$work/x.npy" >"$work/cut.npy"
run 1 quantize int4 cut.npy q.npy
says "cut.npy"

# ---- matmul ------------------------------------------------------------------------------------
npy write a.npy 2,3 1 2 3 -4 -5 7
npy write b.npy 3,2 1 -1 2 7 -3 0
npy write sq.npy 2,2 1 2 3 4
run 0 matmul a.npy b.npy y.npy
npy print y.npy
prints "2,2: -4 13 -35 -31"
for cpu in auto ref; do
    run 0 matmul a.npy b.npy y.npy --a int4 --b int4/absmax --cpu $cpu --json
    same "$(json "$work/out" 'j["engine"], j["m"], j["n"], j["k"]')" "('s8', 2, 2, 3)" "matmul"
    npy print y.npy
    prints "2,2: -4 13 -35 -31"
done
run 0 matmul a.npy b.npy y.npy --a f32 --b int4 --json
same "$(json "$work/out" 'j["engine"]')" "f32" "mixed operands"
npy print y.npy
prints "2,2: -4 13 -35 -31"
for spec in int4/ptq_mse:s8 int4/lsq:s8 uint4/ptq:f32 int4/absmax/row:s8 uint4/psq/row:f32 int4/lsqplus:f32; do
    run 0 matmul a.npy b.npy y.npy --a int4 --b "${spec%:*}" --json
    same "$(json "$work/out" 'j["engine"]')" "${spec#*:}" "matmul by $spec"
done
# Blocks are codes, too, unless sums have an accumulator of their own, or lengths differ.
for spec in e2m1/e8m0/block32,e2m1/e8m0/block32:s8 e2m1/e4m3/block16,int4/absmax/block16:s8 \
    e2m1/e8m0/block32,int4/absmax/block16:f32 e3m2/e8m0/block32,e2m1/e8m0/block32:f32; do
    pair=${spec%:*}
    run 0 matmul a.npy b.npy y.npy --a "${pair%,*}" --b "${pair#*,}" --json
    same "$(json "$work/out" 'j["engine"]')" "${spec#*:}" "matmul of $pair"
done
run 0 matmul a.npy b.npy y.npy --a e2m1/e8m0/block32 --b e2m1/e8m0/block32 --accum fp16 --json
same "$(json "$work/out" 'j["engine"]')" accumulate "blocks with an accumulator"
run 0 matmul a.npy b.npy y.npy --a int8/hbfp/block16 --b int8/hbfp/block16
npy print y.npy
prints "2,2: -4 13 -35 -31"
run 1 matmul a.npy a.npy y.npy
says "shapes do not agree" "(2, 3) and (2, 3)"
npy write line.npy 4 1 2 3 4
npy write cube.npy 1,2,2 1 2 3 4
npy write empty.npy 0,4
for file in line cube empty; do
    run 1 matmul $file.npy b.npy y.npy
    says "A has" "a matrix is needed"
    run 1 matmul a.npy $file.npy y.npy
    says "B has" "a matrix is needed"
done
run 2 matmul a.npy b.npy y.npy --a int9
says "--a" "int9"
run 1 matmul a.npy none.npy y.npy
says "none.npy"
# An input is never written over, whatever it is called as an output.
ln -s a.npy "$work/soft.npy"
ln "$work/a.npy" "$work/hard.npy"
ln -s b.npy "$work/y2.npy.tmp" # where y2.npy is while it is being written
sha256sum "$work"/[ab].npy >"$work/sums"
for out in a.npy b.npy ./a.npy "$work/b.npy" ../"$(basename "$work")"/a.npy soft.npy hard.npy y2.npy; do
    run 2 matmul a.npy b.npy "$out"
    says "OUT.npy" "'$out' would overwrite the input"
done
for out in a.npy soft.npy hard.npy; do
    run 2 quantize int4 a.npy "$out"
    says "OUT.npy" "would overwrite the input a.npy"
    for option in codes scales offsets; do
        run 2 quantize int4 a.npy q.npy --$option "$out"
        says "--$option" "would overwrite the input a.npy"
    done
done
sha256sum --quiet -c "$work/sums" || fail "an input has changed"
cp "$work/a.npy" "$work/q.npy.tmp"
run 2 quantize int4 q.npy.tmp q.npy
says "would overwrite the input q.npy.tmp"
rm "$work/q.npy.tmp"
run 0 matmul soft.npy b.npy y.npy
run 0 matmul sq.npy sq.npy y.npy
# bf16 keeps 8 bits: 256 + 1 is 256, 256 + 2 is 258
npy write long.npy 1,4 256 1 1 1
npy write ones.npy 4,1 1 1 1 1
for acc in bf16:256 bf16/2:258 f32:259; do
    run 0 matmul long.npy ones.npy y.npy --accum "${acc%:*}" --json
    same "$(json "$work/out" 'j["accum"], j["engine"]')" \
        "('${acc%:*}', '$([ "$acc" = f32:259 ] && echo f32 || echo accumulate)')" "--accum"
    npy print y.npy
    prints "1,1: ${acc#*:}"
done
# 256 + 1 stochastic: 256 or 258, by the seed; the same one again
for seed in 0 1 2 3 4 5 6 7; do
    run 0 matmul long.npy ones.npy y.npy --accum bf16/stochastic --seed "$seed"
    npy print y.npy
    cat "$work/out" >>"$work/drawn"
    run 0 matmul long.npy ones.npy y.npy --accum bf16/stochastic --seed "$seed" --cpu ref --threads 3
    npy print y.npy
    prints "$(tail -n 1 "$work/drawn")"
done
same "$(sort -u "$work/drawn" | tr -d '\n')" "1,1: 2581,1: 2601,1: 262" "sums of 256 + 1 + 1 + 1 in bf16"
# int8 clamps sums of codes, chunk by chunk: 49 + 49 + 49
npy write sevens.npy 1,3 7 7 7
npy write column.npy 3,1 7 7 7
for acc in int8:127 int8/2:147 int16:147; do
    run 0 matmul sevens.npy column.npy y.npy --a int4/absmax --b int4/absmax --accum "${acc%:*}"
    npy print y.npy
    prints "1,1: ${acc#*:}"
done
# Factors count towards the largest sum: 300 products of 105 * 105 are more than fp16 holds.
npy write row.npy 1,300 $(yes 1 | head -n 300)
npy write col.npy 300,1 $(yes 1 | head -n 300)
run 0 matmul row.npy col.npy y.npy --a int4m/absmax --b int4m/absmax --accum fp16
npy print y.npy
prints "1,1: 4.12598"
run 1 matmul sevens.npy column.npy y.npy --accum int8
says "int8" "f32"
run 2 matmul sevens.npy column.npy y.npy --accum e3m0
says "--accum" "e3m0" "fp16"
for acc in f32/64 f32/stochastic f32/stochastic:4; do
    run 2 matmul sevens.npy column.npy y.npy --accum "$acc"
    says "--accum" "neither chunks nor a rounding"
    run 2 recipe show luq --set "fwd.accum=$acc"
    says "neither chunks nor a rounding"
done

# ---- accumulate --------------------------------------------------------------------------------
run 2 accumulate --n 64 --accum int9
says "int9" "int12" "int16" "eXmY"
grep -q ternary "$work/err" && fail "an accumulator is listed that is refused"
run 0 accumulate --n 64 --accum bf16,bf16/16,int8/16 --a int4/absmax --b int4/absmax
matches accumulate
for seed in 18446744073709551615 9223372036854775808 9223372036854775807 0; do
    run 0 accumulate --n 9 --seed $seed --json
    same "$(json "$work/out" 'j["seed"]')" $seed "accumulate --seed"
done
run 0 accumulate --n 100,1000 --accum e6m9/64 --json
is_json
same "$(json "$work/out" 'len(j["lines"]), j["lines"][1]["n"], j["lines"][1]["needs_plain"]')" \
    "(2, 1000, 7)" "accumulate"
run 2 accumulate --n 0
says "--n" "1..4194304"
run 0 accumulate --n 4096 --accum bf16,bf16/stochastic,bf16/stochastic:4 --a int4/unit --b int4/unit --json
# Sums that grow beyond 256 lose addends to nearest; drawn ones keep them, with 4 bits in part.
same "$(json "$work/out" '[l["accum"] for l in j["lines"]]')" \
    "['bf16', 'bf16/stochastic', 'bf16/stochastic:4']" "accumulators that draw"
run 2 accumulate --accum e6m9/64/flush
says "--accum" "stochastic"
run 2 accumulate --accum int8/stochastic
says "--accum" "int8" "nearest"
run 2 accumulate --n "$(seq -s, 65)"
says "--n" "more than 64"
run 2 accumulate --n 16 --accum "$(printf 'fp16,%.0s' $(seq 65))fp16"
says "--accum" "more than 64"
run 1 accumulate --accum int8
says "int8" "e5m2"

# ---- explain, bench, info ----------------------------------------------------------------------
run 0 explain --model mlp --recipe luq --cpu ref --threads 1 --batch 32
matches explain_mlp
run 0 explain --model resnet8 --input 3x32x32 --set edges=recipe --json
is_json
run 0 explain --model resnet8 --input 3x32x32 --plan --batch 4
tail -n +2 "$work/out" >"$work/plan.txt"
run 0 explain --model resnet8 --input 3x32x32 --plan --batch 4 --json
json "$work/out" '"\n".join(j["plan"])' >"$work/plan.json"
[ "$(grep -cvxFf "$work/plan.txt" "$work/plan.json")" = 0 ] || fail "the plan as JSON is another"
[ "$(json "$work/out" 'len(j["plan"]) > 50')" = True ] || fail "the plan as JSON is short"
run 0 explain --model mlp:32,16 --recipe luq --batch 32 --energy
matches explain_energy
run 0 explain --model mlp:32 --recipe luq --batch 32 --set edges=recipe --energy --json
is_json
# 32 samples x (784 x 32 x 2 products + 32 x 10 x 3), an int8 multiplication and an int32 addition
same "$(json "$work/out" 'round(j["step"]["picojoules"], 1), round(j["step"]["f32_picojoules"], 1)')" \
    "(490905.6, 7527219.2)" "energy of a step"
# the sizes that the literature gives for these networks
while read -r model input classes parameters; do
    run 0 explain --model "$model" --input "$input" --classes "$classes" --batch 1 --json
    same "$(json "$work/out" 'j["parameters"]')" "$parameters" "parameters of $model"
done <<END
mlp 1x28x28 10 669706
mlp:300,100 1x28x28 10 266610
resnet20 3x32x32 10 272474
resnet56 3x32x32 10 855770
resnet18 3x32x32 10 11173962
resnet18 3x64x64 1000 11689512
resnet34 3x64x64 1000 21797672
mobilenet 3x32x32 10 543050
plain:2,16 3x32x32 10 2970
END
# first convolution, last layer and shortcuts stay f32 unless the recipe says otherwise
f32_layers='sorted({l["layer"] for l in j["lines"] if l["a"] == "f32"})'
run 0 explain --model resnet8 --batch 1 --json
same "$(json "$work/out" "$f32_layers")" \
    "['conv1', 'fc', 'layer2.0.shortcut.conv', 'layer3.0.shortcut.conv']" "f32 layers"
run 0 explain --model resnet18 --batch 1 --json --set shortcut=recipe
same "$(json "$work/out" "$f32_layers")" "['conv1', 'fc']" "f32 layers"
run 0 explain --model resnet8 --batch 1 --json --set shortcut=recipe --set edges=recipe
same "$(json "$work/out" "$f32_layers")" "[]" "f32 layers"
run 2 explain --model mlp --lr 0.1
says "--lr has no effect here"
run 2 explain --model mlp --energy --plan
says "--energy" "--plan"
run 2 recipe list --set edges=recipe
says "--set" "list"
run 2 explain
says "--model"
run 2 explain --model resnet9
says "resnet9" "resnet14"
run 2 explain --model mlp:0
says "mlp:0"
for wrong in 0,16 4 4, 65,16 4,0 4,16x; do
    run 2 explain --model "plain:$wrong"
    says "plain:$wrong" "two numbers" "channels"
done
run 2 explain --model mlp --classes 1
says "--classes 1" "2..1000000"
run 2 explain --model resnet8:3
says "resnet8"
run 2 explain --model mlp --input 28x28
says "28x28" "CxHxW"
run 2 explain --model mlp --batch 0
says "batch"
for bench in "quant --m 32 --k 64" "gemm --m 32 --n 16 --k 64" "linear --m 32 --n 16 --k 64"; do
    run 0 bench $bench --time 1 --json
    is_json
done
same "$(json "$work/out" '[l["rival"]["name"] for l in j["lines"] if "dx" in l["name"]]')" \
    "['own f32']" "the rival of a product"
run 0 bench conv --n 2 --h 7 --c 16 --o 32 --stride 2 --time 1 --json
is_json
same "$(json "$work/out" '[l["name"] for l in j["lines"] if l["rival"]["ratio"] > 0 and l["least_s"] > 0]' 2>&1 |
    tail -1)" "KeyError: 'rival'" "quantizations have no rival"
same "$(json "$work/out" '[l["name"] for l in j["lines"] if "rival" in l and l["rival"]["ratio"] > 0]')" \
    "[\"y = x w'\", 'dx = dy w', \"dw = dy' x\", 'step: the sum']" "lines of bench conv"
# 2 images, 4x4 outputs, 16 x 32 channels; 10 of 12 taps of a row are inside, times those of a column
same "$(json "$work/out" 'round(j["lines"][3]["per_s"] * j["lines"][3]["median_s"])')" \
    "$((2 * 10 * 10 * 16 * 32))" "multiply-adds of bench conv"
run 0 bench conv --n 2 --h 7 --c 16 --stride 2 --depthwise --time 1 --json
is_json
same "$(json "$work/out" '[(j["o"], l["engine"], round(l["per_s"] * l["median_s"])) for l in j["lines"][3:6]]')" \
    "[(16, 's8', $((2 * 10 * 10 * 16))), (16, 's8', $((2 * 10 * 10 * 16))), (16, 's8', $((2 * 10 * 10 * 16)))]" \
    "products of bench conv --depthwise"
run 0 bench conv --n 1 --h 4 --c 16 --o 16 --kernel 1 --pad 0 --time 1 --rival none --recipe f32
grep -q quantize "$work/out" && fail "bench conv quantizes f32"
run 2 bench conv --h 2 --kernel 5 --pad 1
says "kernel" "5"
for spec in "linear --recipe mxfp4" "conv --recipe nvfp4" "linear --recipe luq_block32" \
    "gemm --a e2m1/e8m0/block32" "gemm --b e2m1/e8m0/block32" "quant --a e2m1/e8m0/block32" \
    "linear --recipe statquant_bhq"; do
    case $spec in
    conv*) sizes="--n 32 --c 32 --o 32 --h 4" ;;
    quant*) sizes="--m 32 --k 32" ;;
    *) sizes="--m 32 --n 32 --k 32" ;;
    esac
    run 1 bench $spec $sizes --time 1
    says "operands of one scale" "bench step" "matmul"
done
run 2 bench quant --a bf16
says "bf16" "at most 8 bits"
run 2 bench conv --h 0
says "--h"
run 2 bench gemm --rival blas
says "--rival" "blas"
run 0 bench machine --time 1 --threads 2 --json
is_json
same "$(json "$work/out" '[l["threads"] for l in j["limits"]]')" "[1, 2]" "threads of bench machine"
same "$(json "$work/out" '[len(l["levels"]) == 3 and len(l["peaks"]) == 6 for l in j["limits"]]')" \
    "[True, True]" "levels and peaks of bench machine"
run 0 bench machine --time 1 --threads 1 --cpu ref
run 0 bench gemm --m 32 --n 16 --k 64 --time 1 --a f32 --b f32
run 0 bench linear --m 32 --n 16 --k 64 --time 1 --recipe f32
run 0 bench quant --m 64 --k 64 --time 1 --threads 1 --json
is_json
same "$(json "$work/out" '[l["name"] for l in j["lines"]]')" "['scale and encode', 'a pure read of x']" \
    "lines of bench quant"
run 0 bench quant --m 1 --k 16 --time 1 --threads 1
grep -q 'pure read' "$work/out" && fail "bench quant reads less than it can measure"
run 0 bench step --model plain:2,16 --input 3x4x4 --batch 8 --time 1
run 0 bench step --model mlp:16 --input 1x4x4 --batch 8 --time 1 --json
is_json
run 0 bench step --model mlp:16,16 --input 1x4x4 --batch 8 --time 1 --threads 1 --json
sums='abs(sum(g["seconds"] for g in j["split"][key]) / j["split"]["step_s"] - 1) < 1e-6'
for key in kinds layers; do
    same "$(json "$work/out" "[$sums for key in ['$key']]")" "[True]" "the sum of $key is the step"
done
same "$(json "$work/out" '[sum(g[what] for g in j["split"]["kinds"]) == sum(g[what] for g in j["split"]["layers"]) > 0
    for what in ("calls", "macs", "read_bytes", "written_bytes")]')" "[True, True, True, True]" "split"
# gemm forward of fc2: 8 x 16 codes, and 16 x 16, to 8 x 16 floats
same "$(json "$work/out" '[(g["macs"], g["read_bytes"], g["written_bytes"], g["a"], g["b"], g["shape"])
    for g in j["split"]["layers"] if g["layer"] == "fc2" and g["kind"] == "gemm fwd"]')" \
    "[(2048, 192, 512, 'uint4', 'int4', [8, 1, 1, 16])]" "the product of a layer"
same "$(json "$work/out" 'all(j["split"]["loading"][what] > 0 for what in ("steps", "batch_s", "fed_step_s"))')" True \
    "what loading takes"
same "$(json "$work/out" '0 <= j["split"]["loading"]["waited_s"] < j["split"]["loading"]["fed_step_s"]')" True \
    "what a step waits for its batch"
run 0 bench step --model plain:1,16 --input 5x4x4 --batch 8 --time 1 --json # no source has 5 channels
same "$(json "$work/out" '"loading" in j["split"]')" False "loading of what there is not"
run 0 bench step --model mlp:16 --input 1x4x4 --batch 8 --time 1 --augment-crop 1 --augment-flip --split
grep -q '^loading a batch.*%' "$work/out" || fail "bench step --split shows no loading"
run 0 bench step --model mlp:16 --input 1x4x4 --batch 8 --time 1 --split
grep -q '^gemm dw .*%' "$work/out" || fail "bench step --split shows no gemm dw"
grep -q '^fc1 ' "$work/out" && fail "bench step --split shows layers"
run 0 bench step --model mlp:16 --input 1x4x4 --batch 8 --time 1 --layers
grep -q '^fc1 .*8x1x1x16 .*gemm fwd' "$work/out" || fail "bench step --layers shows no fc1"
run 2 bench
for wrong in "gemm --recipe luq" "gemm --h 4" "quant --n 8" "quant --rival none" "conv --m 8" "conv --a int4" \
    "linear --classes 10" "machine --m 8" "step --model mlp --m 8" "machine --split" "gemm --batch 8"; do
    run 2 bench $wrong
    says "has no effect on bench ${wrong%% *}" "$(grep -o -e '--[a-z]*' <<<"$wrong" | tail -n 1)"
done
run 2 bench step --model mlp --epochs 3
says "--epochs has no effect here"
run 2 bench step --model mlp --augment-flip
says "--augment-flip" "--split"
run 2 bench conv --c 16 --o 32 --depthwise
says "--o 32 is not --c 16"
run 2 bench gem
says "gem" "linear"
run 2 bench step
says "--model"
run 0 info
run 0 info --cpu ref --json
is_json
same "$(json "$work/out" 'j["cpu"]')" "ref" "info --cpu"
run 0 info --json
level=$(json "$work/out" 'j["cpu"]')
NYBBLE_CPU=ref run 0 info --cpu "$level" --json
same "$(json "$work/out" 'j["cpu"]')" "ref" "NYBBLE_CPU below --cpu"
NYBBLE_CPU=amx run 0 info --json
same "$(json "$work/out" 'j["cpu"]')" "$level" "NYBBLE_CPU above the machine"

finish
