"""Lines of tasks as records of Python's logging. Imported when the first line comes."""

from __future__ import annotations

import logging
import threading

from rain.common.ids import ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rain._core import LogTuple

logger = logging.getLogger("rain.executor")


def in_thread(function: Callable[..., None], *args: object) -> None:
    threading.Thread(target=function, args=args, name="rain-task-log", daemon=True).start()


def handle(lines: list[LogTuple], dropped: int) -> None:
    """Hand lines to the loggers of their executors; `dropped`: how many more there were."""
    for line in lines:
        _handle(*line)
    if dropped:
        logger.warning("%d lines of tasks were dropped: they came too fast", dropped)


def _handle(
    task: tuple[int, int],
    task_type: str,
    executor: str,
    pid: int,
    level: int,
    text: str,
    time: float,
    lost: int,
) -> None:
    try:
        target = logging.getLogger(f"{logger.name}.{executor}")
        if lost:
            target.warning("%d lines of tasks were dropped: they came too fast", lost)
        if not text or not target.isEnabledFor(level):
            return
        extra = {"task_id": ID(*task), "task_type": task_type, "executor_pid": pid}
        record = target.makeRecord(target.name, level, "", 0, text, (), None, task_type, extra)
        record.created = time
        record.msecs = time % 1 * 1000
        target.handle(record)
    except Exception:
        logger.exception("exception while a line of %s was logged", task_type)
