"""Waiting within asyncio: the governor fills a queue, the event loop watches its descriptor."""

from __future__ import annotations

import asyncio

from rain import _core
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rain.client.data import DataObject
    from rain.client.task import Task


class _Wait:
    """One coroutine that waits for `left` more items."""

    __slots__ = ("future", "left")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.left = 0


class _Listener:
    """The waits of one event loop; they share a queue, which exists while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waits = 0
        self.queue = _core.CompletionQueue()
        loop.add_reader(self.queue.fileno(), self.on_readable)

    def on_readable(self) -> None:
        for wait in self.queue.take():
            wait.left -= 1
            if wait.left == 0 and not wait.future.done():
                wait.future.set_result(None)


_listeners: dict[asyncio.AbstractEventLoop, _Listener] = {}


def check_watchable(items: Iterable[Task | DataObject]) -> None:
    """Raise if nothing will ever tell that one of the items is done."""
    for item in items:
        if not _core.is_done(item) and not _core.is_watchable(item):
            raise RainException(
                f"{item!r} is not submitted, or it is not known which task makes it: "
                "submit it, and wait for the task"
            )


async def wait_for_items(items: Iterable[Task | DataObject]) -> None:
    """Return when all items are done, whatever their end."""
    unfinished = [item for item in items if not _core.is_done(item)]
    if not unfinished:
        return
    loop = asyncio.get_running_loop()
    listener = _listeners.get(loop)
    if listener is None:
        listener = _listeners[loop] = _Listener(loop)
    wait = _Wait(loop.create_future())
    listener.waits += 1
    try:
        wait.left = listener.queue.watch_all(unfinished, [wait] * len(unfinished))
        if wait.left < len(unfinished):
            check_watchable(unfinished)
        if wait.left:
            await wait.future
    finally:
        listener.waits -= 1
        if not listener.waits:
            del _listeners[loop]
            loop.remove_reader(listener.queue.fileno())
