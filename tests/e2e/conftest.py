"""Clients on executors of each kind, and a census around every test."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, SLOW_ENGINES
from rain.client import Client, Session
from world import MARK, Census, wait_until

HERE = Path(__file__).resolve().parent
CONFORMANCE = HERE.parent / "conformance"

MakeClient = Callable[..., Client]


@pytest.fixture
def mark() -> str:
    """Names all processes of this test: see world.processes_of."""
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, mark: str
) -> Iterator[Path]:
    """Where run directories go. After the test this process, and what is outside, are as before."""
    place = Path(tempfile.mkdtemp(prefix=f"e2e-{mark[:8]}-"))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv(MARK, mark)
    gc.collect()
    census = Census(mark, place)
    yield place
    gc.collect()
    try:
        if not request.node.stash.get(FAILED, False):
            leftovers = census.leftovers()
            if os.environ.get("RAIN_TEST_ENGINE") in SLOW_ENGINES:  # Dask keeps things of its own
                leftovers = {k: v for k, v in leftovers.items() if k in ("processes", "files")}
            assert not leftovers, leftovers
    finally:
        for pid in census.processes():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not census.processes(), "the end of what was killed")
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def commands(cpptester: Path, pytester_command: list[str]) -> dict[str, Any]:
    """Client(executors=...) with the C++ and the Python tester."""
    return {"cpptester": cpptester, "pytester": pytester_command}


@pytest.fixture
def make_client(commands: dict[str, Any], engine: str) -> Iterator[MakeClient]:
    """make_client(executors=..., ...): a client that has the testers, too; ends with the test."""
    with contextlib.ExitStack() as stack:

        def make(executors: dict[str, Any] | None = None, **options: Any) -> Client:
            options = {"cpus": 2, **options, "executors": commands | (executors or {})}
            client = stack.enter_context((ENGINES | SLOW_ENGINES)[engine](options))
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session in which failures concern nothing else; active during the test."""
    with client.new_session(on_error="continue") as session:
        yield session


@pytest.fixture(params=["cpptester", "pytester"])
def tester(request: pytest.FixtureRequest) -> str:
    """The executor type of each of our implementations."""
    name: str = request.param
    return name


@pytest.fixture
def scripted() -> Callable[..., dict[str, Any]]:
    """scripted(trick, file): how to start the executor that does this once, see scripted.py and,
    with program="hostile.py", that."""

    def command(
        trick: str, once: Path, program: str = "scripted.py", **options: Any
    ) -> dict[str, Any]:
        words = [sys.executable, str(HERE / program), trick, str(once)]
        return {"command": words, "env": {"PYTHONPATH": str(CONFORMANCE)}, **options}

    return command


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.when in ("setup", "call") and report.failed:
        item.stash[FAILED] = True
    return report
