"""What Client() uses for arguments that are left out: `rain run` sets it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_arguments: dict[str, Any] = {}
_process = 0  # whose they are: neither a forked child's nor those of programs that it starts
_logs: list[str] = []


def set_defaults(**arguments: Any) -> None:
    """Set what each Client of this process uses where its own argument is left out.

    Known are config, cpus, memory, task_memory, run_directory, events, record and dashboard, and
    address and tls, which are used where a client has no argument for a governor of its own. Of
    several clients only the first writes to the file `events`, the second to one with "-2" before
    its suffix, and so on: each log is that of one client.
    """
    global _process
    _process = os.getpid()
    _arguments.clear()
    _arguments.update(arguments)
    _logs.clear()


def default(name: str) -> Any:
    """Return what is set for this argument, else None."""
    if not _arguments or _process != os.getpid():
        return None
    if name == "events" and _arguments.get(name) is not None:
        root, suffix = os.path.splitext(_arguments[name])
        number = f"-{len(_logs) + 1}" if _logs else ""
        _logs.append(os.path.abspath(f"{root}{number}{suffix}"))
        return _logs[-1]
    return _arguments.get(name)


def event_logs() -> list[str]:
    """Return the files that clients without `events` of their own have written, in order."""
    return list(_logs)
