"""What a task made of a plain function does in the executor: pickled calls name it."""

from __future__ import annotations

import pickle

from rain.common.ndarray import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rain.executor.context import Context

_PROTOCOL = 5


def run_plain(
    ctx: Context, function: Callable[..., Any], call: tuple[tuple[Any, ...], dict[str, Any]]
) -> Any:
    """Call the function; return an output that holds the result."""
    args, kwargs = call
    result = function(*args, **kwargs)
    if is_array(result) and not result.dtype.hasobject:
        return result
    try:
        data = pickle.dumps(result, _PROTOCOL)
    except Exception:  # a lambda, or of a class that only the client's program has
        import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

        data = cloudpickle.dumps(result, _PROTOCOL)
    return ctx.blob(data, content_type="pickle")
