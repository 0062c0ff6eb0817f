"""The dashboard beside Dask's pages on a server."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")
from test_dashboard import DEADLINE, events_in, parse_metrics

SERVER = """
import sys
from rain.governor import server
server.run(listen=("127.0.0.1", 0), http_listen=("127.0.0.1", 0), tls=None, log_directory="",
           ready=lambda port, http_port: print(port, http_port, flush=True))
"""
GOVERNOR = """
import sys
from rain.governor import worker
worker.run(server=("127.0.0.1", int(sys.argv[1])), listen=("127.0.0.1", 0), cpus=1, config=None,
           work_directory=sys.argv[2], log_directory="", tls=None, name=sys.argv[3],
           ready=lambda: print("ready", flush=True))
"""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[str]:
    """A program that runs meanwhile; gives the first line that it prints."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert line, "it ended"
            yield line
        finally:
            program.terminate()
            program.wait(DEADLINE)


@pytest.fixture
def cluster(census: Path) -> Iterator[tuple[int, int]]:
    """Ports of a server with two governors, "one" and "two"."""
    with ExitStack() as stack:
        port, http_port = map(int, stack.enter_context(process(SERVER)).split())
        for name in ("one", "two"):
            (census / name).mkdir()
            stack.enter_context(process(GOVERNOR, str(port), str(census / name), name))
        yield port, http_port
    for name in ("one", "two"):
        shutil.rmtree(census / name)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_server_has_our_pages_beside_dasks(cluster: tuple[int, int]) -> None:
    _, port = cluster
    status, headers, page = ask(port, "GET", "/rain")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"EventSource" in page
    assert ask(port, "GET", "/health")[2] == b"ok"  # Dask's
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, method, "/rain/status.json", b"{}")[0] == 405
    assert ask(port, "GET", "/rain/nothing")[0] == 404

    status = json.loads(ask(port, "GET", "/rain/status.json")[2])
    assert (status["engine"], status["kind"]) == ("cluster", "server")
    assert sorted(g["name"] for g in status["governors"]) == ["one", "two"]
    assert all(g["cpus"] == 1 for g in status["governors"])

    ours = parse_metrics(ask(port, "GET", "/rain/metrics")[2].decode())
    assert ours["rain_governors", ()] == 2
    status, headers, both = ask(port, "GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert both.count(b"\nrain_governors 2\n") == 1

    assert ask(port, "POST", "/events", b"{}")[0] == 200
    status, headers, body = ask(port, "POST", "/events", b"")
    assert (status, headers["Access-Control-Allow-Origin"], body) == (500, "*", b"")


def test_stream_of_a_server_tells_all_governors_and_ends_with_it(census: Path) -> None:
    with ExitStack() as stack:
        port, http_port = map(int, stack.enter_context(process(SERVER)).split())
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=DEADLINE)
        stack.callback(connection.close)
        connection.request("GET", "/rain/stream")
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "text/event-stream"

        def next_event() -> tuple[str, dict[str, Any]]:
            text = b""
            while not text.endswith(b"\n\n"):
                line = response.readline()
                if not line:
                    return "closed", {}
                text += line
            return (events_in(text) or [next_event()])[0]

        kind, whole = next_event()
        assert (kind, whole["governors"]) == ("all", [])
        work = census / "one"
        work.mkdir()
        stack.callback(shutil.rmtree, work)
        with process(GOVERNOR, str(port), str(work), "one"):  # comes while somebody looks
            while not (change := next_event()[1]).get("governors"):
                pass
            assert [g["name"] for g in change["governors"]] == ["one"]
        while (change := next_event()[1]).get("governors") != []:  # and is gone
            pass
    # The server ended with the stack; the stream was told.
    kinds = [next_event()[0]]
    while kinds[-1] not in ("end", "closed"):
        kinds.append(next_event()[0])
