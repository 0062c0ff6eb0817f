"""Who connects to a service and is no client, and clients of what is no service."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client
from rain.common.errors import ConfigError, ConnectionFailed
from rain.engine import frames, standalone
from services import Service, service
from world import AS_NOBODY, descriptors, need, wait_until


@pytest.fixture
def running(place: Path) -> Iterator[Service]:
    with service(place, {}) as running:
        yield running


def stranger(running: Service) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    while True:
        try:
            connected.connect(running.path)
            return connected
        except BlockingIOError:
            time.sleep(0.001)


def framed(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<I", len(text)) + text


def is_over(connected: socket.socket) -> bool:
    """Whether the other side ends the connection; waits for that."""
    connected.settimeout(60)
    try:
        while connected.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


NONSENSE = {
    "random bytes": os.urandom(1000),
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame too long": struct.pack("<I", 1 << 30),
    "no JSON": struct.pack("<I", 3) + b"{{{",
    "no object": framed(["rain"]),
    "no client": framed({"rain": "governor"}),
    "deep JSON": struct.pack("<I", 4000) + b"[" * 4000,
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_and_logged_once(running: Service, data: bytes) -> None:
    for _ in range(20):
        with stranger(running) as connected:
            connected.sendall(data)
            assert is_over(connected)
    assert standalone.ask(running.path, "status")["governors"]
    running.process.terminate()
    assert running.wait() == 0
    lines = running.said("refused")
    assert 1 <= len(lines) <= 2, lines  # the second one says how many more
    assert not running.said("Traceback")


def test_a_thousand_half_open_connections_slow_nothing_down(running: Service) -> None:
    strangers = [stranger(running) for _ in range(1000)]
    for number in range(0, 1000, 3):
        strangers[number].send(b"\x10")  # the first byte of a greeting
    for _ in range(10):
        assert standalone.ask(running.path, "status")["governors"]
    wait_until(lambda: running.said("refused"), "the first to be seen off")
    for connected in strangers:
        assert is_over(connected)
        connected.close()
    # Nothing is left of them.
    wait_until(lambda: descriptors_of(running.process.pid) < 40)
    assert len(running.said("refused")) <= 4, running.log


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_one_byte_at_a_time_is_no_greeting_for_long(running: Service) -> None:
    with stranger(running) as connected:
        text = framed({"rain": "client", "version": frames.VERSION, "x": "y" * 3000})
        ended = False
        for number in range(len(text)):
            try:
                connected.send(text[number : number + 1])
            except OSError:
                ended = True
                break
            time.sleep(0.01)
        assert ended
    running.wait_for("refused", "had not greeted")


def test_nonsense_after_the_greeting_ends_that_client_alone(running: Service) -> None:
    with stranger(running) as connected:
        connected.sendall(framed({"rain": "client", "version": frames.VERSION, "program": "x"}))
        connected.sendall(framed({"do": "open"}) + b"\xff" * 100)
        assert is_over(connected)
    running.wait_for("client x", "was put down")
    assert standalone.ask(running.path, "status")["governors"]


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (99, "newer"), (None, "older")])
def test_a_client_of_another_version_is_told(
    running: Service, version: int | None, word: str
) -> None:
    with stranger(running) as connected:
        connected.sendall(framed({"rain": "client", "version": version, "release": "9.9"}))
        connection = frames.Connection(connected)
        answer = connection.receive()
        assert answer is not None
        assert answer["rain"] == "governor"
        assert answer["version"] == frames.VERSION
        assert f"the client is {word} (Rain 9.9" in answer["error"]
        assert is_over(connected)
    running.wait_for("refused", f"the client is {word}")


def test_another_user_is_refused(running: Service, place: Path) -> None:
    need(*AS_NOBODY)
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({running.path!r})"
    outcome = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "PermissionError" in outcome.stderr
    # Who gets past the modes of the files is looked at.
    place.chmod(0o755)
    (place / "rain").chmod(0o755)
    Path(running.path).chmod(0o666)
    program = f"""
