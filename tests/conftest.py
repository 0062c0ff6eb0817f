"""What all tests share: the executors to test with, and the census."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DEADLINE_SECONDS = 10.0

# numpy's threads would come with its import and go with a fork: the census should not see them.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# A shell's background jobs ignore SIGINT, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With $RAIN_TEST_ENGINE only what runs on an engine; the rest is the same on each."""
    if "RAIN_TEST_ENGINE" not in os.environ:
        return
    others = [item for item in items if "engine" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if "engine" in getattr(item, "fixturenames", ())]


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that clients of make_client() have: a key of ENGINES."""
    name: str = getattr(request, "param", os.environ.get("RAIN_TEST_ENGINE", "embedded"))
    marker = request.node.get_closest_marker("embedded")
    if marker is not None and name != "embedded":
        pytest.skip(f"not on engine {name}: {marker.args[0]}")
    return name


@pytest.fixture(scope="session")
def cpptester() -> Path:
    """The C++ tester: from the build in RAIN_TEST_BUILD, else built against the installed wheel."""
    build = os.environ.get("RAIN_TEST_BUILD")
    if build is not None:
        with Path(build, "cpptester.lock").open("w") as lock:  # tests run in several processes
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run(["cmake", "--build", build, "--target", "cpptester"], check=True)
        (found,) = (p for p in Path(build).rglob("cpptester") if p.is_file())
        return found
    where = ROOT / "build" / "cpptester"
    cmakedir = subprocess.run(
        [sys.executable, "-m", "rain", "--cmakedir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    source = HERE / "conformance" / "cpptester"
    subprocess.run(
        ["cmake", "-S", source, "-B", where, f"-Dtasklib_DIR={cmakedir}", "--log-level=WARNING"],
        check=True,
    )
    subprocess.run(["cmake", "--build", where], check=True)
    return where / "cpptester"


@pytest.fixture(scope="session")
def pytester_command() -> list[str]:
    """The Python tester."""
    return [sys.executable, str(HERE / "conformance" / "pytester.py")]


def _descriptors() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd}: {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:  # the listing's own
            continue
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            found.update(Path(f"/proc/self/task/{thread}/children").read_text().split())
        except FileNotFoundError:  # the thread ended
            continue
    return found


def _count(run_directories: Path) -> dict[str, set[str]]:
    return {
        "descriptors": _descriptors(),
        "children": _children(),
        "threads": set(os.listdir("/proc/self/task")),
        "shared memory": {name for name in os.listdir("/dev/shm") if "rain" in name},
        "run directories": set(os.listdir(run_directories)),
    }


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """After the test there are the same descriptors, children, threads and files as before.

    Gives the directory in which run directories are made.
    """
    directory = Path(tempfile.mkdtemp(prefix="rt"))  # short: sockets lie in it
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    before = _count(directory)
    yield directory
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        gc.collect()
        after = _count(directory)
        if after == before or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    shutil.rmtree(directory, ignore_errors=True)
    changes = {kind: (before[kind] - after[kind], after[kind] - before[kind]) for kind in before}
    assert after == before, "\n".join(
        f"{kind}: gone {sorted(gone)}, new {sorted(new)}"
        for kind, (gone, new) in changes.items()
        if gone or new
    )
