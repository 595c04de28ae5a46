#!/bin/bash
# clang-format agrees with every source file, and no file has what no file should have. Without
# clang-format (77: meson's "skipped") only the latter is checked.
cd "$(dirname "$0")/.." || exit 1
status=0

complain() { # TITLE, hits on standard input
    local hits
    hits=$(cat)
    if [ -n "$hits" ]; then
        echo "$1:"
        echo "$hits" | head -20
        status=1
    fi
}

mapfile -t sources < <(tools/sources.sh)
complain "unfinished" < <(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' "${sources[@]}")
complain "tabs or trailing blanks" < <(grep -nP '\t| $' "${sources[@]}")
complain "lines above 100 columns" < <(LC_ALL=C.UTF-8 grep -nP '^.{101,}' "${sources[@]}")
# The limit is 600 lines; some are forgiven. Generated tables have none.
complain "files too long to read" < <(wc -l "${sources[@]}" | awk '
    $2 ~ /^tests\/golden/ || $2 == "total" { next }
    $1 > ($2 ~ /^tests/ ? 1000 : 700) { print $2 ": " $1 " lines" }')

if ! command -v clang-format >/dev/null; then
    echo "no clang-format"
    [ $status -eq 0 ] && exit 77
    exit $status
fi
complain "clang-format" < <(clang-format --dry-run --Werror "${sources[@]}" 2>&1 | grep -E 'error:')
exit $status
