"""What tasks made of plain functions do in the executor: pickled calls name these."""

from __future__ import annotations

import pickle

from rain.common.content_type import encode_value
from rain.common.ndarray import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rain.executor.context import Context
    from rain.executor.datainstance import DataInstance

_ATOMS = (type(None), bool, int, float, str, bytes)  # what is pickled without another look


def run_plain(
    ctx: Context, function: Callable[..., Any], call: tuple[tuple[Any, ...], dict[str, Any]]
) -> Any:
    """Call the function; return an output that holds the result."""
    args, kwargs = call
    result = function(*args, **kwargs)
    if is_array(result) and not result.dtype.hasobject:
        return result
    data = (
        pickle.dumps(result)
        if type(result) in _ATOMS
        else encode_value(result, "pickle", ctx._room)
    )
    instance: DataInstance = ctx._make_blob(data)  # type: ignore[assignment]
    instance._set_content_type("pickle")
    return instance


class InitializerError(Exception):
    """The initializer of an Executor raised in this process."""


class Initialized:
    """A function before whose first call in a process an initializer is called.

    Parameters
    ----------
    key : str
        Of the Executor: the initializer runs once per process and key.
    """

    __slots__ = ("_args", "_function", "_initializer", "_key")

    def __init__(
        self,
        function: Callable[..., Any],
        key: str,
        initializer: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self._function = function
        self._key = key
        self._initializer = initializer
        self._args = args

    @property
    def __name__(self) -> str:
        return getattr(self._function, "__name__", type(self._function).__name__)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self._key not in _outcomes:
            try:
                self._initializer(*self._args)
            except Exception as error:
                _outcomes[self._key] = f"{type(error).__name__}: {error}"
                raise InitializerError(_outcomes[self._key]) from error
            _outcomes[self._key] = None
        trouble = _outcomes[self._key]
        if trouble is not None:
            raise InitializerError(trouble)
        return self._function(*args, **kwargs)


_outcomes: dict[str, str | None] = {}  # of initializers in this process; None: it did not raise
