"""`rain status`, `stop`, `logs` and `store`: with a server that only pretends to be one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rain.cli import registry
from rain.cli.app import rain
from rain.cli.registry import GOVERNOR, SERVER, Entry

STATUS = {
    "kind": "server",
    "governors": [
        {
            "name": "n1-17",
            "cpus": 4,
            "executors": [{"type": "example1", "pids": [5, 6]}, {"type": "py", "pids": []}],
            "store": {"blobs_bytes": 2_000_000, "budget_bytes": 8_000_000_000},
            "tasks": {"running": 2},
        }
    ],
    "sessions": [{"id": 3, "name": "night", "client": "x.py", "tasks": {"running": 2}}],
    "tasks": {"waiting": 1, "running": 2, "finished": 40},
}


class Pages:
    """A web server whose answers are what `answers` gives, one after the other, then the last."""

    def __init__(self) -> None:
        pages = self
        self.answers: list[tuple[int, bytes]] = [(200, json.dumps(STATUS).encode())]
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append(self.path)
                answers = pages.answers
                code, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def pages(census: Path) -> Iterator[Pages]:
    pages = Pages()
    yield pages
    pages.close()


@pytest.fixture
def spawn() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start processes to stop: ``spawn(what)`` runs `what` and waits for SIGTERM."""
    made: list[subprocess.Popen[bytes]] = []

    def spawn(what: str = "") -> subprocess.Popen[bytes]:
        program = f"import signal, sys\n{what}\nprint(flush=True)\nsignal.pause()"
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        made.append(process)
        return process

    yield spawn
    for process in made:
        process.kill()
        process.wait()


