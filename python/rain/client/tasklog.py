"""Lines that tasks write with ``ctx.log``: from the governor into Python's logging."""

from __future__ import annotations

import atexit
import os
import weakref
from _thread import allocate_lock, get_ident, start_new_thread  # threading takes its time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain import _core
    from rain.client.client import Client


class TaskLog:
    """A thread that takes one client's lines and hands them to ``logging``.

    It ends when the client is closed, after the last line. User code (handlers, filters) runs here
    and nowhere under the governor.
    """

    def __init__(self, client: Client, queue: _core.LogQueue) -> None:
        self._client = weakref.ref(client)
        self._pid = os.getpid()
        self._ident = 0  # of the thread, once it runs
        self._running = allocate_lock()
        self._running.acquire()
        _all.add(self)
        start_new_thread(self._run, (queue,))

    def _run(self, queue: _core.LogQueue) -> None:
        self._ident = get_ident()
        lines, dropped, closed = queue.wait()
        while not (lines or dropped or closed):  # a signal came
            lines, dropped, closed = queue.wait()
        if lines or dropped:
            # Most programs get no line, and have no use for logging. It wants a thread of
            # threading's, which takes the place of this one.
            from rain.client.tasklines import in_thread

            in_thread(self._hand_over, queue, lines, dropped, closed)
        else:
            self._end()

    def _hand_over(
        self, queue: _core.LogQueue, lines: list[_core.LogTuple], dropped: int, closed: bool
    ) -> None:
        from rain.client.tasklines import handle

        self._ident = get_ident()
        try:
            handle(lines, dropped)
            while not closed:
                lines, dropped, closed = queue.wait()
                handle(lines, dropped)
        finally:
            self._end()

    def _end(self) -> None:
        _all.discard(self)
        self._running.release()

    def join(self) -> None:
        """Wait until every line is handled. Requires: the client is closed."""
        if self._pid == os.getpid() and self._ident != get_ident():
            with self._running:
                pass

    def close_client(self) -> None:
        client = self._client()
        if client is not None:
            client.close()
        self.join()


# Those whose thread runs, also when the client is gone: it must have ended before Python does.
_all: set[TaskLog] = set()


def _close_clients() -> None:
    for log in list(_all):
        log.close_client()


# Runs before rain.engine's own, which was registered earlier.
atexit.register(_close_clients)
os.register_at_fork(after_in_child=_all.clear)
