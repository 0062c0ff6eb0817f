"""Content type "user/ndarray": the items of a numpy array in C order.

The user attribute "ndarray" says what they are: ``{"dtype": ..., "shape": [...]}`` with the dtype
as in the header of .npy files.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    import numpy as np

CONTENT_TYPE = "user/ndarray"
ATTRIBUTE = "ndarray"


def is_array(value: Any) -> bool:
    """True for a numpy array (not of a subclass), without an import of numpy."""
    kind = type(value)
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def of_scalar(value: Any) -> Any:
    """Return one of numpy's scalars as an array without dimensions, anything else as it is."""
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        import numpy as np

        return np.asarray(value)
    return value


def as_bytes(array: Any) -> Any:
    """Return the items of an array in C order as an array of bytes, a view if they lie so.

    Raises
    ------
    TypeError
        They are Python objects.
    """
    import numpy as np

    if array.dtype.hasobject:
        raise TypeError('an array of Python objects can\'t be shared: pickle it (encode="pickle")')
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def describe(array: Any) -> dict[str, Any]:
    """Return the attribute of an array."""
    from numpy.lib import format as npy

    return {"dtype": npy.dtype_to_descr(array.dtype), "shape": list(array.shape)}


def in_buffer(
    buffer: Any,
    dtype: Any,
    shape: tuple[int, ...],
    offset: int = 0,
    order: Literal["C", "F"] = "C",
) -> np.ndarray[Any, Any]:
    """Return the array whose items lie in a buffer."""
    import numpy as np

    array: np.ndarray[Any, Any]
    array = np.ndarray(shape, dtype, buffer=memoryview(buffer), offset=offset, order=order)
    return array


def load(data: Any, attribute: Any) -> Any:
    """Return the array, a view of `data`.

    Raises
    ------
    RainException
        The attribute is missing or doesn't fit the data.
    """
    from rain.common.errors import RainException

    try:
        return _view(data, attribute["dtype"], attribute["shape"])
    except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise RainException(
            f"data of content type {CONTENT_TYPE!r} need the attribute {ATTRIBUTE!r} with dtype "
            f"and shape that fit their {len(data)} bytes, not {attribute!r:.200}"
        ) from error


def _view(data: Any, descr: Any, shape: Any) -> Any:
    import numpy as np

    if type(descr) is str:
        dtype = np.dtype(descr)
    else:
        from numpy.lib import format as npy

        dtype = npy.descr_to_dtype(_as_tuples(descr))
    if dtype.hasobject:
        raise ValueError("bytes are no pointers to Python objects")
    if any(extent < 0 for extent in shape):
        raise ValueError("negative extents")  # numpy would take -1 for whatever fits
    array: Any = np.ndarray(shape, dtype, buffer=memoryview(data))
    if array.nbytes != len(data):
        raise ValueError(f"the array has {array.nbytes} bytes")
    return array


def _as_tuples(descr: Any) -> Any:
    """Undo what JSON made of a structured dtype: the list has tuples of name, type and shape."""
    if not isinstance(descr, list):
        return descr
    return [
        tuple(_as_tuples(part) if i == 1 else _shape(part) for i, part in enumerate(field))
        for field in descr
    ]


def _shape(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part
