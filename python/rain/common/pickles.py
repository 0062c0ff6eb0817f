"""Pickles whose large buffers lie beside the stream, in the same blob, and are loaded in place.

    blob   = stream { padding buffer } padding table count magic
    stream = a pickle of protocol 5 that takes the buffers in turn
    table  = { offset size }, a pair for each buffer, sizes in bytes
    padding: zeroes, so that what follows is at a multiple of 64 bytes
    offset, size, count: 8 bytes, unsigned, little-endian

A pickle ends with ".", so none looks like that by chance. The last byte of the magic is the
version of this layout. Without a large buffer the blob is the pickle alone.
"""

from __future__ import annotations

import pickle
import struct

from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Buffers of this size and more go beside the stream; copying smaller ones costs less.
BESIDE_BYTES = 16 << 10

_MAGIC = b"\0rain-p\x01"
_ALIGNMENT = 64
_WORD = 8
_BYTEARRAY8 = b"\x96"  # the opcode by which a protocol 5 without buffers differs from 4


def dumps(
    value: Any, by_value: bool = False, alloc: Callable[[int], Any] = bytearray
) -> bytes | Any:
    """Pickle a value.

    Parameters
    ----------
    value
    by_value : bool
        With cloudpickle. Without, only what the other side can't import is pickled by value: what
        the program itself (``__main__``) defines, and what is local to a function.
    alloc : callable
        Gives a writable buffer of so many bytes, in which large buffers are written.

    Returns
    -------
    bytes, or what `alloc` gave
    """
    buffers: list[memoryview] = []
    stream = None if by_value else _by_reference(value, buffers)
    if stream is None:
        import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

        buffers.clear()
        stream = bytes(cloudpickle.dumps(value, protocol=5, buffer_callback=_Collector(buffers)))
    return _written(stream, buffers, alloc) if buffers else stream


def loads(data: Any) -> Any:
    """Return the value that `data`, a bytes-like object, holds; large arrays are views of it.

    Raises
    ------
    RainException
        The table of buffers does not fit the data.
    """
    if len(data) <= BESIDE_BYTES:
        return pickle.loads(data)
    view = memoryview(data).cast("B")
    if view[-len(_MAGIC) :] != _MAGIC:
        return pickle.loads(view)
    end = len(view) - len(_MAGIC) - _WORD
    (count,) = struct.unpack_from("<Q", view, end)
    if count > end // (2 * _WORD):
        raise RainException(f"a pickle of {len(view)} bytes can't have {count} buffers")
    start = end - count * 2 * _WORD
    numbers = struct.unpack_from(f"<{2 * count}Q", view, start)
    places = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any(offset + size > start for offset, size in places):
        raise RainException(f"a pickle of {len(view)} bytes has a buffer outside of them")
    buffers = [view[offset : offset + size].toreadonly() for offset, size in places]
    return pickle.loads(view[: places[0][0] if places else start], buffers=buffers)


class _Collector:
    """Takes the large buffers of a pickle."""

    def __init__(self, buffers: list[memoryview]) -> None:
        self.seen = False
        self._buffers = buffers

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        self.seen = True
        raw = buffer.raw()
        if raw.nbytes < BESIDE_BYTES:
            return True
        self._buffers.append(raw)
        return False


def _by_reference(value: Any, buffers: list[memoryview]) -> bytes | None:
    """Pickle by reference to modules; None if it names what the other side can't import."""
    collector = _Collector(buffers)
    try:
        stream = pickle.dumps(value, 5, buffer_callback=collector)
        if b"__main__" in stream:
            return None
        if buffers or pickle.DEFAULT_PROTOCOL >= 5:
            return stream
        # As ever: executors of Rain 0.4 run on Pythons without protocol 5.
        if collector.seen or _BYTEARRAY8 in stream:
            return pickle.dumps(value)
    except Exception:
        return None
    return b"\x80\x04" + stream[2:]


def _written(stream: bytes, buffers: list[memoryview], alloc: Callable[[int], Any]) -> Any:
    from rain._core import copy_into

    places = []
    end = len(stream)
    for buffer in buffers:
        offset = _aligned(end)
        places.append((offset, buffer.nbytes))
        end = offset + buffer.nbytes
    table = b"".join(struct.pack("<QQ", *place) for place in places)
    table += struct.pack("<Q", len(places)) + _MAGIC
    start = _aligned(end)
    room = alloc(start + len(table))
    parts = [
        (0, stream),
        *zip((place[0] for place in places), buffers, strict=True),
        (start, table),
    ]
    written = 0
    for offset, part in parts:
        copy_into(room, written, bytes(offset - written))
        copy_into(room, offset, part)
        written = offset + len(part)
    return room


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
