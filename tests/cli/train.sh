#!/bin/bash
# Tests of train and eval: train.sh NYBBLE. Small synthetic runs, killed, interrupted and resumed.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")") update=0
. "$here/lib.sh"

data=synthetic:h=8,w=8,c=1,classes=4,train=1024,test=256
base="--data $data --model mlp:32 --recipe luq --set edges=recipe --batch 32 --epochs 2"

sha() {
    json "$1/summary.json" 'j["weights_sha256"]'
}

# ---- a run and its folder ----------------------------------------------------------------------
run 0 train $base --out a --telemetry-every 8 --log-every 4 --json
is_json
cp "$work/out" "$work/a.json"
cmp "$work/a.json" "$work/a/summary.json" || fail "--json is not summary.json"
same "$(json "$work/a.json" 'j["data"], j["steps"]')" "('$data', 64)" "what it names"
same "$(json "$work/a.json" 'j["recipe"]')" "luq+edges=recipe" "name of the recipe"
for file in config.txt metrics.jsonl model.safetensors state.safetensors summary.json; do
    [ -s "$work/a/$file" ] || fail "$file is missing"
done
ls "$work"/a/events.out.tfevents.* >/dev/null || fail "no TensorBoard events"
python3 - "$work/a/metrics.jsonl" <<'END' || fail "metrics.jsonl"
import collections, json, sys
kinds = collections.Counter(json.loads(line)["kind"] for line in open(sys.argv[1]))
assert kinds["step"] >= 4 and kinds["epoch"] == 2 and kinds["quant"] > 0, kinds
END
python3 - "$work/a.json" <<'END' || fail "it learns nothing"
import json, sys
assert json.load(open(sys.argv[1]))["test_loss"] < 1.36  # chance: ln 4 = 1.386
END
run 0 eval a --json
same "$(json "$work/out" 'j["test_acc"], j["test_loss"]')" \
    "$(json "$work/a.json" 'j["test_acc"], j["test_loss"]')" "accuracy and loss of eval, all digits"
same "$(json "$work/out" 'j["file"]')" model.safetensors "what eval reads"
model=$(json "$work/out" 'j["test_loss"]')
run 0 eval a
[ -s "$work/err" ] && fail "eval: $(cat "$work/err")"
cp -r "$work/a" "$work/bare"
rm "$work/bare/model.safetensors"
run 0 eval bare --json
same "$(json "$work/out" 'j["test_loss"]')" "$model" "loss of the state"
run 0 eval a --limit-test 10
run 1 eval a --data synthetic:h=6,w=5,c=1,classes=4,train=64,test=32
says "1x8x8 (CxHxW) of 4 classes" "1x6x5 of 4"
run 0 train $base --normalize=1 --out norm --json
norm=$(json "$work/out" '"%.6f" % j["test_loss"]')
run 0 eval norm --data "${data/train=1024/train=40}" --json # the same test part
same "$(json "$work/out" '"%.6f" % j["test_loss"]')" "$norm" "normalization of other data"
[ -s "$work/err" ] && fail "eval of other data: $(cat "$work/err")"
run 0 eval norm --data "${data/train=1024/train=10}" # less than a batch to train on
sed -i "s|^data = .*|data = idx:/nowhere|" "$work/norm/config.txt"
run 0 eval norm --data "$data" --json
grep -q "normalized by the training part of --data.*nowhere" "$work/err" || fail "no word of it"
run 0 train $base --quiet
[ -s "$work/err" ] && fail "--quiet is not quiet"
grep -q "$(sha "$work/a")" "$work/out" || fail "a run without --out has other weights"

# ---- the same bits -----------------------------------------------------------------------------
for how in "--threads 1" "--threads 3" "--cpu ref" "--cpu auto --log-every 7"; do
    run 0 train $base --json $how
    same "$(json "$work/out" 'j["weights_sha256"]')" "$(sha "$work/a")" "weights with $how"
done
run 0 train $base --json --seed 2
[ "$(json "$work/out" 'j["weights_sha256"]')" = "$(sha "$work/a")" ] && fail "--seed changes nothing"

# ---- interrupted -------------------------------------------------------------------------------
long="--data synthetic:h=8,w=8,c=1,classes=4,train=16384,test=64 --model mlp:64 --batch 16
    --epochs 3 --checkpoint-every 200 --threads 1 --set edges=recipe"
run 0 train $long --out whole --quiet

