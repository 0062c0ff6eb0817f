"""What a task made of a plain function does in the executor: pickled calls name it."""

from __future__ import annotations

from rain.common.ndarray import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rain.executor.context import Context


def run_plain(
    ctx: Context, function: Callable[..., Any], call: tuple[tuple[Any, ...], dict[str, Any]]
) -> Any:
    """Call the function; return an output that holds the result."""
    args, kwargs = call
    result = function(*args, **kwargs)
    if is_array(result) and not result.dtype.hasobject:
        return result
    return ctx.pickled(result)
