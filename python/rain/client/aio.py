"""Waiting within asyncio: the governor writes an eventfd, the event loop reads it."""

from __future__ import annotations

import asyncio
import contextlib
import os

from rain import _core
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rain.client.data import DataObject
    from rain.client.task import Task


class _Watch:
    """The waits of one event loop; they share an eventfd, which exists while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waits: dict[asyncio.Future[None], list[Task | DataObject]] = {}
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add_reader(self.eventfd, self.on_readable)

    def on_readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.eventfd)
        for future, items in list(self.waits.items()):
            # From the end, so that each item is looked at once after it is done.
            while items and _core.is_done(items[-1]):
                items.pop()
            if not items and not future.done():
                future.set_result(None)

    def close(self) -> None:
        self.loop.remove_reader(self.eventfd)
        os.close(self.eventfd)


_watches: dict[asyncio.AbstractEventLoop, _Watch] = {}


async def wait_for_items(items: Sequence[Task | DataObject]) -> None:
    """Return when all items are done, whatever their end."""
    left = [item for item in items if not _core.is_done(item)]
    if not left:
        return
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _Watch(loop)
    future: asyncio.Future[None] = loop.create_future()
    watch.waits[future] = left
    try:
        for item in tuple(left):
            if not _core.notify(item, watch.eventfd) and not _core.is_done(item):
                raise RainException(
                    f"{item!r} is not submitted, or it is not known which task makes it: "
                    "submit it, and wait for the task"
                )
        watch.on_readable()
        await future
    finally:
        del watch.waits[future]
        if not watch.waits:
            del _watches[loop]
            watch.close()
