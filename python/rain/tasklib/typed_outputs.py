"""Results of annotated functions as outputs."""

from __future__ import annotations

import struct

from rain._core import TaskBuffer, TypeMismatch, ValueType
from rain.common import ndarray
from rain.common.value import plain
from rain.tasklib.typed_inputs import (
    ArrayType,
    Unsupported,
    array_of,
    is_any,
    is_class,
    is_data,
    scalar_dtype,
    shape_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from rain.tasklib.context import Context
    from rain.tasklib.typed_inputs import Resolve

    # What makes one output of a value: something that tasks without annotations return.
    Encode: TypeAlias = Callable[[Context, Any], Any]
    # What makes all outputs of the result.
    Write: TypeAlias = Callable[[Context, Any], list[Any]]

_BYTES_LIKE = (bytes, bytearray, memoryview, TaskBuffer)


def is_plain(annotation: Any) -> bool:
    """True if tasks without annotations return it: tuple, a list or dict of bytes, too."""
    if getattr(annotation, "__origin__", None) in (list, dict):
        annotation = annotation.__args__[-1]
        return annotation in _BYTES_LIKE or is_data(annotation)
    return annotation is None or annotation in (*_BYTES_LIKE, str, tuple) or is_any(annotation)


def writer(annotation: Any, resolve: Resolve) -> tuple[list[ValueType] | None, Write | None]:
    """Return the types of the outputs, None if they aren't known, and what makes them.

    Raises
    ------
    Unsupported
    """
    if annotation in (None, type(None)):
        return [], _write_nothing
    if is_any(annotation) and not is_data(annotation):
        return None, None
    origin = getattr(annotation, "__origin__", None)
    if annotation is tuple or (origin in (list, dict) and is_plain(annotation)):
        return None, None  # several outputs, in order or by label
    if origin is tuple:
        return _several(annotation.__args__, resolve)
    kind, encode = _encoder(annotation, resolve)
    return [kind], lambda ctx, result: [_encoded(ctx, result, encode, "result")]


def _write_nothing(ctx: Context, result: Any) -> list[Any]:
    if result is not None:
        raise TypeMismatch(f"result: expected None, returned {_name_of(result)}")
    return []


def _several(
    annotations: tuple[Any, ...], resolve: Resolve
) -> tuple[list[ValueType] | None, Write]:
    """Of tuple[A, B] and tuple[A, ...]."""
    same = len(annotations) == 2 and annotations[1] is Ellipsis
    pairs = [_encoder(each, resolve) for each in annotations[: 1 if same else None]]

    def write(ctx: Context, result: Any) -> list[Any]:
        if not isinstance(result, (tuple, list)) or not (same or len(result) == len(pairs)):
            count = "any number" if same else str(len(pairs))
            raise TypeMismatch(f"result: expected tuple of {count}, returned {_name_of(result)}")
        encoders = [encode for _, encode in pairs] * (len(result) if same else 1)
        return [
            _encoded(ctx, item, encode, f"output {i + 1}")
            for i, (item, encode) in enumerate(zip(result, encoders, strict=True))
        ]

    return (None if same else [kind for kind, _ in pairs]), write


def _encoded(ctx: Context, value: Any, encode: Encode, where: str) -> Any:
    if is_data(type(value)):
        return value  # what the task made itself, or passes on
    try:
        return encode(ctx, value)
    except TypeMismatch as error:
        raise TypeMismatch(f"{where}: {error}") from None


def _encoder(annotation: Any, resolve: Resolve) -> tuple[ValueType, Encode]:
    annotation = resolve(annotation)
    if annotation in _BYTES_LIKE or is_any(annotation):
        return ValueType("bytes" if annotation in _BYTES_LIKE else "any"), lambda ctx, value: value
    if annotation is str:
        return ValueType("text"), _text
    array = array_of(annotation, resolve)
    if array is not None:
        return array.type(), _array_encoder(array)
    dtype = scalar_dtype(annotation)
    if dtype is not None:
        return ValueType("ndarray", dtype), _scalar_encoder(dtype)
    if shape_of(annotation, resolve) is not None:
        return ValueType("value"), _value_encoder(annotation)
    if is_class(annotation):
        return ValueType("any"), _object_encoder(annotation)
    raise Unsupported(
        f"tasks don't return {annotation!r}; docs/tutorial-python.md says what they do"
    )


def _text(ctx: Context, value: Any) -> Any:
    if not isinstance(value, str):
        raise _mismatch(ValueType("text"), value)
    return value


def _array_encoder(expected: ArrayType) -> Encode:
    def encode(ctx: Context, value: Any) -> Any:
        if not ndarray.is_array(value) or not expected.fits(value):
            raise _mismatch(expected.type(), value)
        return ctx._array(value)

    return encode


def _array(ctx: Context, data: Any, attribute: dict[str, Any]) -> Any:
    output = ctx.blob(data, content_type=ndarray.CONTENT_TYPE)
    output._set_attribute(ndarray.ATTRIBUTE, attribute)
    return output


_FORMATS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f4": "f",
    "f8": "d",
    "c8": "2f",
    "c16": "2d",
}


def _scalar_encoder(dtype: str) -> Encode:
    kind = dtype[1]
    packer = struct.Struct("<" + _FORMATS[dtype[1:]])
    attribute = {"dtype": dtype, "shape": []}
    expected = ValueType("ndarray", dtype)

    def encode(ctx: Context, value: Any) -> Any:
        try:
            if kind == "c":
                number = complex(value)
                data = packer.pack(number.real, number.imag)
            elif kind == "b" and type(value).__name__ not in ("bool", "bool_"):
                raise TypeError
            else:
                data = packer.pack(value)
        except (TypeError, ValueError, OverflowError, struct.error):
            raise _mismatch(expected, value) from None
        return _array(ctx, data, attribute)

    return encode


def _value_encoder(annotation: Any) -> Encode:
    kind = getattr(annotation, "__origin__", annotation)
    checked = isinstance(kind, type)  # no union

    def encode(ctx: Context, value: Any) -> Any:
        if checked and not isinstance(value, kind):
            raise TypeMismatch(f"expected {kind.__name__}, returned {_name_of(value)}")
        return ctx.blob(plain(value), encode="cbor")

    return encode


def _object_encoder(kind: type[Any]) -> Encode:
    """Of any other class: a table as Arrow has it, what else there is pickled."""
    table = kind.__name__ in ("Table", "RecordBatch") and kind.__module__.startswith("pyarrow")
    frame = kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas")

    def encode(ctx: Context, value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeMismatch(f"expected {kind.__qualname__}, returned {_name_of(value)}")
        return ctx.blob(value, encode="arrow" if table or frame else "pickle")

    return encode


def _mismatch(expected: ValueType, value: Any) -> TypeMismatch:
    return TypeMismatch(f"expected {expected}, returned {_name_of(value)}")


def _name_of(value: Any) -> str:
    """What a task returned, in the words for inputs where there are some."""
    if value is None:
        return "None"
    if ndarray.is_array(value):
        return str(ValueType("ndarray", value.dtype.str, value.ndim))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"int {value}" if abs(value) < 1 << 128 else "a large int"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
