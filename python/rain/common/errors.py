"""Every exception that rain raises: one class per cause, all of them RainExceptions."""

# ruff: noqa: N818 - Rain's names

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rain.client.task import Task
    from rain.common.ids import ID


class RainException(Exception):
    """Root of what rain raises."""


class RainWarning(Warning):
    """Something that deserves attention and is no error."""


class UsageError(RainException):
    """Use after close() or in a forked child, or an executor type that is not registered."""


class ConfigError(RainException, ValueError):
    """A wrong argument of Client, or a wrong file of executors."""


class SignatureMismatch(RainException, TypeError):
    """A task is made with inputs other than those that its executor has announced."""


class InvalidGraph(RainException):
    """A submit that was refused; nothing of it was submitted."""


class StoreFull(RainException, MemoryError):
    """The blob store has no room."""


class SystemCallError(RainException, OSError):
    """The operating system refused something; errno says what."""


class ProtocolError(RainException):
    """Bytes that are not what they should be."""


class ConnectionFailed(RainException, ConnectionError):
    """A service can't be reached, or what listens there is none."""


class WaitTimeout(RainException, TimeoutError):
    """A wait with a timeout ended before the tasks did."""


class SessionException(RainException):
    """A session cannot go on."""


class SessionClosed(SessionException, UsageError):
    """A session is used after its close()."""


class LauncherLost(SessionException):
    """The process that starts executors is gone; a new Client works."""


class ServerLost(SessionException, ConnectionFailed):
    """The service or cluster that ran the session's tasks can't be reached any more."""


class Attempt:
    """One call of a task that did not end well.

    Attributes
    ----------
    kind : type
        The exception's class if this had been the only attempt.
    message : str
    executor : int or None
        Number of the executor process, None if the task reached none.
    pid : int or None
        Its process id.
    seconds : float
        How long the call ran, as far as known.
    """

    __slots__ = ("executor", "kind", "message", "pid", "seconds")

    def __init__(
        self,
        kind: type[TaskException],
        message: str,
        executor: int | None,
        pid: int | None,
        seconds: float,
    ) -> None:
        self.kind = kind
        self.message = message
        self.executor = executor
        self.pid = pid
        self.seconds = seconds

    def __repr__(self) -> str:
        where = "" if self.executor is None else f", executor {self.executor}"
        process = "" if self.pid is None else f" (process {self.pid})"
        return f"<Attempt {self.kind.__name__}{where}{process}, {self.seconds:.3g} s: {self._gist}>"

    @property
    def _gist(self) -> str:
        """The first line; of a Python traceback the one that names the error."""
        lines = self.message.strip().split("\n")
        named = [line for line in lines if not line.startswith((" ", "Traceback "))]
        return (named or lines)[0]


class TaskException(SessionException):
    """A task failed.

    Attributes
    ----------
    task : Task or None
        The task that did not finish, None if no Python object of it is left.
    task_id : ID or None
    origin_id : ID or None
        The task that failed first: the same, or an ancestor of it.
    message : str
        What went wrong: C++ exception text, Python traceback, or the end of the executor.
    debug : str
        What the task wrote with ``ctx.debug``.
    report : str
        For an executor that died: signal or exit code, run time, memory, last lines of stderr.
    created_at : str
        Where the task was created, formatted like a traceback.
    original : Exception or None
        What a task in Python raised, where it could be brought here. The exception is an instance
        of its class, too, and its cause is the remote traceback.
    attempts : sequence of Attempt
        The failed calls of the task that failed first, in order; more than one with retries.
    """

    task: Task | None = None
    task_id: ID | None = None
    origin_id: ID | None = None
    message: str = ""
    debug: str = ""
    report: str = ""
    created_at: str = ""
    original: Exception | None = None
    attempts: Sequence[Attempt] = ()


class ExecutorDied(TaskException):
    """The executor died, never registered, or talked nonsense."""


class TaskStoreFull(TaskException, StoreFull):
    """There was no room for an output of the task."""


class TaskTimeout(TaskException, TimeoutError):
    """A call of the task ran longer than its `timeout`."""


class TaskOOM(TaskException, MemoryError):
    """The task's process used more than its `memory`, or the kernel had no memory left for it."""


class TaskCancelled(TaskException):
    """The task was cancelled by the user."""


class DependencyFailed(TaskException):
    """A task that this one depends on did not finish: `origin_id`."""
