"""An exception of a task in Python, as the exception that the client raises."""

from __future__ import annotations

import pickle
from functools import lru_cache

from rain.common.errors import TaskException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# As the class of what a client raises, these would mean something to the interpreter.
_NOT_RAISED = (StopIteration, StopAsyncIteration)


class RemoteTraceback(Exception):  # noqa: N818 - no error by itself
    """The cause of an exception that came from an executor: the traceback over there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}\n"""' if self.args else ""


def exception_like(pickled: bytes, text: str, message: str) -> TaskException | None:
    """Return an exception that is a TaskException and also what the task raised.

    Its class derives from both, its attributes and arguments are the original's, its text is
    `text`, and `original` is the exception itself. None when there can be no such thing: it can't
    be unpickled here, or can't be combined.
    """
    try:
        original = pickle.loads(pickled)
        if not isinstance(original, Exception) or isinstance(original, _NOT_RAISED):
            return None
        return _combined(original, text, message)
    except KeyboardInterrupt:
        raise
    except BaseException:  # what others wrote may do anything
        return None


def _combined(original: Exception, text: str, message: str) -> TaskException:
    kind = type(original)
    # What the interpreter itself defines: only that is called. Classes of users may want arguments
    # that are not known.
    native: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    _, arguments, *rest = native.__reduce__(original)
    error: Any = native.__new__(_class_like(kind), *arguments)  # type: ignore[arg-type]
    native.__init__(error, *arguments)
    if rest and rest[0]:
        native.__setstate__(error, rest[0])
    error.args = original.args
    error.original = original
    error._text = text
    error.message = message
    error.__cause__ = RemoteTraceback(message)
    return error  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _class_like(kind: type[Exception]) -> type[TaskException]:
    bases = (kind,) if issubclass(kind, TaskException) else (TaskException, kind)
    return type(
        kind.__name__,
        bases,
        {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__doc__": kind.__doc__,
            "__str__": _text_of,
            "__reduce__": _reduced,
        },
    )


def _text_of(self: Any) -> str:
    text: str = self._text
    return text


def _reduced(self: Any) -> Any:
    return _combined, (self.original, self._text, self.message)
