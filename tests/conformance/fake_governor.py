"""A governor that drives one executor process through its socket: the other half of the tests.

Speaks cbor-1 and cbor-2 (docs/protocol.md) with its own codec, so that a mistake in ours is not
made twice.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import minicbor

DEADLINE_SECONDS = 30.0
INLINE_LIMIT = 64 << 10
MAX_FRAME = 128 << 20  # bytes of payload
SLOTS = 512  # of the call board
QUEUED, RETRACTED, STARTED, CANCEL_REQUESTED, DONE = 1, 2, 3, 4, 5

Id = tuple[int, int]


class ConnectionLostError(Exception):
    """The executor closed its socket."""


def make_memfd(size: int, *, name: str = "region", seal: bool = True) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


class Region:
    """Shared memory, as the governor makes it."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.fd = make_memfd(size)
        self.memory = mmap.mmap(self.fd, size)

    def read_only_fd(self) -> int:
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class Board:
    """The call board: one word a call, (sequence << 32 | phase)."""

    def __init__(self) -> None:
        self.fd = make_memfd(SLOTS * 8, name="board")
        self.memory = mmap.mmap(self.fd, SLOTS * 8)

    def set(self, sequence: int, phase: int) -> None:
        at = sequence % SLOTS * 8
        self.memory[at : at + 8] = struct.pack("<Q", sequence << 32 | phase)

    def phase(self, sequence: int) -> int:
        at = sequence % SLOTS * 8
        (word,) = struct.unpack("<Q", self.memory[at : at + 8])
        assert word >> 32 == sequence
        return int(word & 0xFFFFFFFF)

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class Executor:
    """One executor process and this end of its socket. A context manager.

    Parameters
    ----------
    command
        The program and its arguments.
    directory
        Made for the executor: holds the socket and the logs, and is its working directory.
    protocol
        "cbor-1": only the two old variables are set, as an older governor does.
    """

    def __init__(
        self,
        command: list[str],
        directory: Path,
        protocol: str,
        *,
        executor_id: int = 7,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.protocol = protocol
        directory.mkdir(parents=True)
        path = directory / "socket"
        listener = socket.socket(socket.AF_UNIX)
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:  # the path may be longer than an address
            os.chdir(directory)
            listener.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
        listener.listen(1)
        listener.settimeout(DEADLINE_SECONDS)

        variables = {k: v for k, v in os.environ.items() if not k.startswith("RAIN_EXECUTOR")}
        variables["RAIN_EXECUTOR_SOCKET"] = str(path)
        variables["RAIN_EXECUTOR_ID"] = str(executor_id)
        if protocol == "cbor-2":
            variables["RAIN_EXECUTOR_PROTOCOLS"] = f"cbor-2@{path}"
        variables |= environment or {}
        with open(directory / "out", "wb") as out, open(directory / "err", "wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.regions: dict[int, Region] = {}
        self.board: Board | None = None
        self.sequence = 0
        self.results: dict[int, dict[str, Any]] = {}  # by sequence, not yet waited for
        self.messages: list[list[Any]] = []  # what else came
        self._in = b""
        self.socket: socket.socket | None = None
        try:
            self.socket = self._accept(listener)
        except BaseException:
            self.close()
            raise
        finally:
            listener.close()

    def _accept(self, listener: socket.socket) -> socket.socket:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            if select.select([listener], [], [], 0.05)[0]:
                connection, _ = listener.accept()
                connection.settimeout(DEADLINE_SECONDS)
                return connection
            if self.process.poll() is not None:
                raise ConnectionLostError(f"exited with {self.process.returncode}:\n{self.logs()}")
            assert time.monotonic() < deadline, f"does not connect:\n{self.logs()}"

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for shared in [*self.regions.values(), *([self.board] if self.board else [])]:
            shared.close()
        self.regions, self.board = {}, None

    def logs(self) -> str:
        return "".join(
            f"--- {name}\n{(self.directory / name).read_text(errors='replace')}"
            for name in ("out", "err")
        )

    def wait_exit(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    # ---- Frames ---------------------------------------------------------------------------------

    def send_raw(self, data: bytes, fds: list[int] | None = None) -> None:
        assert self.socket is not None
        sent = 0
        if fds:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            sent = self.socket.sendmsg([data], [rights])
        if sent < len(data):
            self.socket.sendall(data[sent:])

    @staticmethod
    def frame(message: list[Any]) -> bytes:
        payload = minicbor.dumps(message)
        return struct.pack("<I", len(payload)) + payload

    def send(self, name: str, data: dict[str, Any], fd: int | None = None) -> None:
        self.send_raw(self.frame([name, data]), None if fd is None else [fd])

    def receive(self) -> list[Any]:
        """The next message. Raises ConnectionLostError at the end."""
        while len(self._in) < 4 or len(self._in) < 4 + self._length():
            try:
                data = self.socket.recv(1 << 20) if self.socket else b""
            except ConnectionResetError:
                data = b""
            except TimeoutError:
                raise AssertionError(
                    f"no message in time; the executor's logs:\n{self.logs()}"
                ) from None
            if not data:
                raise ConnectionLostError(self.logs())
            self._in += data
        end = 4 + self._length()
        payload, self._in = self._in[4:end], self._in[end:]
        message = minicbor.loads(payload)
        assert isinstance(message, list)
        assert len(message) == 2
        return message

    def _length(self) -> int:
        return int(struct.unpack("<I", self._in[:4])[0])

    def at_end(self) -> bool:
        """True when the executor closed the connection and nothing is left to read."""
        try:
            message = self.receive()
        except ConnectionLostError:
            return True
        raise AssertionError(f"expected the end of the connection, got {message}")

    # ---- Conversation ---------------------------------------------------------------------------

    def expect_register(self) -> dict[str, Any]:
        name, data = self.receive()
        assert name == "register"
        return dict(data)

    def welcome(self, *, credit: int = 64, inline_limit: int = INLINE_LIMIT, **more: Any) -> None:
        self.board = Board()
        data = {"credit": credit, "inline_limit": inline_limit, "board": True, **more}
        self.send("welcome", data, self.board.fd)

    def start(self) -> Executor:
        """Registration, and the welcome of cbor-2."""
        self.registered = self.expect_register()
        if self.protocol == "cbor-2":
            self.welcome()
        return self

    def add_region(self, number: int, size: int) -> Region:
        self.regions[number] = region = Region(number, size)
        return region

    def send_region(self, region: Region) -> None:
        """For reading."""
        fd = region.read_only_fd()
        self.send("region", {"id": region.number, "size": region.size}, fd)
        os.close(fd)

    def lease(self, region: Region, free: list[tuple[int, int]], request: int = 0) -> None:
        data = {"id": region.number, "size": region.size, "writable": True, "free": free}
        if request:
            data["request"] = request
        self.send("region", data, region.fd)

    def wait_message(self, wanted: str) -> dict[str, Any]:
        """The data of the next message of that name; results are kept for wait_result()."""
        for i, (name, data) in enumerate(self.messages):
            if name == wanted:
                del self.messages[i]
                return dict(data)
        while True:
            name, data = self.receive()
            if name == wanted:
                return dict(data)
            self._put_away(name, data)

    def wait_result(self, sequence: int) -> dict[str, Any]:
        while sequence not in self.results:
            self._put_away(*self.receive())
        return self.results.pop(sequence)

    def _put_away(self, name: str, data: dict[str, Any]) -> None:
        if name != "result":
            self.messages.append([name, data])
        elif self.protocol == "cbor-2":
            assert data["seq"] not in self.results, "a second result of one call"
            self.results[data["seq"]] = data
        else:
            self.results[self.sequence] = data
