"""Content types: what the bytes of a data object are.

Names are "pickle", "cloudpickle", "json", "cbor", "arrow", "text", "text-<codec>", "protobuf",
"dir", and anything that starts with "user/", "mime/" or "protobuf/". Only clients and executors
interpret them.
"""

from __future__ import annotations

from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NAMES = frozenset(
    ("", "pickle", "cloudpickle", "json", "cbor", "arrow", "text", "protobuf", "dir")
)
_PREFIXES = ("text-", "user/", "mime/", "protobuf/")


def check_content_type(name: str | None) -> None:
    """Raise ValueError unless `name` is a content type (or None)."""
    if name is None or name in _NAMES or name.startswith(_PREFIXES):
        return
    raise ValueError(f"Content type {name!r} is not recognized")


def merge_content_types(name_a: str | None, name_b: str | None) -> str | None:
    """Return the more special of two compatible types, else raise RainException."""
    if _refines(name_b, name_a):
        return name_b
    if _refines(name_a, name_b):
        return name_a
    if {name_a, name_b} == {"pickle", "cloudpickle"}:
        return "cloudpickle"
    raise RainException(f"Incompatible content types: {name_a!r} and {name_b!r}")


def is_type_instance(name: str | None, of: str | None) -> bool:
    """True if what has type `name` can be taken for type `of`."""
    return _refines(name, of) or (name == "pickle" and of == "cloudpickle")


def _refines(name: str | None, general: str | None) -> bool:
    """True if `name` says the same as `general`, or more: "text-utf-8" and "text"."""
    if general is None or name == general:
        return True
    if name is None:
        return False
    if general == "" or general.endswith("/"):
        return name.startswith(general)
    return name.startswith(general + ("-" if general == "text" else "/"))


def _codec(content_type: str) -> str | None:
    """The codec of a text type, None for other types."""
    if content_type == "text":
        return "utf-8"
    return content_type[5:] if content_type.startswith("text-") else None


def has_decoder(content_type: str | None) -> bool:
    """True if decode_value() knows the type."""
    return content_type is not None and (
        content_type
        in ("pickle", "cloudpickle", "json", "cbor", "arrow", "user/ndarray", "user/npy")
        or _codec(content_type) is not None
    )


def encode_value(
    value: Any, content_type: str | None, alloc: Callable[[int], Any] = bytearray
) -> Any:
    """Return `value` as bytes of this type.

    Parameters
    ----------
    value, content_type
    alloc : callable
        Gives a writable buffer of so many bytes: large arrays and tables are written there, once.

    Returns
    -------
    bytes, or what `alloc` gave

    Raises
    ------
    RainException
        The type is None or has no encoder, or the value is not one that it encodes.
    """
    if content_type is None:
        raise RainException("can't encode None content_type")
    codec = _codec(content_type)
    if codec is not None:
        if not isinstance(value, str):
            raise RainException(f"Encoding {content_type!r} can only encode `str` objects.")
        return value.encode(codec)
    if content_type == "pickle" or content_type == "cloudpickle":
        from rain.common import pickles

        return pickles.dumps(value, content_type == "cloudpickle", alloc)
    if content_type == "json":
        import json

        return json.dumps(value).encode()
    if content_type == "cbor":
        from rain import _core

        return _core.cbor_dumps(value)
    if content_type == "arrow":
        from rain.common import arrow

        return arrow.dumps(value, alloc)
    if content_type == "user/npy":
        from rain.common import npy

        return npy.dumps(value, alloc)
    raise RainException(f"Encoding into {content_type!r} unsupported")


def decode_value(data: Any, content_type: str | None) -> Any:
    """Return what `data`, a bytes-like object, holds; arrays and tables are views of it.

    Raises as encode_value.
    """
    if content_type is None:
        raise RainException("can't decode None content_type")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise RainException(f"Decoding {content_type!r} can only decode `bytes` values.")
    codec = _codec(content_type)
    if codec is not None:
        return str(data, codec)
    if content_type == "pickle" or content_type == "cloudpickle":
        from rain.common import pickles

        return pickles.loads(data)
    if content_type == "json":
        import json

        return json.loads(bytes(data))
    if content_type == "cbor":
        from rain import _core

        return _core.cbor_loads(bytes(data))
    if content_type == "arrow":
        from rain.common import arrow

        return arrow.loads(memoryview(data))
    if content_type == "user/npy":
        from rain.common import npy

        return npy.load(memoryview(data))
    raise RainException(f"Decoding from {content_type!r} unsupported")
