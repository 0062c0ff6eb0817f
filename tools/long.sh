#!/usr/bin/env bash
# What takes too long for every run: `make long`, after `make test`. Ends with 1 if anything failed.
# RAIN_MIXED_SECONDS=3600 is the hour of mixed load.
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build/long
export PATH=$PWD/.venv/bin:$PATH RAIN_LONG=1 RAIN_TEST_BUILD=$PWD/build/release

failures=0
stage() {  # stage NAME COMMAND…
  local name=$1 start=$SECONDS outcome=passed
  shift
  echo "== $name: $*"
  if ! "$@" >"build/long/$name.log" 2>&1; then
    outcome=FAILED
    failures=$((failures + 1))
  fi
  tail -n 20 "build/long/$name.log"
  printf '== %s %s after %d s\n' "$name" "$outcome" $((SECONDS - start))
}

fuzz() {
  cmake --preset fuzz && cmake --build --preset fuzz && ctest --preset fuzz --no-tests=error
}
release() {
  cmake --preset release && cmake --build --preset release
}
mixed() {
  local cpptester
  cpptester=$(find "$RAIN_TEST_BUILD" -name cpptester -type f)
  python tests/long/mixed_load.py --cpptester "$cpptester" \
    --seconds "${RAIN_MIXED_SECONDS:-600}"
}

stage release release
# A random state machine, blobs up to 4 GiB, 20 rounds of the kill matrix, 10,000 sessions.
stage pytest python -m pytest -q tests/e2e/test_store_states.py tests/e2e/test_sizes.py \
  tests/e2e/test_kill_blobs.py tests/e2e/test_many_sessions.py
stage kills ctest --preset release -R 'KillMatrix|ClientEnd' --repeat until-fail:20 \
  --no-tests=error --timeout 600
# All that a client does, on a service and on a cluster.
for engine in standalone cluster; do
  stage "on-$engine" env -u RAIN_LONG RAIN_TEST_ENGINE=$engine python -m pytest -q -m "not alone" \
    --numprocesses "$(nproc)" --dist worksteal tests/python tests/e2e
done
stage mixed mixed
stage fuzz fuzz

[ "$failures" = 0 ] || exit 1
