#!/bin/bash
# A folder of src/ includes only itself and folders to its left; the CLI, the examples and their
# models include only <nybble/...> and their own files. Quoted paths begin at src/ or are neighbours.
cd "$(dirname "$0")/.." || exit 1
order='base io data format packed quant gemm op recipe graph grad optim train'
status=0

complain() {
    echo "$1:$2: includes \"$3\": $4"
    status=1
}

# Prints FILE LINE INCLUDED for each quoted include below the given folders.
quoted() {
    grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[ch]' "$@" |
        sed -E 's/^([^:]+):([0-9]+):[^"]*"([^"]*)".*/\1 \2 \3/'
}

position() {
    local n=0 folder
    for folder in $order; do
        n=$((n + 1))
        [ "$folder" = "$1" ] && echo $n && return
    done
    echo 0
}

for folder in src/*/; do
    [ "$(position "$(basename "$folder")")" -gt 0 ] || { echo "$folder is in no layer"; status=1; }
done

while read -r file line included; do
    own=${file#src/}
    own=${own%%/*}
    case $included in
    registry.h) ;; # generated: the lists of records
    */*)
        there=$(position "${included%%/*}")
        [ "$there" -gt 0 ] || complain "$file" "$line" "$included" "no layer of src/"
        [ "$there" -le "$(position "$own")" ] ||
            complain "$file" "$line" "$included" "it is to the right of $own"
        [ -e "src/$included" ] || complain "$file" "$line" "$included" "no such file"
        ;;
    *) [ -e "src/$own/$included" ] || complain "$file" "$line" "$included" "not in src/$own" ;;
    esac
done < <(quoted src)

while read -r file line included; do
    root=${file%%/*}
    case $included in
    *..*) complain "$file" "$line" "$included" "it leaves its folder" ;;
    *)
        [ -e "$(dirname "$file")/$included" ] || [ -e "$root/$included" ] ||
            complain "$file" "$line" "$included" "only <nybble/...> and files of $root/ are"
        ;;
    esac
done < <(quoted cli examples)

# Public headers see public headers and the standard library.
if grep -nE '#[[:space:]]*include[[:space:]]*"' include/nybble/*.h; then
    echo "public headers include with <>"
    status=1
fi
exit $status