import socket
connected = socket.socket(socket.AF_UNIX)
connected.connect({running.path!r})
connected.sendall({framed({"rain": "client", "version": frames.VERSION})!r})
print(connected.recv(1000))
"""
    outcome = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "is not who runs this service" in outcome.stdout, outcome


# ---- what is no service ----


@pytest.fixture
def listening(place: Path) -> Iterator[tuple[str, Callable[[bytes | None], None]]]:
    """A path, and how to have something listen there that says this once asked."""
    path = place / "other"
    server = socket.socket(socket.AF_UNIX)
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(answer: bytes | None) -> None:
        server.bind(str(path))
        server.listen()

        def run() -> None:
            connected, _ = server.accept()
            connections.append(connected)
            if answer is not None:
                connected.recv(4096)
                connected.sendall(answer)
                connected.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield str(path), serve
    for thread in threads:
        thread.join()
    for connected in connections:
        connected.close()
    server.close()
    path.unlink(missing_ok=True)


def refusal(address: str) -> str:
    with pytest.raises(ConnectionFailed) as caught:
        Client(address)
    return str(caught.value)


def test_nothing_listens(place: Path) -> None:
    assert "there is no service on" in refusal(str(place / "none"))
    assert "rain governor --standalone --socket" in refusal(str(place / "none"))
    (place / "file").touch()
    assert "is no socket" in refusal(str(place / "file"))
    (place / "file").unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "dead"))
    assert "its service has ended" in refusal(str(place / "dead"))
    (place / "dead").unlink()


def test_something_else_listens(
    listening: tuple[str, Callable[[bytes | None], None]],
) -> None:
    path, serve = listening
    serve(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "is no Rain service: it answers b'HTTP" in refusal(path)


def test_a_silent_socket(listening: tuple[str, Callable[[bytes | None], None]]) -> None:
    path, serve = listening
    serve(None)
    assert "says nothing: it is no Rain service, or one that hangs" in refusal(path)


def test_it_hangs_up(listening: tuple[str, Callable[[bytes | None], None]]) -> None:
    path, serve = listening
    serve(b"")
    assert "it closed the connection at once" in refusal(path)


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (7, "newer")])
def test_a_service_of_another_version(
    listening: tuple[str, Callable[[bytes | None], None]], version: int, word: str
) -> None:
    path, serve = listening
    serve(framed({"rain": "governor", "version": version, "release": "0.1"}))
    assert f"the service is {word} (Rain 0.1" in refusal(path)


def test_a_socket_of_another_kind(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(place / "other"))
        assert "another type" in refusal(str(place / "other"))
    (place / "other").unlink()


# ---- one socket, one service ----


def start_another(place: Path) -> str:
    with pytest.raises(AssertionError) as caught, service(place, {}):
        pass
    return str(caught.value)


def test_a_second_service_is_told_of_the_first(running: Service, place: Path) -> None:
    said = start_another(place)
    assert f"a service has {running.path} already (process {running.process.pid})" in said
    assert ConfigError.__name__ in said
    assert standalone.ask(running.path, "status")["pid"] == running.process.pid


def test_the_socket_of_a_dead_service_is_replaced(place: Path) -> None:
    with service(place, {}) as first:
        os.kill(first.process.pid, signal.SIGKILL)
        first.wait()
        assert os.path.exists(first.path)
        with service(place, {}) as second:
            assert standalone.ask(second.path, "status")["pid"] == second.process.pid


def test_what_is_no_socket_is_left_alone(place: Path) -> None:
    (place / "rain").mkdir(mode=0o700)
    (place / "rain" / "s").write_text("precious")
    assert "is no socket: remove it" in start_another(place)
    assert (place / "rain" / "s").read_text() == "precious"
    (place / "rain" / "s").unlink()
    (place / "rain").rmdir()


def test_a_directory_that_others_may_write_to_is_refused(place: Path) -> None:
    (place / "rain").mkdir(mode=0o700)
    (place / "rain").chmod(0o777)
    assert "other users may write to the socket's directory" in start_another(place)


# ---- its end ----


def test_it_stops_when_asked(running: Service) -> None:
    standalone.ask(running.path, "stop")
    assert running.wait() == 0
    assert running.said("ended: it was asked to")


def test_it_uses_no_cpu_and_no_descriptors_for_nothing(running: Service) -> None:
    standalone.ask(running.path, "status")
    here = len(descriptors())
    there = descriptors_of(running.process.pid)
    for _ in range(50):
        standalone.ask(running.path, "status")
    assert len(descriptors()) == here
    wait_until(lambda: descriptors_of(running.process.pid) <= there)
