"""The wheel as a stranger meets it: installed in a fresh environment, away from the sources.

RAIN_REQUIRE_ALL=1: what a test needs and the machine lacks is a failure, not a skip.
RAIN_LIBCBOR_SOURCE: folder with the pinned libcbor release, where its repository can't be reached.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBCBOR_URL = "https://github.com/PJK/libcbor.git"
CALL_HELLO = """
import sys
from rain.client import Client, Task, blob

class Hello(Task):
    TASK_TYPE = "example1/hello"
    def __init__(self, obj):
        super().__init__(inputs=(obj,), outputs=1)

with Client(executors={"example1": sys.argv[1]}) as client, client.new_session():
    print(Hello(blob("Hello world")).output.fetch().get_bytes())
"""


def lacks(what: str) -> NoReturn:
    """Skip, or fail where everything must be tested."""
    if os.environ.get("RAIN_REQUIRE_ALL"):
        pytest.fail(f"RAIN_REQUIRE_ALL is set, but {what}")
    pytest.skip(what)


def run(*command: str | Path, **kwargs) -> str:
    """What the command printed; a failing one fails the test with all of it."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-8000:]}")
    return done.stdout


@dataclass
class Stranger:
    """An environment with nothing but the installed wheel, and an empty working directory."""

    python: Path
    home: Path
    libcbor: str  # "system" or "fetched"

    @property
    def environment(self) -> dict[str, str]:
        hidden = ("PYTHON", "VIRTUAL_ENV", "CMAKE", "RAIN", "SKBUILD")
        return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}

    def run(self, *command: str | Path) -> str:
        return run(*command, cwd=self.home, env=self.environment)

    def option(self, name: str) -> Path:
        return Path(self.run(self.python, "-m", "rain", f"--{name}").strip())

    @property
    def package(self) -> Path:
        return self.option("includedir").parent

    def call_hello(self, program: Path) -> str:
        """What task example1/hello of the executor `program` gives for "Hello world"."""
        return self.run(self.python, "-c", CALL_HELLO, program).strip()


def install(wheel: Path, folder: Path) -> Stranger:
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (folder / "home").mkdir()
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], text=True, capture_output=True, check=True
    ).stdout
    stranger = Stranger(
        python, folder / "home", "system" if "rain/lib/libcbor.so" in names else "fetched"
    )
    stranger.run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
    return stranger


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
    environment = os.environ | {"CMAKE_ARGS": " ".join(libcbor_arguments)}
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
