"""Many tasks at once: as_completed, map, and what they make tasks of."""

from __future__ import annotations

import time
from collections import deque

from rain import _core
from rain.client.futures import value_of
from rain.client.views import views
from rain.common.errors import WaitTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from typing import Any

    from rain.client.session import Item, Session
    from rain.client.task import Task

# ---- map ----------------------------------------------------------------------------------------


class Results:
    """The results of ``session.map()``, in the order of its arguments. An iterator, with a length.

    Attributes
    ----------
    tasks : list of Task
        One for each call, or for each chunk of calls.
    """

    _BATCH = 512  # of outputs that are looked at together
    _timeout_error = WaitTimeout

    def __init__(
        self,
        tasks: list[Task],
        count: int,
        chunked: bool,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and timeout != timeout:
            raise ValueError("timeout must not be NaN")
        self.tasks = tasks
        self._collected: deque[_core.Blob | None] | None = None
        self._count = count
        self._chunked = chunked
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._next = 0
        self._ready: deque[Any] = deque()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._ready:
            if self._next == len(self.tasks):
                raise StopIteration
            self._take()
        return self._ready.popleft()

    def cancel(self) -> None:
        """Cancel what has not ended."""
        left = [task for task in self.tasks[self._next :] if not _core.is_done(task)]
        if left:
            _core.cancel(left)

    def collect(self) -> None:
        """Take the data of all results, which have ended: the session may be closed afterwards."""
        if self._collected is None:
            outputs = [task._outputs[0] for task in self.tasks[self._next :]]
            self._collected = deque(views(outputs))

    def _exception_of(self, item: Item) -> BaseException:
        from rain.client.failures import exception_of

        return exception_of(item)

    def _take(self) -> None:
        """Wait for the next task; take its results, and those of the next ones that are there."""
        first = self.tasks[self._next]
        if not _core.is_done(first):
            left = None if self._end is None else self._end - time.monotonic()
            try:
                problem = _core.wait((first,), left)
            except WaitTimeout:
                raise self._timeout_error(
                    f"{len(self.tasks) - self._next} of {len(self.tasks)} tasks are not finished "
                    f"after {self._timeout} s; they go on: iterate again, or cancel them"
                ) from None
            except KeyboardInterrupt:
                self.cancel()
                raise
        else:
            problem = _core.first_problem((first,))
        if problem is not None:
            self._next += 1
            if self._collected is not None:
                self._collected.popleft()
            raise self._exception_of(problem)
        outputs = []
        for task in self.tasks[self._next : self._next + self._BATCH]:
            if not _core.is_finished(task):
                break
            outputs.append(task.output)
        self._next += len(outputs)
        if self._collected is None:
            found = views(outputs)
        else:
            found = [self._collected.popleft() for _ in outputs]
        for output, data in zip(outputs, found, strict=True):
            value = value_of(output, data)
            if self._chunked:
                self._ready.extend(value)
            else:
                self._ready.append(value)


def map_tasks(
    session: Session, function: Any, iterables: tuple[Iterable[Any], ...], chunksize: int | None
) -> Results:
    """Return what Session.map() does."""
    if not iterables:
        raise TypeError("map() needs at least one iterable")
    if chunksize is not None and chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    calls = list(zip(*iterables, strict=False))
    count, chunked = len(calls), chunksize is not None and chunksize > 1
    if chunksize is not None and chunksize > 1:
        function, calls = make_chunks(function, calls, chunksize)
    make = task_maker(function)
    with session.bind_only():
        tasks = [make(*call) for call in calls]
    for task in tasks:
        task._keep_outputs(True)
    session.submit()
    return Results(tasks, count, chunked)


def make_chunks(
    function: Any, calls: list[tuple[Any, ...]], size: int
) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """Return a function that does up to `size` calls at once, and the calls of it."""
    if isinstance(function, str) or is_task_class(function) or is_remote(function):
        raise ValueError(
            "chunksize makes one task of several calls of a plain Python function: "
            f"leave it out for {function!r}"
        )

    def call_chunk(chunk: list[tuple[Any, ...]]) -> list[Any]:
        return [function(*call) for call in chunk]

    call_chunk.__name__ = getattr(function, "__name__", "map")
    return call_chunk, [(calls[i : i + size],) for i in range(0, len(calls), size)]


def is_task_class(function: Any) -> bool:
    return isinstance(function, type) and issubclass(function, _core.TaskBase)


def is_remote(function: Any) -> bool:
    from rain.client.pycode import Remote

    return isinstance(function, Remote)


def is_plain(function: Any) -> bool:
    """Whether it is a function that knows nothing of rain."""
    return callable(function) and not is_task_class(function) and not is_remote(function)


def task_maker(function: Any) -> Callable[..., Task]:
    """Return what makes a task of a call: of a task type, a Task class, or a function."""
    if isinstance(function, str):
        from rain.client.task import Task

        task_type = function

        def make(*inputs: Any) -> Task:
            return Task([_as_input(value) for value in inputs], 1, task_type=task_type)

        return make
    if is_task_class(function):
        task_class: Callable[..., Task] = function
        return task_class
    if not callable(function):
        raise TypeError(f"map() takes a task type, a Task class or a function, not {function!r}")
    if is_remote(function):
        remote_function: Callable[..., Task] = function
        return remote_function
    from rain.client.plain import PlainFunction

    return PlainFunction(function)


def _as_input(value: Any) -> Any:
    if isinstance(value, (_core.DataObjectBase, _core.TaskBase)):
        return value
    from rain.client.data import blob

    return blob(value)


# ---- as_completed -------------------------------------------------------------------------------


def as_completed(items: Iterable[Item], timeout: float | None = None) -> Completed:
    """Give tasks and data objects as they end, however they end; each one once.

    For ``for`` and ``async for``. Items are of one client and submitted.

    Parameters
    ----------
    items : iterable of Task and DataObject
    timeout : float, optional
        Seconds from now, for all together.

    Raises
    ------
    WaitTimeout
        While iterating.
    RainException
        An item is not submitted, or it is not known which task makes it.

    Ctrl-C while it waits raises KeyboardInterrupt and cancels the items that it waits for.
    """
    return Completed(items, timeout)


class Completed:
    """Iterator of as_completed()."""

    def __init__(self, items: Iterable[Item], timeout: float | None) -> None:
        if timeout is not None and timeout != timeout:
            raise ValueError("timeout must not be NaN")
        unique = {id(item): item for item in items}
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._queue = _core.CompletionQueue()
        self._ready = deque(item for item in unique.values() if _core.is_done(item))
        for item in self._ready:
            del unique[id(item)]
        self._left = unique
        waited = list(unique.values())
        if self._queue.watch_all(waited, waited) < len(waited):
            from rain.client.aio import check_watchable

            check_watchable(waited)
        self._total = len(self._left) + len(self._ready)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._ready:
            if not self._left:
                raise StopIteration
            try:
                self._queue.wait(min(self._seconds_left(), 1.0))
            except KeyboardInterrupt:
                _core.cancel(list(self._left.values()))
                raise
            self._take()
            if not self._ready and self._seconds_left() <= 0:
                self._raise_timeout()
        return self._ready.popleft()

    async def __aiter__(self) -> AsyncIterator[Item]:
        import asyncio

        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        fd = self._queue.fileno()
        loop.add_reader(fd, readable.set)
        try:
            while self._ready or self._left:
                if not self._ready:
                    left = None if self._end is None else max(self._seconds_left(), 0.0)
                    try:
                        await asyncio.wait_for(readable.wait(), left)
                    except asyncio.TimeoutError:
                        self._raise_timeout()
                    self._take()
                    readable.clear()
                while self._ready:
                    yield self._ready.popleft()
        finally:
            loop.remove_reader(fd)

    def _exception_of(self, item: Item) -> BaseException:
        from rain.client.failures import exception_of

        return exception_of(item)

    def _take(self) -> None:
        for item in self._queue.take():
            del self._left[id(item)]
            self._ready.append(item)

    def _seconds_left(self) -> float:
        return 1e9 if self._end is None else self._end - time.monotonic()

    def _raise_timeout(self) -> None:
        raise WaitTimeout(
            f"{len(self._left)} of {self._total} items are not done after {self._timeout} s; "
            "they go on: wait again, or cancel them"
        )
