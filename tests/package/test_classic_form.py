"""The classic form: a copy of the tasklib's folder beside the user's CMakeLists.txt."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from stranger import Stranger, lacks

HERE = Path(__file__).parent
DEBIAN_CMAKE = "/usr/bin/cmake"


def version(cmake: str) -> tuple[int, ...]:
    text = subprocess.run([cmake, "--version"], text=True, capture_output=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", text.splitlines()[0])[:2])


@pytest.mark.parametrize(
    ("cmake", "minimum", "compiler", "libcbor"),
    [
        (DEBIAN_CMAKE, "3.1", "c++", "AUTO"),
        (DEBIAN_CMAKE, "3.1", "g++-11", "FETCH"),
        ("cmake", "3.1...3.31", "clang++-14", "FETCH"),
        ("cmake", "3.1...3.31", "g++-12", "AUTO"),
    ],
)
def test_copied_folder_builds_and_runs(
    request: pytest.FixtureRequest,
    built_stranger: Stranger,
    tmp_path: Path,
    cmake: str,
    minimum: str,
    compiler: str,
    libcbor: str,
) -> None:
    arguments = []
    if libcbor == "FETCH":
        arguments = request.getfixturevalue("libcbor_arguments")
    if not Path(cmake).exists() and cmake == DEBIAN_CMAKE:
        lacks(f"there is no {cmake} (the distribution's, old enough for VERSION 3.1)")
    if cmake == DEBIAN_CMAKE and version(cmake) >= (4, 0):
        lacks(f"{cmake} no longer accepts VERSION 3.1")
    if not shutil.which(compiler):
        lacks(f"there is no {compiler}")

    text = (HERE / "classic" / "CMakeLists.txt").read_text()
    (tmp_path / "CMakeLists.txt").write_text(text.replace("3.1...3.31", minimum))
    shutil.copy(HERE / "consumer" / "hello.cpp", tmp_path / "main.cpp")
    shutil.copytree(built_stranger.option("tasklibdir"), tmp_path / "tasklib")
    build = tmp_path / "build"
    compiler_argument = f"-DCMAKE_CXX_COMPILER={compiler}"
    built_stranger.run(cmake, "-GNinja", "-S", tmp_path, "-B", build, compiler_argument, *arguments)
    out = built_stranger.run(cmake, "--build", build)
    assert "warning" not in out
    assert built_stranger.call_hello(build / "myexecutor") == "b'Hello Hello world!'"
