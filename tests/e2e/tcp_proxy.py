"""A TCP proxy that is as bad as a test wants it: slow, stuck, cut off, closed on one side."""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Literal

Direction = Literal["to_server", "to_client"]

_CHUNK = 1 << 16
_MOST_HELD = 1 << 22  # bytes of one direction; then the sender has to wait


class Proxy:
    """Hands on what clients of `address` send to `target`, and back. Thread-safe.

    Its sockets are made where it is made and in a thread that starts there, so that it may stand in
    another network namespace (machines.Machine.entered).

    Attributes
    ----------
    address : tuple
        Host and port for clients.
    """

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server((host, port), backlog=1024)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._delay = 0.0
        self._stalled: set[Direction] = set()
        self._pipes: list[_Pipe] = []
        self._orders: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._closing = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.address[1]}")
        self._thread.start()

    def delay(self, seconds: float) -> None:
        """Hold everything that comes from now on for so long."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def stall(self, *directions: Direction) -> None:
        """Hand nothing on in these directions, or in both, until resume(); connections stay."""
        self._do(lambda: self._stalled.update(directions or ("to_server", "to_client")))

    def resume(self) -> None:
        """Hand on again, also what was held."""
        self._do(self._stalled.clear)

    def reset(self) -> None:
        """End all connections with a reset, at both ends. New ones are taken."""
        self._do(self._reset)

    def half_close(self, direction: Direction) -> None:
        """Close this direction of all connections, as a peer that has no more to say."""
        self._do(lambda: self._half_close(direction))

    @property
    def connections(self) -> int:
        """How many there are."""
        count: list[int] = []
        self._do(lambda: count.append(len(self._pipes) // 2))
        return count[0]

    def close(self) -> None:
        """End with all connections. Idempotent."""
        with self._lock:
            self._closing = True
        self._wake_sender.send(b"x")
        self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- in the proxy's thread

    def _do(self, action: Callable[[], object]) -> None:
        """Do it in the proxy's thread; return when it is done."""
        done = threading.Event()

        def order() -> None:
            action()
            done.set()

        with self._lock:
            if self._closing:
                raise RuntimeError("the proxy is closed")
            self._orders.append(order)
        self._wake_sender.send(b"x")
        done.wait()

    def _run(self) -> None:
        while True:
            with self._lock:
                orders, self._orders = self._orders, []
                closing = self._closing
            for order in orders:
                order()
            if closing:
                break
            self._serve(time.monotonic())
            self._wait()
        for pipe in self._pipes:
            pipe.source.close()
        for end in (self._listener, self._wake_receiver, self._wake_sender):
            end.close()

    def _wait(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            wanted: dict[socket.socket, int] = {}
            due = None
            for pipe in self._pipes:
                if pipe.wants_to_read():
                    wanted[pipe.source] = wanted.get(pipe.source, 0) | selectors.EVENT_READ
                if pipe.direction in self._stalled or not pipe.held:
                    continue
                if pipe.held[0][0] <= time.monotonic():
                    wanted[pipe.sink] = wanted.get(pipe.sink, 0) | selectors.EVENT_WRITE
                else:
                    due = min(due or pipe.held[0][0], pipe.held[0][0])
            for end, events in wanted.items():
                selector.register(end, events)
            selector.select(None if due is None else max(due - time.monotonic(), 0))
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(_CHUNK)

    def _serve(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)
        for pipe in list(self._pipes):
            try:
                pipe.read(now + self._delay)
                if pipe.direction not in self._stalled:
                    pipe.write(now)
            except OSError:
                self._drop(pipe, with_reset=True)
        for pipe in list(self._pipes):
            if pipe in self._pipes and pipe.ended and pipe.twin.ended:
                self._drop(pipe, with_reset=False)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            _close_with_reset(client)
            return
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = _Pipe("to_server", client, server), _Pipe("to_client", server, client)
        there.twin, back.twin = back, there
        self._pipes += [there, back]

    def _drop(self, pipe: _Pipe, with_reset: bool) -> None:
        if pipe not in self._pipes:
            return
        for each in (pipe, pipe.twin):
            self._pipes.remove(each)
            if with_reset:
                _close_with_reset(each.source)
            else:
                each.source.close()

    def _reset(self) -> None:
        while self._pipes:
            self._drop(self._pipes[0], with_reset=True)

    def _half_close(self, direction: Direction) -> None:
        for pipe in self._pipes:
            if pipe.direction == direction:
                pipe.end()


class _Pipe:
    """One direction of a connection."""

    twin: _Pipe

    def __init__(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        self.direction = direction
        self.source = source
        self.sink = sink
        self.held: collections.deque[tuple[float, bytes]] = collections.deque()  # b"": its end
        self.held_bytes = 0
        self.read_all = False
        self.ended = False  # the receiver gets no more

    def wants_to_read(self) -> bool:
        return not self.read_all and self.held_bytes < _MOST_HELD

    def read(self, due: float) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.wants_to_read():
                data = self.source.recv(_CHUNK)
                self.read_all = not data
                if not self.ended:
                    last = self.held[-1][0] if self.held else due
                    self.held.append((max(due, last), data))
                    self.held_bytes += len(data)

    def write(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.held and self.held[0][0] <= now:
                due, data = self.held[0]
                if not data:
                    return self.end()
                sent = self.sink.send(data)
                self.held_bytes -= sent
                if sent < len(data):
                    self.held[0] = (due, data[sent:])
                else:
                    self.held.popleft()

    def end(self) -> None:
        self.ended = True
        self.held.clear()
        self.held_bytes = 0
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


def _close_with_reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