@pytest.fixture
def service(
    pages: Pages, spawn: Callable[[str], subprocess.Popen[bytes]]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A server and a governor, in the registry."""
    processes = [spawn(""), spawn("")]
    for kind, process in zip((SERVER, GOVERNOR), processes, strict=True):
        registry.enter(
            Entry(
                kind,
                "127.0.0.1:7999",
                process.pid,
                registry.start_ticks(process.pid) or 0,
                http=f"127.0.0.1:{pages.port}",
            )
        )
    yield processes
    for process in processes:
        process.kill()
        process.wait()
    assert registry.entries() == []


def call(*arguments: str) -> Result:
    return CliRunner().invoke(rain, arguments)


def idle(pages: Pages) -> None:
    pages.answers.append((200, json.dumps({**STATUS, "tasks": {"finished": 43}}).encode()))


# ---- status


def test_status_shows_governors_sessions_and_tasks(pages: Pages, service: object) -> None:
    done = call("status")
    assert done.exit_code == 0, done.output
    assert pages.asked == ["/rain/status.json"]
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert lines[0][0].startswith("server 127.0.0.1:7999: 1 governor, 4 cpus, tasks: 1 waiting")
    words = done.stdout.split()
    for word in ("n1-17", "example1", "(2),", "py", "2.0", "MB", "night", "x.py"):
        assert word in words


def test_status_is_json_for_programs(pages: Pages, service: object) -> None:
    assert json.loads(call("status", "--json").stdout) == STATUS


def test_a_server_elsewhere_is_asked_at_its_http_port(pages: Pages) -> None:
    done = call("status", "127.0.0.1", "--http-port", str(pages.port))
    assert done.exit_code == 0, done.output
    assert "server 127.0.0.1:7210" in done.stdout
    pages.answers = [(200, json.dumps({**STATUS, "address": "0.0.0.0:7311"}).encode())]
    done = call("status", "127.0.0.1", "--http-port", str(pages.port))
    assert "server 127.0.0.1:7311" in done.stdout, "the port is that of the one that answered"


def test_status_without_a_service_says_how_to_start_one(census: Path) -> None:
    done = call("status")
    assert done.exit_code == 1
    assert "rain start --simple" in done.stderr


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, b""), "no Rain server's: it answers 404"),
        ((200, b"<html>"), "no Rain server's pages"),
        ((200, b"[]"), "no Rain server's pages"),
        ((200, b'{"a": 1}'), "no Rain server's pages"),
    ],
)
def test_a_web_server_of_another_kind_is_named(
    pages: Pages, answer: tuple[int, bytes], message: str
) -> None:
    pages.answers = [answer]
    done = call("status", "127.0.0.1", "--http-port", str(pages.port))
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_port_where_nothing_listens_is_named(census: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        done = call("status", f"127.0.0.1:{port}", "--http-port", port)
    assert done.exit_code == 1
    assert f"127.0.0.1:{port}: Connection refused; is the server running?" in done.stderr


def test_what_does_not_speak_http_is_named(census: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x18\0\0\0\0\0\0\0")

        thread = threading.Thread(target=talk)
        thread.start()
        done = call("status", "127.0.0.1", "--http-port", str(server.getsockname()[1]))
        thread.join()
    assert done.exit_code == 1
    assert "Error: 127.0.0.1:" in done.stderr


def test_status_loads_no_dask(pages: Pages, service: object) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from rain.cli.app import rain\n"
        "print(CliRunner().invoke(rain, ['status']).exit_code)\n"
        "print({'distributed', 'dask', 'tornado', 'numpy', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "set()"]


# ---- stop


def test_stop_refuses_while_tasks_run(pages: Pages, service: list[subprocess.Popen[bytes]]) -> None:
    done = call("stop")
    assert done.exit_code == 1
    assert "3 tasks of 127.0.0.1:7999 have not ended" in done.stderr
    assert "--wait" in done.stderr
    assert "--force" in done.stderr
    assert [process.poll() for process in service] == [None, None]


def test_stop_ends_an_idle_service(pages: Pages, service: list[subprocess.Popen[bytes]]) -> None:
    pages.answers.pop()
    idle(pages)
    done = call("stop", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["pids"] == [process.pid for process in service]
    assert told["killed"] == []
    assert [process.wait() for process in service] == [-15, -15]


def test_stop_waits_for_tasks_if_asked(
    pages: Pages, service: list[subprocess.Popen[bytes]]
) -> None:
    idle(pages)
    done = call("stop", "--wait")
    assert done.exit_code == 0, done.output
    assert len(pages.asked) == 2
    assert [process.wait() for process in service] == [-15, -15]


def test_stop_by_force_asks_nobody(pages: Pages, service: list[subprocess.Popen[bytes]]) -> None:
    assert call("stop", "localhost:7999", "--force").exit_code == 0
    assert pages.asked == []
    assert [process.wait() for process in service] == [-15, -15]


def test_a_service_that_does_not_say_how_it_is_needs_force(
    pages: Pages, service: list[subprocess.Popen[bytes]]
) -> None:
    pages.answers = [(500, b"")]
    done = call("stop")
    assert done.exit_code == 1
    assert "--force ends it anyway" in done.stderr
    assert [process.poll() for process in service] == [None, None]


def test_one_that_is_deaf_is_killed(
    monkeypatch: pytest.MonkeyPatch, spawn: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    from rain.cli import stop

    monkeypatch.setattr(stop, "_END_SECONDS", 0.2)
    deaf = spawn("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    good = spawn("")
    entries = [
        Entry(SERVER, "", process.pid, registry.start_ticks(process.pid) or 0)
        for process in (deaf, good)
    ]
    assert stop.end(entries) == [deaf.pid]
    assert [deaf.wait(), good.wait()] == [-9, -15]


def test_force_and_wait_exclude_each_other() -> None:
    assert call("stop", "--force", "--wait").exit_code == 2


# ---- logs and store


@pytest.mark.parametrize(
    ("of", "asked"),
    [
        ("3/17", {"task": "3/17"}),
        ("(3, 17)", {"task": "3/17"}),
        ("example1", {"executor": "example1"}),
        ("4711", {"pid": 4711}),
    ],
)
def test_logs_are_those_of_a_task_a_type_or_a_process(
    monkeypatch: pytest.MonkeyPatch, service: object, of: str, asked: dict[str, Any]
) -> None:
    from rain.cli.service import Service

    heard: list[Any] = []

    def ask(self: Service, operation: str, **arguments: Any) -> Any:
        heard.append((operation, arguments))
        return [{"name": "example1 (process 5)", "stdout": "out\n", "stderr": "err\n"}]

    monkeypatch.setattr(Service, "ask", ask)
    done = call("logs", of)
    assert done.exit_code == 0, done.output
    assert heard == [("logs", asked)]
    assert done.stdout == "out\n"
    assert done.stderr == "err\n"


def test_what_has_no_logs_is_said(service: object) -> None:
    assert "neither a task" in call("logs", "a/b").stderr


def test_store_shows_a_table_for_each_governor(
    monkeypatch: pytest.MonkeyPatch, service: object
) -> None:
    from rain.cli.service import Service

    usage = {"regions_bytes": 10, "budget_bytes": 1000, "spilled_bytes": 0}
    blob = [(1, 2), "mine", "a/b", 7, "inline", "", True, [], 0, False, [], [], 0, [], None]
    monkeypatch.setattr(
        Service, "ask", lambda *_: [{"governor": "n1", "usage": usage, "blobs": [blob]}]
    )
    done = call("store")
    assert done.exit_code == 0, done.output
    assert "governor n1: 1 data object, 7 B" in done.stdout
    assert "mine" in done.stdout
    (told,) = json.loads(call("store", "--json").stdout)
    assert told["blobs"][0]["label"] == "mine"


def test_stop_waits_until_nothing_listens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.cli import stop
    from rain.cli.service import Service
    from rain.common.errors import RainException

    monkeypatch.setattr(stop, "_END_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = Service(None, None, server=listening.getsockname())
        with pytest.raises(RainException, match="was told to end, and still listens"):
            stop._until_deaf(there)
    stop._until_deaf(there)
    stop._until_deaf(Service(None, None, socket="/nowhere/at/all"))
