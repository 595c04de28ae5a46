# What the command line's tests share. Sourced with $nybble, $here (this folder) and $update set.
set -u
unset NYBBLE_CPU
work=$(mktemp -d "${TMPDIR:-/tmp}/nybble-cli-XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=0 cases=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# run STATUS ARG...: runs nybble, output to $work/out and $work/err, checks the exit status
run() {
    local want=$1 got
    shift
    cases=$((cases + 1))
    (cd "$work" && "$nybble" "$@") >"$work/out" 2>"$work/err"
    got=$?
    if [ "$got" -ne "$want" ]; then
        fail "nybble $*: status $got, not $want"
        head -n 8 "$work/err" | sed 's/^/    /'
    fi
    if grep -qE 'Sanitizer|runtime error' "$work/err"; then
        fail "nybble $*: $(head -n 30 "$work/err")"
    fi
}

# says WORD...: the error text of the last run has all words, and begins as every error does
says() {
    local word
    for word; do
        grep -qF -- "$word" "$work/err" || fail "error text lacks '$word': $(cat "$work/err")"
    done
    grep -q '^nybble: ' "$work/err" || fail "no line 'nybble: ...': $(cat "$work/err")"
    [ -s "$work/out" ] && fail "a failure wrote to standard output"
}

# prints TEXT: the whole output of the last command
prints() {
    [ "$(cat "$work/out")" = "$1" ] || fail "output is '$(cat "$work/out")', not '$1'"
}

# matches NAME: the output of the last run is expected/NAME.txt, exactly
matches() {
    local file=$here/expected/$1.txt
    [ -s "$work/err" ] && fail "$1: unexpected error text: $(cat "$work/err")"
    if [ "$update" = 1 ]; then
        cp "$work/out" "$file"
    else
        diff -u "$file" "$work/out" || fail "output is not expected/$1.txt"
    fi
}

# is_json: the output of the last run is one JSON value
is_json() {
    python3 -m json.tool <"$work/out" >/dev/null || fail "not JSON: $(head -c 200 "$work/out")"
}

# json FILE EXPRESSION: prints a Python expression of the value j in FILE
json() {
    python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

same() {
    [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"
}

npy() {
    (cd "$work" && python3 "$here/npy.py" "$@") >"$work/out"
}

finish() {
    echo "$cases runs, $failures failures"
    [ "$failures" -eq 0 ]
}
