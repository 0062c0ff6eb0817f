#!/usr/bin/env bash
# Builds the wheel (build/wheel/) and installs it into .venv; with nothing changed it does nothing.
#     tools/build.sh [REQUIREMENTS…]     files whose packages are wanted too
# CMAKE_ARGS reaches CMake, for instance CMAKE_ARGS=-DTASKLIB_LIBCBOR=FETCH.
set -eu
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
bin=$PWD/.venv/bin

# unchanged STAMP WORDS PATH…: STAMP holds WORDS and nothing under PATH… is newer.
unchanged() {
  local stamp=$1 words=$2
  shift 2
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$words" ] &&
    [ -z "$(find "$@" -name __pycache__ -prune -o -newer "$stamp" -print -quit)" ]
}

[ -x "$bin/python" ] || "${PYTHON:-python3}" -m venv .venv
export PATH=$bin:$PATH
for file in tools/requirements.txt "$@"; do
  stamp=.venv/$(basename "$file").stamp
  unchanged "$stamp" "" "$file" && continue
  echo "installing $file into .venv"
  pip install -q -r "$file"
  : >"$stamp"
done

words="${CMAKE_ARGS:-}"
sources=(cpp python/rain CMakeLists.txt pyproject.toml README.md LICENSE)
if ! unchanged .venv/wheel.stamp "$words" "${sources[@]}"; then
  echo "building the wheel and installing it into .venv"
  stamp=$(mktemp -p .venv)  # older than what changes from now on
  echo "$words" >"$stamp"
  rm -rf build/wheel
  pip wheel -q --no-deps --no-build-isolation -w build/wheel . || {
    echo "building the wheel failed, see above" >&2
    exit 1
  }
  pip install -q --force-reinstall --no-deps build/wheel/*.whl
  pip install -q build/wheel/*.whl  # its dependencies, if they are missing
  mv "$stamp" .venv/wheel.stamp
fi
