from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, SLOW_ENGINES
from rain.client import Client, Session

Executors = dict[str, Any]


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    """Every test here leaves nothing behind."""
    if os.environ.get("RAIN_TEST_ENGINE") not in SLOW_ENGINES:  # Dask keeps threads of its own
        request.getfixturevalue("census")


@pytest.fixture
def graph() -> Iterator[Session]:
    """A session without client, active."""
    with Session(None, 7) as session:
        yield session


@pytest.fixture
def executors(cpptester: Path, pytester_command: list[str]) -> Executors:
    return {"cpptester": str(cpptester), "pytester": pytester_command}


@pytest.fixture
def make_client(executors: Executors, engine: str) -> Iterator[Callable[..., Client]]:
    """make_client(...): a Client that is closed at the end; by default with both testers."""
    with contextlib.ExitStack() as stack:

        def make_client(**arguments: Any) -> Client:
            if "config" not in arguments:
                arguments.setdefault("executors", executors)
            client = stack.enter_context((ENGINES | SLOW_ENGINES)[engine](arguments))
            stack.callback(client.close)
            return client

        yield make_client


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client(cpus=2)


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session that can run tasks, active."""
    with client.new_session() as session:
        yield session
