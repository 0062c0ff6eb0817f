"""The engine of a client whose tasks run elsewhere: a governor that runs nothing and knows all."""

from __future__ import annotations

import atexit
import os
import select
import threading
import weakref

from rain import _core
from rain.common.errors import ConnectionFailed, RainException, UsageError
from rain.engine import embedded

_SEND_SECONDS = 5.0  # at the end, for what has to be told: the other side may hang

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from rain.client.client import Client
    from rain.client.session import Session

    class Link(Protocol):
        """The way to where the tasks of a mirror run. Owned by its MirrorEngine.

        The first six are called by one thread, the engine's; after close() none is. What they
        raise (RainException, OSError) is the end of the connection. The others are called by any
        thread. close() ends a call that the other side keeps waiting.
        """

        def start(self, engine: MirrorEngine, /) -> None:
            """Begin to hand updates to `engine`: the first call. It has not made a session yet."""

        def open_session(self, session: int, name: str, continue_on_error: bool, /) -> None: ...
        def submit(self, submission: _core.Submission, /) -> None: ...
        def cancel(self, session: int, tasks: Sequence[int], /) -> None: ...
        def unkeep(self, session: int, objects: Sequence[int], /) -> None: ...
        def close_session(self, session: int, /) -> None: ...

        def ask(self, operation: str, /, **arguments: Any) -> Any:
            """Ask the governor (of several: each, and put the answers together).

            ``"learn_tasks", executor=``, ``"announced_tasks", executor=``, ``"ping", timeout=``,
            ``"executor_pids"``, ``"store_usage"``, ``"store_blobs"``: as the methods of Engine.
            Raises ConnectionFailed, and what the other side says.
            """

        def fetch(self, session: int, objects: Sequence[int], /) -> None:
            """Bring the data of finished objects, and ``supply()`` the engine with each."""

        def read_log(
            self, session: int, task: int, path: str, begin: int, end: int, /
        ) -> tuple[bytes, int]:
            """Return what common.logfile.read_end() does, of a file there. Raises OSError."""

        def close(self) -> None:
            """Take leave of the other side, which closes the sessions, and end all threads."""


