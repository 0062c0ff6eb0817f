"""Wheels, and environments in which they are installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stranger import LIBCBOR_URL, ROOT, Stranger, install, lacks, run, stranger_with


def filled_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """A folder of this run, filled by the first of the processes of pytest-xdist that asks."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = factory.getbasetemp().parent if parallel else factory.getbasetemp()
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, filled = base / name, base / f"{name}.filled"
        if not filled.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            fill(folder)
            filled.touch()
    return folder


def one_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def built_wheel() -> Path:
    """The wheel that `make build` made, with the libcbor that AUTO found."""
    if not list((ROOT / "build" / "wheel").glob("*.whl")):
        pytest.fail("there is no wheel in build/wheel; run: make build")
    return one_wheel(ROOT / "build" / "wheel")


@pytest.fixture(scope="session")
def libcbor_arguments() -> list[str]:
    """What CMake needs to build the pinned libcbor release."""
    arguments = ["-DTASKLIB_LIBCBOR=FETCH"]
    source = os.environ.get("RAIN_LIBCBOR_SOURCE")
    if source:
        return [*arguments, f"-DFETCHCONTENT_SOURCE_DIR_LIBCBOR={source}"]
    try:
        subprocess.run(
            ["git", "ls-remote", LIBCBOR_URL, "HEAD"], check=True, capture_output=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        lacks(f"{LIBCBOR_URL} can't be reached and RAIN_LIBCBOR_SOURCE is not set")
    return arguments


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code = "import sys, scikit_build_core.build as b; b.build_sdist(sys.argv[1])"
    folder = filled_once(
        tmp_path_factory, "sdist", lambda to: run(sys.executable, "-c", code, to, cwd=ROOT)
    )
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def fetched_wheel(
    sdist: Path, libcbor_arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """From the sdist, as plain pip builds it, with the pinned libcbor."""

    def build(folder: Path) -> None:
        # Where pip unpacks and builds; ccache, if there is one, finds there what the checkout has.
        (temporary := folder / "temporary").mkdir()
        environment = os.environ | {
            "CMAKE_ARGS": " ".join(libcbor_arguments),
            "TMPDIR": str(temporary),
            "CCACHE_BASEDIR": str(temporary),
        }
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, sdist, env=environment)

    return one_wheel(filled_once(tmp_path_factory, "fetched", build))


@pytest.fixture(scope="session")
def built_stranger(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return stranger_with(
        built_wheel,
        filled_once(tmp_path_factory, "built-stranger", lambda to: install(built_wheel, to)),
    )


@pytest.fixture(scope="session")
def fetched_stranger(fetched_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return stranger_with(
        fetched_wheel,
        filled_once(tmp_path_factory, "fetched-stranger", lambda to: install(fetched_wheel, to)),
    )


@pytest.fixture(params=["built", "fetched"])
def stranger(request: pytest.FixtureRequest) -> Stranger:
    return request.getfixturevalue(f"{request.param}_stranger")
