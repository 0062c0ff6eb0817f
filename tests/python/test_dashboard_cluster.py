"""The dashboard beside Dask's pages on a server, and of a client of a service."""

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
from rain.client import Client, remote
from test_dashboard import DEADLINE, events_in, parse_metrics, until

pytestmark = pytest.mark.alone  # Dask's threads and descriptors are not for other tests to count

SERVER = """
import sys
from rain.governor import server
server.run(listen=("127.0.0.1", 0), http_listen=("127.0.0.1", 0), tls=None, log_directory="",
           ready=lambda port, http_port: print(port, http_port, flush=True))
"""
STANDALONE = """
import sys
from rain.governor import unix_service
unix_service.serve(socket=sys.argv[1], cpus=1, config=None, work_directory=sys.argv[2],
                   log_directory="", ready=lambda: print("ready", flush=True))
"""
GOVERNOR = """
import sys
from rain.governor import worker
worker.run(server=("127.0.0.1", int(sys.argv[1])), listen=("127.0.0.1", 0), cpus=1, config=None,
           work_directory=sys.argv[2], log_directory="", tls=None, name=sys.argv[3],
           ready=lambda: print("ready", flush=True))
"""


@remote()
def add(ctx: Any, a: int, b: int) -> bytes:
    return str(a + b).encode()


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
    assert len({g["address"] for g in status["governors"]}) == 2
    assert all(g["address"].startswith("127.0.0.1:") for g in status["governors"])

    ours = parse_metrics(ask(port, "GET", "/rain/metrics")[2].decode())
    assert ours["rain_governors", ()] == 2
    status, headers, both = ask(port, "GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert both.count(b"\nrain_governors 2\n") == 1

    assert ask(port, "POST", "/events", b"{}")[0] == 200
    status, headers, body = ask(port, "POST", "/events", b"")
    assert (status, headers["Access-Control-Allow-Origin"], body) == (500, "*", b"")


WITHOUT_PROMETHEUS = "import sys; sys.modules['prometheus_client'] = None\n"


@pytest.mark.parametrize("installed", [True, False])
def test_metrics_of_dask_and_ours_in_one(census: Path, installed: bool) -> None:
    prometheus = pytest.importorskip("prometheus_client.parser")
    with process(SERVER if installed else WITHOUT_PROMETHEUS + SERVER) as ports:
        port = int(ports.split()[1])
        for _ in range(2):  # whoever scrapes comes again
            status, headers, text = ask(port, "GET", "/metrics")
            assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
            families = list(prometheus.text_string_to_metric_families(text.decode()))
            names = {family.name for family in families}
            assert len(names) == len(families)
            assert ("dask_scheduler_workers" in names) == installed
            assert {"rain_info", "rain_governors", "rain_tasks"} <= names
            (info,) = next(family.samples for family in families if family.name == "rain_info")
            assert info.labels["engine"] == "cluster"
        assert text.endswith(b"\n" + ask(port, "GET", "/rain/metrics")[2])


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


def dashboard_port(client: Client) -> int:
    assert client.dashboard_link is not None
    return int(client.dashboard_link.split(":")[2].partition("/")[0])


def events_of(port: int) -> list[dict[str, Any]]:
    status, _, body = ask(port, "POST", "/events", b"{}")
    assert status == 200
    return [each["event"] for each in json.loads(body)]


def run_one(client: Client, port: int, name: str) -> None:
    """A task runs there, and everything tells of it."""
    events_of(port)  # from now on there is a log
    with client.new_session(name) as session:
        task = add(1, 2)
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_bytes() == b"3"
        status = until(
            lambda: (
                (s := json.loads(ask(port, "GET", "/rain/status.json")[2]))["tasks"]["finished"]
                and s
            ),
            "the task",
        )
        assert [s["name"] for s in status["sessions"]] == [name]
        types = [e for g in status["governors"] for e in g["executors"] if e["type"] == "py"]
        assert sum(e["processes"] for e in types) == 1
        assert parse_metrics(ask(port, "GET", "/rain/metrics")[2].decode())
        events = until(
            lambda: (e := events_of(port)) and e[-1]["type"] == "TaskFinished" and e, "the event"
        )
        opened = next(e for e in events if e["type"] == "SessionNew")
        assert opened["spec"] == {"name": name}
        assert events[-1]["task"][0] == opened["session"]
        assert [e["client"] for e in events if e["type"] == "ClientNew"] == [opened["client"]]


def test_client_of_a_service_has_a_page_of_it(census: Path) -> None:
    socket, work = census / "s", census / "w"
    work.mkdir()
    with (
        process(STANDALONE, str(socket), str(work)),
        Client(str(socket), dashboard=True) as client,
    ):
        port = dashboard_port(client)
        run_one(client, port, "far")
        assert json.loads(ask(port, "GET", "/rain/status.json")[2])["engine"] == "standalone"
        assert b"EventSource" in ask(port, "GET", "/rain")[2]
    shutil.rmtree(work)
    socket.unlink(missing_ok=True)


def test_server_and_its_clients_pages_tell_of_tasks(cluster: tuple[int, int]) -> None:
    port, http_port = cluster
    with Client("127.0.0.1", port, dashboard=True) as client:
        run_one(client, http_port, "through the server")
        own = dashboard_port(client)
        status = json.loads(ask(own, "GET", "/rain/status.json")[2])
        assert (status["engine"], status["tasks"]["finished"]) == ("cluster", 1)
        assert len(status["governors"]) == 2
