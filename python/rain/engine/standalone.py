"""The link of a client to a service on this machine (``rain governor --standalone``).

What goes over the socket: frames (rain.engine.frames). From the client, after its greeting:

    {"do": "open", "session", "name", "continue": bool}
    {"do": "submit", "session", "submit": number, "data": [[object, "blob" | "tree"], …]},
        payloads: the batch, then the data in this order: bytes, or a tar stream
    {"do": "cancel", "session", "tasks": [id, …]}
    {"do": "unkeep", "session", "objects": [id, …]}
    {"do": "close", "session"}
    {"do": "ask", "number", "operation", "arguments": {}}
    {"do": "leave"}: closes the sessions, then the service ends the connection

A client that only asks says "asks": true in its greeting.

And from the service:

    {"is": "updates", "session"}, payload: encoded updates, the ends of tasks
    {"is": "submitted", "submit": number}, or {"is": "refused", "submit": number, "text"}: then
        nothing of it was
    {"is": "data", "number", "session", "object", "kind": "blob" | "tree"}, payload: the data
    {"is": "answer", "number", "value"} or {"is": "answer", "number", "error": [class, text]}
    {"is": "log", "lines", "lost"}
    {"is": "ending", "text"}: the service closes

Sessions have the numbers that the client gave them. The data that ``"fetch"`` asks for come before
its answer.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import threading
import time
import weakref
from importlib.metadata import version

from rain.common import errors
from rain.common.errors import ConnectionFailed, RainException, UsageError
from rain.common.logfile import read_end
from rain.engine import frames, receive, trees
from rain.engine.mirror import MirrorEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rain import _core

_CONNECT_SECONDS = 4.0  # for all steps: an error comes within 5
_LAST_WORDS_SECONDS = 1.0
_LEAVE_SECONDS = 5.0  # for the service to close the sessions
_MOST_WELCOME_BYTES = 1 << 20
_MOST_PATH_BYTES = 107  # the kernel's
_HOW_TO_START = "start one with: rain governor --standalone --socket"


def default_socket() -> str:
    """Return where a service listens, and a client looks for it, if nothing else is said."""
    place = os.environ.get("XDG_RUNTIME_DIR")
    folder = os.path.join(place, "rain") if place else f"/tmp/rain-{os.getuid()}"
    return os.path.join(folder, "governor.sock")


def socket_path(address: str) -> str | None:
    """Return the path in ``unix:PATH``, or in an address that has a "/"; None: it is no path.

    ``unix:`` alone is the default socket. Raises UsageError.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:") or default_socket()
    elif "/" in address:
        path = address
    else:
        return None
    path = os.path.abspath(os.path.expanduser(path))
    size = len(os.fsencode(path))
    if size > _MOST_PATH_BYTES or "\0" in path:
        raise UsageError(
            f"{path!r} can't be the path of a socket: it has {size} bytes, and at most "
            f"{_MOST_PATH_BYTES} are possible"
            if size > _MOST_PATH_BYTES
            else f"{path!r} can't be the path of a socket"
        )
    return path


def connect(path: str) -> tuple[MirrorEngine, dict[str, str]]:
    """Return the engine of a client of the service there, and the languages of its executors.

    Raises
    ------
    ConnectionFailed
    """
    connection, offer = _greet(path)
    link = UnixLink(connection, path)
    try:
        languages = {str(name): str(its) for name, its in offer["executors"].items()}
        engine = MirrorEngine(
            link,
            executors=languages,
            cpus=offer["cpus"],
            resources=[(name, amount, ids) for name, amount, ids in offer["resources"]],
            task_memory_bytes=offer["task_memory_bytes"],
        )
    except BaseException:
        link.close()
        raise
    return engine, languages


