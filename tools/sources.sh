#!/bin/sh
# Prints the C files that are ours to format and check, one a line.
cd "$(dirname "$0")/.." || exit 1
find include src cli examples tests bench -name '*.[ch]' | LC_ALL=C sort
