"""Clusters of two governors, and a look around after every test.

Dask keeps threads of its own in a process that has used it, so those are not counted here.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="distributed is not installed")

from clusters import Cluster, cluster
from rain.client import Client, Session
from world import MARK, processes_of, wait_until


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where everything is written. After the test nothing is left there, and no process."""
    mark = uuid.uuid4().hex
    place = Path(tempfile.mkdtemp(prefix="rc-"))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv(MARK, mark)
    yield place
    try:
        wait_until(lambda: not left_of(mark, str(place)), "the end of all processes")
        left = [path for path in place.glob("work-*/*") if path.name != "dask-scratch-space"]
        assert not left, left
    finally:
        for pid in left_of(mark, str(place)):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)


def left_of(*marks: str) -> dict[int, str]:
    """Processes of a test, but what Python's multiprocessing keeps for the next one."""
    found = processes_of(*marks).items()
    return {pid: line for pid, line in found if "multiprocessing.resource_tracker" not in line}


@pytest.fixture(scope="session")
def commands(cpptester: Path, pytester_command: list[str]) -> dict[str, Any]:
    gates = [sys.executable, str(Path(__file__).with_name("gates.py"))]
    return {"cpptester": str(cpptester), "pytester": pytester_command, "gates": gates}


@pytest.fixture
def two(place: Path, commands: dict[str, Any]) -> Iterator[Cluster]:
    """A server and two governors with two cpus each."""
    with cluster(place, commands) as made:
        yield made


@pytest.fixture(scope="module")
def shared(commands: dict[str, Any]) -> Iterator[Cluster]:
    """As `two`, for all tests of a module, which leave it as it was."""
    place = Path(tempfile.mkdtemp(prefix="rc-"))
    with cluster(place, commands) as made:
        yield made
    wait_until(lambda: not left_of(str(place)), "the end of all processes")
    shutil.rmtree(place)


@pytest.fixture
def client(shared: Cluster) -> Iterator[Client]:
    with shared.client() as client:
        yield client


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session in which failures concern nothing else; active during the test."""
    with client.new_session(on_error="continue") as session:
        yield session
