"""What an address is said to be when no server of ours listens there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from rain.common.errors import ConnectionFailed
from rain.engine.knock import knock

HTTP = b"HTTP/1.0 404 Not Found\r\n\r\n"
DASK = (24).to_bytes(8, "little") + (1).to_bytes(8, "little") + (8).to_bytes(8, "little")


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server whose connections are `talk`ed to; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        talk(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def answer_requests(connection: socket.socket) -> None:
    if connection.recv(100).startswith(b"GET /"):
        connection.sendall(HTTP)


def test_a_server_that_begins_as_dask_does_is_let_through() -> None:
    with listening(lambda connection: connection.sendall(DASK)) as port:
        knock("127.0.0.1", port)


def test_with_tls_it_is_enough_that_something_listens() -> None:
    with listening(lambda connection: None) as port:
        knock("127.0.0.1", port, tls=True)


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (answer_requests, "is a web server"),
        (lambda connection: None, "closed at once"),
        (lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46"), "wants TLS"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), r"begins with b'SSH-2"),
        (lambda connection: connection.sendall(b"hi\n"), "no Rain server"),
    ],
    ids=["web", "closes", "tls", "ssh", "short"],
)
def test_something_else_is_named(talk: Callable[[socket.socket], None], message: str) -> None:
    with (
        listening(talk) as port,
        pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port}.*{message}"),
    ):
        knock("127.0.0.1", port)


def test_a_silent_port_is_named() -> None:
    done = threading.Event()

    def be_silent(connection: socket.socket) -> None:
        done.wait(10)

    with listening(be_silent) as port:
        with pytest.raises(ConnectionFailed, match="says nothing"):
            knock("127.0.0.1", port, seconds=0.3)
        done.set()


def test_a_port_where_nothing_listens_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ConnectionFailed, match=f":{port}: Connection refused; is the server"):
            knock("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConnectionFailed, match=r"there is no host 'no-such-host\.invalid'"):
        knock("no-such-host.invalid", 7210)


def test_a_host_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(address: object, timeout: float) -> socket.socket:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(ConnectionFailed, match=r"no answer within 4 s.*firewall"):
        knock("10.0.0.1", 7210)


def test_it_is_a_connection_error_as_well() -> None:
    assert issubclass(ConnectionFailed, ConnectionError)
