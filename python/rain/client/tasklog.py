"""Lines that tasks write with ``ctx.log``: from the governor into Python's logging."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref

from rain.common.ids import ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain import _core
    from rain.client.client import Client

logger = logging.getLogger("rain.executor")


class TaskLog:
    """A thread that takes one client's lines and hands them to ``logging``.

    It ends when the client is closed, after the last line. User code (handlers, filters) runs here
    and nowhere under the governor.
    """

    def __init__(self, client: Client, queue: _core.LogQueue) -> None:
        self._client = weakref.ref(client)
        self._pid = os.getpid()
        self._thread = threading.Thread(
            target=self._run, args=(queue,), name="rain-task-log", daemon=True
        )
        _all.add(self)
        self._thread.start()

    def _run(self, queue: _core.LogQueue) -> None:
        try:
            _hand_over(queue)
        finally:
            _all.discard(self)

    def join(self) -> None:
        """Wait until every line is handled. Requires: the client is closed."""
        if self._pid == os.getpid() and self._thread is not threading.current_thread():
            self._thread.join()

    def close_client(self) -> None:
        client = self._client()
        if client is not None:
            client.close()
        self.join()


def _hand_over(queue: _core.LogQueue) -> None:
    while True:
        lines, dropped, closed = queue.wait()
        for line in lines:
            _handle(*line)
        if dropped:
            logger.warning("%d lines of tasks were dropped: they came too fast", dropped)
        if closed:
            return


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


# Those whose thread runs, also when the client is gone: it must have ended before Python does.
_all: set[TaskLog] = set()


def _close_clients() -> None:
    for log in list(_all):
        log.close_client()


# Runs before rain.engine's own, which was registered earlier.
atexit.register(_close_clients)
os.register_at_fork(after_in_child=_all.clear)
