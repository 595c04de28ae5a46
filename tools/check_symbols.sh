#!/bin/bash
# What the built library shows and uses. usage: tools/check_symbols.sh libnybble.so libnybble.a
# The shared library exports only nyb_*; external symbols of the archive begin with nyb_ ; neither
# prints, exits, aborts nor calls a transcendental function of libm; there are no variables beside
# the allocation counters of base/alloc.c and the list of generic formats (docs/decisions/0005).
shared=$1 archive=$2
status=0

complain_if_any() {
    if [ -n "$2" ]; then
        echo "$1:"
        echo "$2" | sort | uniq | sed 's/^/    /'
        status=1
    fi
}

exported=$(nm -D --defined-only "$shared" | awk '{print $NF}')
[ "$(echo "$exported" | wc -l)" -gt 10 ] || { echo "$shared exports almost nothing"; status=1; }
complain_if_any "exported, but not nyb_*" "$(echo "$exported" | grep -v '^nyb_')"

complain_if_any "external in the archive, but not nyb_*" \
    "$(nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 {print $3}' | grep -v '^nyb_')"

never='printf|vprintf|puts|putchar|perror|exit|_exit|quick_exit|abort|stdout|stderr|system'
never="$never|__printf_chk|__vprintf_chk|__assert_fail|rand|srand|random"
complain_if_any "used, but a library neither prints nor exits" \
    "$(nm -u "$archive" 2>/dev/null | awk '{print $NF}' | grep -xE "$never")"

libm='exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|sin|cos|tan|sincos|sinh|cosh|tanh|erf|cbrt|hypot'
complain_if_any "used, but its bits differ between C libraries" \
    "$(nm -u "$archive" 2>/dev/null | awk '{print $NF}' | grep -xE "($libm)f?")"

complain_if_any "variables" "$(objdump -t "$archive" 2>/dev/null | awk '
    /file format/ { file = $1 }
    $4 ~ /^\.(data|bss|tdata|tbss)$/ && $3 == "O" { print file, $NF }
    $3 ~ /^\.(data|bss|tdata|tbss)$/ && $2 ~ /O$/ { print file, $NF }' |
    grep -vE '^(base_alloc|format_generic)\.c\.o:')"
exit $status
