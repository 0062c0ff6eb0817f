"""A governor for several clients of one user on this machine: a service on a Unix socket.

rain.engine.frames says what frames are, rain.engine.standalone what is in them.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import itertools
import logging
import os
import resource
import select
import shutil
import signal
import socket
import stat
import threading
import time

from rain.common.errors import ConfigError, ConnectionFailed, ProtocolError, RainException
from rain.engine import frames, receive, trees
from rain.engine.standalone import check_version, default_socket
from rain.governor.host import Host
from rain.governor.host_session import HostSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType
    from typing import Any

__all__ = ["default_socket", "serve"]

_GREETING_SECONDS = 5.0  # for a client to greet
_ACCEPTED_AT_ONCE = 32
_MOST_CLIENTS = 256
_MOST_QUEUED = 100  # messages for a client that does not read; then it is not heard either
_MOST_LOG_LINES = 10_000  # likewise; further ones are lost
_MOST_WAITING = 16  # questions of one client that take their time
_COMPLAINT_SECONDS = 60.0  # between two lines about the same kind of stranger
_LOG_SECONDS = 2.0  # for lines of tasks, when their client leaves
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
        listener = stack.enter_context(_Listener(path))
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


class _Listener:
    """The socket, and that nobody else has its path: a lock on a file beside it, while it lives.

    The lock says whether the socket of that name is a dead service's, which is replaced.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = -1
        self._bound = False
        _make_folder(os.path.dirname(path))
        self._lock = _lock(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def open(self) -> None:
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise ConfigError(f"{self.path} is no socket: remove it, or give another --socket")
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        # Nobody can connect before it is ours alone.
        mask = os.umask(0o177)
        try:
            self.socket.bind(self.path)
        except OSError as error:
            raise ConfigError(f"no socket can be made at {self.path}: {error}") from error
        finally:
            os.umask(mask)
        self._bound = True
        self.socket.listen(512)

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        with contextlib.suppress(OSError):
            if self._bound:
                os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.unlink(_lock_path(self.path))
        os.close(self._lock)


def _make_folder(folder: str) -> None:
    """Make the socket's directory, or see that no other user can put another socket there."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError as error:
        raise ConfigError(
            f"the socket's directory {folder} can't be made: {error.strerror}"
        ) from error
    if status.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"the socket's directory {folder} belongs to another user")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"other users may write to the socket's directory {folder}: chmod go-w {folder}"
        )


def _lock_path(path: str) -> str:
    return f"{path}.lock"


def _lock(path: str) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(_lock_path(path), flags, 0o600)
        except OSError as error:
            raise ConfigError(f"no service can have {path}: {error}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise ConfigError(
                f"a service has {path} already (process {owner or 'unknown'}): use that, stop it, "
                "or give another --socket"
            ) from error
        if os.fstat(fd).st_nlink:
            os.truncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
            return fd
        os.close(fd)  # its owner ended just now, and removed it


class UnixService:
    """The clients of one Host that come through one socket.

    run() is called by one thread, stop() by any. Does not own the host, nor the listening socket.
    """

    def __init__(self, host: Host, listening: socket.socket, wish: _WishToEnd) -> None:
        self.host = host
        self._listening = listening
        self._wish = wish
        self._poll = select.epoll()
        self._strangers: dict[int, _Stranger] = {}  # by descriptor, the oldest first
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_strangers = min(max(limit // 4, 16), 1024)
        self._lock = threading.Lock()
        self._clients = set[_Client]()
        self._complaints = _Complaints()
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

    def forget(self, client: _Client) -> None:
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
            self._strangers[connected.fileno()] = _Stranger(connected)
            self._poll.register(connected, select.EPOLLIN)

    def _see_off_the_slow(self) -> None:
        now = time.monotonic()
        for fd, stranger in list(self._strangers.items()):
            if stranger.deadline > now:
                return
            self._refuse(fd, f"it had not greeted within {_GREETING_SECONDS:.0f} s")

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

    def _welcome(self, stranger: _Stranger, hello: dict[str, Any]) -> None:
        self._poll.unregister(stranger.socket)
        pid, _ = frames.peer_of(stranger.socket)
        name = self._name_of(f"{str(hello.get('program', ''))[:200]} (process {pid})")
        self._answer(stranger.socket, self.host.offer() | {"version": frames.VERSION})
        stranger.socket.setblocking(True)
        connection = frames.Connection(stranger.socket, stranger.rest())
        level = logging.DEBUG if hello.get("asks") else logging.INFO  # a command, and many of them
        client = _Client(self, connection, name, pid, level)
        with self._lock:
            self._clients.add(client)
        client.start()

    def _name_of(self, program: str) -> str:
        """A name that no other client has: a program may have several."""
        with self._lock:
            taken = {client.name for client in self._clients}
        names = (f"{program}, client {number}" for number in itertools.count(2))
        return next(name for name in itertools.chain([program], names) if name not in taken)


class _Stranger:
    """A connection whose peer has not greeted yet."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.deadline = time.monotonic() + _GREETING_SECONDS
        self._data = b""

    def read(self) -> dict[str, Any] | None:
        """Return the greeting once it is whole. Raises EOFError, ProtocolError, OSError."""
        try:
            piece = self.socket.recv(frames.MAX_HELLO_BYTES)
        except BlockingIOError:
            return None
        if not piece:
            raise EOFError
        self._data += piece
        if len(self._data) < 4:
            return None
        self._length = 4 + frames.header_length(self._data[:4], frames.MAX_HELLO_BYTES)
        if len(self._data) < self._length:
            return None
        return frames.decode_header(self._data[4 : self._length])

    def rest(self) -> bytes:
        """What came behind the greeting."""
        return self._data[self._length :]


class _Complaints:
    """One line in the log for each kind of stranger, and how many more there were."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}  # when it was said; how many since

    def add(self, why: str) -> None:
        now = time.monotonic()
        said, more = self._kinds.get(why, (None, 0))
        if said is not None and now - said < _COMPLAINT_SECONDS:
            self._kinds[why] = said, more + 1
            return
        also = f" (and {more} before it)" if more else ""
        _log.warning("a connection was refused: %s%s", why, also)
        if len(self._kinds) >= 64:  # the reasons name what came
            self.sum_up()
        self._kinds[why] = now, 0

    def sum_up(self) -> None:
        for why, (_, more) in self._kinds.items():
            if more:
                _log.warning("%d more connections were refused: %s", more, why)
        self._kinds.clear()


class _Client:
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
