"""An event log as a whole: its tasks, executors and store, for reports, pages and traces."""

from __future__ import annotations

from rain.report import Report, TaskReport
from rain.report.events import VERSION, read_events
from rain.report.failure import RunFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

_ENDS = {"finished": 4, "failed": 5, "cancelled": 6, "aborted": 7}  # as graph/state numbers them


class RunTask:
    """A task's life. Times are seconds since the log began, None for what did not happen.

    Attributes
    ----------
    type, name : str
        `name` is empty if the task has none.
    waiting, ready, sent, ended : float or None
        First seen while it waited for inputs; the last times that it could run and was sent to an
        executor; its end.
    began : float or None
        When its function began in the last call, as far as the executor tells; it ran for
        `seconds` from then.
    executor : int
        Of the last call, 0 if there was none.
    state : str
    report : TaskReport or None
        None if the log does not have its end.
    inputs, outputs : list
        (number of the object in the session, bytes); of very many only the first.
    n_inputs, n_outputs : int
        How many there are.
    failure : RunFailure or None
        Of a task that failed, unless the log is an old one.
    """

    __slots__ = (
        "began", "ended", "executor", "failure", "id", "inputs", "n_inputs", "n_outputs", "name",
        "outputs", "ready", "report", "sent", "state", "type", "waiting",
    )  # fmt: skip

    def __init__(self, id: tuple[int, int]) -> None:
        self.id = id
        self.type = self.name = self.state = ""
        self.executor = 0
        self.waiting: float | None = None
        self.ready: float | None = None
        self.sent: float | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self.report: TaskReport | None = None
        self.inputs: list[tuple[int, int]] = []
        self.outputs: list[tuple[int, int]] = []
        self.n_inputs = self.n_outputs = 0
        self.failure: RunFailure | None = None

    @property
    def group(self) -> str:
        """What reports count it under: its name, else its type."""
        return self.name or self.type

    @property
    def seconds(self) -> float:
        """Run time of its function in the last call; 0 if it never ran to an end."""
        return self.report.seconds if self.report is not None and self.executor else 0.0


class RunExecutor:
    """A process's life. Times as in RunTask."""

    __slots__ = ("cause", "ended", "id", "pid", "registered", "started", "type")

    def __init__(self, id: int) -> None:
        self.id = id
        self.type = self.cause = ""
        self.pid = 0
        self.started: float | None = None
        self.registered: float | None = None
        self.ended: float | None = None


