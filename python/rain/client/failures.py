"""From what the governor says of a failure to the exception that the user sees."""

from __future__ import annotations

from rain import _core
from rain.common import errors
from rain.common.ids import ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.client.data import DataObject
    from rain.client.session import Session
    from rain.client.task import Task

_TASK, _EXECUTOR, _STORE_FULL, _CANCELLED, _SESSION, _ANCESTOR, _LAUNCHER, _TIMEOUT, _OOM, _LOST = (
    range(10)
)
_CLASSES: dict[int, type[errors.TaskException]] = {
    _TASK: errors.TaskException,
    _EXECUTOR: errors.ExecutorDied,
    _STORE_FULL: errors.TaskStoreFull,
    _CANCELLED: errors.TaskCancelled,
    _ANCESTOR: errors.DependencyFailed,
    _TIMEOUT: errors.TaskTimeout,
    _OOM: errors.TaskOOM,
}
_SESSION_CLASSES: dict[int, type[errors.SessionException]] = {
    _LAUNCHER: errors.LauncherLost,
    _LOST: errors.ServerLost,
}
_ENDS = {_CANCELLED: "was cancelled", _ANCESTOR: "was aborted"}


def exception_of(item: Task | DataObject) -> errors.RainException:
    """Return the exception that says why `item` did not finish."""
    if _core.session_failed(item.session):
        return exception_of_session(item.session)
    failure = _core.failure(item)
    if failure is None:
        return errors.RainException(f"{item!r} did not finish")
    return _exception(item.session, failure)


def exception_of_session(session: Session) -> errors.RainException:
    """Return the exception that says why the session failed."""
    failure = _core.session_failure(session)
    if failure is None:
        return errors.SessionClosed("Session is closed")
    return _exception(session, failure)


def _exception(session: Session, failure: _core.FailureTuple) -> errors.RainException:
    kind, who, origin, message, debug, report, pickled, attempts = failure
    if kind not in _CLASSES or who[0] == -1:
        text = "\n".join(part for part in (message, report) if part)
        return _SESSION_CLASSES.get(kind, errors.SessionException)(text)

    task_id = ID(*who)
    task = _core.find_task(session, task_id.id)
    creation = _core.creation(session, task_id.id)
    name = repr(task)
    if task is None:
        name = f"<Task {task_id} {creation[0]}>" if creation is not None else f"<Task {task_id}>"
    lines = [f"Task {name} {_ENDS.get(kind, 'failed')}", f"Message: {message}"]
    tried = [_attempt(each) for each in attempts]
    if len(tried) > 1:
        whose = "" if origin == who else f" of {ID(*origin)}"
        lines.append(f"Attempts{whose}: {len(tried)}")
        lines += [f"  {number}. {each!r}" for number, each in enumerate(tried, 1)]
    created_at = _format(creation[1]) if creation is not None else ""
    if created_at:
        lines.append(f"Task created at:\n{created_at}")
    if debug:
        lines.append(f"Debug:\n{debug}")
    if report:
        lines.append(report)

    text = "\n".join(lines)
    error: errors.TaskException | None = None
    if kind == _TASK and pickled:
        from rain.client.original import exception_like

        error = exception_like(pickled, text, message)
    if error is None:
        error = _CLASSES[kind](text)
    error.task = task
    error.task_id = task_id
    error.origin_id = ID(*origin) if origin[0] != -1 else task_id
    error.message = message
    error.debug = debug
    error.report = report
    error.created_at = created_at
    error.attempts = tried
    return error


def _attempt(raw: _core.AttemptTuple) -> errors.Attempt:
    kind, message, executor, pid, seconds = raw
    return errors.Attempt(
        _CLASSES.get(kind, errors.TaskException), message, executor or None, pid or None, seconds
    )


def _format(frames: list[tuple[str, int, str]]) -> str:
    """Return frames, innermost first, in the form of a traceback."""
    import linecache

    lines = []
    for file, line, function in reversed(frames):
        lines.append(f'  File "{file}", line {line}, in {function}')
        code = linecache.getline(file, line).strip()
        if code:
            lines.append(f"    {code}")
    return "\n".join(lines)
