"""Tasks and data objects as futures: result, exception, callbacks."""

from __future__ import annotations

import time

from rain import _core
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    from rain.client.data import DataObject
    from rain.client.session import Item
    from rain.client.task import Task
    from rain.common.data_instance import DataInstance

    Self = TypeVar("Self", bound="Future")

_DRAFT = 0  # of the compiled module's states


class Future:
    """What Task and DataObject have in common with other libraries' futures."""

    __slots__ = ()

    def done(self) -> bool:
        """Return True once it has ended, however: also when it failed or was cancelled."""
        return _core.is_done(self)  # type: ignore[arg-type]

    def exception(self, timeout: float | None = None) -> RainException | None:
        """Wait for the end; return why it did not finish, None if it did.

        What was not submitted yet is. Raises WaitTimeout.
        """
        item: Any = self
        _submit_if_draft(item)
        if not _core.is_done(item):
            _core.wait((item,), timeout)
        if _core.first_problem((item,)) is None:
            return None
        from rain.client.failures import exception_of

        return exception_of(item)

    def add_done_callback(self: Self, fn: Callable[[Self], object]) -> None:
        """Have `fn` called with this once it has ended, also if it has already.

        `fn` runs on a thread of the client, one after the other; what it raises is logged by the
        logger "rain.client". What is pending when the client is closed is called by close().

        Raises
        ------
        RainException
            It is not submitted.
        """
        from rain.client.dispatch import callbacks_of

        item: Any = self
        client = item.session.client
        if client is None or not _core.is_watchable(item):
            raise RainException(f"{item!r} is not submitted: nothing would call back")
        callbacks_of(client).add(item, fn)

    def __await__(self: Self) -> Generator[Any, None, Self]:
        """``await x`` waits within asyncio until x is finished, and gives x.

        Raises what wait() raises. Takes no thread. Ending the wait cancels no task.
        """
        item: Any = self
        yield from item.session.wait_async((item,)).__await__()
        return self


def _submit_if_draft(item: Item) -> None:
    if item._state == _DRAFT:
        if isinstance(item, _core.TaskBase):
            item._keep_outputs(True)
        else:
            item._set_kept(True)
        item.session.submit()


# ---- results ------------------------------------------------------------------------------------


def loaded(data: DataInstance) -> Any:
    """Return what the data mean: loaded if their content type says how, else as they are."""
    from rain.common.content_type import has_decoder

    return data.load() if has_decoder(data.content_type) else data


def value_of(output: DataObject, data: _core.Blob | None) -> Any:
    """Return what the data of a finished object mean, as loaded() does, without an instance."""
    if data is not None and data._path is None:
        info = output._result()
        if info is not None and info[1] == "pickle":
            from rain.common import pickles

            return pickles.loads(data)
    return loaded(output.session._instance(output, data))


def task_result(task: Task, timeout: float | None) -> Any:
    """Return what Task.result() does."""
    _submit_if_draft(task)
    end = None if timeout is None else time.monotonic() + timeout
    task.wait(timeout)
    values = [
        loaded(output.session.fetch(output, None if end is None else end - time.monotonic()))
        for output in task._outputs
    ]
    return values[0] if len(values) == 1 else values or None
