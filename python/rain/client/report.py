"""What became of tasks, one line each."""

from __future__ import annotations

from rain.common.ids import ID

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    """

    __slots__ = (
        "copied_bytes",
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

    def __repr__(self) -> str:
        return (
            f"<TaskReport {self.id} {self.task_type} pid={self.process} "
            f"{self.seconds * 1e3:.3f} ms, {self.output_bytes} bytes>"
        )