# interrupt SIGNAL DIR: starts a long run, sends the signal after a checkpoint, gives its status
interrupt() {
    (cd "$work" && exec "$nybble" train $long --out "$2" --quiet) >"$work/out" 2>"$work/err" &
    local pid=$! i
    for i in $(seq 2000); do
        grep -qas '"step=[1-9]' "$work/$2/state.safetensors" && break
        sleep 0.005
    done
    kill -s "$1" "$pid"
    wait "$pid"
}
interrupt KILL killed
[ -e "$work/killed/summary.json" ] && fail "the run was over before it was killed"
run 0 train --resume killed --quiet
same "$(sha "$work/killed")" "$(sha "$work/whole")" "weights after SIGKILL and --resume"
interrupt INT stopped
same $? 130 "status after SIGINT"
says "interrupted" "nybble train --resume stopped"
run 0 eval stopped --json
is_json
same "$(json "$work/out" 'j["file"]')" state.safetensors "what eval reads of an interrupted run"
grep -q "after step [1-9]" "$work/err" || fail "eval does not say that it reads the state"
if ! ((0x$(awk '/SigIgn/ { print $2 }' /proc/self/status) & 1)); then # as under nohup
    interrupt HUP hungup
    same $? 130 "status after SIGHUP"
    run 0 train --resume hungup --quiet
    same "$(sha "$work/hungup")" "$(sha "$work/whole")" "weights after SIGHUP and --resume"
fi
# While it evaluates, which takes minutes here: at once.
(cd "$work" && exec "$nybble" train --data synthetic:h=8,w=8,train=32,test=200000 --model mlp:1024,1024 \
    --batch 16 --epochs 1 --checkpoint-every 1 --out judged --quiet) >"$work/out" 2>"$work/err" &
pid=$!
for i in $(seq 8000); do
    grep -qas '"step=1' "$work/judged/state.safetensors" && break
    sleep 0.005
done
sleep 0.2
kill -s INT "$pid"
wait "$pid"
same $? 130 "status after SIGINT in an evaluation"
grep -q '"kind":"epoch"' "$work/judged/metrics.jsonl" && fail "the evaluation went on to its end"
cp "$work/stopped/config.txt" "$work/config.before"
run 0 train --resume stopped --quiet --threads 2
same "$(sha "$work/stopped")" "$(sha "$work/whole")" "weights after SIGINT and --resume"
cmp "$work/config.before" "$work/stopped/config.txt" >/dev/null ||
    diff <(grep -v '^#' "$work/config.before") <(grep -v '^#' "$work/stopped/config.txt") ||
    fail "config.txt changed"
run 0 train $long --out steps --quiet --max-steps 30
run 0 train --resume steps --quiet
[ -s "$work/err" ] && fail "a run that went on: $(cat "$work/err")"
same "$(sha "$work/steps")" "$(sha "$work/whole")" "weights after --max-steps and --resume"
run 2 train $long --out steps --quiet
says "holds a run already" "--resume" "--overwrite"
run 0 train $base --out steps --quiet --overwrite
same "$(sha "$work/steps")" "$(sha "$work/a")" "weights of a folder that is used again"
[ "$(ls "$work"/steps/events.out.tfevents.* | wc -l)" = 1 ] || fail "events of two runs"
run 2 train $base --dry-run --json
run 0 train --data $data --model mlp:16 --epochs 0
grep -q "no product of mlp:16 is quantized" "$work/err" || fail "no word of edges"
run 0 train --data $data --model mlp:16 --epochs 0 --recipe f32
grep -q "is quantized" "$work/err" && fail "a word of edges in f32"
run 0 train --data $data --model mlp:16,16 --epochs 0
grep -q "is quantized" "$work/err" && fail "a word of edges of a quantized model"
run 0 train $base --epochs 0 --json
[ "$(json "$work/out" 'j["test_acc"] > 0')" = True ] || fail "--epochs 0 does not evaluate"
printf 'base = luq\nfwd.x = int8\n' >"$work/luq.recipe"
run 0 train $base --recipe ./luq.recipe --json
same "$(json "$work/out" 'j["recipe"]')" luq.recipe+edges=recipe "name of a recipe that a built-in one has"
printf 'base = luq\n' >"$work/a
b.recipe"
run 2 train $base --recipe "./a
b.recipe"
says "control character"
NYBBLE_DATA=/nowhere run 1 train --data fashion-mnist --model mlp --dry-run
says "NYBBLE_DATA" "/nowhere/fashion-mnist"

