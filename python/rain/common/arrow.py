"""Content type "arrow": a table in Arrow's IPC stream format, opened in place."""

from __future__ import annotations

import sys

from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# In the schema's metadata: what the table was.
_KEY = b"rain"
_FRAME = b"pandas.DataFrame"


def dumps(value: Any, alloc: Callable[[int], Any] = bytearray) -> Any:
    """Write a table into what ``alloc(size)`` gives.

    Parameters
    ----------
    value
        A pyarrow Table or RecordBatch, a pandas DataFrame, or what has ``__arrow_c_stream__``.
    alloc : callable

    Raises
    ------
    RainException
        It is nothing of that, or pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    table = _table(pyarrow, value)
    measured = pyarrow.MockOutputStream()
    _write(pyarrow, table, measured)
    room = alloc(measured.size())
    _write(pyarrow, table, pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(room)))
    return room


def loads(data: memoryview) -> Any:
    """Return the table, whose buffers are in `data`; a DataFrame if it was one.

    Raises
    ------
    RainException
        The data are no such stream, or pyarrow (or pandas, for a DataFrame) is not installed.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.ipc.open_stream(pyarrow.py_buffer(data)) as reader:
            table = reader.read_all()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise RainException(
            f"these {len(data)} bytes are no table in Arrow's IPC stream format: {error}"
        ) from error
    metadata = table.schema.metadata or {}
    if metadata.get(_KEY) != _FRAME:
        return table
    del metadata[_KEY]
    try:
        import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore] # noqa: F401
    except ImportError as error:
        raise RainException("this table was a DataFrame: pip install pandas") from error
    # A block per column: joining columns into one would copy them.
    return table.replace_schema_metadata(metadata).to_pandas(split_blocks=True)


def _table(pyarrow: Any, value: Any) -> Any:
    if isinstance(value, pyarrow.Table):
        return value
    if isinstance(value, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([value])
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        table = pyarrow.Table.from_pandas(value)
        return table.replace_schema_metadata({**table.schema.metadata, _KEY: _FRAME})
    if hasattr(value, "__arrow_c_stream__"):
        return pyarrow.table(value)
    raise RainException(
        "Encoding 'arrow' can only encode pyarrow Tables and RecordBatches, pandas DataFrames, and "
        f"what has __arrow_c_stream__, not {type(value).__name__}"
    )


def _write(pyarrow: Any, table: Any, sink: Any) -> None:
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _pyarrow() -> Any:
    try:
        from importlib import import_module

        import_module("pyarrow.ipc")
        return import_module("pyarrow")
    except ImportError as error:
        raise RainException(
            "content type 'arrow' needs pyarrow: pip install 'rain-tasklib[arrow]'"
        ) from error
