"""What a task printed."""

from __future__ import annotations

from rain.common.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.client.task import Task

_MAX_BYTES = 1 << 20  # of stdout, and of stderr
_ENDED_PROCESSES = 64  # whose logs the governor keeps: kLogsOfTheDead


def read_logs(task: Task) -> str:
    """Return what `task` wrote to stdout, then what it wrote to stderr. See Task.logs."""
    client = task.session.client
    if client is None or client.closed:
        raise UsageError(
            f"the logs of {task!r} went with its session: read them before Session.close()"
        )
    printed = task._printed()
    if printed is None:
        return ""
    out, out_begin, out_end, err, err_begin, err_end = printed
    return _read(task, out, out_begin, out_end) + _read(task, err, err_begin, err_end)


def _read(task: Task, path: str, begin: int, end: int) -> str:
    if begin == end:
        return ""
    try:
        with open(path, "rb") as file:
            end = min(end, file.seek(0, 2))  # an executor may say anything
            begin = min(begin, end)
            left_out = max(end - begin - _MAX_BYTES, 0)
            file.seek(begin + left_out)
            data = file.read(end - begin - left_out)
    except FileNotFoundError as error:
        raise UsageError(
            f"what {task!r} printed is gone: its process has ended, and {_ENDED_PROCESSES} others "
            "after it, of which the logs are kept. Read logs earlier, or let idle processes live "
            "longer (idle_seconds)"
        ) from error
    except OSError as error:
        raise UsageError(f"the log {path} can't be read: {error.strerror}") from error
    text = data.decode("utf-8", "replace")
    return f"... ({left_out} bytes before this)\n{text}" if left_out else text
