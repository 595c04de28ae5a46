# A phrase book: what each word does is in tools/ and meson.build.
BUILD ?= build

.PHONY: all help check check-full demo bench install format clean

all: $(BUILD)/build.ninja
	+ninja -C $(BUILD)

# Warnings are errors in `make check`, not for whoever has a newer compiler.
$(BUILD)/build.ninja:
	meson setup $(BUILD) -Dtests=false

help:
	@echo 'make             the library, the nybble program and the examples, in $(BUILD)/'
	@echo 'make demo        installs what it needs, builds, trains Fashion-MNIST in f32 and in 4 bits'
	@echo 'make check       builds with warnings as errors and runs the tests (5 minutes on 2 cores)'
	@echo 'make check-full  also clang, sanitizers, no SIMD, full kernel checks, mutants (35 minutes)'
	@echo 'make bench       this machine against PyTorch, OpenBLAS, oneDNN, into bench/results/'
	@echo 'make install     to /usr/local; DESTDIR=... and meson configure -Dprefix=... are honoured'
	@echo 'make format      clang-format on every source file'
	@echo 'make clean       removes the build folders'

check:
	tools/bootstrap
	tools/ci.sh quick

check-full:
	tools/bootstrap
	tools/ci.sh full

demo:
	tools/bootstrap run
	tools/demo.sh

bench: all
	bench/compare.sh

install: all
	meson install -C $(BUILD) --no-rebuild
	@test -n "$(DESTDIR)" || ldconfig 2>/dev/null || true

format:
	tools/sources.sh | xargs clang-format -i

clean:
	rm -rf build build-*
