"""Wheels, and environments in which they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stranger import LIBCBOR_URL, ROOT, Stranger, install, lacks, run

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With pytest-xdist, a process for each wheel: it is built and installed once."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if isinstance(item, pytest.Function) and item.path.is_relative_to(HERE):
            call = getattr(item, "callspec", None)
            wheel = call.params.get("stranger") if call is not None else None
            fetched = {"fetched_wheel", "fetched_stranger"} & set(item.fixturenames)
            group = "fetched" if fetched else wheel or "built"
            item.add_marker(pytest.mark.xdist_group(group))


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
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys, scikit_build_core.build as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, folder, cwd=ROOT)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def fetched_wheel(
    sdist: Path, libcbor_arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """From the sdist, as plain pip builds it, with the pinned libcbor."""
    folder = tmp_path_factory.mktemp("fetched")
    # Where pip unpacks and builds; ccache, if there is one, finds there what the checkout has.
    (temporary := folder / "temporary").mkdir()
    environment = os.environ | {
        "CMAKE_ARGS": " ".join(libcbor_arguments),
        "TMPDIR": str(temporary),
        "CCACHE_BASEDIR": str(temporary),
    }
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, sdist, env=environment)
    return one_wheel(folder)


@pytest.fixture(scope="session")
def built_stranger(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return install(built_wheel, tmp_path_factory.mktemp("built-stranger"))


@pytest.fixture(scope="session")
def fetched_stranger(fetched_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return install(fetched_wheel, tmp_path_factory.mktemp("fetched-stranger"))


@pytest.fixture(params=["built", "fetched"])
def stranger(request: pytest.FixtureRequest) -> Stranger:
    return request.getfixturevalue(f"{request.param}_stranger")
