"""What ``rain doctor`` finds out about the installation, its directories, and whether it runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rain.cli.checks import Check
from rain.cli.filesystems import filesystem, is_shared
from rain.common.errors import RainException
from rain.common.text import seconds_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCKET_PATH_BYTES = 107  # of a Unix socket's address
_SOCKET_BYTES = len("/rain-XXXXXX/executors/work/1000.XXXXXX/socket")
_LITTLE_DISK = 1 << 30
_IN_MEMORY = ("tmpfs", "ramfs")
_OPTIONAL = {
    "pyarrow": "Arrow tables as blobs",
    "pandas": "data frames through Arrow",
    "tqdm": "progress in notebooks",
    "graphviz": "pictures of task graphs, with the program dot",
}


def installation_checks() -> Iterator[Check]:
    """Give the checks of versions, tools and directories, and of a real run at the end."""
    yield check_versions()
    yield from check_optional_packages()
    yield check_compiler()
    yield check_cmake()
    yield check_run_directory(run_directory_parent())
    yield check_spill(run_directory_parent())
    yield check_run()


def check_versions() -> Check:
    found = [f"Python {platform.python_version()}"]
    missing = []
    for name in ("rain-tasklib", "numpy", "cloudpickle", "click", "rich"):
        version = _version(name)
        if version is None:
            missing.append(name)
        else:
            found.append(f"{name} {version}")
    if missing:
        advice = f"missing: {', '.join(missing)}; pip install {' '.join(missing)}"
        return Check("versions", "error", ", ".join(found), advice)
    return Check("versions", "ok", ", ".join(found))


def check_optional_packages() -> Iterator[Check]:
    for name, use in _OPTIONAL.items():
        version = _version(name)
        if version is None:
            yield Check(name, "ok", "not installed", f"for {use}: pip install {name}")
        elif name == "graphviz" and shutil.which("dot") is None:
            yield Check(
                name, "ok", f"{version}, without the program dot",
                f"for {use}: apt-get install graphviz",
            )  # fmt: skip
        else:
            yield Check(name, "ok", version)


def check_compiler() -> Check:
    for program in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        line = _first_line(program, "--version") if program else None
        if line is not None:
            return Check("C++ compiler", "ok", line)
    return Check(
        "C++ compiler", "warning", "none", "For executors in C++: apt-get install g++, or set CXX"
    )


def check_cmake() -> Check:
    line = _first_line("cmake", "--version")
    if line is None:
        return Check("CMake", "warning", "none", "For executors in C++: pip install cmake")
    version = tuple(int(number) for number in re.findall(r"\d+", line)[:2])
    if version < (3, 15):
        return Check(
            "CMake", "warning", line, "find_package(tasklib) needs 3.15: pip install cmake"
        )
    return Check("CMake", "ok", line)


def run_directory_parent() -> str:
    """Return where clients make their run directories, if they aren't told."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isdir(runtime) and not _flags(runtime) & os.ST_NOEXEC:
        return runtime
    return os.environ.get("TMPDIR") or "/tmp"


def check_run_directory(parent: str) -> Check:
    advice = 'set XDG_RUNTIME_DIR or TMPDIR to another place, or use Client(run_directory="...")'
    try:
        with tempfile.TemporaryDirectory(prefix="rain-", dir=parent) as folder:
            Path(folder, "try").write_bytes(bytes(16_384))
        free = shutil.disk_usage(parent).free
    except OSError as error:
        found = f"{parent}: {error.strerror}"
        return Check("run directory", "error", found, f"Nothing can be written there: {advice}")
    found = f"{parent} ({filesystem(parent)}), {size_text(free)} free"
    if len(os.fsencode(os.path.realpath(parent))) + _SOCKET_BYTES > _SOCKET_PATH_BYTES:
        return Check(
            "run directory", "error", found, f"The path is too long for sockets in it: {advice}"
        )
    if is_shared(parent):
        return Check(
            "run directory", "warning", found,
            f"Several machines share it, which is slow, and sockets may not work: {advice}",
        )  # fmt: skip
    if free < 64 << 20:
        return Check("run directory", "warning", found, f"There is little room for logs: {advice}")
    return Check("run directory", "ok", found)


def check_spill(run_directory: str) -> Check:
    """Where blobs go when memory is short: the first of these that is on a disk."""
    advice = 'name a place on a disk: Client(spill="/some/directory")'
    places = [run_directory, os.environ.get("TMPDIR", ""), "/var/tmp", "/tmp"]
    for place in places:
        writable = place.startswith("/") and os.access(place, os.W_OK | os.X_OK)
        if not writable or filesystem(place) in _IN_MEMORY:
            continue
        free = shutil.disk_usage(place).free
        found = f"{place} ({filesystem(place)}), {size_text(free)} free"
        if is_shared(place):
            return Check(
                "spill to disk", "warning", found,
                f"Several machines share it, which is slow: {advice}",
            )  # fmt: skip
        if free < _LITTLE_DISK:
            return Check("spill to disk", "warning", found, f"Little room: free some, or {advice}")
        return Check("spill to disk", "ok", found)
    return Check(
        "spill to disk", "warning", f"none of {', '.join(filter(None, places))} is on a disk",
        f"When memory is short, tasks fail with StoreFull: {advice}",
    )  # fmt: skip


def check_run() -> Check:
    """Run a task, as every program does."""
    from rain.client import Client, blob
    from rain.client.tasks import Concat

    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Client() as client, client.new_session():
                joined = Concat((blob(b"ra"), blob(b"in"))).output.fetch().get_bytes()
                budget = client.info()["store"]["budget_bytes"]
    except (RainException, OSError) as error:
        return Check("first task", "error", str(error), "This keeps every program from running")
    if joined != b"rain":
        return Check("first task", "error", f"gave {joined!r}", "Install Rain again")
    seconds = seconds_text(time.perf_counter() - began)
    return Check("first task", "ok", f"ran in {seconds}; room for blobs: {size_text(budget)}")


def _flags(path: str) -> int:
    try:
        return os.statvfs(path).f_flag
    except OSError:
        return 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(program: str, option: str) -> str | None:
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None
