"""A client of a service on a Unix socket: what it asks, does and is told.

rain.engine.frames says what frames are, rain.engine.standalone what is in them.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import select
import shutil
import threading

from rain.common.errors import ProtocolError, RainException
from rain.engine import frames, receive, trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from rain.governor.host_session import HostSession
    from rain.governor.unix_service import UnixService

_MOST_QUEUED = 100  # messages for a client that does not read; then it is not heard either
_MOST_LOG_LINES = 10_000  # likewise; further ones are lost
_MOST_WAITING = 16  # questions of one client that take their time
_LOG_SECONDS = 2.0  # for lines of tasks, when their client leaves

_log = logging.getLogger("rain.governor")


class UnixClient:
    """A client that has greeted, and its sessions.

    One thread receives and does what is asked; one sends: answers, and the updates of all sessions.
    They end when the connection does, or the client's process. Then the sessions are closed.
    """

    def __init__(
        self,
        service: UnixService,
        connection: frames.Connection,
        name: str,
        pid: int,
        log_level: int,
    ) -> None:
        self.name = name
        self._log_level = log_level  # of its coming and going
        self._service = service
        self._host = service.host
        self._connection = connection
        self._lock = threading.Lock()
        self._taken = threading.Condition(self._lock)  # something was taken out of the outbox
        self._sessions: dict[int, HostSession] = {}  # by the client's number
        self._by_fd: dict[int, int] = {}  # descriptor of updates: the client's number
        self._outbox: collections.deque[tuple[dict[str, Any], Sequence[Any]]] = collections.deque()
        self._log_lines = 0  # in the outbox
        self._lost_lines = 0  # that it has not been told of
        self._waiting = 0  # questions with a thread of their own
        self._ended = False
        self._sends = True  # until the thread that does has ended
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        # Its forked children may hold the connection.
        self._process = -1
        with contextlib.suppress(OSError):  # it may be gone, or in a place that has no number here
            self._process = os.pidfd_open(pid)
            self._poll.register(self._process, select.EPOLLIN)
        self._receiver = threading.Thread(target=self._receive, name="rain-client", daemon=True)
        self._sender = threading.Thread(target=self._send, name="rain-updates", daemon=True)

    def start(self) -> None:
        _log.log(self._log_level, "client %s has connected", self.name)
        self._sender.start()
        self._receiver.start()

    def say_goodbye(self, why: str) -> None:
        self._queue({"is": "ending", "text": why})
        self._queue({})

    def end(self, seconds: float) -> None:
        """Wait so long for the client to have taken the news, then end its connection."""
        self._sender.join(seconds)
        self._connection.shut_down()
        self._receiver.join()

    # ---- the thread that receives ----

    def _receive(self) -> None:
        why = "it has left"
        try:
            while (header := self._connection.receive()) is not None:
                if header.get("do") == "leave":
                    self._close_sessions()
                    self._host.drain_logs(_LOG_SECONDS)
                    self._queue({})  # after what is on its way
                    self._sender.join()
                    break
                self._do(header)
                with self._lock:
                    self._taken.wait_for(
                        lambda: len(self._outbox) <= _MOST_QUEUED or not self._sends
                    )
            else:
                why = "its connection ended"
        except OSError as error:
            why = f"its connection broke: {error.strerror}"
        except Exception as error:
            why = f"it said something that this service does not understand: {error}"
            _log.warning("client %s was put down: %s", self.name, why, exc_info=True)
        # The client that leaves waits for the end of the connection: by then all has ended here.
        self._close_sessions()
        self._ended = True
        self._connection.shut_down()
        self._nudge()
        self._sender.join()
        self._connection.close()
        with self._lock:
            self._poll.close()
            os.close(self._wake)
            self._wake = -1
        if self._process >= 0:
            os.close(self._process)
        self._service.forget(self)
        _log.log(self._log_level, "client %s is gone: %s", self.name, why)

    def _close_sessions(self) -> None:
        with self._lock:
            numbers = list(self._sessions)
        for number in numbers:
            self._close(number)

    def _do(self, header: dict[str, Any]) -> None:
        """Do what a frame asks for, and read its payloads."""
        sizes = header["payloads"]
        match header.get("do"):
            case "open":
                self._open(header)
            case "submit":
                self._submit(header)
                return
            case "cancel":
                if session := self._session(header):
                    session.cancel(header["tasks"])
            case "unkeep":
                if session := self._session(header):
                    session.unkeep(header["objects"])
            case "close":
                self._close(header["session"])
            case "ask":
                self._answer(header)
        for size in sizes:
            self._connection.skip(size)

    def _session(self, header: dict[str, Any]) -> HostSession | None:
        with self._lock:
            return self._sessions.get(header["session"])

    def _open(self, header: dict[str, Any]) -> None:
        number = int(header["session"])
        session = self._host.open_session(
            str(header["name"]),
            bool(header["continue"]),
            client=self.name,
            client_session=number,
            on_log=self._queue_log_lines,
        )
        with self._lock:
            if number in self._sessions:
                session.close()
                raise ProtocolError(f"session {number} is open already")
            self._sessions[number] = session
            self._by_fd[session.fd()] = number
            self._poll.register(session.fd(), select.EPOLLIN)

    def _close(self, number: int) -> None:
        with self._lock:
            session = self._sessions.pop(number, None)
            if session is None:
                return
            self._poll.unregister(session.fd())
            del self._by_fd[session.fd()]
        session.close()

    def _submit(self, header: dict[str, Any]) -> None:
        """Receive a batch with its data and submit it. What is refused, the client is told."""
        sizes = list(header["payloads"])
        if len(sizes) != 1 + len(header["data"]) or sizes[0] < 0:
            raise ProtocolError("a submit whose payloads are not its batch and its data")
        batch = self._connection.read(sizes.pop(0))
        session = self._session(header)
        data: dict[int, Any] = {}
        answer: dict[str, Any] = {"is": "submitted", "submit": header["submit"]}
        submitted = False
        try:
            for size, (number, kind) in zip(sizes, header["data"], strict=True):
                if session is None or "text" in answer:
                    self._connection.skip(size)
                    continue
                try:
                    data[number] = receive.receive(self._host.engine, self._connection, kind, size)
                except (RainException, OSError) as error:
                    answer |= {"is": "refused", "text": f"its inputs found no place: {error}"}
            if session is None:
                return
            if "text" not in answer:
                try:
                    session.submit(batch, data)
                    submitted = True
                except RainException as error:
                    answer |= {"is": "refused", "text": str(error)}
            self._queue(answer)
        finally:
            if not submitted:
                for path in data.values():
                    if isinstance(path, str):
                        shutil.rmtree(path, ignore_errors=True)

    # ---- questions ----

    def _answer(self, header: dict[str, Any]) -> None:
        number, operation = header["number"], header["operation"]
        arguments = header["arguments"]
        if operation == "fetch":
            self._reply(number, lambda: self._fetch(number, arguments))
        elif operation in ("learn_tasks", "ping"):
            with self._lock:
                self._waiting += 1
                too_many = self._waiting > _MOST_WAITING
            if too_many:
                self._reply(number, _too_many, True)
                return
            threading.Thread(
                target=self._reply,
                args=(number, lambda: self._host.ask(operation, self.name, **arguments), True),
                name="rain-question",
                daemon=True,
            ).start()
        elif operation == "status":
            self._reply(number, self._service.status)
        elif operation == "store":
            self._reply(number, lambda: [self._host.store()])
        elif operation == "stop":
            self._reply(number, lambda: None)
            self._service.stop("it was asked to")
        else:
            self._reply(number, lambda: self._host.ask(operation, self.name, **arguments))

    def _reply(self, number: int, ask: Callable[[], Any], waiting: bool = False) -> None:
        answer: dict[str, Any] = {"is": "answer", "number": number}
        try:
            answer["value"] = ask()
        except (RainException, OSError) as error:
            answer["error"] = [type(error).__name__, str(error)]
        except Exception as error:
            _log.warning("a question of client %s failed", self.name, exc_info=True)
            answer["error"] = [type(error).__name__, f"{type(error).__name__}: {error}"]
        finally:
            if waiting:
                with self._lock:
                    self._waiting -= 1
        self._queue(answer)

    def _fetch(self, number: int, arguments: dict[str, Any]) -> None:
        """Queue the data of objects; those that are gone are left out."""
        session = self._session(arguments)
        for object_id in arguments["objects"]:
            blob = None if session is None else session.view(object_id)
            if blob is None:
                continue
            header = {
                "is": "data",
                "number": number,
                "session": arguments["session"],
                "object": object_id,
                "kind": "blob" if blob._path is None else "tree",
            }
            self._queue(header, [blob if blob._path is None else _tree(blob)])

    # ---- the thread that sends ----

    def _queue(self, header: dict[str, Any], payloads: Sequence[Any] = ()) -> None:
        """Any thread. An empty header ends the connection."""
        self._outbox.append((header, payloads))
        self._nudge()

    def _queue_log_lines(self, lines: list[Any], lost: int) -> None:
        with self._lock:
            room = max(_MOST_LOG_LINES - self._log_lines, 0)
            self._lost_lines += lost + len(lines[room:])
            lines = lines[:room]
            if not lines and self._log_lines:
                return  # after those that wait
            lost, self._lost_lines = self._lost_lines, 0
            self._log_lines += len(lines)
        self._queue({"is": "log", "lines": lines, "lost": lost})

    def _nudge(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _send(self) -> None:
        try:
            while not self._ended:
                for fd, _ in self._poll.poll():
                    if fd == self._process:
                        self._connection.shut_down()  # the receiver sees to the rest
                        return
                    if fd == self._wake:
                        os.eventfd_read(self._wake)
                    else:
                        self._send_updates(fd)
                while self._outbox and not self._ended:
                    header, payloads = self._take()
                    if not header:
                        self._connection.shut_down()
                        return
                    self._connection.send(header, payloads)
        except Exception as error:
            if not isinstance(error, OSError) or self._connection.own_error is not None:
                _log.exception("sending to client %s failed: its connection is ended", self.name)
            self._connection.shut_down()
        finally:
            with self._lock:
                self._sends = False
                self._taken.notify_all()

    def _take(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """Take the next message out of the outbox, which has one."""
        with self._lock:
            header, payloads = self._outbox.popleft()
            self._taken.notify_all()
            if header.get("is") != "log":
                return header, payloads
            self._log_lines -= len(header["lines"])
            if self._log_lines == 0:
                header["lost"] += self._lost_lines
                self._lost_lines = 0
        return header, payloads

    def _send_updates(self, fd: int) -> None:
        with self._lock:
            number = self._by_fd.get(fd)
            session = None if number is None else self._sessions.get(number)
        if session is None:
            return
        updates, _ = session.take_updates()
        if updates:
            self._connection.send({"is": "updates", "session": number}, [updates])


def _tree(blob: Any) -> Iterator[bytes]:
    """The tar stream of a directory, which stays as long as its `blob`."""
    yield from trees.pack(blob._path)


def _too_many() -> None:
    raise RainException(f"this client waits for {_MOST_WAITING} answers already: ask again later")