# ---- a reader that goes away, a run that is over ------------------------------------------------
(cd "$work" && "$nybble" train $long --out piped --log-every 5 --max-steps 60 2> >(head -n 1 >/dev/null)) \
    >"$work/out" || fail "the run ends when nobody reads its messages any more"
run 0 train --resume piped --quiet
same "$(sha "$work/piped")" "$(sha "$work/whole")" "weights of a run whose reader went away"
(cd "$work/piped" && find . -type f -exec sha256sum {} + | sort) >"$work/before"
run 0 train --resume piped --quiet --threads 1
grep -q "done already" "$work/err" || fail "no word of a run that is over"
(cd "$work/piped" && find . -type f -exec sha256sum {} + | sort) >"$work/after"
cmp "$work/before" "$work/after" || fail "a run that is over changes"

# The bar fits the terminal, whose last column stays free; a terminal may not know its width.
python3 - "$nybble" $base <<'END' || fail "the width of the bar"
import fcntl, os, pty, struct, subprocess, sys, termios
def longest(columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([sys.argv[1], "train", *sys.argv[2:]], stdout=subprocess.DEVNULL, stderr=theirs) as run:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:  # Linux says so that the other side is closed
            pass
    assert run.returncode == 0
    bars = [line for line in text.split(b"\r\x1b[K") if b"[=" in line or b"[>" in line]
    return max(len(bar.split(b"\r")[0]) for bar in bars)
whole = longest(0)
assert whole > 70 and longest(200) > 70, whole
assert longest(60) == 59 and longest(20) == 19
END

# Standard streams that are closed: no file of the run takes their place.
(cd "$work" && "$nybble" train $base --log-every 1 --out closed >&- 2>&-)
same "$?" 1 "status of a run whose summary nobody reads"
same "$(sha "$work/closed")" "$(sha "$work/a")" "weights of a run without streams"
python3 -c 'import json, sys
[json.loads(line) for line in open(sys.argv[1])]' "$work/closed/metrics.jsonl" ||
    fail "messages in metrics.jsonl"
(cd "$work" && "$nybble" format list >&- 2>err) && fail "a closed output went unnoticed"
grep -q "standard output" "$work/err" || fail "no word of a closed output"

# ---- data in files -----------------------------------------------------------------------------
python3 - "$work/images" <<'END'
import os, random, struct, sys
os.mkdir(sys.argv[1])
random.seed(1)
for part, n in (("train", 64), ("t10k", 32)):
    pixels, labels = random.randbytes(n * 64), bytes(i % 4 for i in range(n))
    for name, sizes, data in (("images-idx3", (n, 8, 8), pixels), ("labels-idx1", (n,), labels)):
        with open(f"{sys.argv[1]}/{part}-{name}-ubyte", "wb") as file:
            file.write(struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes) + data)
END
run 0 train --data idx:images --model mlp:16 --batch 16 --epochs 2 --out files --quiet --max-steps 3
(cd / && "$nybble" train --resume "$work/files" --quiet) >"$work/out" 2>"$work/err" ||
    fail "a run does not go on from another folder: $(cat "$work/err")"
(cd / && "$nybble" eval "$work/files") >"$work/out" 2>"$work/err" || fail "eval from another folder"

# A file that is called as the numbers of a source that reads none.
: >"$work/train=64,test=32"
run 0 train --data synthetic:train=64,test=32 --model mlp:16 --batch 16 --epochs 1 --out named --quiet
same "$(grep '^data = ' "$work/named/config.txt")" "data = synthetic:train=64,test=32" "a file called as numbers"
run 0 eval named
rm "$work/train=64,test=32"

# A control character would break the lines of config.txt.
line=$'a\nb'
mkdir "$work/$line"
cp -r "$work/images" "$work/$line/"
run 2 train --data "idx:$line/images" --model mlp:16 --epochs 0 --out never
says "--data" "control character"
run 2 train --data idx:images --model mlp:16$'\t' --epochs 0 --out never
says "--model" "control character"
run 2 eval files --data $'idx:\x01'
says "--data" "control character"
[ -e "$work/never" ] && fail "a control character made a folder"
(cd "$work/$line" && "$nybble" train --data idx:images --model mlp:16 --batch 16 --epochs 1 --out run \
    --quiet && "$nybble" eval run) >"$work/out" 2>"$work/err" ||
    fail "a run in a folder with a newline: $(cat "$work/err")"

# Names in bytes that are not UTF-8: U+FFFD in JSON, where they are those of files; a recipe's would
# not be found again.
latin=$'Bilder-\xfc'
mv "$work/images" "$work/$latin"
run 0 train --data "idx:$latin" --model mlp:16 --batch 16 --epochs 1 --out latin --json \
    --set $'name=\xc3\xa4' --max-steps 1
