#!/bin/bash
# Builds for aarch64, where all kernels are portable C, and tests that with qemu: the same bits as
# everywhere. usage: tools/aarch64.sh FOLDER [OPTION or TEST of `meson test`] ...
# Nothing foreign is installed: Debian's libraries for aarch64 are unpacked into FOLDER-root.
set -eu
cd "$(dirname "$0")/.."
build=${1:?usage: tools/aarch64.sh FOLDER [OPTION or TEST of meson test] ...}
shift
tools/bootstrap aarch64

mkdir -p "$build-root/apt/state/lists/partial" "$build-root/apt/cache/archives/partial"
root=$(realpath "$build-root")
if [ ! -e "$root/complete" ]; then
    apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt/state"
        -o Dir::Cache="$root/apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User="$(id -un)")
    "${apt[@]}" update
    (
        cd "$root/apt"
        "${apt[@]}" download libjansson-dev libjansson4 zlib1g-dev zlib1g libcmocka-dev libcmocka0
        for package in *.deb; do
            dpkg -x "$package" "$root"
        done
    )
    ln -sfn /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 "$root/lib/ld-linux-aarch64.so.1"
    touch "$root/complete"
fi

libraries="$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu:/usr/aarch64-linux-gnu/lib"
cat >"$root/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64-static', '-L', '$root', '-E', 'LD_LIBRARY_PATH=$libraries']

[properties]
sys_root = '$root'
pkg_config_libdir = '$root/usr/lib/aarch64-linux-gnu/pkgconfig'

[built-in options]
c_args = ['-isystem', '$root/usr/include']
c_link_args = ['-L$root/usr/lib/aarch64-linux-gnu', '-Wl,-rpath-link,$libraries']

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
END
if [ ! -e "$build/build.ninja" ]; then
    meson setup "$build" --cross-file "$root/cross.ini" --werror >"$build-root/log" || {
        cat "$build-root/log"
        exit 1
    }
fi
meson test -C "$build" --print-errorlogs --timeout-multiplier 20 "$@"
