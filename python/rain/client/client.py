"""The client: a governor of its own, or the way to others, and sessions."""

from __future__ import annotations

import os
import sys
from functools import partial
from weakref import ref

from rain import _core
from rain.client.defaults import default
from rain.client.session import Session
from rain.common.errors import RainException, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from types import TracebackType
    from typing import Any, Literal

    from rain.client.data import DataObject
    from rain.client.dispatch import Callbacks
    from rain.client.executors import Executors
    from rain.client.ping import Pinged
    from rain.client.session import Item
    from rain.client.store import Store
    from rain.client.tasklog import TaskLog
    from rain.config import Executor
    from rain.dashboard.server import Dashboard
    from rain.engine.remote import RemoteExecutor
    from rain.report import Report


class Client:
    """Runs tasks: on this machine, with a governor inside this process, or where others run them.

    Parameters
    ----------
    address : str, optional
        Where tasks run, if not here: ``"unix:PATH"``, or a path with a "/", of a governor on this
        machine (``rain governor --standalone``; ``"unix:"``: where that listens by default); the
        host of a server, or ``"host:port"`` (docs/services.md).
    port : int, optional
        Of a server. Default: 7210.
    tls : path, optional
        Directory with certificates (``rain tls init``), of a server that wants them.
    dask : distributed.Client, optional
        A cluster of Dask, on which tasks run: each of its workers gets a governor, if it has none.
        config, executors, cpus, memory, resources, task_memory and spill are for those.
    config : path, optional
        TOML file of executors: ``[executors.NAME]`` with ``command`` (a shell-like str or a list)
        and what else docs/executors.md lists. Relative paths are relative to the file.
    executors : dict, optional
        Executor type -> command, or a dict as in the file. Relative programs are relative to the
        current directory. An entry replaces the file's.
    cpus : int, optional
        How many tasks run at once. Default: what this process may use.
    memory : int or str, optional
        Budget of the blob store: bytes, or "8 GiB". Default: half of what this process may use.
    spill : bool or path
        When memory is short, data that nobody views go to files: in the run directory or another
        place on a disk, or in a private directory below this path. False: they stay in memory, and
        tasks that find no room fail with StoreFull.
    resources : dict, optional
        What tasks may ask for by ``Task(resources=...)``: name -> amount, or a list of ids where a
        task should know which it was given. ``{"gpu": 2}`` means ids 0 and 1. The same as the
        file's table ``[resources]``; an entry replaces the file's.
    task_memory : int or str, optional
        What tasks with a `memory` may use together. Default: this machine's memory, or what the
        cgroup leaves.
    run_directory : path, optional
        Where the private directory for sockets and logs is made. Default: $XDG_RUNTIME_DIR, else
        the directory for temporary files.
    record : bool, optional
        Keep a TaskReport of each task for report(). Default: no.
    events : path, optional
        File for the event log, one JSON object a line (docs/events.md), which is replaced:
        ``rain report FILE`` makes a table or a page of it.
    debug : "gdb", optional
        Start all executors in gdb: when one crashes, the backtraces of its threads are in the
        task's error (docs/debugging.md). Slow to start.

    dashboard : bool or int, optional
        Serve a page of what runs, on this port of 127.0.0.1; True: on a free one. Its address is
        `dashboard_link`; docs/watching.md says what is there. It costs nothing while nobody looks.
        Default: no.

    All but `record`, `events` and `dashboard` are for a governor inside this process, and an error
    with an address.

    Where config, cpus, memory, task_memory, run_directory, events, record or dashboard is left
    out, the options of ``rain run`` come before these defaults.

    Raises
    ------
    ConfigError
        A wrong argument, file or program.
    UsageError
        An address of no known form, or arguments that don't go with it.
    ConnectionFailed
        Nothing listens there, or what does is no service of Rain, or one of another version.

    Executors start when tasks need them and stop at close(), which also ends all sessions. A
    client is closed at the end of its ``with`` block, when it is garbage collected, and at the end
    of the program.
    """

    def __init__(
        self,
        address: str | None = None,
        port: int | None = None,
        *,
        tls: str | PathLike[str] | None = None,
        dask: Any = None,
        config: str | PathLike[str] | None = None,
        executors: Mapping[str, Any] | None = None,
        cpus: int | None = None,
        memory: int | str | None = None,
        run_directory: str | PathLike[str] | None = None,
        resources: Mapping[str, Any] | None = None,
        task_memory: int | str | None = None,
        record: bool | None = None,
        events: str | PathLike[str] | None = None,
        spill: str | PathLike[str] | bool = True,
        debug: str | None = None,
        dashboard: bool | int | None = None,
    ) -> None:
        self._engine: _core.Engine
        self._executors: Mapping[str, Executor | RemoteExecutor]
        own = {
            "config": config,
            "executors": executors,
            "cpus": cpus,
            "memory": memory,
            "run_directory": run_directory,
            "resources": resources,
            "task_memory": task_memory,
            "spill": None if spill is True else spill,
            "debug": debug,
        }
        given = [name for name, value in own.items() if value is not None]
        if events is None:
            events = default("events")
        if not given and address is None and port is None and dask is None:
            address, tls = default("address"), default("tls") if tls is None else tls
        elif given and address is None and port is None and dask is None and default("address"):
            import warnings

            from rain.common.errors import RainWarning

            text = (
                f"Client({', '.join(f'{name}=...' for name in given)}) has a governor of its own: "
                f"its tasks run here, not on {default('address')} of 'rain run --server', which is "
                "for a Client() without these arguments"
            )
            warnings.warn(text, RainWarning, stacklevel=2)
        if address is not None or port is not None or tls is not None or dask is not None:
            from rain.engine import remote

            options = {}
            if dask is not None:
                options = {name: own[name] for name in given if name in remote.DASK_OPTIONS}
                given = [name for name in given if name not in options]
            if given:
                raise UsageError(
                    f"{', '.join(given)}: of a governor inside this process, and so not for a "
                    "Client with an address: those who start the governors there say it"
                )
            self._remote = True
            self._engine, self._executors = remote.connect(address, port, tls, dask, **options)
            if events is not None:
                self._start_event_log(os.path.abspath(events))
        else:
            from rain.engine import embedded

            self._remote = False
            self._engine, self._executors = embedded.start(
                default("config") if config is None else config,
                executors,
                default("cpus") if cpus is None else cpus,
                default("memory") if memory is None else memory,
                default("run_directory") if run_directory is None else run_directory,
                resources,
                default("task_memory") if task_memory is None else task_memory,
                events,
                spill,
                debug,
            )
        if record is None:
            record = bool(default("record"))
        self._shared: Session | None = None
        self._recording = record
        self._callbacks: Callbacks | None = None  # made by rain.client.dispatch
        self._task_log: TaskLog | None = None
        self._dashboard: Dashboard | None = None
        # The engine must not hold the client.
        self._engine.on_first_submit(partial(_start_task_log, ref(self), self._engine.logs()))
        if record:
            self._engine.record_reports(True)
        told = dashboard is None and default("dashboard")
        if told or (dashboard is not None and dashboard is not False):
            self._open_dashboard(told or dashboard, events)
        if told:
            print(f"dashboard: {self.dashboard_link}", file=sys.stderr)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
        dashboard = getattr(self, "_dashboard", None)
        if dashboard is not None:
            dashboard.close()

    def close(self) -> None:
        """End all sessions and all executors, and wait for that. Idempotent."""
        self._engine.close()
        if self._dashboard is not None:
            self._dashboard.close()
        if self._task_log is not None:
            self._task_log.join()
        if self._callbacks is not None:
            self._callbacks.join()
        self._show_warnings()

    @property
    def closed(self) -> bool:
        return self._engine.closed

    @property
    def dashboard_link(self) -> str | None:
        """Where the page of ``Client(dashboard=True)`` is; None without it."""
        return None if self._dashboard is None else self._dashboard.link

    def _start_event_log(self, path: str) -> None:
        try:
            self._engine.start_event_log(path)
        except BaseException:
            self._engine.close()
            raise

    def _open_dashboard(self, port: bool | int | None, events: str | PathLike[str] | None) -> None:
        from rain.client.dashboard import open_dashboard

        try:
            languages = {name: each.language for name, each in self._executors.items()}
            self._dashboard = open_dashboard(self._engine, languages, port, events)
        except BaseException:
            self._engine.close()
            raise

    def new_session(
        self,
        name: str = "Unnamed Session",
        default: bool = False,
        *,
        on_error: Literal["fail", "continue"] = "fail",
    ) -> Session:
        """Make a session.

        Parameters
        ----------
        name : str
        default : bool
            Make it the default session, too.
        on_error : "fail" or "continue"
            What a failing task means: the session has failed, its other tasks are cancelled and
            everything raises that failure; or what depends on the task is aborted, and the rest
            goes on.
        """
        if on_error not in ("fail", "continue"):
            raise ValueError(f"on_error must be 'fail' or 'continue', not {on_error!r}")
        session = Session.__new__(Session)
        self._engine.open_session(session, self, str(name), on_error == "continue")
        if default:
            session.set_as_default()
        return session

    def put(
        self,
        value: Any,
        label: str | None = "const",
        content_type: str | None = None,
        encode: str | None = None,
    ) -> DataObject:
        """Make a constant that every session of this client can use, uploaded once.

        It lives until its Python object is gone or the client is closed. Parameters and errors are
        those of `rain.client.blob`.
        """
        from rain.client.data import blob

        if self._shared is None or not self._shared.active:
            # It must not hold the client, which holds it.
            shared = Session.__new__(Session)
            self._engine.open_session(shared, None, "client.put", True)
            self._shared = shared
        obj = blob(value, label, content_type, encode, session=self._shared)
        obj._share()
        self._shared.submit()
        return obj

    @property
    def executors(self) -> Executors:
        """The registered executors: ``client.executors["example1"].hello(obj)`` makes a task."""
        from rain.client.executors import Executors

        return Executors(self._engine, self._executors)

    def update(self, items: Iterable[Item]) -> None:
        """Raise if an item's session has failed; states and infos are always up to date."""
        for item in items:
            session = getattr(item, "session", None)
            if session is None:
                raise RainException(f"'{item}' is not tasks nor dataobject")
            session.update((item,))

    def get_server_info(self) -> dict[str, Any]:
        """Return what there is of governors: this client's own.

        A dict ``{"governors": [governor]}``, a governor being a dict of its ``"governor_id"``, the
        ids of ``"tasks"`` that have not ended, of ``"objects"`` that have data and of
        ``"objects_to_delete"`` (none: they go at once), and its ``"resources"``.
        """
        from rain.common.ids import ID

        tasks, objects = self._engine.holdings()
        governor = {
            "governor_id": _core.own_governor,
            "tasks": [ID(*pair) for pair in tasks],
            "objects": [ID(*pair) for pair in objects],
            "objects_to_delete": [],
            "resources": {"cpus": self._engine.cpus},
        }
        return {"governors": [governor]}

    def report(self) -> Report:
        """Return the tasks that ended since the last call, in the order of their ends.

        A list of TaskReport, which prints as a table. Its `notes` tell of tasks of a cluster that
        ran again because a governor was lost.

        Raises
        ------
        UsageError
            The client was made without ``record=True``.
        """
        from rain.report import Report, TaskReport

        if not self._recording:
            raise UsageError("nothing is recorded: make the client with Client(record=True)")
        reports = self._engine.take_reports()
        languages = {name: executor.language for name, executor in self._executors.items()}
        lines = (TaskReport(raw, languages.get(raw[2], "C++")) for raw in reports)
        return Report(lines, self._engine.take_recomputations())

    def info(self) -> dict[str, Any]:
        """Return the state of the machinery: executor types and pids, run directory, blob store.

        ``info()["store"]`` has sizes in bytes: the budget, what counts against it (regions), what
        blobs take up, what is on disk; ``waiting``: executors that wait for room;
        ``huge_pages``: whether this machine gives shared memory any; ``headroom_bytes``: what the
        cgroup still allows, None without a limit; ``spill_directory``: None if spilling is off,
        empty while nothing was spilled yet. docs/blobs.md has the rules.
        """
        return {
            "executors": sorted(self._executors),
            "executor_pids": self._engine.executor_pids(),
            "run_directory": self._engine.run_directory,
            "store": {} if self.closed else self._engine.store_usage(),
        }

    def ping(self, timeout: float | None = 1.0) -> list[Pinged]:
        """Ask all running executor processes whether they answer.

        A process answers as soon as one of its threads is not busy with a call: one whose only
        thread runs a long call answers late, or not in time, and is well. One that does not answer
        though it has nothing to run hangs.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for answers; None: without limit.

        Returns
        -------
        list of Pinged
            Executor type, id, pid, and the seconds until the answer or None, in order of ids.
        """
        from rain.client.ping import Pinged

        return [Pinged(*line) for line in self._engine.ping(timeout)]

    def store(self) -> Store:
        """Return what data there are: a table with a line per data object (rain.client.store)."""
        from rain.client.store import Store, StoredBlob

        lines = [] if self.closed else self._engine.store_blobs()
        return Store([StoredBlob(*line) for line in lines], self.info()["store"])

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be pickled: it belongs to this process. Inside of a task make a "
            "Client() of its own, or leave the work to the tasks of this one"
        )

    def _show_warnings(self) -> None:
        lines = self._engine.take_warnings()
        if lines:
            import warnings

            from rain.common.errors import RainWarning

            for line in lines:
                warnings.warn(line, RainWarning, stacklevel=3)

    def _repr_html_(self) -> str:
        from rain.common.text import html_card, size_text

        rows = [("executors", ", ".join(sorted(self._executors)) or "none")]
        if self.closed:
            rows.insert(0, ("state", "closed"))
        else:
            store = self._engine.store_usage()
            used, budget = store["blobs_bytes"], store["budget_bytes"]
            rows += [
                ("cpus", str(self._engine.cpus)),
                ("processes", str(len(self._engine.executor_pids()))),
                ("blobs", f"{store['blobs']}, {size_text(used)} of {size_text(budget)}"),
                ("run directory", self._engine.run_directory),
            ]
            if self.dashboard_link is not None:
                rows.append(("dashboard", self.dashboard_link))
        return html_card(type(self).__name__, rows)

    def __repr__(self) -> str:
        state = "closed" if self.closed else ", ".join(sorted(self._executors)) or "no executors"
        return f"<{type(self).__name__}: {state}>"


def _start_task_log(client: ref[Client], queue: _core.LogQueue) -> None:
    from rain.client.tasklog import TaskLog

    of = client()
    if of is not None:
        of._task_log = TaskLog(of, queue)
