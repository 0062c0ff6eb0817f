#!/usr/bin/env bash
# ensure_toolchain.sh [test]: is there what pip can't bring (compiler, headers, libcbor; with
# "test" also GoogleTest and nlohmann-json)? As root with apt-get it is installed, else one line
# says how.
set -eu
packages=()
has_header() { echo "#include <$1>" | "${CXX:-c++}" -E -x c++ - >/dev/null 2>&1; }
needs() { packages+=("$1"); }

command -v "${CXX:-c++}" >/dev/null || needs g++
python3 -c 'import ensurepip, venv' 2>/dev/null || needs python3-venv
python_header=$("${PYTHON:-python3}" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -f "$python_header" ] || needs python3-dev
case "${CMAKE_ARGS:-}" in
  *TASKLIB_LIBCBOR=FETCH*) command -v git >/dev/null || needs git ;;
  *) has_header cbor.h || needs libcbor-dev ;;
esac
if [ "${1:-}" = test ]; then
  has_header gtest/gtest.h || needs libgtest-dev
  has_header nlohmann/json.hpp || needs nlohmann-json3-dev
fi

[ ${#packages[@]} -gt 0 ] || exit 0
command="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${packages[*]}; this brings it (Debian, Ubuntu): $command" >&2
  exit 1
fi
echo "missing: ${packages[*]}; running: $command"
log=$(mktemp)
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive $command; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "'$command' failed, see above" >&2
  exit 1
fi
rm -f "$log"
