#!/usr/bin/env bash
# examples.sh [run]: builds the C++ executors of the examples against the installed wheel, into
# build/examples/<name>; with "run" runs the examples after that.
set -eu
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
tasklib_dir=$(python -m rain --cmakedir)
for example in hello terrain; do
  echo "== examples/$example"
  cmake -GNinja -S "examples/$example" -B "build/examples/$example" \
    -Dtasklib_DIR="$tasklib_dir" --log-level=WARNING
  cmake --build "build/examples/$example" -- --quiet
  if [ "${1:-}" = run ]; then python "examples/$example/run.py"; fi
done
