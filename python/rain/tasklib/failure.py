"""An exception as the text of a task's error. Imported when the first task fails."""

from __future__ import annotations

import traceback

from rain.common.errors import StoreFull


def describe(error: BaseException) -> str:
    """Return the traceback of `error`, or what can be said when that fails too.

    The governor knows a full store by the word at the beginning, as from C++ executors.
    """
    try:
        hint = _hint(error)
        if hint and hasattr(error, "add_note"):
            error.add_note(hint[1:])  # seen in the client, too
            hint = ""
        text = "".join(traceback.format_exception(error)).rstrip("\n") + hint
        return f"StoreFull: {error}\n{text}" if isinstance(error, StoreFull) else text
    except BaseException as second:  # the user's classes may do anything
        return (
            f"{type(error).__module__}.{type(error).__qualname__} "
            f"(its traceback could not be formatted: {type(second).__name__})"
        )


def _hint(error: BaseException) -> str:
    """Return what to do instead, of an error that numpy or memoryview raise on read-only data."""
    if isinstance(error, (ValueError, TypeError)) and not hasattr(error, "__notes__"):
        text = str(error)
        if text.endswith(" is read-only") or text == "cannot modify read-only memory":
            from rain.common.data_view import READ_ONLY_HINT

            return f"\n  Hint: {READ_ONLY_HINT}"  # indented: the line before says what happened
    return ""


_MAX_BYTES = 1 << 20


def pickled(error: BaseException) -> bytes:
    """Return `error` for the client, or b"" when it can't or shouldn't travel."""
    if not isinstance(error, Exception):
        return b""
    try:
        import pickle

        try:
            if type(error).__module__ != "builtins":
                import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

                data = bytes(cloudpickle.dumps(error, protocol=5))
            else:
                data = pickle.dumps(error, protocol=5)
        except ImportError:
            data = pickle.dumps(error, protocol=5)
    except BaseException:  # the user's classes may do anything
        return b""
    return data if len(data) <= _MAX_BYTES else b""
