"""The wheel as a stranger meets it: installed in a fresh environment, away from the sources.

RAIN_REQUIRE_ALL=1: what a test needs and the machine lacks is a failure, not a skip.
RAIN_LIBCBOR_SOURCE: folder with the pinned libcbor release, where its repository can't be reached.
"""

from __future__ import annotations

import os
import re
import subprocess
import venv
import zipfile
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


def needed(program: Path) -> list[str]:
    """Names of the shared libraries that the program asks for."""
    dynamic = subprocess.run(
        ["readelf", "-d", program], text=True, capture_output=True, check=True
    ).stdout
    return re.findall(r"NEEDED.*\[(.+)\]", dynamic)


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


def libcbor_of(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        carried = [name for name in archive.namelist() if name.startswith("rain/lib/libcbor.so")]
    return "system" if carried else "fetched"


def install(wheel: Path, folder: Path) -> None:
    venv.create(folder / "venv", with_pip=True)
    (folder / "home").mkdir()
    stranger = stranger_with(wheel, folder)
    quiet = ("-q", "--disable-pip-version-check")
    stranger.run(stranger.python, "-m", "pip", "install", *quiet, wheel)


def stranger_with(wheel: Path, folder: Path) -> Stranger:
    """The one that `install` made in the folder."""
    return Stranger(folder / "venv" / "bin" / "python", folder / "home", libcbor_of(wheel))
