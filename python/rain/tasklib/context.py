"""What a task may ask about its call, and do besides returning outputs."""

from __future__ import annotations

import os

from rain._core import TaskContext
from rain.common import ndarray
from rain.tasklib.attributes import Attributes
from rain.tasklib.datainstance import DataInstance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    import numpy as np
    from numpy.typing import DTypeLike

    from rain._core import TaskBuffer


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class OutputSpec:
    """An output as the client declared it."""

    __slots__ = ("attributes", "content_type", "is_directory", "label")

    def __init__(
        self, label: str, content_type: str, is_directory: bool, attributes: dict[str, Any]
    ) -> None:
        self.label = label
        self.content_type = content_type
        self.is_directory = is_directory
        self.attributes = attributes

    def __repr__(self) -> str:
        return f"<OutputSpec label={self.label!r} content_type={self.content_type!r}>"


class Context(TaskContext):
    """The first argument of every task. Valid as long as the call.

    Attributes
    ----------
    task_id : (int, int)
        Session and number.
    task_type : str
        "executor/function".
    name : str
        What the user called the task; often empty.
    config : object
        What the client gave as ``config``; None without.
    cpus : int
        CPUs that the task was given.
    resources : dict of str to list of str
        Named resources that the task was given. Of indexed ones, such as "gpu": which; of others an
        empty list. With "gpu", a single-threaded executor has CUDA_VISIBLE_DEVICES set to them
        during the call (which CUDA reads once, when it is first used); with several threads, which
        share their environment, the task has to look here.
    """

    __slots__ = ()

    @property
    def outputs(self) -> list[OutputSpec]:
        """The outputs as the client declared them."""
        return [OutputSpec(*output) for output in self._outputs()]

    @property
    def attributes(self) -> Attributes:
        """User attributes: the client's, and what this task set for the client to see."""
        return Attributes(self)

    def debug(self, message: str, *args: object, **kwargs: object) -> None:
        """Add a line for the one who looks at the task later.

        If the process dies, the failure has the lines.

        Parameters
        ----------
        message
            Taken as ``message.format(*args, **kwargs)`` if there are any of these.
        """
        if not isinstance(message, str):
            raise TypeError(f"ctx.debug() takes a str, not {type(message).__name__}")
        self._debug(message.format(*args, **kwargs) if args or kwargs else message)

    def log(self, level: int | str, message: str, *args: object, **kwargs: object) -> None:
        """Write a line to the client's log, at once.

        The client's logger ``rain.executor.<type>`` has it while the task runs. It never waits:
        what is written faster than it can be sent is dropped, and counted. Under a governor that
        knows no log (Rain 0.4) the line goes to stderr.

        Parameters
        ----------
        level : int or str
            As in ``logging``: 10, 20, ...; or "debug", "info", "warning", "error", "critical".
        message
            As debug() takes it. At most 8 KiB; longer lines are cut.
        """
        if not isinstance(message, str):
            raise TypeError(f"ctx.log() takes a str, not {type(message).__name__}")
        number = _LEVELS.get(level) if isinstance(level, str) else level
        if number is None or number < 0:
            raise ValueError(
                f"ctx.log(): there is no level {level!r}; use {', '.join(_LEVELS)} or a number"
            )
        self._log(number, message.format(*args, **kwargs) if args or kwargs else message)

    def logging(self, name: str | None = None, level: int = 0) -> AbstractContextManager[None]:
        """Return a context manager that sends what this thread logs to the client, as log() does.

        Parameters
        ----------
        name
            Of the logger; default: the root, and so all of them.
        level
            Lower records are left out. The loggers' own levels count, too.
        """
        from rain.tasklib.forwarding import forwarded

        return forwarded(self, name, level)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike = float) -> np.ndarray[Any, Any]:
        """Return a numpy array in shared memory, to be filled in place and returned.

        Parameters
        ----------
        shape, dtype
            As for ``numpy.empty``.

        Raises
        ------
        StoreFull
            There is no room.
        """
        import numpy as np

        item = np.dtype(dtype)
        if item.hasobject:
            raise TypeError("ctx.empty(): an array of Python objects can't be shared; pickle it")
        dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
        count = 1
        for dimension in dimensions:
            count *= int(dimension)
        return ndarray.in_buffer(self.alloc(count * item.itemsize), item, dimensions)

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike = float) -> np.ndarray[Any, Any]:
        """Return an array of zeros in shared memory. See empty()."""
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def blob(
        self, value: Any, content_type: str | None = None, encode: str | None = None
    ) -> DataInstance:
        """Return an output made of `value`, to set its content type or attributes.

        Parameters
        ----------
        value
            bytes, str, or anything with the buffer protocol; what ``ctx.alloc`` and ``ctx.empty``
            gave is sealed without a copy. A numpy array keeps shape and dtype, unless there is
            a `content_type`. With `encode`: any value that it can encode.
        content_type
            What the data are.
        encode
            Encode `value` and use this as the content type: "pickle", "json", "arrow",
            "user/npy", … Large arrays and tables are written once, in shared memory.
        """
        if encode is not None:
            if content_type is not None:
                raise ValueError("Specify only one of content_type and encode")
            from rain.common.content_type import encode_value

            value, content_type = encode_value(value, encode, self._room), encode
        elif content_type is None and ndarray.is_array(value):
            return self._array(value)
        instance: DataInstance | None = self._make_blob(value)
        if instance is None:
            raise TypeError(
                f"ctx.blob() of {type(value).__name__}: without `encode` it takes bytes, str or "
                'anything with the buffer protocol; try encode="pickle"'
            )
        if content_type is not None:
            instance._set_content_type(content_type)
        return instance

    def _array(self, value: Any, may_shrink: bool = True) -> DataInstance:
        """Return an output that holds a numpy array, of which ``load()`` gives a view."""
        if not value.flags.c_contiguous and not value.dtype.hasobject:
            target = ndarray.in_buffer(self._room(value.nbytes), value.dtype, value.shape)
            target[...] = value
            value = target
        instance: DataInstance = self._make_blob(ndarray.as_bytes(value), may_shrink)  # type: ignore[assignment]
        instance._set_content_type(ndarray.CONTENT_TYPE)
        instance._set_attribute(ndarray.ATTRIBUTE, ndarray.describe(value))
        return instance

    def _room(self, size: int) -> TaskBuffer:
        """Return room for what is copied there from other memory, which the report counts."""
        room = self.alloc(size)
        room._note_copied(size)
        return room

    def pickled(self, value: Any) -> DataInstance:
        """Return an output that holds `value`, pickled."""
        return self.blob(value, encode="pickle")

    def stage_file(
        self, path: str | os.PathLike[str], content_type: str | None = None
    ) -> DataInstance:
        """Return an output made of a file that the task wrote.

        The file is taken away. It must lie in the directory in which the executor was started.
        """
        instance: DataInstance = self._make_file(os.path.abspath(os.fspath(path)))
        if content_type is not None:
            instance._set_content_type(content_type)
        return instance

    def stage_directory(self, path: str | os.PathLike[str]) -> DataInstance:
        """Return an output made of a directory that the task made, as stage_file() of a file."""
        return self.stage_file(path)
