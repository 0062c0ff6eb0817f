"""Plain values as inputs of ``client.executors["x"].task(...)``: what typed tasks take."""

from __future__ import annotations

from rain import _core
from rain.client.data import blob
from rain.common import ndarray
from rain.common.value import is_value, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.client.data import DataObject
    from rain.client.session import Session


def as_input(value: Any, session: Session | None = None) -> Any:
    """Return what Task takes for an input.

    Parameters
    ----------
    value
        A data object, a task, or a (label, …) pair of these or of any other value here: None, bool,
        int, float, list, dict and instances of dataclasses become values (content type "cbor"),
        which tasks take for numbers of whatever type they fit, and for structs; numpy arrays and
        scalars keep their dtype; the rest is as for blob().
    session : Session, optional
        Of the constants. Default: the active one.
    """
    if isinstance(value, (_core.DataObjectBase, _core.TaskBase, _core.Blob)):
        return value  # of fetched data, Task says that it takes the data object instead
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, type(None))):
        return value[0], as_input(value[1], session)
    return _constant(value, session)


def _constant(value: Any, session: Session | None) -> DataObject:
    if is_value(value):
        return blob(plain(value), encode="cbor", session=session)
    return blob(ndarray.of_scalar(value), session=session)
