"""Lines that tasks wrote, on their way from a governor to its clients: what is lost is counted."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import engines
import pytest
from rain.client import Task
from rain.engine import frames
from rain.governor import unix_client
from rain.governor.host import Host


class Lines:
    """In place of a _core.LogQueue."""

    def __init__(self, *batches: Any) -> None:
        self._batches = list(batches)

    def wait(self) -> Any:
        return self._batches.pop(0) if self._batches else ([], 0, True)


def test_lost_lines_are_told_to_each_client_once() -> None:
    told: list[tuple[int, list[Any], int]] = []

    def session(number: int, client: str) -> Any:
        def on_log(lines: list[Any], lost: int) -> None:
            told.append((number, lines, lost))

        return SimpleNamespace(client=client, client_session=number + 10, on_log=on_log, name="")

    ended = threading.Event()
    host: Any = Host.__new__(Host)
    host._lock = threading.Lock()
    host._sessions = {1: session(1, "a"), 2: session(2, "a"), 3: session(3, "b")}
    host._closed_sessions = {4: session(4, "a")}
    host._closed = False
    host._on_end = ended.set
    host._hand_out_log_lines(Lines(([((2, 7), "x"), ((2, 8), "y")], 5, False), ([], 0, False)))
    assert sorted(told) == [(1, [], 5), (2, [((12, 7), "x"), ((12, 8), "y")], 0), (3, [], 5)]
    assert ended.is_set()


def test_lines_for_a_client_that_does_not_read_are_lost_from_a_number_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unix_client, "_MOST_LOG_LINES", 10)
    one, other = socket.socketpair()
    service: Any = SimpleNamespace(host=None, forget=lambda client: None)
    client = unix_client.UnixClient(service, frames.Connection(one), "x", os.getpid(), 0)
    for number in range(7):
        client._queue_log_lines([number, -number], 1)
    taken = [client._take()[0] for _ in range(len(client._outbox))]
    assert [each["lines"] for each in taken] == [[n, -n] for n in range(5)]
    # Seven were lost before they came here, four for want of room.
    assert sum(each["lost"] for each in taken) == 7 + 4
    client._queue_log_lines([], 3)
    assert client._take()[0] == {"is": "log", "lines": [], "lost": 3}
    other.close()
    client.start()
    client.end(0.0)


def test_a_client_that_leaves_hears_lines_that_are_late(
    executors: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leaves = threading.Event()
    hand_on, close_sessions = (
        unix_client.UnixClient._queue_log_lines,
        unix_client.UnixClient._close_sessions,
    )

    def late(client: Any, lines: list[Any], lost: int) -> None:
        leaves.wait()
        time.sleep(0.1)  # in which a service that does not wait has ended the connection
        hand_on(client, lines, lost)

    def close(client: Any) -> None:
        close_sessions(client)
        leaves.set()

    monkeypatch.setattr(unix_client.UnixClient, "_queue_log_lines", late)
    monkeypatch.setattr(unix_client.UnixClient, "_close_sessions", close)
    caplog.set_level(logging.INFO, "rain.executor")
    with engines.standalone({"executors": executors, "cpus": 1}) as client:
        with client.new_session() as session:
            config = {"log": [[20, "late"]], "debug": [], "repeat": 5, "then": "return"}
            Task((), 1, task_type="cpptester/say", config=config)
            session.submit()
            session.wait_all()
        client.close()
        said = [each for each in caplog.records if each.name.startswith("rain.executor")]
        assert [each.getMessage() for each in said] == ["late"] * 5
