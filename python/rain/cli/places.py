"""Where the C++ part of the installed package lies."""

from __future__ import annotations

from pathlib import Path

import rain
from rain.common.errors import RainException

_FOLDERS = {
    "cmakedir": "lib/cmake/tasklib",
    "includedir": "include",
    "tasklibdir": "share/tasklib",
}


def folder(name: str) -> Path:
    """Return the folder of one of the options --cmakedir, --includedir and --tasklibdir."""
    for package in rain.__path__:
        path = Path(package) / _FOLDERS[name]
        if path.is_dir():
            return path.resolve()
    raise RainException(
        f"there is no {_FOLDERS[name]} in {', '.join(rain.__path__)}; "
        "install the package (pip install .) rather than running it from its sources"
    )
