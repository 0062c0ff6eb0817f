"""The compiled module, built for every Python of this machine: minutes, hence only on demand."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_ASK = (
    "import os, sys, sysconfig as s;"
    "print(*sys.version_info[:2], sys.implementation.name,"
    " os.path.exists(os.path.join(s.get_path('include'), 'Python.h')))"
)


def other_pythons() -> dict[str, str]:
    """Version -> program, of each CPython >= 3.10 that has headers and isn't the one running."""
    candidates = glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python3"))
    for folder in os.environ["PATH"].split(os.pathsep):
        candidates += glob.glob(os.path.join(folder, "python3.[0-9]*[0-9]"))
    found: dict[str, str] = {}
    for program in sorted(candidates):
        asked = subprocess.run([program, "-c", _ASK], capture_output=True, text=True)
        if asked.returncode != 0:
            continue
        major, minor, kind, headers = asked.stdout.split()
        version = (int(major), int(minor))
        if kind == "cpython" and headers == "True" and version >= (3, 10):
            found[f"{major}.{minor}"] = program
    found.pop("{}.{}".format(*sys.version_info[:2]), None)
    return found


PYTHONS = other_pythons()


@pytest.mark.skipif("RAIN_EACH_PYTHON" not in os.environ, reason="RAIN_EACH_PYTHON is not set")
@pytest.mark.timeout(900)  # it compiles
@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_handles_work(version: str, tmp_path: Path) -> None:
    pybind11 = pytest.importorskip("pybind11")
    build = ROOT / "build" / f"python-{version}"
    options = [
        "-DRAIN_BUILD_PYTHON=ON",
        f"-DPython_EXECUTABLE={PYTHONS[version]}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-g0",
        *(["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    for command in (
        ["cmake", "-S", ROOT, "-B", build, "--log-level=WARNING", *options],
        ["cmake", "--build", build, "--target", "_core", "--parallel", "2"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]

    package = tmp_path / "rain"
    package.mkdir()
    for part in (ROOT / "python" / "rain").iterdir():
        (package / part.name).symlink_to(part)
    (module,) = build.rglob("_core*.so")
    (package / module.name).symlink_to(module)
    done = subprocess.run(
        [PYTHONS[version], HERE / "handles_program.py"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
