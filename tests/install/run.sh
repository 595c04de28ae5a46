#!/bin/bash
# Installs the build into an empty folder and compiles the examples against the copy, as a stranger
# would: pkg-config, C11 and C++, shared and static. usage: run.sh BUILD-FOLDER SOURCE-FOLDER
set -eu
build=$1 source=$2
cc=${CC:-cc} cxx=${CXX:-c++}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

meson install -C "$build" --no-rebuild --quiet --destdir "$root/dest"

pc=$(find "$root/dest" -name nybble.pc)
[ -n "$pc" ] || { echo "nybble.pc was not installed"; exit 1; }
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root/dest
prefix=$root/dest$(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --variable=prefix nybble)
lib=$root/dest$(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --variable=libdir nybble)
for file in "$prefix/bin/nybble" "$lib/libnybble.so" "$lib/libnybble.so.0" "$lib/libnybble.a"; do
    [ -e "$file" ] || { echo "$file was not installed"; exit 1; }
done
for header in "$source"/include/nybble/*.h; do
    cmp "$header" "$prefix/include/nybble/${header##*/}"
done
export LD_LIBRARY_PATH=$lib

warnings='-Wall -Wextra -Wpedantic -Werror'
for example in "$source"/examples/*.c; do
    name=$(basename "$example" .c)
    # shellcheck disable=SC2046,SC2086 # lists of options
    {
        $cc -std=c11 $warnings $(pkg-config --cflags nybble) "$example" -o "$root/$name-c" \
            $(pkg-config --libs nybble) -lm
        $cxx -std=c++11 $warnings $(pkg-config --cflags nybble) -xc++ "$example" -xnone \
            -o "$root/$name-c++" $(pkg-config --libs nybble) -lm
        $cc -std=c11 $warnings $(pkg-config --cflags nybble) "$example" -o "$root/$name-static" \
            "$lib/libnybble.a" $(pkg-config --static --libs nybble | sed 's/-lnybble//') -lm
    }
    ldd "$root/$name-c" | grep -q "libnybble.so.0 => $lib" || { echo "$name: not shared"; exit 1; }
    if ldd "$root/$name-static" | grep -q libnybble; then
        echo "$name: not static"
        exit 1
    fi
    for how in c c++ static; do
        "$root/$name-$how" "$root/run" >"$root/$name-$how.txt" ||
            { echo "$name-$how failed"; cat "$root/$name-$how.txt"; exit 1; }
    done
    echo "$name: built and run as C11, as C++ and static"
done
"$prefix/bin/nybble" info >/dev/null
