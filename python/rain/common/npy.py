"""Content type "user/npy": the bytes of a .npy file, of which a numpy array is a view."""

from __future__ import annotations

from rain.common.errors import RainException
from rain.common.ndarray import in_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CONTENT_TYPE = "user/npy"

_MAGIC = b"\x93NUMPY"


def looks_so(data: memoryview) -> bool:
    """Whether the data begin as a .npy file does."""
    return data[: len(_MAGIC)] == _MAGIC


def dumps(value: Any, alloc: Callable[[int], Any] = bytearray) -> Any:
    """Write an array, or what numpy makes one of, into what ``alloc(size)`` gives.

    Raises
    ------
    TypeError
        It is an array of Python objects.
    """
    import io

    import numpy as np
    from numpy.lib import format as npy

    array = np.asanyarray(value)
    if array.dtype.hasobject:
        raise TypeError('an array of Python objects can\'t be shared: pickle it (encode="pickle")')
    header = io.BytesIO()
    description = npy.header_data_from_array_1_0(array)
    try:
        npy.write_array_header_1_0(header, description)
    except ValueError:  # a structure with very many fields
        header = io.BytesIO()
        npy.write_array_header_2_0(header, description)
    start = header.tell()
    room = alloc(start + array.nbytes)
    memoryview(room)[:start] = header.getbuffer()
    order = "F" if description["fortran_order"] else "C"
    in_buffer(room, array.dtype, array.shape, start, order)[...] = array  # type: ignore[arg-type]
    return room


def load(data: memoryview) -> Any:
    """Return the array, a view of `data`.

    Raises
    ------
    RainException
        They are no .npy file, end early, or hold Python objects.
    """
    import ast
    import struct

    from numpy.lib import format as npy

    try:
        if not looks_so(data):
            raise ValueError("they don't begin as a .npy file does")
        if data[6] not in (1, 2, 3):
            raise ValueError(f"version {data[6]} of the format is not known")
        width = 2 if data[6] == 1 else 4
        (length,) = struct.unpack_from("<H" if width == 2 else "<I", data, 8)
        start = 8 + width + length
        encoding = "utf-8" if data[6] == 3 else "latin-1"
        header = ast.literal_eval(str(data[8 + width : start], encoding).strip())
        dtype = npy.descr_to_dtype(header["descr"])
        if dtype.hasobject:
            raise ValueError("they hold Python objects, which are not shared: pickle the array")
        order = "F" if header["fortran_order"] else "C"
        if any(extent < 0 for extent in header["shape"]):
            raise ValueError("negative extents")  # numpy would take -1 for whatever fits
        return in_buffer(data, dtype, header["shape"], start, order)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, struct.error) as error:
        raise RainException(
            f"these {len(data)} bytes are no array of a .npy file: {error}"
        ) from error
