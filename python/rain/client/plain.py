"""Plain Python functions, without context, as tasks: for map, submit_task and Executor."""

from __future__ import annotations

import pickle
from binascii import b2a_base64

from rain import _core
from rain.client.pycode import _ATOMS, PICKLE_ARG_SIZE_LIMIT, Remote
from rain.client.task import Task
from rain.common.plain import run_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PROTOCOL = 5


class PlainFunction(Remote):
    """Makes a task of each call of a function that knows nothing of rain.

    Its one argument in the executor is the pair (args, kwargs), so that no name is taken.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        def call(ctx: Any, arguments: Any) -> Any:
            return run_plain(ctx, function, arguments)

        super().__init__(call, name=getattr(function, "__name__", type(function).__name__))

    def task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Make a task, in the active session, that calls the function with these arguments."""
        if kwargs or not _ATOMS.issuperset(map(type, args)):
            return Remote.__call__(self, (args, kwargs))
        data = pickle.dumps((args, kwargs), _PROTOCOL)
        if len(data) > PICKLE_ARG_SIZE_LIMIT:
            return Remote.__call__(self, (args, kwargs))
        text = b2a_base64(data, newline=False).decode("ascii")
        return Task(
            (self._function_in(_core.active_session()),),
            1,
            config={"args": [text], "kwargs": {}},
            task_type="py/",
            name=self.name,
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Task:
        return self.task(args, kwargs)
