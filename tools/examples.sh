#!/usr/bin/env bash
# Builds the C++ executors of the examples against the installed wheel, into build/examples/<name>,
# and runs the examples.
set -eu
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
tasklib_dir=$(python -m rain --cmakedir)
for example in hello terrain; do
  echo "== examples/$example"
  cmake -GNinja -S "examples/$example" -B "build/examples/$example" \
    -Dtasklib_DIR="$tasklib_dir" --log-level=WARNING
  cmake --build "build/examples/$example" -- --quiet
  python "examples/$example/run.py"
done
