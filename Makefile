# What pip can bring comes into .venv; the rest is asked for by tools/ensure_toolchain.sh.
# CMAKE_ARGS reaches CMake: make test CMAKE_ARGS=-DTASKLIB_LIBCBOR=FETCH
export CMAKE_ARGS PYTHON

build:
	@tools/ensure_toolchain.sh
	@tools/build.sh

demo: build
	@tools/examples.sh

test:
	@tools/ensure_toolchain.sh test
	@tools/build.sh tools/requirements-test.txt
	@.venv/bin/python tools/test.py

long: build
	@tools/long.sh

# make bench ARGS=--quick
bench: build
	@.venv/bin/python benchmarks/run.py $(ARGS)

lint:
	@tools/lint.sh

clean:
	rm -rf build .venv

.PHONY: build demo test long bench lint clean
