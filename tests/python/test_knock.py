"""What an address is said to be when no server of ours listens there."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from rain.cli.tls import make
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


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of two CAs, and one whose certificate has expired."""
    pytest.importorskip("cryptography")
    parent = tmp_path_factory.mktemp("certificates")
    folders = {name: parent / name for name in ("ours", "theirs", "expired")}
    for name in ("ours", "theirs"):
        make(str(folders[name]), timedelta(days=1))
    shutil.copytree(folders["ours"], folders["expired"])
    make(str(folders["expired"]), timedelta(seconds=-60), renew=True)
    return folders


def greets_encrypted(folder: Path) -> Callable[[socket.socket], None]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def greet(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.sendall(DASK)

    return greet


def test_with_certificates_of_one_ca_it_is_let_through(certificates: dict[str, Path]) -> None:
    with listening(greets_encrypted(certificates["ours"])) as port:
        knock("127.0.0.1", port, tls=str(certificates["ours"]))


@pytest.mark.parametrize(
    ("server", "client", "message"),
    [
        ("theirs", "ours", "its certificate is not one to trust"),
        ("expired", "ours", "certificate has expired"),
        ("ours", "expired", "does not let in.*EXPIRED"),
    ],
)
def test_wrong_certificates_are_named(
    certificates: dict[str, Path], server: str, client: str, message: str
) -> None:
    with (
        listening(greets_encrypted(certificates[server])) as port,
        pytest.raises(ConnectionFailed, match=message),
    ):
        knock("127.0.0.1", port, tls=str(certificates[client]))


def test_a_server_with_tls_is_named_to_those_without(certificates: dict[str, Path]) -> None:
    with (
        listening(greets_encrypted(certificates["ours"])) as port,
        pytest.raises(ConnectionFailed, match="wants TLS"),
    ):
        knock("127.0.0.1", port)


def test_a_server_without_tls_is_named_to_those_with(certificates: dict[str, Path]) -> None:
    with (
        listening(lambda connection: connection.sendall(DASK)) as port,
        pytest.raises(ConnectionFailed, match="does not speak TLS"),
    ):
        knock("127.0.0.1", port, tls=str(certificates["ours"]))


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    with (
        listening(lambda connection: None) as port,
        pytest.raises(ConnectionFailed, match="can't be used"),
    ):
        knock("127.0.0.1", port, tls=str(tmp_path))


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
