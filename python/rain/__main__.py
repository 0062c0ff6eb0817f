"""``python -m rain``: where the C++ part of the installed package lies."""

import argparse
import importlib.metadata
import sys
from pathlib import Path

import rain

_FOLDERS = {
    "cmakedir": (
        "lib/cmake/tasklib",
        "for CMAKE_PREFIX_PATH or tasklib_DIR: find_package(tasklib)",
    ),
    "includedir": ("include", "the public C++ headers"),
    "tasklibdir": ("share/tasklib", "the tasklib's source folder, to copy for add_subdirectory"),
}


def _folder(relative: str) -> Path:
    for package in rain.__path__:
        folder = Path(package) / relative
        if folder.is_dir():
            return folder.resolve()
    sys.exit(
        f"python -m rain: there is no {relative} in {', '.join(rain.__path__)}; "
        "install the package (pip install .) rather than running it from its sources"
    )


def main() -> None:
    """Print what the one option asks for."""
    parser = argparse.ArgumentParser(prog="python -m rain", description=__doc__)
    options = parser.add_mutually_exclusive_group(required=True)
    for name, (_, meaning) in _FOLDERS.items():
        options.add_argument(f"--{name}", action="store_true", help=meaning)
    options.add_argument("--version", action="store_true", help="the version of the package")
    chosen = vars(parser.parse_args())
    if chosen["version"]:
        print(importlib.metadata.version("rain-tasklib"))
    for name, (relative, _) in _FOLDERS.items():
        if chosen[name]:
            print(_folder(relative))


if __name__ == "__main__":
    main()
