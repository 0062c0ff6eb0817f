"""One governor and the sessions that clients elsewhere have on it. Knows no transport."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import NamedTuple

from rain import config
from rain.common.errors import UsageError
from rain.common.logfile import read_end
from rain.engine import embedded, receive
from rain.governor.host_session import HostSession, UpdatePump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from typing import Any

    from rain import _core
    from rain.dashboard.events import LoggedEvents
    from rain.dashboard.shared import SharedSource
    from rain.engine.trees import Source
    from rain.governor.host_session import OnLog, OnUpdates

_log = logging.getLogger("rain.governor")

_CLOSED_SESSIONS = 64  # that are remembered

_MOST_OWNERS = 10_000


class Host:
    """One native governor and the hosted sessions of its clients.

    Owned by the service or the Dask worker that it is in. Thread-safe. close() ends everything.

    Parameters
    ----------
    engine : _core.Engine
        Made by rain.engine.embedded.start(). The Host closes it.
    executors : mapping
        Executor types that are registered.
    name : str
        Of this governor, as people read it.
    address : str
        Where clients reach it.
    resources, task_memory_bytes
        What the engine has for tasks, as it was told.
    log_directory : str
        Where logs of the process go that this is in: what status() says.
    """

    def __init__(
        self,
        engine: _core.Engine,
        executors: Mapping[str, config.Executor],
        *,
        name: str = "",
        address: str = "",
        resources: Sequence[config.Resource] = (),
        task_memory_bytes: int = 0,
        log_directory: str = "",
        events_file: str = "",
    ) -> None:
        self.engine = engine
        self.events_file = events_file
        self._resources = list(resources)
        self._task_memory_bytes = task_memory_bytes
        self.executors = dict(executors)
        self.name = name or f"{os.uname().nodename}-{os.getpid()}"
        self.address = address
        self.log_directory = log_directory
        self.since = time.time()
        self._lock = threading.Lock()
        self._sessions: dict[int, HostSession] = {}  # by the governor's number
        self._closed_sessions: dict[int, _Closed] = {}  # of whom lines may be on their way
        self._closed = False
        self._on_end: Callable[[], None] | None = None
        self._pump: UpdatePump | None = None  # made for the first session with a callback
        self._owners: dict[int, tuple[str, int]] = {}  # of sessions, ended ones, too
        self._events: LoggedEvents | None = None  # made for the first who asks
        self._looked_at: SharedSource | None = None  # made for the first page
        self._log_queue = engine.logs()
        self._log_lines = threading.Thread(
            target=self._hand_out_log_lines, args=(self._log_queue,), name="rain-log", daemon=True
        )
        self._log_lines.start()

    @classmethod
    def start(
        cls,
        *,
        name: str = "",
        address: str = "",
        config_file: str | PathLike[str] | None = None,
        executors: Mapping[str, Any] | None = None,
        cpus: int | None = None,
        memory: int | str | None = None,
        run_directory: str | PathLike[str] | None = None,
        resources: Mapping[str, Any] | None = None,
        task_memory: int | str | None = None,
        events: str | PathLike[str] | None = None,
        spill: str | PathLike[str] | bool = True,
        log_directory: str = "",
    ) -> Host:
        """Start a governor; the arguments are those of Client. Raises ConfigError."""
        engine, registered = embedded.start(
            config_file, executors, cpus, memory, run_directory, resources, task_memory, events,
            spill,
        )  # fmt: skip
        return cls(
            engine, registered, name=name, address=address,
            resources=embedded.read_resources(config_file, resources),
            task_memory_bytes=0 if task_memory is None else config.parse_size(task_memory),
            log_directory=log_directory,
            events_file="" if events is None else os.path.abspath(events),
        )  # fmt: skip

    # ---- for clients ----

    def offer(self) -> dict[str, Any]:
        """Return what a client has to know before it submits. JSON-able."""
        from importlib.metadata import version

        return {
            "name": self.name,
            "version": version("rain-tasklib"),
            "cpus": self.engine.cpus,
            "executors": {name: spec.language for name, spec in self.executors.items()},
            "resources": self._resources,
            "task_memory_bytes": self._task_memory_bytes,
        }

    def open_session(
        self,
        name: str,
        continue_on_error: bool,
        *,
        client: str = "",
        client_session: int = 0,
        on_updates: OnUpdates | None = None,
        on_log: OnLog | None = None,
    ) -> HostSession:
        """Make a session. Whoever opens it closes it.

        Parameters
        ----------
        continue_on_error : bool
            For people: what a failure ends beside its dependants, the client says with cancel().
        client : str
            Who that is, for people.
        client_session : int
            The session's number in the client: what ids in log lines and in store() say.
        on_updates : callable, optional
            Called by the Host's thread with all that take_updates() gives, in order. Without it:
            poll fd(), and call take_updates(). Must not block for long.
        on_log : callable, optional
            Called by another thread of the Host.
        """
        native = self.engine.host_session(name)
        session = HostSession(
            native, name, continue_on_error, client, client_session, on_log,
            run_directory=self.engine.run_directory, forget=self._forget,
        )  # fmt: skip
        with self._lock:
            closed = self._closed
            if not closed:
                self._sessions[session.number] = session
                self._owners[session.number] = (client, client_session)
                while len(self._owners) > _MOST_OWNERS:
                    del self._owners[next(iter(self._owners))]
        if closed:
            native.close()
            raise UsageError("the governor is closed")
        if on_updates is not None:
            self._pump_for_callbacks().add(session, on_updates)
        return session

    def why_ended(self) -> str:
        """Return why no task can run here any more; empty while they can.

        Said before any task has failed for it. Not after close().
        """
        if self.engine.launcher_lost():
            return "the governor's launcher, which starts and watches its executors, was killed"
        return "the governor has ended" if self.engine.closed else ""

    def on_end(self, call: Callable[[], None]) -> None:
        """Have a thread call this once the engine has ended without close(): no task can run."""
        self._on_end = call
        if not self._log_lines.is_alive():
            call()

    def sessions(self) -> list[HostSession]:
        with self._lock:
            return list(self._sessions.values())

    def make_room(self, size_bytes: int) -> Any:
        """Return a writable buffer to receive an input into, for HostSession.submit().

        In the store, so that it is written once; where the store has no room, a file's pages.

        Raises
        ------
        StoreFull
            The disk has none either.
        """
        return receive.make_room(self.engine, size_bytes)

    def receive_directory(self, stream: Source) -> str:
        """Return the path of a new directory made of a tar stream, for HostSession.submit()."""
        return receive.receive_directory(self.engine, stream)

    def learn_tasks(self, executor: str) -> list[_core.AnnouncedTuple]:
        """Start a process of this type if none has run yet; return the tasks that it announces."""
        return self.engine.learn_tasks(executor)

    def announced_tasks(self, executor: str) -> list[_core.AnnouncedTuple] | None:
        return self.engine.announced_tasks(executor)

    def ping(self, timeout: float | None) -> list[tuple[str, int, int, bool, float | None]]:
        return self.engine.ping(timeout)

    def store_blobs(self, client: str) -> list[_core.BlobTuple]:
        """Return the lines of Client.store() for one client, which numbers sessions itself."""
        numbers = {s.number: s.client_session for s in self.sessions() if s.client == client}
        lines = self.engine.store_blobs()
        return [_renumbered(line, numbers) for line in lines if line[0][0] in numbers]

    def store(self) -> dict[str, Any]:
        """Return what there is of all clients: ``{"governor", "usage", "blobs"}``."""
        return {
            "governor": self.name,
            "usage": self.engine.store_usage(),
            "blobs": self.engine.store_blobs(),
        }

    def logs(
        self, task: str | None = None, executor: str | None = None, pid: int | None = None
    ) -> list[dict[str, str]]:
        """Return what a task, running processes of a type, or one of them, printed.

        A list of ``{"name", "stdout", "stderr"}``. `task` is "session/task" with the number of the
        session here. Of each file the last MiB.

        Raises
        ------
        UsageError
            There is none, or the task has not ended.
        """
        if task is not None:
            return [self._log_of_task(task)]
        found = list[dict[str, str]]()
        for kind, number, its_pid, *_ in self.engine.ping(0.0):
            if executor == kind or pid == its_pid:
                path = os.path.join(self.engine.run_directory, "executors", f"executor-{number}")
                found.append(
                    {
                        "name": f"{kind} (process {its_pid})",
                        "stdout": _tail(f"{path}.out"),
                        "stderr": _tail(f"{path}.err"),
                    }
                )
        if not found:
            what = f"of type {executor!r}" if executor is not None else f"with process id {pid}"
            raise UsageError(f"no executor {what} runs on governor {self.name}")
        return found

    def _log_of_task(self, task: str) -> dict[str, str]:
        number, _, task_id = task.partition("/")
        if not (number.isdecimal() and task_id.isdecimal()) or int(task_id) >= 1 << 31:
            raise UsageError(f"{task!r} is no task: those are SESSION/TASK, two numbers")
        with self._lock:
            session = self._sessions.get(int(number))
        if session is None:
            raise UsageError(f"task {task}: governor {self.name} has no session {number}")
        printed = session.printed(int(task_id))
        if printed is None:
            raise UsageError(
                f"task {task}: session {number} has no such task, or it has not ended: ask for its "
                "executor"
            )
        out, out_begin, out_end, err, err_begin, err_end = printed
        return {
            "name": f"task {task}",
            "stdout": _tail(out, out_begin, out_end),
            "stderr": _tail(err, err_begin, err_end),
        }

    def ask(self, operation: str, client: str, /, **arguments: Any) -> Any:
        """Answer a question that a Link passes on: see rain.engine.mirror.Link.ask. JSON-able.

        ``"status"``, ``"store"`` and ``"logs"`` are for commands, ``"look"`` and ``"look_away"``
        for pages (rain.dashboard.shared).

        Raises
        ------
        RainException
        """
        match operation:
            case "store_blobs":
                return self.store_blobs(client)
            case "executor_pids" | "store_usage":
                return getattr(self.engine, operation)()
            case "announced_signature":
                return self.engine.announced_signature(
                    arguments["executor"], arguments["task"], True
                )
            case "look":
                return self._shared_source().look(client, **arguments)
            case "events":
                return self._events_since(**arguments)
            case "look_away":
                return self._shared_source().look_away(client)
            case (
                "command_of"
                | "learn_tasks"
                | "announced_tasks"
                | "ping"
                | "status"
                | "store"
                | "logs"
            ):
                return getattr(self, operation)(**arguments)
        raise UsageError(f"this governor does not know the question {operation!r}")

    def status(self) -> dict[str, Any]:
        """Return what there is at this moment. JSON-able; docs/services.md lists the keys."""
        from rain.dashboard.status import engine_status

        status = engine_status(
            self.engine, self._languages(), name=self.name, address=self.address, began=self.since
        )
        return status | {
            "sessions": [session.status() for session in self.sessions()],
            "log_directory": self.log_directory,
            "work_directory": self.engine.run_directory,
        }

    def _languages(self) -> dict[str, str]:
        return {name: spec.language for name, spec in self.executors.items()}

    def _events_since(self, after: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return what rain.dashboard.events.MergedEvents wants of governors."""
        from rain.dashboard.events import LoggedEvents

        def log() -> str:
            path = os.path.join(self.engine.run_directory, "events.jsonl")
            return path if self.engine.start_event_log(path) else self.events_file or path

        with self._lock:
            if self._events is None:
                self._events = LoggedEvents(log, self.address or self.name, "")
        events = self._events.since(after.get(self.name, 0))
        with self._lock:  # after the events: all of their sessions are known
            owners = list(self._owners.items())
        sessions = [[number, *owner] for number, owner in owners]
        return [{"name": self.name, "events": events, "sessions": sessions}]

    def _shared_source(self) -> SharedSource:
        from rain.dashboard.shared import SharedSource
        from rain.dashboard.source import EngineSource

        with self._lock:
            if self._looked_at is None:
                source = EngineSource(
                    self.engine,
                    self._languages(),
                    status=self.status,
                    began=self.since,
                )
                self._looked_at = SharedSource(source)
            return self._looked_at

    def command_of(self, executor: str) -> dict[str, Any] | None:
        """Return how processes of the type are started, for Task.reproduce(); None: none are."""
        spec = self.executors.get(executor)
        if spec is None:
            return None
        if self.engine.announced_tasks(executor) == []:
            raise UsageError(
                f"executor {executor!r} is built with a library of Rain 0.4 (protocol cbor-1), "
                "which can't run a task alone; build it with this one"
            )
        return {
            "governor": self.name,
            "host": os.uname().nodename,
            "argv": list(spec.argv),
            "environment": list(spec.environment),
            "inherited": config.library_paths(),
            "cwd": spec.cwd,
            "threads": spec.threads,
        }

    def drain_logs(self, seconds: float) -> None:
        """Wait until the lines of tasks that have ended are handed on, but not longer than this.

        Those of sessions that were closed, too.
        """
        deadline = time.monotonic() + seconds
        while (
            not self._log_queue.idle()
            and self._log_lines.is_alive()
            and time.monotonic() < deadline
        ):
            time.sleep(0.001)

    # ---- its end ----

    def close(self) -> None:
        """End all sessions and executors, and wait for that. Idempotent."""
        with self._lock:
            self._closed = True
        for session in self.sessions():
            session.close()
        with self._lock:
            pump, self._pump = self._pump, None
            events = self._events
        if pump is not None:
            pump.close()
        if events is not None:
            events.close()
        self.engine.close()
        if self._log_lines is not threading.current_thread():
            self._log_lines.join()
        with self._lock:
            self._closed_sessions.clear()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- threads ----

    def _pump_for_callbacks(self) -> UpdatePump:
        with self._lock:
            if self._pump is None:
                self._pump = UpdatePump()
            return self._pump

    def _forget(self, session: HostSession) -> None:
        with self._lock:
            if self._sessions.pop(session.number, None) is not None:
                self._closed_sessions[session.number] = _Closed(
                    session.name, session.client, session.client_session, session.on_log
                )
                while len(self._closed_sessions) > _CLOSED_SESSIONS:
                    del self._closed_sessions[next(iter(self._closed_sessions))]
            pump = self._pump
        if pump is not None:
            pump.remove(session)

    def _hand_out_log_lines(self, queue: _core.LogQueue) -> None:
        closed = False
        while not closed:
            lines, lost, closed = queue.wait()
            by_session: dict[int, list[_core.LogTuple]] = {}
            for line in lines:
                by_session.setdefault(line[0][0], []).append(line)
            with self._lock:
                sessions: dict[int, HostSession | _Closed] = {**self._sessions}
                sessions |= self._closed_sessions  # after the open ones
            told = set[str]()  # clients that know of what was lost, which nobody can tell apart
            for number in sessions if lost else by_session:
                session = sessions.get(number)
                if session is None or session.on_log is None:
                    continue
                its_lines = by_session.get(number, [])
                its_lost = 0 if session.client in told else lost
                if not its_lines and not its_lost:
                    continue
                told.add(session.client)
                own = session.client_session
                try:
                    session.on_log([((own, line[0][1]), *line[1:]) for line in its_lines], its_lost)
                except Exception:
                    _log.exception("handing on log lines of session %r failed", session.name)
        if not self._closed and self._on_end is not None:
            self._on_end()


class _Closed(NamedTuple):
    """What is remembered of a session that was closed: whose lines they are that come late."""

    name: str
    client: str
    client_session: int
    on_log: OnLog | None


def _tail(path: str, begin: int = 0, end: int | None = None) -> str:
    try:
        return read_end(path, begin, end)[0].decode("utf-8", "replace")
    except FileNotFoundError:
        raise UsageError(f"{path} is gone: its process and many others have ended") from None


def _renumbered(line: _core.BlobTuple, numbers: Mapping[int, int]) -> _core.BlobTuple:
    """The line as the client names sessions. What others have in it is left out."""

    def ids(pair: tuple[int, int]) -> tuple[int, int]:
        return numbers.get(pair[0], 0), pair[1]

    needed_by = [(ids(task), kind) for task, kind in line[11]]
    failed = [ids(task) for task in line[13]]
    return (ids(line[0]), *line[1:11], needed_by, line[12], failed, line[14])