class RunObject:
    """A data object that was an input or output of a task that ran.

    Attributes
    ----------
    size : int
        Bytes.
    producer : RunTask or None
        None: a constant, or not in the log.
    dropped : float or None
        When nobody needed its data any more. Times as in RunTask.
    """

    __slots__ = ("dropped", "producer", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.producer: RunTask | None = None
        self.dropped: float | None = None


class Run:
    """What an event log tells.

    Attributes
    ----------
    began : float
        When the client was made, in seconds since the epoch.
    seconds : float
        From then to the last event.
    closed : bool
        Whether the client was.
    pid, cpus : int
    tasks : list of RunTask
        Those that ended, in that order, then the others.
    executors : dict
        id -> RunExecutor
    objects : dict
        (session, number) -> RunObject
    store : list
        (time, bytes of blobs, bytes of regions, budget)
    log : list
        (time, id of the executor, task, text) of what tasks wrote with ``ctx.log``
    notes : list of str
        What is missing, for people.
    """

    def __init__(self) -> None:
        self.began = self.seconds = 0.0
        self.closed = False
        self.pid = self.cpus = 0
        self.tasks: list[RunTask] = []
        self.executors: dict[int, RunExecutor] = {}
        self.objects: dict[tuple[int, int], RunObject] = {}
        self.store: list[tuple[float, int, int, int]] = []
        self.log: list[tuple[float, int, tuple[int, int], str]] = []
        self.notes: list[str] = []

    def report(self) -> Report:
        """Return the report of the tasks that ended."""
        reports = [task.report for task in self.tasks if task.report is not None]
        return Report(reports, self.notes)


def read_run(path: str | PathLike[str]) -> Run:
    """Read a whole event log.

    Raises
    ------
    RainException
        The file is no event log, or of a version that this one cannot read.
    OSError
    """
    run = Run()
    open_tasks: dict[tuple[int, int], RunTask] = {}
    odd = 0
    for event in read_events(path, run.notes):
        try:
            _add(run, open_tasks, event)
        except (KeyError, TypeError, ValueError, IndexError):
            odd += 1
    if odd:
        run.notes.append(f"{odd} events have not the form of version {VERSION} and are left out.")
    if not run.closed:
        run.notes.append(f"The client is not closed; {len(open_tasks)} tasks are unfinished.")
    run.tasks += open_tasks.values()
    return run


def _add(run: Run, open_tasks: dict[tuple[int, int], RunTask], event: dict[str, Any]) -> None:
    kind = event["event"]
    if kind == "lost":
        run.notes.append(f"{event['lines']} events are missing: the disk was too slow.")
        return
    if kind == "client":
        run.closed = event["state"] == "closed"
        if not run.began:
            run.began = float(event["time"])
            run.pid, run.cpus = int(event.get("pid", 0)), int(event.get("cpus", 0))
    time = float(event["time"]) - run.began
    if kind == "task":
        _add_task(run, open_tasks, event, time)
    elif kind == "executor":
        _add_executor(run, event, time)
    elif kind == "data":
        for number, size in _pairs(event["dropped"]):
            _object(run, int(event["session"]), number, size).dropped = time
    elif kind == "log":
        task_id = (int(event["id"][0]), int(event["id"][1]))
        run.log.append((time, int(event["executor"]), task_id, str(event["text"])))
    elif kind == "store":
        sizes = (int(event[f"{what}bytes"]) for what in ("", "regions_", "budget_"))
        run.store.append((time, *sizes))  # type: ignore[arg-type]
    run.seconds = max(run.seconds, time)


def _add_task(
    run: Run, open_tasks: dict[tuple[int, int], RunTask], event: dict[str, Any], time: float
) -> None:
    task_id = (int(event["id"][0]), int(event["id"][1]))
    state = str(event["state"])
    if state in _ENDS:
        report = _report(event, task_id, time)  # first: it raises if the line is odd
        task = open_tasks.pop(task_id, None) or RunTask(task_id)
        task.type, task.name = report.task_type, report.name
        task.executor, task.ended, task.report = int(event.get("executor", 0)), time, report
        run.tasks.append(task)
        _add_details(run, task, event)
    else:
        task = open_tasks.setdefault(task_id, RunTask(task_id))
        task.type = str(event.get("type", task.type))
        task.name = str(event.get("name", task.name))
        if state == "waiting":
            task.waiting = time
        elif state == "ready":
            task.ready, task.sent, task.executor = time, None, 0  # perhaps its call was taken back
        elif state == "running":
            task.sent = time
            task.executor = int(event["executor"])
    task.state = state


def _add_details(run: Run, task: RunTask, event: dict[str, Any]) -> None:
    if "began" in event:
        task.began = float(event["began"]) - run.began
    task.inputs, task.outputs = (_pairs(event.get(key, ())) for key in ("inputs", "outputs"))
    task.n_inputs = int(event.get("n_inputs", len(task.inputs)))
    task.n_outputs = int(event.get("n_outputs", len(task.outputs)))
    for number, size in task.inputs:
        _object(run, task.id[0], number, size)
    for number, size in task.outputs:
        _object(run, task.id[0], number, size).producer = task
    if "failure" in event:
        task.failure = RunFailure(event["failure"])


def _pairs(raw: Any) -> list[tuple[int, int]]:
    return [(int(number), int(size)) for number, size in raw]


def _object(run: Run, session: int, number: int, size: int) -> RunObject:
    return run.objects.setdefault((session, number), RunObject(size))


def _add_executor(run: Run, event: dict[str, Any], time: float) -> None:
    executor_id, state = int(event["id"]), event["state"]
    executor = run.executors.setdefault(executor_id, RunExecutor(executor_id))
    executor.type = str(event["type"])
    executor.pid = int(event.get("pid", 0)) or executor.pid
    if state == "started":
        executor.started = time
    elif state == "registered":
        executor.registered = time
    elif state == "ended":
        executor.ended = time
        executor.cause = str(event.get("cause", ""))


def _report(event: dict[str, Any], task_id: tuple[int, int], time: float) -> TaskReport:
    task_type = str(event["type"])
    seconds = float(event.get("seconds", 0.0))
    numbers = [int(event.get(key, 0)) for key in ("in", "out", "copied", "attempts")]
    raw = (
        task_id,
        task_type,
        task_type.partition("/")[0],
        str(event.get("name", "")),
        _ENDS[event["state"]],
        int(event.get("executor", 0)),
        int(event.get("pid", 0)),
        time - seconds,
        seconds,
        *numbers,
        str(event.get("error", "")),
    )
    return TaskReport(raw, "")  # type: ignore[arg-type]
