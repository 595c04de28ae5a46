#!/bin/bash
# Every header compiles alone as C11, the public ones as C++ too, and begins with one sentence.
# Those of tests/emulate stand for headers of others (meson setup -Demulate=true compiles them).
# A header that says "the including file" in its first lines is a part of one, and is left out.
# usage: tools/check_headers.sh BUILD-SRC; CC and CXX are honoured.
cd "$(dirname "$0")/.." || exit 1
built=$1
cc=${CC:-cc}
cxx=${CXX:-c++}
warnings='-Wall -Wextra -Wpedantic -Werror'
isa=
if [ "$(uname -m)" = x86_64 ]; then
    isa='-mavx2 -mfma -mf16c -mbmi -mbmi2 -maes -mavx512f -mavx512bw -mavx512dq -mavx512vl
         -mavx512cd -mavx512vnni -mvaes -mamx-tile -mamx-int8'
fi
status=0

compiles() { # HEADER COMPILER OPTION...
    local header=$1
    shift
    local said
    if head -4 "$header" | tr '\n' ' ' | grep -q 'including file'; then
        return
    fi
    if ! said=$(printf '#include "%s"\ntypedef int not_empty;\n' "$header" |
        "$@" -fsyntax-only - 2>&1); then
        echo "$header does not compile alone: $*"
        echo "$said" | head -5
        status=1
    fi
}

for header in include/nybble/*.h; do
    # shellcheck disable=SC2086 # lists of options
    compiles "$header" $cc -std=c11 $warnings -Iinclude -I. -xc
    # shellcheck disable=SC2086
    compiles "$header" $cxx -std=c++11 $warnings -Iinclude -I. -xc++
    if grep -nE '#[[:space:]]*(if|ifdef|ifndef|elif).*(__AVX|__x86|__SSE|NYB_SIMD)' "$header"; then
        echo "$header depends on the CPU"
        status=1
    fi
done
for header in $(find src tests bench cli -name '*.h' -not -path 'tests/emulate/*'); do
    # shellcheck disable=SC2086
    compiles "$header" $cc -std=c11 -D_GNU_SOURCE $warnings -Wno-unused-function -Wno-psabi \
        -Wno-unused-const-variable -DNYB_SIMD=1 $isa -Iinclude -Isrc -I"$built" -I. \
        -iquote "$(dirname "$header")" -xc
done
for header in include/nybble/*.h $(find src tests bench cli -name '*.h'); do
    if ! head -1 "$header" | grep -qE '^/\*\*? .'; then
        echo "$header does not begin with a sentence on what lives there"
        status=1
    fi
done
exit $status
