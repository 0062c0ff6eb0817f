#!/usr/bin/env bash
# Format of C++ and Python, ruff, mypy --strict. Tells all that is wrong, not only the first.
set -u
cd "$(dirname "$0")/.." || exit 1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv || exit 1
export PATH=$PWD/.venv/bin:$PATH
if [ tools/requirements-lint.txt -nt .venv/lint.stamp ]; then
  pip install -q -r tools/requirements-lint.txt && : >.venv/lint.stamp || exit 1
fi

failed=()
check() { echo "-- $*"; "$@" || failed+=("$1 $2"); }
# examples/hello/hello.cpp is, blanks included, what users of the older tasklib have.
mapfile -t cpp_files < <(find cpp tests examples benchmarks \( -name '*.h' -o -name '*.cpp' \) \
  -not -path examples/hello/hello.cpp | sort)
echo "-- clang-format: ${#cpp_files[@]} files"
clang-format --dry-run -Werror "${cpp_files[@]}" || failed+=("clang-format")
check ruff check .
check ruff format --check .
check mypy --strict python/rain
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "lint passed"
