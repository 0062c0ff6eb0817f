"""What became of tasks: of a client with ``record=True``, or of an event log."""

from __future__ import annotations

from rain.common.ids import ID
from rain.common.text import html_table, seconds_text, size_text, text_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rain import _core
    from rain.client.states import TaskState


class TaskReport:
    """A task that ended.

    Attributes
    ----------
    id : ID
    task_type : str
    executor : str
        Type of the executor.
    language : str
        "Python" if the executor's command runs a Python program, else "C++".
    name : str
    state : TaskState
    process : int
        Pid of the executor.
    start_seconds : float
        Since the client was made.
    seconds : float
        Run time of the task itself.
    input_bytes, output_bytes, copied_bytes : int
        `copied_bytes`: of the blobs, how much the executor copied; 0 in shared memory.
    attempts : int
        Calls, the last one included; 0 if it was never sent.
    error : str
        Headline of why it did not finish, else empty.
    """

    __slots__ = (
        "attempts",
        "copied_bytes",
        "error",
        "executor",
        "id",
        "input_bytes",
        "language",
        "name",
        "output_bytes",
        "process",
        "seconds",
        "start_seconds",
        "state",
        "task_type",
    )

    def __init__(self, raw: _core.ReportTuple, language: str) -> None:
        from rain.client.states import TASK_STATES

        self.id = ID(*raw[0])
        self.task_type = raw[1]
        self.executor = raw[2]
        self.language = language
        self.name = raw[3]
        self.state: TaskState | None = TASK_STATES[raw[4]]
        self.process = raw[6]
        self.start_seconds = raw[7]
        self.seconds = raw[8]
        self.input_bytes = raw[9]
        self.output_bytes = raw[10]
        self.copied_bytes = raw[11]
        self.attempts = raw[12]
        self.error = raw[13]

    @property
    def group(self) -> str:
        """What the report counts it under: its name, else its type."""
        return self.name or self.task_type

    def __repr__(self) -> str:
        return (
            f"<TaskReport {self.id} {self.task_type} pid={self.process} "
            f"{self.seconds * 1e3:.3f} ms, {self.output_bytes} bytes>"
        )


class _Group:
    """The tasks of one name."""

    def __init__(self) -> None:
        self.count = self.measured = self.input_bytes = self.output_bytes = 0
        self.copied_bytes = self.not_finished = self.retries = 0
        self.total = self.longest = 0.0

    def add(self, task: TaskReport) -> None:
        self.count += 1
        if task.attempts:
            self.measured += 1
            self.total += task.seconds
            self.longest = max(self.longest, task.seconds)
        self.input_bytes += task.input_bytes
        self.output_bytes += task.output_bytes
        self.copied_bytes += task.copied_bytes
        self.retries += max(task.attempts - 1, 0)
        self.not_finished += _state(task) != "finished"

    @property
    def mean(self) -> float:
        return self.total / self.measured if self.measured else 0.0

    def row(self, name: str) -> tuple[str, ...]:
        return (
            name,
            str(self.count),
            seconds_text(self.mean),
            seconds_text(self.longest),
            seconds_text(self.total),
            size_text(self.input_bytes),
            size_text(self.output_bytes),
            size_text(self.copied_bytes),
            str(self.not_finished),
            str(self.retries),
        )


def _state(task: TaskReport) -> str:
    return task.state.name if task.state is not None else "?"


class Report(list[TaskReport]):
    """A list of TaskReports, which prints as a table with a line for each task name.

    Columns: how many tasks; mean, longest and sum of their run times; bytes of inputs, outputs and
    copied; how many did not finish; how many calls were repeated.
    """

    HEADER = ("task", "count", "mean", "max", "total", "in", "out", "copied", "failed", "retries")
    SHOWN_FAILURES = 20

    def __init__(self, tasks: Iterable[TaskReport] = (), notes: Iterable[str] = ()) -> None:
        super().__init__(tasks)
        self.notes = list(notes)  # what is missing, for people

    def rows(self) -> list[tuple[str, ...]]:
        """Return the lines of the table, the largest sum of run times first."""
        return [group.row(name) for name, group in self._groups()]

    def groups(self) -> list[dict[str, Any]]:
        """Return the same as numbers: seconds and bytes."""
        return [
            {
                "name": name,
                "count": group.count,
                "mean_seconds": group.mean,
                "max_seconds": group.longest,
                "total_seconds": group.total,
                "input_bytes": group.input_bytes,
                "output_bytes": group.output_bytes,
                "copied_bytes": group.copied_bytes,
                "not_finished": group.not_finished,
                "retries": group.retries,
            }
            for name, group in self._groups()
        ]

    def _groups(self) -> list[tuple[str, _Group]]:
        groups: dict[str, _Group] = {}
        for task in self:
            groups.setdefault(task.group, _Group()).add(task)
        return sorted(groups.items(), key=lambda item: (-item[1].total, item[0]))

    def failures(self) -> list[str]:
        """Return a line for each task that failed of its own, at most SHOWN_FAILURES."""
        failed = [task for task in self if _state(task) == "failed"]
        lines = [
            f"{task.group} {task.id}, {task.attempts} attempt{'s' * (task.attempts != 1)}: "
            f"{task.error}"
            for task in failed[: self.SHOWN_FAILURES]
        ]
        if len(failed) > len(lines):
            lines.append(f"and {len(failed) - len(lines)} more")
        return lines

    def headline(self) -> str:
        """Return one line about all."""
        states: dict[str, int] = {}
        for task in self:
            states[_state(task)] = states.get(_state(task), 0) + 1
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"{len(self)} tasks" + (f": {counts}" if counts else "")

    def __str__(self) -> str:
        parts = [self.headline()]
        if self:
            parts.append(text_table(self.HEADER, self.rows()))
        failures = self.failures()
        if failures:
            parts.append("\n".join(["Failed:", *(f"  {line}" for line in failures)]))
        parts += self.notes
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        import html

        parts = [f"<p>{html.escape(self.headline())}</p>", html_table(self.HEADER, self.rows())]
        lines = self.failures() + self.notes
        if lines:
            parts.append(f"<pre>{html.escape(chr(10).join(lines))}</pre>")
        return "".join(parts)