is_json
same "$(json "$work/out" 'ascii([j["data"], j["recipe"]])')" "['idx:Bilder-\\ufffd', '\\xe4']" \
    "names that are not UTF-8"
run 0 train --resume latin
run 0 eval latin --json
is_json
printf 'base = luq\n' >"$work/"$'r\xe9.recipe'
run 2 train --data "idx:$latin" --model mlp:16 --recipe ./$'r\xe9.recipe' --epochs 1 --out never
says "--recipe" "UTF-8"
run 2 train --data "idx:$latin" --model mlp:16 --set $'name=caf\xe9' --epochs 1 --out never
says "--set" "UTF-8"
[ -e "$work/never" ] && fail "a name that is not UTF-8 made a folder"

# ---- recipes, options --------------------------------------------------------------------------
printf 'base = luq\nedges = recipe\nwgrad.dy.samples = 2\nfinish.epochs = 1\n' >"$work/two.recipe"
run 0 train --data $data --model mlp:32 --recipe ./two.recipe --batch 32 --epochs 1 --out two --json
same "$(json "$work/out" 'j["recipe"]')" "two" "name of a recipe file"
[ "$(json "$work/two/summary.json" '0 < j["test_acc_f32_activations"] <= 1')" = True ] ||
    fail "FNT's accuracy with f32 activations"
run 0 train --data $data --model mlp:32 --recipe ./two.recipe --batch 32 --epochs 1 --max-steps 3 --json
same "$(json "$work/out" '"test_acc_f32_activations" in j')" False "FNT's accuracy before its epochs"
rm "$work/two.recipe"
run 0 eval two
# random bits of operands that draw none: the same codes, kept once
kept='j["saved_activation_bytes"], j["saved_quantized_bytes"], j["arena_bytes"]'
run 0 train $base --json --set fwd.x.sr_bits=32 --set dgrad.w.sr_bits=32
same "$(json "$work/out" "$kept")" "$(json "$work/a.json" "$kept")" "memory with sr_bits of x and w"
run 0 train $base --dry-run
grep -q '^recipe.dgrad.dy = e3m0/absmax/tensor/stochastic$' "$work/out" || fail "--dry-run"
[ "$(grep -c . "$work/out")" -gt 50 ] || fail "--dry-run prints no plan"
run 0 train $base --limit-train 64 --limit-test 32 --epochs 1 --json
is_json

# ---- numbers that are none ---------------------------------------------------------------------
burst="--data $data --model mlp:32 --lr 1e6 --schedule constant --epochs 1 --quiet"
run 1 train $burst
says "step" "NaN or Inf" "fc"
run 0 train $burst --set nonfinite=skip --json
is_json
same "$(json "$work/out" 'j["test_loss"]')" None "a loss that is NaN"
for how in "--out few" --dry-run; do
    run 1 train --data $data --model mlp --batch 100000 $how
    says "1024" "100000"
done
[ -e "$work/few" ] && fail "too few samples made a folder"

# ---- wrong usage, and disks that fail ----------------------------------------------------------
run 2 train
says "--data"
run 2 train --data $data --model mlp --recipe lug
says "lug" "luq"
run 2 train --data $data --model mlp7
says "mlp7" "resnet14"
run 2 train --data sinthetic --model mlp
says "sinthetic" "synthetic"
run 2 train --data synthetic:h=8,w=8,h=9 --model mlp
says "h= is there twice"
run 1 train --data idx:/nowhere --model mlp
says "/nowhere"
run 2 train --data $data --model mlp --lr fast
says "lr" "fast"
for seed in -1 1.5 1e3 18446744073709551616 x; do
    run 2 train --data $data --model mlp --seed $seed
    says "--seed" "whole number from 0 to 2^64 - 1"
done
run 2 train --data $data --model mlp --schedule sine
says "sine" "cosine"
run 2 train $base --overwrite
says "--overwrite needs --out"
for option in checkpoint-every telemetry-every; do
    run 2 train $base --$option 4
    says "--$option needs --out"