class MirrorEngine(_core.Engine):
    """What a Client has in place of a governor of its own. Thread-safe.

    Parameters
    ----------
    link : Link
        Connected. The engine owns it.
    executors : mapping
        Type -> language, of what the other side offers.
    cpus : int
        The most that one task can have.
    resources : sequence
        Likewise, as config.read_resources() gives them.
    task_memory_bytes : int
        Likewise; 0: as much as this machine has.
    """

    kind = "standalone"  # what it is connected to

    def __init__(
        self,
        link: Link,
        *,
        executors: Mapping[str, str],
        cpus: int,
        resources: Sequence[_core.ResourceTuple] = (),
        task_memory_bytes: int = 0,
        run_directory: str = "",
    ) -> None:
        super().__init__(
            executors=[
                (name, [], [], 30.0, 0, 0, 0, 60.0, "", False, "") for name in executors
            ],
            cpus=cpus,
            memory_bytes=0,
            launcher=embedded.find_launcher(),
            run_directory=run_directory,
            resources=list(resources),
            task_memory_bytes=task_memory_bytes,
            events_file="",
            spill="",
            inline_limit_bytes=embedded.inline_limit_bytes,
            mirror=True,
        )  # fmt: skip
        self._link = link
        self._pid = os.getpid()
        self._lost = ""
        self._log_lines = LogLines()
        self._announced: dict[str, tuple[int, list[_core.AnnouncedTuple] | None]] = {}
        self._applied = 0  # updates so far: what was not known before one may be known after it
        self._closing = threading.Lock()
        self._has_ended = False
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._sender = threading.Thread(
            target=self._send, args=(self.outgoing(),), name="rain-submit", daemon=True
        )
        link.start(self)
        self._sender.start()
        _all.add(self)

    def close(self) -> None:
        """End all sessions, here and there, and the connection. Idempotent."""
        super().close()
        if self._pid != os.getpid():
            return
        with self._closing:
            if self._has_ended:
                return
            self._has_ended = True
            os.eventfd_write(self._end, 1)
            other = self._sender is not threading.current_thread()
            if other:
                self._sender.join(_SEND_SECONDS)
            self._link.close()
            if other:
                self._sender.join()
            self._log_lines.close()
            os.close(self._end)

    def connection_lost(self, message: str) -> None:
        """Whatever is called from now on fails with this message. Idempotent; any thread."""
        if not self._lost and not self._has_ended:
            self._lost = message
            self.lose(message)

    def apply_updates(self, session_id: int, updates: Any, /) -> None:
        super().apply_updates(session_id, updates)
        self._applied += 1

    def fetch_remote(self, session_id: int, object_ids: list[int], /) -> None:
        self._check()
        self._link.fetch(session_id, object_ids)

    def open_session(
        self, session: Session, client: Client | None, name: str, continue_on_error: bool, /
    ) -> None:
        self._check()
        super().open_session(session, client, name, continue_on_error)

    # ---- what the other side knows ----

    def learn_tasks(self, executor: str) -> list[_core.AnnouncedTuple]:
        known = _announced(self.ask("learn_tasks", executor=executor))
        self._announced[executor] = 0, known
        return known

    def announced_tasks(self, executor: str) -> list[_core.AnnouncedTuple] | None:
        if self.closed:
            return None
        asked_after, known = self._announced.get(executor, (-1, None))
        if known is None and asked_after != self._applied:
            applied = self._applied
            raw = self.ask("announced_tasks", executor=executor)
            known = None if raw is None else _announced(raw)
            self._announced[executor] = applied, known
        return known

    def announced_signature(
        self, executor: str, task: str, current: bool, /
    ) -> _core.SignatureTuple | None:
        if current:  # the program may have been built again
            raw = self.ask("announced_signature", executor=executor, task=task)
            return None if raw is None else _signature(raw)
        return dict(self.announced_tasks(executor) or ()).get(task)

    def ping(self, timeout: float | None) -> list[tuple[str, int, int, bool, float | None]]:
        return [tuple(line) for line in self.ask("ping", timeout=timeout)]

    def executor_pids(self) -> list[int]:
        return [] if self.closed else list(self.ask("executor_pids"))

    def store_usage(self) -> dict[str, Any]:
        return dict(self.ask("store_usage"))

    def store_blobs(self) -> list[_core.BlobTuple]:
        return [_blob_line(line) for line in self.ask("store_blobs")]

    def logs(self) -> LogLines:  # type: ignore[override] # has the same wait()
        return self._log_lines

    def read_log(
        self, session_id: int, task_id: int, path: str, begin: int, end: int, /
    ) -> tuple[bytes, int]:
        """Return what a task printed, as common.logfile.read_end(). Raises OSError."""
        self._check()
        return self._link.read_log(session_id, task_id, path, begin, end)

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Ask the other side; see Link.ask. Raises ConnectionFailed, and what it says."""
        self._check()
        return self._link.ask(operation, **arguments)

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise UsageError(
                "this Client was made in another process, of which this one is a fork: create a "
                "new Client"
            )
        if self.closed:
            raise UsageError("the Client is closed: create a new Client")
        if self._lost:
            raise ConnectionFailed(self._lost)

    # ---- what this side has to tell ----

    def _send(self, outgoing: _core.Outgoing) -> None:
        poll = select.poll()
        poll.register(outgoing.fd(), select.POLLIN)
        poll.register(self._end, select.POLLIN)
        ended = False
        while not ended:
            ended = any(fd == self._end for fd, _ in poll.poll())
            for what, *arguments in outgoing.take():
                if self._lost:
                    continue
                try:
                    self._tell(what, *arguments)
                except (RainException, OSError) as error:
                    self.connection_lost(str(error))
                except Exception as error:
                    self.connection_lost(f"{type(error).__name__}: {error}")

    def _tell(self, what: str, /, *arguments: Any) -> None:
        match what:
            case "open":
                self._link.open_session(*arguments)
            case "submit":
                self._link.submit(*arguments)
            case "cancel":
                self._link.cancel(*arguments)
            case "unkeep":
                self._link.unkeep(*arguments)
            case "close":
                self._link.close_session(*arguments)


class LogLines:
    """Lines that tasks wrote elsewhere: in a client the place of _core.LogQueue. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: list[Any] = []
        self._lost = 0
        self._closed = False

    def push(self, lines: Sequence[_core.LogTuple], lost: int) -> None:
        with self._changed:
            room = max(_MOST_LOG_LINES - len(self._lines), 0)
            self._lines += lines[:room]
            self._lost += lost + len(lines[room:])
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> tuple[list[_core.LogTuple], int, bool]:
        """Block until there are lines, or it is closed: lines, how many were lost, closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._lost or self._closed)
            lines, lost = self._lines, self._lost
            self._lines, self._lost = [], 0
            return lines, lost, self._closed


_MOST_LOG_LINES = 100_000  # that nobody has taken


# Messages have no tuples.


def _signature(raw: Any) -> _core.SignatureTuple:
    inputs, outputs = raw
    return [(kind, name) for kind, name in inputs], [(kind, name) for kind, name in outputs]


def _announced(raw: Any) -> list[_core.AnnouncedTuple]:
    return [(name, None if its is None else _signature(its)) for name, its in raw]


def _blob_line(raw: Any) -> _core.BlobTuple:
    line = list(raw)
    line[0] = tuple(line[0])
    line[11] = [(tuple(task), kind) for task, kind in line[11]]
    line[13] = [tuple(task) for task in line[13]]
    line[14] = None if line[14] is None else tuple(line[14])
    return tuple(line)


_all: weakref.WeakSet[MirrorEngine] = weakref.WeakSet()


def _close_all() -> None:
    for engine in list(_all):
        engine.close()


# Its threads have to end before Python does. Runs before rain.engine.embedded's own.
atexit.register(_close_all)
