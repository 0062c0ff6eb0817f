"""Trying tasks without a governor, in this process; for pytest and anything else.

>>> from rain.tasklib.testing import call
>>> from example2 import executor  # whose start() is under ``if __name__ == "__main__"``
>>> call(executor, "scale", np.array([1.0, 2.0]), 3.0).load()
array([3., 6.])

The task gets its inputs as it would from a governor, from the same native code, and what fails it
there fails it here: an exception, the wrong number of inputs or outputs, inputs of wrong types.
"""

from __future__ import annotations

import os

from rain.common import ndarray
from rain.common.value import is_value, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rain.tasklib.datainstance import DataInstance
    from rain.tasklib.executor import Executor


class TaskError(Exception):
    """The task has failed. The text is what a client would see; the cause is the exception."""


class Result:
    """What a call left.

    Attributes
    ----------
    outputs : list of DataInstance
        Empty if the task has failed.
    error : str or None
        What a client would see; None if the task has not failed.
    exception : BaseException or None
        What the task raised, if it did.
    debug : str
        What the task said with ``ctx.debug``.
    attributes : dict
        What it set in ``ctx.attributes``.
    """

    def __init__(
        self,
        error: str | None,
        exception: BaseException | None,
        outputs: list[DataInstance],
        debug: str,
        attributes: dict[str, Any],
    ) -> None:
        self.error = error
        self.exception = exception
        self.outputs = outputs
        self.debug = debug
        self.attributes = attributes

    @property
    def output(self) -> DataInstance:
        """The only output.

        Raises
        ------
        TaskError
            The task has failed.
        ValueError
            It gave none, or several.
        """
        self.check()
        if len(self.outputs) != 1:
            raise ValueError(f"the task gave {len(self.outputs)} outputs; use result.outputs[i]")
        return self.outputs[0]

    def load(self) -> Any:
        """Return the value of the only output. See DataInstance.load; raises as `output`."""
        return self.output.load()

    def check(self) -> None:
        """Raise TaskError if the task has failed."""
        if self.error is not None:
            raise TaskError(self.error) from self.exception

    def __repr__(self) -> str:
        what = f"{len(self.outputs)} outputs" if self.error is None else f"error={self.error!r}"
        return f"<Result {what}>"


def call(executor: Executor, name: str, *inputs: Any, **options: Any) -> Result:
    """Run a task and return what it left. The same as try_call, but for the first of

    Raises
    ------
    TaskError
        The task has failed; its cause is the exception that the task raised, if it did.
    ValueError
        The executor has no such task.
    """
    __tracebackhide__ = True  # of pytest: the test's line and the task's are of interest
    result = try_call(executor, name, *inputs, **options)
    result.check()
    return result


def try_call(
    executor: Executor,
    name: str,
    *inputs: Any,
    config: Any = None,
    outputs: int | Iterable[str] | None = None,
    attributes: dict[str, Any] | None = None,
) -> Result:
    """Run a task in this thread and return what it left, be it an error.

    Parameters
    ----------
    executor : Executor
    name : str
        Of the task, without the executor's type.
    *inputs
        What annotated tasks take: numpy arrays, numbers, str, bytes-like, dict, list, instances of
        dataclasses; a path (``pathlib.Path``) of a file or directory; outputs of another call.
        See ``make_input`` for data of another content type.
    config : JSON-like, optional
    outputs : int or iterable of str, optional
        How many outputs the task is asked for, or their labels. Default: as many as its annotation
        says, else one.
    attributes : dict, optional
        User attributes of the task.

    Raises
    ------
    ValueError
        The executor has no such task.
    KeyboardInterrupt
        Ctrl-C while the task ran.
    """
    labels = None
    if outputs is not None:
        labels = [""] * outputs if isinstance(outputs, int) else list(outputs)
    instances = [make_input(executor, value) for value in inputs]
    left = executor._core.call(name, instances, config, attributes or {}, labels)
    result = Result(*left)
    if isinstance(result.exception, KeyboardInterrupt):
        raise result.exception
    return result


def make_input(executor: Executor, value: Any, content_type: str | None = None) -> DataInstance:
    """Return an input for call().

    Parameters
    ----------
    value
        As for try_call.
    content_type : str, optional
        What the bytes are, or what to encode another value into: "pickle", "json", "arrow", …

    Raises
    ------
    TypeError
        The value is nothing that can be an input without a content type.
    """
    from rain.tasklib.datainstance import DataInstance

    if isinstance(value, DataInstance):
        return value
    if isinstance(value, os.PathLike):
        instance = executor._core.make_file(os.path.abspath(value))
    elif content_type is not None and not _has_bytes(value):
        from rain.common.content_type import encode_value

        instance = _made(executor, encode_value(value, content_type))
    elif content_type is None and is_value(value):
        from rain.common.content_type import encode_value

        instance, content_type = _made(executor, encode_value(plain(value), "cbor")), "cbor"
    elif content_type is None and ndarray.is_array(array := ndarray.of_scalar(value)):
        instance, content_type = _made(executor, ndarray.as_bytes(array)), ndarray.CONTENT_TYPE
        instance._set_attribute(ndarray.ATTRIBUTE, ndarray.describe(array))
    else:
        instance = _made(executor, value)
    if content_type is not None:
        instance._set_content_type(content_type)
    return instance


def _made(executor: Executor, value: Any) -> DataInstance:
    instance = executor._core.make_input(value)
    if instance is None:
        raise TypeError(
            f'a {type(value).__name__} is no input; make_input(executor, value, "pickle") makes one'
        )
    return instance


def _has_bytes(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True