done
run 2 train --resume a --lr 1
says "--lr" "--resume"
run 2 train --resume a --model mlp
says "--model" "--resume"
run 1 train --resume ""
says "empty"
run 1 train --resume nowhere
says "nowhere"
run 1 eval nowhere
says "nowhere"
run 1 train $base --out /dev/null/here --quiet
says "/dev/null"
cp -r "$work/a" "$work/cut"
head -c 1000 "$work/a/state.safetensors" >"$work/cut/state.safetensors"
run 1 train --resume cut --quiet
says "state.safetensors"
head -c 1000 "$work/a/model.safetensors" >"$work/cut/model.safetensors"
run 1 eval cut
says "model.safetensors"
echo "nonsense = 1" >>"$work/cut/config.txt"
run 1 eval cut
says "config.txt" "nonsense"
rm "$work/cut/config.txt"
mkfifo "$work/cut/config.txt"
run 1 eval cut
says "config.txt" "not a config.txt"

# A config.txt that lost lines, or has one twice, would be another run under the old name.
run 0 train $base --out part --quiet --max-steps 10
cp -r "$work/part" "$work/edited"
sed -i '/^recipe.name/q' "$work/edited/config.txt"
run 1 train --resume edited --quiet
says "edited/config.txt" "recipe.fwd.x" "missing"
run 1 eval edited
for key in $(sed -n 's/^\([a-z][^ ]*\) = .*/\1/p' "$work/part/config.txt"); do
    cp "$work/part/config.txt" "$work/edited/config.txt"
    grep "^$key = " "$work/part/config.txt" >>"$work/edited/config.txt"
    run 1 train --resume edited --quiet
    says "edited/config.txt" "$key" "second time"
    case $key in recipe.about | recipe.source | recipe.differs) continue ;; esac
    grep -v "^$key = " "$work/part/config.txt" >"$work/edited/config.txt"
    run 1 train --resume edited --quiet
    says "edited/config.txt" "$key" "missing"
done
sed 's/^recipe.wgrad.dy.samples = .*/recipe.wgrad.dy.samples = 3/' "$work/part/config.txt" \
    >"$work/edited/config.txt"
run 1 train --resume edited --quiet
says "edited" "another recipe" "luq+edges=recipe"
sed 's/^recipe.recompute = .*/recipe.recompute = products/; s/^recipe.about = .*/recipe.about = x/' \
    "$work/part/config.txt" >"$work/edited/config.txt"
run 0 train --resume edited --quiet
same "$(sha "$work/edited")" "$(sha "$work/a")" "weights of a run with another recipe.recompute"

# Texts that the recipe lacks are not those of the recipe that reading begins with.
run 0 train $base --out texts --quiet --max-steps 3 --set about= --set source= --set differs=
grep '^recipe' "$work/texts/config.txt" >"$work/config.before"
run 0 train --resume texts --quiet
grep '^recipe' "$work/texts/config.txt" | diff "$work/config.before" - || fail "texts of a resumed run"

# A file may not grow past 8 KiB, as on a full disk: the failure is told, the old checkpoint lives.
run 0 train $long --out full --quiet --max-steps 20 --checkpoint-every 20
before=$(sha256sum <"$work/full/state.safetensors")
(cd "$work" && trap '' XFSZ && ulimit -f 8 && exec "$nybble" train --resume full --quiet) \
    >"$work/out" 2>"$work/err"
same $? 1 "status with a full disk"
says "full"
same "$(sha256sum <"$work/full/state.safetensors")" "$before" "the checkpoint on a full disk"
run 0 train --resume full --quiet
same "$(sha "$work/full")" "$(sha "$work/whole")" "weights after a full disk"
# Where not even the first checkpoint fits, there is no run.
(cd "$work" && trap '' XFSZ && ulimit -f 8 && exec "$nybble" train $long --out first --quiet) \
    >"$work/out" 2>"$work/err"
same $? 1 "status with a full disk at the start"
says "first/state.safetensors"
run 0 train $long --out first --quiet --max-steps 3

# Two that begin in one folder: the one that is slow to read its data does not destroy the other.
(cd "$work" && exec "$nybble" train --data synthetic:h=64,w=64,train=20000,test=10 --model mlp:8 \
    --epochs 1 --max-steps 3 --out both --quiet) >/dev/null 2>&1 &
pid=$!
(cd "$work" && exec "$nybble" train $base --out both --quiet) >/dev/null 2>&1
second=$?
wait $pid
first=$?
case "$first $second" in
"1 0" | "2 0") same "$(sha "$work/both")" "$(sha "$work/a")" "weights of the run that came first" ;;
"0 1" | "0 2") same "$(json "$work/both/summary.json" 'j["steps"]')" 3 "steps of the run that came first" ;;
*) fail "two runs in one folder end with $first and $second" ;;
esac

finish
