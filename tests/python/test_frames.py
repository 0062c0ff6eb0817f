"""Frames over a socket pair: what is sent arrives, and nonsense is refused."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rain.common.errors import ProtocolError
from rain.engine import frames


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def pair(
    sockets: tuple[socket.socket, socket.socket],
) -> tuple[frames.Connection, frames.Connection]:
    return frames.Connection(sockets[0]), frames.Connection(sockets[1])


def test_headers_and_payloads_arrive(pair: tuple[frames.Connection, frames.Connection]) -> None:
    sender, receiver = pair
    large = os.urandom(3_000_000)
    pieces = [b"abc", os.urandom(600_000), b"", b"d"]

    def send() -> None:
        sender.send({"do": "nothing"})
        sender.send({"do": "all"}, [b"", b"small", memoryview(large), iter(pieces), b"last"])
        sender.send({"do": "read into"}, [large])
        sender.send({"do": "skip"}, [large, iter(pieces)])
        sender.send({"do": "ümläut \udcff"})
        sender.shut_down()

    thread = threading.Thread(target=send)
    thread.start()
    assert receiver.receive() == {"do": "nothing", "payloads": []}
    header = receiver.receive()
    assert header == {"do": "all", "payloads": [0, 5, len(large), frames.STREAM, 4]}
    assert receiver.read(0) == b""
    assert receiver.read(5) == b"small"
    assert receiver.read(len(large)) == large
    stream = frames.StreamReader(receiver)
    assert stream.read(2) == b"ab"
    assert stream.read() == b"".join(pieces)[2:]
    assert receiver.read(4) == b"last"
    target = bytearray(len(large))
    assert receiver.receive() == {"do": "read into", "payloads": [len(large)]}
    with memoryview(target) as room:
        receiver.read_into(room)
    assert target == large
    header = receiver.receive()
    assert header is not None
    for size in header["payloads"]:
        receiver.skip(size)
    assert receiver.receive() == {"do": "ümläut \udcff", "payloads": []}
    assert receiver.receive() is None
    thread.join()


def framed(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 64,
        framed([1, 2]),
        struct.pack("<I", 4) + b"\xff\xfe{}",
        framed({"payloads": 3}),
        framed({"payloads": [-2]}),
        framed({"payloads": [True]}),
        framed({"payloads": [10]})[:-3],
        struct.pack("<I", 100_000) + b"[" * 100_000,
        b"\x01",
    ],
    ids=range(10),
)
def test_refuses_nonsense(
    sockets: tuple[socket.socket, socket.socket],
    pair: tuple[frames.Connection, frames.Connection],
    data: bytes,
) -> None:
    sockets[0].sendall(data)
    sockets[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ProtocolError):
        pair[1].receive()


def test_a_stream_piece_longer_than_the_limit_is_refused(
    pair: tuple[frames.Connection, frames.Connection],
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    sockets[0].sendall(framed({"payloads": [-1]}) + struct.pack("<I", 1 << 30))
    assert pair[1].receive() is not None
    with pytest.raises(ProtocolError):
        frames.StreamReader(pair[1]).read(10)


def test_an_error_within_a_frame_ends_the_connection(
    pair: tuple[frames.Connection, frames.Connection],
) -> None:
    sender, receiver = pair

    def pieces() -> Iterator[bytes]:
        yield bytes(frames._JOINED_BYTES)
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        sender.send({"do": "x"}, [pieces()])
    assert isinstance(sender.own_error, KeyError)
    header = receiver.receive()
    assert header is not None
    with pytest.raises(ProtocolError, match="ended within a frame"):
        frames.StreamReader(receiver).finish()
    with pytest.raises(BrokenPipeError):
        sender.send({"do": "x"})


def test_sending_within_a_time(pair: tuple[frames.Connection, frames.Connection]) -> None:
    sender, receiver = pair
    assert sender.send_within({"do": "x"}, 10.0)
    assert receiver.receive() == {"do": "x", "payloads": []}

    def fill() -> None:
        with pytest.raises(OSError, match="pipe"):
            sender.send({}, [bytes(1 << 24)])

    full = threading.Thread(target=fill)
    full.start()
    while not sender._sending.locked():
        pass
    assert not sender.send_within({"do": "x"}, 0.05)
    sender.shut_down()
    full.join()
