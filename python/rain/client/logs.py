"""What a task printed."""

from __future__ import annotations

from rain.common.errors import UsageError
from rain.common.logfile import read_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.client.client import Client
    from rain.client.task import Task
    from rain.engine.mirror import MirrorEngine

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
    return _read(client, task, out, out_begin, out_end) + _read(
        client, task, err, err_begin, err_end
    )


def _read(client: Client, task: Task, path: str, begin: int, end: int) -> str:
    if begin == end:
        return ""
    try:
        if client._remote:
            engine: MirrorEngine = client._engine  # type: ignore[assignment]
            data, left_out = engine.read_log(*task.id, path, begin, end)
        else:
            data, left_out = read_end(path, begin, end)
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
