"""As much CBOR as a governor or an executor needs, without rain's own codec.

Definite lengths, shortest integers and floats (single where that keeps the value, else double) are
written; anything is read.
"""

from __future__ import annotations

import math
import struct
from typing import Any

_BREAK = object()


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | extra]) + value.to_bytes(size, "big")
    raise ValueError(f"{value} does not fit into 64 bits")


def dumps(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        try:
            single = struct.pack(">f", value)
        except OverflowError:
            return b"\xfb" + struct.pack(">d", value)
        if struct.unpack(">f", single) == (value,):
            return b"\xfa" + single
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _head(2, len(value)) + bytes(value)
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join(map(dumps, value))
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(dumps(k) + dumps(v) for k, v in value.items())
    raise TypeError(f"no CBOR for {type(value).__name__}")


def loads(data: bytes) -> Any:
    value, end = _item(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the item")
    return value


def _half(bits: int) -> float:
    exponent, mantissa = bits >> 10 & 31, bits & 1023
    if exponent == 31:
        value = math.nan if mantissa else math.inf
    else:
        value = math.ldexp(mantissa + (1024 if exponent else 0), max(exponent, 1) - 25)
    return -value if bits & 0x8000 else value


def _item(data: bytes, at: int) -> tuple[Any, int]:
    major, extra = data[at] >> 5, data[at] & 31
    at += 1
    argument: int | None = extra
    if extra == 31:
        argument = None
    elif extra >= 24:
        size = 1 << (extra - 24)
        argument, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 7:
        if extra == 31:
            return _BREAK, at
        floats = {26: ">f", 27: ">d"}
        if extra in floats:
            return struct.unpack(floats[extra], data[at - (1 << (extra - 24)) : at])[0], at
        if extra == 25:
            return _half(argument or 0), at
        return {20: False, 21: True, 22: None, 23: None}[argument], at
    if major in (0, 1):
        assert argument is not None
        return (argument if major == 0 else -1 - argument), at
    if major == 6:
        return _item(data, at)
    if major in (2, 3) and argument is not None:
        if at + argument > len(data):
            raise ValueError("a string leaves the data")
        raw = data[at : at + argument]
        return (raw if major == 2 else raw.decode()), at + argument
    items: list[Any] = []
    count = None if argument is None else argument * (2 if major == 5 else 1)
    while count is None or len(items) < count:
        value, at = _item(data, at)
        if value is _BREAK:
            break
        items.append(value)
    if major == 5:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    if major == 4:
        return items, at
    return (b"" if major == 2 else "").join(items), at
