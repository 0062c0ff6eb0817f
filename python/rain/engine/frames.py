"""What goes over the socket of a standalone service, and a connection that speaks it.

Version 1. A connection carries frames in both directions, one after the other:

    frame   = length header payload*     length: of the header, 4 bytes, little-endian
    header  = a JSON object in UTF-8     its "payloads" (default: none) has an int for each payload:
    payload = bytes                      so many of them (n >= 0)
            | (length piece)* 0          -1: a stream, each piece with 4 bytes of its length before

The client begins with {"rain": "client", "version": 1, "release", "program", "pid"}; the service
answers {"rain": "governor", "version": 1, "release", …} with what it offers, or "error". Everything
after that is in rain.engine.standalone (the client's side) and rain.governor.unix_client.

`version` goes up when an older side would misunderstand a newer one, and for no other reason: keys
that are not known are ignored.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time

from rain.common.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

VERSION = 1
STREAM = -1
MAX_HEADER_BYTES = 256 << 20  # a submit lists its constants
MAX_HELLO_BYTES = 4096

_LENGTH = struct.Struct("<I")
_CREDENTIALS = struct.Struct("3i")  # struct ucred
_JOINED_BYTES = 64 << 10  # smaller payloads are copied to one buffer with the header
_BUFFER_BYTES = 256 << 10


def encode_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text


def decode_header(text: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Raises ProtocolError."""
    try:
        header = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame's header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise ProtocolError("a frame's header is no JSON object")
    return header


def header_length(prefix: bytes | bytearray | memoryview, limit: int = MAX_HEADER_BYTES) -> int:
    """Raises ProtocolError: it is longer than `limit`."""
    (length,) = _LENGTH.unpack(prefix)
    if length > limit:
        raise ProtocolError(f"a frame's header of {length} bytes; the limit is {limit}")
    return int(length)


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Return pid and user id of who connected, or began to listen."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


