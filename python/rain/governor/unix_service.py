"""A governor for several clients of one user on this machine: a service on a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import resource
import select
import signal
import socket
import threading
import time

from rain.common.errors import ConnectionFailed, ProtocolError, RainException
from rain.engine import frames
from rain.engine.standalone import check_version, default_socket
from rain.governor.host import Host
from rain.governor.strangers import GREETING_SECONDS, Complaints, Stranger
from rain.governor.unix_client import UnixClient
from rain.governor.unix_listener import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

__all__ = ["default_socket", "serve"]

_ACCEPTED_AT_ONCE = 32
_MOST_CLIENTS = 256
_ENDING_SECONDS = 1.0  # for a client to take the news that the service ends
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = logging.getLogger("rain.governor")


def serve(
    *,
    socket: str = "",
    cpus: int | None = None,
    config: str | None = None,
    work_directory: str | None = None,
    log_directory: str | None = None,
    ready: Callable[[], None] | None = None,
    **options: Any,
) -> None:
    """Be a service until SIGTERM, SIGINT or SIGHUP comes, or a client asks it to stop.

    Parameters
    ----------
    socket : str
        Its path; default: default_socket().
    cpus, config
        As for Client.
    work_directory : str, optional
        Where the private directory for data and sockets is made.
    log_directory : str, optional
        Where the caller's log goes: what status() says.
    ready : callable, optional
        Called once clients can connect.
    **options
        What else Host.start() takes: executors, memory, resources, …

    Raises
    ------
    ConfigError
        An argument is wrong, or another service has the socket.
    RainException
        Its governor failed.
    OSError
    """
    path = os.path.abspath(socket or default_socket())
    with contextlib.ExitStack() as stack:
        wish = stack.enter_context(_WishToEnd())
        listener = stack.enter_context(Listener(path))
        host = stack.enter_context(
            Host.start(
                address=f"unix:{path}", cpus=cpus, config_file=config,
                run_directory=work_directory, log_directory=log_directory or "", **options,
            )
        )  # fmt: skip
        service = stack.enter_context(UnixService(host, listener.socket, wish))
        listener.open()
        _log.debug("listening on %s", path)
        if ready is not None:
            ready()
        service.run()


class _WishToEnd:
    """What ends a service: a signal that comes while this is entered, or who calls express().

    Its descriptor is readable from then on.
    """

    def __init__(self) -> None:
        self.why = ""
        self.fd = -1
        self._before: dict[signal.Signals, Any] = {}

    def express(self, why: str) -> None:
        """Any thread, and a signal handler."""
        self.why = self.why or why
        os.eventfd_write(self.fd, 1)

    def __enter__(self) -> _WishToEnd:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.express(f"it got {signal.Signals(number).name}")


class UnixService:
    """The clients of one Host that come through one socket.

    run() is called by one thread, stop() by any. Does not own the host, nor the listening socket.
    """

    def __init__(self, host: Host, listening: socket.socket, wish: _WishToEnd) -> None:
        self.host = host
        self._listening = listening
        self._wish = wish
        self._poll = select.epoll()
        self._strangers: dict[int, Stranger] = {}  # by descriptor, the oldest first
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_strangers = min(max(limit // 4, 16), 1024)
        self._lock = threading.Lock()
        self._clients = set[UnixClient]()
        self._complaints = Complaints()
        self._failure = ""

    def stop(self, why: str) -> None:
        """Let run() return. Any thread."""
        self._wish.express(why)

    def fail(self, why: str) -> None:
        """Let run() raise RainException. Any thread."""
        self._failure = why
        self.stop(why)

    def status(self) -> dict[str, Any]:
        """Return what ``rain status`` shows. Any thread."""
        from rain.dashboard.status import merge_status

        governor = self.host.status()
        of_process = {key: governor[key] for key in ("address", "pid")}
        return merge_status("standalone", governor["began"], [governor], **of_process)

    def forget(self, client: UnixClient) -> None:
        with self._lock:
            self._clients.discard(client)

    def __enter__(self) -> UnixService:
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections, and their sessions."""
        self._listening.close()
        for stranger in self._strangers.values():
            stranger.socket.close()
        self._poll.close()
        with self._lock:
            clients = list(self._clients)
        why = self._wish.why or "it failed"
        for client in clients:
            client.say_goodbye(why)
        deadline = time.monotonic() + _ENDING_SECONDS
        for client in clients:
            client.end(max(deadline - time.monotonic(), 0.0))
        self._complaints.sum_up()
        _log.info("ended: %s", why)

    def run(self) -> None:
        self._listening.setblocking(False)
        self._poll.register(self._listening, select.EPOLLIN)
        self._poll.register(self._wish.fd, select.EPOLLIN)
        self.host.on_end(lambda: self.fail(self.host.why_ended() or "its governor has failed"))
        while not self._wish.why:
            knocks = False
            for fd, _ in self._poll.poll(self._seconds_to_look()):
                if fd == self._listening.fileno():
                    knocks = True
                elif fd in self._strangers:
                    self._hear(fd)
            if knocks:  # after the others: who came first may have to go
                self._accept()
            self._see_off_the_slow()
        if self._failure:
            raise RainException(f"the service ends: {self._failure}")

    # ---- strangers: who has connected and not greeted ----

    def _seconds_to_look(self) -> float | None:
        first = next(iter(self._strangers.values()), None)
        return None if first is None else max(first.deadline - time.monotonic(), 0.0) + 0.01

    def _accept(self) -> None:
        # Not all that wait: the others get their turn, too.
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connected, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # it went, or there are no descriptors
                self._complaints.add(f"it could not be accepted: {error.strerror}")
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._strangers:
                    self._refuse(next(iter(self._strangers)), "there are no descriptors left")
                return
            if len(self._strangers) >= self._most_strangers:
                self._refuse(next(iter(self._strangers)), "many more came before it had greeted")
            connected.setblocking(False)
            self._strangers[connected.fileno()] = Stranger(connected)
            self._poll.register(connected, select.EPOLLIN)

    def _see_off_the_slow(self) -> None:
        now = time.monotonic()
        for fd, stranger in list(self._strangers.items()):
            if stranger.deadline > now:
                return
            self._refuse(fd, f"it had not greeted within {GREETING_SECONDS:.0f} s")

    def _refuse(self, fd: int, why: str, tell: bool = False) -> None:
        stranger = self._strangers.pop(fd)
        if why:
            self._complaints.add(why)
        if tell:
            self._answer(stranger.socket, {"error": why})
        stranger.socket.close()

    def _answer(self, connected: socket.socket, values: dict[str, Any]) -> None:
        offer = self.host.offer()
        greeting = {"rain": "governor", "version": frames.VERSION, "release": offer["version"]}
        with contextlib.suppress(OSError):  # a fresh socket has room for it
            connected.send(frames.encode_header(greeting | values))

    def _hear(self, fd: int) -> None:
        stranger = self._strangers[fd]
        try:
            hello = stranger.read()
            if hello is None:
                return
            _, uid = frames.peer_of(stranger.socket)
            if uid != os.getuid():
                self._refuse(fd, f"user {uid} is not who runs this service", tell=True)
            elif hello.get("rain") != "client":
                self._refuse(fd, 'it is no client: its greeting has not "rain": "client"')
            elif len(self._clients) >= _MOST_CLIENTS:
                self._refuse(fd, f"it has {_MOST_CLIENTS} clients already", tell=True)
            else:
                check_version(hello, "the client", "this service")
                self._welcome(self._strangers.pop(fd), hello)
        except ConnectionFailed as error:
            # The client says it in its own words: it compares the versions, too.
            self._refuse(fd, str(error), tell=True)
        except ProtocolError as error:
            self._refuse(fd, f"it is no client: {error}")
        except EOFError:
            self._refuse(fd, "")
        except OSError as error:
            self._refuse(fd, f"its connection broke: {error.strerror}")

    def _welcome(self, stranger: Stranger, hello: dict[str, Any]) -> None:
        self._poll.unregister(stranger.socket)
        pid, _ = frames.peer_of(stranger.socket)
        name = self._name_of(f"{str(hello.get('program', ''))[:200]} (process {pid})")
        self._answer(stranger.socket, self.host.offer() | {"version": frames.VERSION})
        stranger.socket.setblocking(True)
        connection = frames.Connection(stranger.socket, stranger.rest())
        level = logging.DEBUG if hello.get("asks") else logging.INFO  # a command, and many of them
        client = UnixClient(self, connection, name, pid, level)
        with self._lock:
            self._clients.add(client)
        client.start()

    def _name_of(self, program: str) -> str:
        """A name that no other client has: a program may have several."""
        with self._lock:
            taken = {client.name for client in self._clients}
        names = (f"{program}, client {number}" for number in itertools.count(2))
        return next(name for name in itertools.chain([program], names) if name not in taken)