def ask(socket: str, operation: str, **arguments: Any) -> Any:
    """Ask the service there one thing: "status", "store", "logs", "stop".

    Raises
    ------
    ConnectionFailed
    RainException
        What the service says.
    """
    connection, _ = _greet(socket, asks=True)
    try:
        connection.send({"do": "ask", "number": 1, "operation": operation, "arguments": arguments})
        while (header := connection.receive()) is not None:
            for size in header["payloads"]:
                connection.skip(size)
            if header.get("is") == "answer":
                return _value(header)
        raise ConnectionFailed(f"the service on {socket} ended before it answered")
    finally:
        connection.close()


def _value(answer: dict[str, Any]) -> Any:
    """The value, or what the other side raised."""
    if "error" not in answer:
        return answer.get("value")
    name, text = answer["error"]
    kind = getattr(errors, name, RainException)
    if not (isinstance(kind, type) and issubclass(kind, RainException)):
        kind = RainException
    raise kind(text)


# ---- the greeting ----


def _greet(path: str, **more: Any) -> tuple[frames.Connection, dict[str, Any]]:
    deadline = time.monotonic() + _CONNECT_SECONDS
    connected = _connect(path, deadline)
    try:
        _, uid = frames.peer_of(connected)
        if uid != os.getuid():
            raise ConnectionFailed(
                f"the service on {path} is user {uid}'s, this program user {os.getuid()}'s: start "
                "a service of your own"
            )
        program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
        hello = {
            "rain": "client",
            "version": frames.VERSION,
            "release": version("rain-tasklib"),
            "program": program[:200],
            **more,
        }
        received = b""
        try:
            connected.sendall(frames.encode_header(hello))
            header, received = _read_welcome(connected, path, deadline)
        except ConnectionFailed:
            raise
        except TimeoutError as error:
            said = f"only {received[:40]!r}" if received else "nothing"
            raise ConnectionFailed(
                f"what listens on {path} says {said}: it is no Rain service, or one that hangs"
            ) from error
        except OSError as error:
            raise ConnectionFailed(
                f"the connection to {path} ended at once ({error.strerror}): is that a Rain "
                "service, and did it refuse this client (see its log)?"
            ) from error
        check_version(header, "the service", "this client")
        if "error" in header:
            raise ConnectionFailed(f"the service on {path} refuses this client: {header['error']}")
        connected.settimeout(None)
        return frames.Connection(connected, received), header
    except BaseException:
        connected.close()
        raise


def check_version(greeting: dict[str, Any], other: str, own: str) -> None:
    """Raise ConnectionFailed if the other side speaks another version, saying which is older."""
    its = greeting.get("version")
    if its == frames.VERSION:
        return
    newer = isinstance(its, int) and its > frames.VERSION
    raise ConnectionFailed(
        f"{other} is {'newer' if newer else 'older'} (Rain {greeting.get('release')}, version "
        f"{its} of the protocol) than {own} (Rain {version('rain-tasklib')}, version "
        f"{frames.VERSION}): use the same release of rain-tasklib on both sides"
    )


def _connect(path: str, deadline: float) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(max(deadline - time.monotonic(), 0.01))
        while True:
            try:
                connected.connect(path)
                return connected
            except BlockingIOError as error:  # so many others are connecting
                if time.monotonic() > deadline:
                    raise ConnectionFailed(
                        f"what listens on {path} accepts no connections: it hangs, or is no Rain "
                        "service"
                    ) from error
                time.sleep(0.01)
    except OSError as error:
        connected.close()
        if isinstance(error, ConnectionFailed):
            raise
        raise ConnectionFailed(_why_not(path, error)) from None