class Connection:
    """One end of a connection. Any thread may send; one thread at a time receives.

    Owns the socket, which blocks. close() may be called by any thread, once nobody is inside of
    send() or a receiving method: shut_down() ends those first.

    Parameters
    ----------
    connected : socket
    received : bytes
        What was read from it already.
    """

    def __init__(self, connected: socket.socket, received: bytes = b"") -> None:
        self.own_error: BaseException | None = None  # because of which this side has ended it
        self._socket = connected
        self._sending = threading.Lock()
        self._buffer = memoryview(bytearray(max(_BUFFER_BYTES, len(received))))
        self._buffer[: len(received)] = received
        self._begin, self._end = 0, len(received)

    def peer(self) -> tuple[int, int]:
        return peer_of(self._socket)

    def shut_down(self) -> None:
        """End all sending and receiving, in other threads, too. Idempotent."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def give_up(self, error: BaseException) -> None:
        """Shut down because of an error of this side, which `own_error` says from then on."""
        self.own_error = self.own_error or error
        self.shut_down()

    def close(self) -> None:
        with self._sending:
            self._socket.close()

    def abandon(self) -> None:
        """Close it in a forked child, where nobody sends."""
        self._socket.close()

    # ---- sending ----

    def send(self, header: dict[str, Any], payloads: Sequence[Any] = ()) -> None:
        """Send a frame. Large payloads are not copied.

        What is raised within a frame ends the connection: the other side would take what comes next
        for the rest of this one.

        Parameters
        ----------
        header : dict
            Without "payloads".
        payloads : sequence
            Of bytes-like objects; other iterables give the pieces of a stream, bytes each.
        """
        sizes = list[int]()
        parts: list[memoryview | Iterable[bytes]] = []
        for payload in payloads:
            try:
                view = memoryview(payload).cast("B")
            except TypeError:
                sizes.append(STREAM)
                parts.append(payload)
            else:
                sizes.append(len(view))
                parts.append(view)
        small = [encode_header(header | {"payloads": sizes} if sizes else header)]
        with self._sending:
            try:
                for part in parts:
                    if not isinstance(part, memoryview):
                        small = self._send_stream(small, part)
                    elif len(part) < _JOINED_BYTES:
                        small.append(bytes(part))
                    else:
                        self._send_all(b"".join(small))
                        small.clear()
                        self._send_all(part)
                self._send_all(b"".join(small))
            except BaseException:
                self.shut_down()
                raise

    def send_within(self, header: dict[str, Any], seconds: float) -> bool:
        """Send a small frame without payloads, if there is room for it in this time."""
        deadline = time.monotonic() + seconds
        if not self._sending.acquire(timeout=seconds):
            return False
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            left = max(deadline - time.monotonic(), 0.0)
            if not poll.poll(left * 1000):
                return False
            data = encode_header(header)
            return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False
        finally:
            self._sending.release()

    def _send_stream(self, before: list[bytes], pieces: Iterable[bytes]) -> list[bytes]:
        """Returns what is left to be sent."""
        size = sum(map(len, before))
        for piece in self._read_pieces(pieces):
            for begin in range(0, len(piece), _BUFFER_BYTES):
                part = piece[begin : begin + _BUFFER_BYTES]
                before += (_LENGTH.pack(len(part)), part)
                size += len(part)
            if size >= _JOINED_BYTES:
                self._send_all(b"".join(before))
                before.clear()
                size = 0
        before.append(_LENGTH.pack(0))
        return before

    def _read_pieces(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except Exception as error:
            self.give_up(error)
            raise

    def _send_all(self, data: bytes | memoryview) -> None:
        if data:
            self._socket.sendall(data)

    # ---- receiving ----

    def receive(self) -> dict[str, Any] | None:
        """Return the next frame's header, None at the end. Its payloads have to be read next.

        Raises
        ------
        ProtocolError, OSError
        """
        if self._begin == self._end and not self._fill():
            return None
        prefix = self.read(_LENGTH.size)
        header = decode_header(self.read(header_length(prefix)))
        sizes = header.setdefault("payloads", [])
        if not isinstance(sizes, list) or not all(type(n) is int and n >= -1 for n in sizes):
            raise ProtocolError(f"a frame's payloads are {sizes!r}")
        return header

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes: for small ones."""
        if size <= self._end - self._begin:
            self._begin += size
            return bytes(self._buffer[self._begin - size : self._begin])
        # Not all at once: who says 256 MiB has to send them before they take up memory.
        data = bytearray()
        while len(data) < size:
            if self._begin == self._end and not self._fill():
                raise ProtocolError("the connection ended within a frame")
            step = min(size - len(data), self._end - self._begin)
            data += self._buffer[self._begin : self._begin + step]
            self._begin += step
        return bytes(data)

    def read_into(self, target: memoryview) -> None:
        """Fill the buffer: what was not read yet is written there by the kernel."""
        done = min(len(target), self._end - self._begin)
        target[:done] = self._buffer[self._begin : self._begin + done]
        self._begin += done
        while done < len(target):
            count = self._socket.recv_into(target[done:])
            if count == 0:
                raise ProtocolError("the connection ended within a frame")
            done += count

    def skip(self, size: int) -> None:
        """Read a payload of this size, or a stream, to nowhere."""
        if size == STREAM:
            stream = StreamReader(self)
            while stream.read(_BUFFER_BYTES):
                pass
            return
        while size:
            if self._begin == self._end and not self._fill():
                raise ProtocolError("the connection ended within a frame")
            step = min(size, self._end - self._begin)
            self._begin += step
            size -= step

    def _fill(self) -> bool:
        """Requires: the buffer is empty. False: the end."""
        self._begin, self._end = 0, self._socket.recv_into(self._buffer)
        return self._end > 0


class StreamReader:
    """A payload that is a stream, as a file to read. Read it to its end: finish() does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = 0
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        pieces = list[bytes]()
        while size != 0 and not self._ended:
            if self._left == 0:
                self._left = header_length(self._connection.read(_LENGTH.size), _BUFFER_BYTES)
                self._ended = self._left == 0
                continue
            step = self._left if size < 0 else min(size, self._left)
            pieces.append(self._connection.read(step))
            self._left -= step
            size -= step if size > 0 else 0
        return b"".join(pieces)

    def finish(self) -> None:
        while self.read(_BUFFER_BYTES):
            pass
