from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, Session

Executors = dict[str, Any]


@pytest.fixture(autouse=True)
def _counted(census: Path) -> None:
    """Every test here leaves nothing behind."""


@pytest.fixture
def graph() -> Iterator[Session]:
    """A session without client, active."""
    with Session(None, 7) as session:
        yield session


@pytest.fixture
def executors(cpptester: Path, pytester_command: list[str]) -> Executors:
    return {"cpptester": str(cpptester), "pytester": pytester_command}


@pytest.fixture
def make_client(executors: Executors) -> Iterator[Callable[..., Client]]:
    """make_client(...): a Client that is closed at the end; by default with both testers."""
    clients: list[Client] = []

    def make_client(**arguments: Any) -> Client:
        if "config" not in arguments:
            arguments.setdefault("executors", executors)
        clients.append(Client(**arguments))
        return clients[-1]

    yield make_client
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client(cpus=2)


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session that can run tasks, active."""
    with client.new_session() as session:
        yield session