def _why_not(path: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"there is no service on {path}; {_HOW_TO_START} {path}"
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        is_socket = True
    if not is_socket:
        return f"{path} is no socket; {_HOW_TO_START} PATH"
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens on {path}: its service has ended; {_HOW_TO_START} {path}"
    if error.errno == errno.EPROTOTYPE:
        return f"what listens on {path} is no Rain service: its socket is of another type"
    return f"no connection to {path}: {error.strerror}"


def _read_welcome(
    connected: socket.socket, path: str, deadline: float
) -> tuple[dict[str, Any], bytes]:
    """The service's greeting, and what came behind it. Raises TimeoutError."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connected.settimeout(left)
        piece = connected.recv(wanted - len(data))
        if not piece:
            break
        data += piece
        if len(data) == 4:
            wanted += int.from_bytes(data, "little")
            if wanted > _MOST_WELCOME_BYTES:
                break
    try:
        header = frames.decode_header(data[4:]) if len(data) == wanted else {}
    except errors.ProtocolError:
        header = {}
    if header.get("rain") != "governor":
        what = f"it answers {data[:40]!r}" if data else "it closed the connection at once"
        raise ConnectionFailed(f"what listens on {path} is no Rain service: {what}")
    return header, b""


# ---- the link ----


class UnixLink:
    """The Link of a service on this machine. See rain.engine.mirror.Link."""

    def __init__(self, connection: frames.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._service_pid = connection.peer()[0]
        self._receiver: threading.Thread | None = None
        self._lock = threading.Lock()
        self._questions: dict[int, _Question] = {}
        self._submits: dict[int, tuple[int, _core.Part]] = {}  # not answered yet: session, part
        self._last_number = 0
        self._ended = ""  # why
        self._leaving = False
        _links.add(self)

    def start(self, engine: MirrorEngine, /) -> None:
        self._receiver = threading.Thread(
            target=self._receive, args=(engine,), name="rain-receive", daemon=True
        )
        self._receiver.start()

    def close(self) -> None:
        receiver = self._receiver
        if receiver is not None and receiver is not threading.current_thread():
            self._leaving = True
            deadline = time.monotonic() + _LEAVE_SECONDS
            # The service may hang, with a thread of ours in the middle of telling it something.
            if self._connection.send_within({"do": "leave"}, _LEAVE_SECONDS):
                receiver.join(max(deadline - time.monotonic(), 0.0))
            self._connection.shut_down()
            receiver.join()
        self._connection.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's alone."""
        self._connection.abandon()

    # ---- what the engine tells ----

    def open_session(self, session: int, name: str, continue_on_error: bool, /) -> None:
        self._send({"do": "open", "session": session, "name": name, "continue": continue_on_error})

    def submit(self, submission: _core.Submission, /) -> None:
        try:
            self._submit(submission)
        except ConnectionFailed:
            raise
        except Exception as error:
            self._connection.give_up(error)
            raise

    def _submit(self, submission: _core.Submission) -> None:
        part = submission.whole()
        data = list[tuple[int, str]]()
        payloads: list[Any] = [part.batch]
        for object_id, blob in part.uploads:
            path = blob._path  # of a directory
            data.append((object_id, "blob" if path is None else "tree"))
            payloads.append(blob if path is None else trees.pack(path))
        session = submission.session_id
        with self._lock:
            self._last_number += 1
            number = self._last_number
            self._submits[number] = session, part
        self._send({"do": "submit", "session": session, "submit": number, "data": data}, payloads)

    def cancel(self, session: int, tasks: Sequence[int], /) -> None:
        self._send({"do": "cancel", "session": session, "tasks": list(tasks)})

    def unkeep(self, session: int, objects: Sequence[int], /) -> None:
        self._send({"do": "unkeep", "session": session, "objects": list(objects)})

    def close_session(self, session: int, /) -> None:
        self._send({"do": "close", "session": session})

    # ---- what it asks ----

    def ask(self, operation: str, /, **arguments: Any) -> Any:
        question = _Question()
        with self._lock:
            if self._ended:
                raise ConnectionFailed(self._ended)
            self._last_number += 1
            number = self._last_number
            self._questions[number] = question
        try:
            self._send(
                {"do": "ask", "number": number, "operation": operation, "arguments": arguments}
            )
            question.answered.wait()
        finally:
            with self._lock:
                self._questions.pop(number, None)
        if question.trouble is not None:
            raise question.trouble
        if question.answer is None:
            raise ConnectionFailed(self._ended)
        return _value(question.answer)

    def fetch(self, session: int, objects: Sequence[int], /) -> None:
        self.ask("fetch", session=session, objects=list(objects))

    def read_log(
        self, session: int, task: int, path: str, begin: int, end: int, /
    ) -> tuple[bytes, int]:
        return read_end(path, begin, end)

    def _send(self, header: dict[str, Any], payloads: Sequence[Any] = ()) -> None:
        try:
            self._connection.send(header, payloads)
        except OSError as error:
            receiver = self._receiver
            if receiver is not None and receiver is not threading.current_thread():
                receiver.join(_LAST_WORDS_SECONDS)  # why it ends, the service may have said
            raise ConnectionFailed(self._ended or self._gone(error)) from error

    def _gone(self, error: BaseException | None = None) -> str:
        own = self._connection.own_error
        if own is not None:
            return (
                f"the connection to the service on {self._path} was ended by an error here: {own}"
            )
        why = f" ({error})" if error is not None and str(error) else ""
        return (
            f"the service on {self._path} (process {self._service_pid}) is gone{why}: nothing that "
            "it ran or kept is left; when it runs again, create a new Client"
        )

    # ---- the thread that receives ----

    def _receive(self, engine: MirrorEngine) -> None:
        why = ""
        try:
            while (header := self._connection.receive()) is not None:
                if header.get("is") == "ending":
                    why = f"the service on {self._path} was stopped: {header.get('text')}"
                self._take(engine, header)
        except OSError as error:
            why = why or self._gone(error)
        except Exception as error:
            why = f"the connection to the service on {self._path} broke: {error}"
        self._connection.shut_down()
        with self._lock:
            self._ended = why or self._gone()
            questions = list(self._questions.values())
        if not self._leaving:
            engine.connection_lost(self._ended)
        for question in questions:
            question.answered.set()

    def _take(self, engine: MirrorEngine, header: dict[str, Any]) -> None:
        """Handle a frame and read its payloads."""
        sizes = header["payloads"]
        match header.get("is"):
            case "updates":
                updates = self._connection.read(sizes.pop(0))
                if not self._leaving:
                    engine.apply_updates(header["session"], updates)
            case "data" if not self._leaving:
                self._take_data(engine, header, sizes.pop(0))
            case "submitted" | "refused":
                with self._lock:
                    session, part = self._submits.pop(header["submit"])
                if header["is"] == "refused" and not self._leaving:
                    engine.fail_tasks(session, part.task_ids, header["text"], False)
            case "answer":
                with self._lock:
                    question = self._questions.get(header["number"])
                if question is not None:  # else Ctrl-C ended the wait for it
                    question.answer = header
                    question.answered.set()
            case "log":
                lines = [(tuple(line[0]), *line[1:]) for line in header["lines"]]
                engine.logs().push(lines, header["lost"])
        for size in sizes:
            self._connection.skip(size)

    def _take_data(self, engine: MirrorEngine, header: dict[str, Any], size: int) -> None:
        try:
            data = receive.receive(engine, self._connection, header["kind"], size)
            receive.supply(engine, header["session"], header["object"], data)
        except (errors.StoreFull, OSError) as error:
            with self._lock:
                question = self._questions.get(header["number"])
            if question is not None:
                question.trouble = error


class _Question:
    __slots__ = ("answer", "answered", "trouble")

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: dict[str, Any] | None = None  # None: the connection ended
        self.trouble: RainException | OSError | None = None  # with data that came before it


_links: weakref.WeakSet[UnixLink] = weakref.WeakSet()


def _abandon_all() -> None:
    for link in list(_links):
        link.abandon()


os.register_at_fork(after_in_child=_abandon_all)
