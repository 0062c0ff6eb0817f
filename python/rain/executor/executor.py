"""Runs remote functions: the one task of executor type ``py``."""

from __future__ import annotations

import os
import pickle
from binascii import a2b_base64

from rain.common.errors import RainException
from rain.common.ndarray import is_array
from rain.executor import context
from rain.executor.context import Context
from rain.executor.datainstance import DataInstance
from rain.executor.streams import Streams
from rain.executor.workdir import WorkingDirectory
from rain.tasklib.executor import Executor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MAX_FUNCTIONS = 256

# The inputs of the call whose arguments are being unpickled. One thread runs calls.
_inputs: tuple[DataInstance, ...] = ()
_functions: dict[tuple[int, int], Callable[..., Any]] = {}


def unpickle_input_object(name: str, index: int, load: bool, content_type: str | None) -> Any:
    """Stands in pickled arguments where the client had a data object.

    Parameters
    ----------
    name : str
        Label of the input.
    index : int
        Its position; the function itself is 0.
    load : bool
        Give the value that it holds instead of the DataInstance.
    content_type : str or None
        What the function declared it to be.
    """
    if not 0 <= index < len(_inputs):
        raise RainException(
            f"argument {name!r} refers to input {index} of a task with {len(_inputs)}: it can only "
            "be unpickled in its own call"
        )
    instance = _inputs[index]
    if content_type:
        from rain.common.content_type import merge_content_types

        merged = merge_content_types(instance.content_type or None, content_type)
        if merged and merged != instance.content_type:
            instance._set_content_type(merged)
    return instance.load() if load else instance


def unpickle_array(data: Any, dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    """Stands in pickled arguments where the client had a large numpy array: a view of a blob."""
    import numpy as np

    return np.frombuffer(data, dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _load_function(data: DataInstance) -> Callable[..., Any]:
    function = pickle.loads(data)
    if len(_functions) >= _MAX_FUNCTIONS:
        del _functions[next(iter(_functions))]
    key = data.object_id
    if key is not None:
        _functions[key] = function
    return function  # type: ignore[no-any-return]


def _arguments(config: Any) -> tuple[list[Any], dict[str, Any], list[str | None] | None]:
    try:
        args = [pickle.loads(a2b_base64(item)) for item in config["args"]]
        kwargs = {key: pickle.loads(a2b_base64(item)) for key, item in config["kwargs"].items()}
        return args, kwargs, config.get("encode_outputs")
    except (TypeError, KeyError, AttributeError) as error:
        if isinstance(config, dict) and {"args", "kwargs"} <= config.keys():
            raise
        raise RainException(
            "the config of a task of type 'py/' must have 'args' and 'kwargs', as @remote makes "
            f"them, not {config!r:.200}"
        ) from error


def run(ctx: Context, *inputs: DataInstance) -> Any:
    """Call a remote function; what it returns goes to its outputs."""
    global _inputs
    if not inputs:
        raise RainException("a task of type 'py/' needs its function as the first input")
    function = _functions.get(inputs[0].object_id)  # type: ignore[arg-type]
    if function is None:
        function = _load_function(inputs[0])
    _inputs = inputs
    try:
        args, kwargs, encodes = _arguments(ctx.config)
    finally:
        _inputs = ()
    ctx.function = function
    ctx._inputs = inputs
    working_directory.prepare()
    returned: Any = ()
    try:
        returned = function(ctx, *args, **kwargs)
        if encodes is not None and any(encodes):
            returned = _encoded(ctx, returned, encodes)
        elif type(returned) not in _PLAIN:
            returned = _finished(ctx, returned)
    finally:
        streams.restore()
        ctx._flush_info()
        if hasattr(ctx, "_staged"):
            ctx._drop_staged(_paths(returned))
    return returned


_PLAIN = (bytes, str, type(None))


def _finished(ctx: Context, returned: Any) -> Any:
    """Prepare what is no plain value of its own."""
    count = len(ctx._outputs())
    if count == 0:
        return returned
    if count == 1:
        return _item(ctx, 0, returned)
    return [_item(ctx, i, item) for i, item in enumerate(_items(ctx, returned, count))]


def _encoded(ctx: Context, returned: Any, encodes: list[str | None]) -> Any:
    if len(encodes) == 1:
        return _item(ctx, 0, returned, encodes[0])
    items = _items(ctx, returned, len(encodes))
    return [_item(ctx, i, item, encodes[i]) for i, item in enumerate(items)]


def _items(ctx: Context, returned: Any, count: int) -> list[Any]:
    """What a function with several outputs returned, in their order."""
    if isinstance(returned, dict) or (
        hasattr(returned, "keys") and hasattr(returned, "__getitem__")
    ):
        return [returned[output.label] for output in ctx.outputs]
    if isinstance(returned, (str, bytes, bytearray, memoryview, DataInstance)) or not (
        hasattr(returned, "__len__") and hasattr(returned, "__getitem__")
    ):
        raise RainException(f"Invalid result of task (not a sequence type): {returned!r:.1000}")
    if len(returned) != count:
        raise RainException(f"Python task should return {count} outputs, got {len(returned)}.")
    return list(returned)


def _item(ctx: Context, index: int, value: Any, encode: str | None = None) -> Any:
    if isinstance(value, DataInstance):
        value._flush_info()
        return value
    if encode:
        return ctx.blob(value, encode=encode)
    if is_array(value) and not ctx.outputs[index].content_type:
        return ctx.array(value)
    return value


def _paths(returned: Any) -> set[str | None]:
    items = returned if isinstance(returned, (tuple, list)) else (returned,)
    return {item.path for item in items if isinstance(item, DataInstance)}


class UniversalExecutor(Executor):
    """Executor type ``py``."""

    context_type = Context
    data_type = DataInstance


def main() -> None:
    """Serve the governor that started this process."""
    global streams, working_directory
    from rain.executor.workdir import remove

    context.stage_path = os.path.join(os.getcwd(), "stage")
    remove(context.stage_path)
    os.mkdir(context.stage_path, 0o700)
    working_directory = WorkingDirectory(os.path.join(os.getcwd(), "task"))
    streams = Streams()
    executor = UniversalExecutor("py")
    executor._core.add_task("", run)  # whose annotations are for readers alone
    executor.start()


streams: Streams
working_directory: WorkingDirectory
